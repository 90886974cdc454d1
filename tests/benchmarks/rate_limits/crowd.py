"""Measures the limits in memory with many clients (row 6), each experiment in a process of its own.

The process is fresh because its memory is measured: bytes per client by ``tracemalloc`` (exact, at 100,000) and by
the resident set (what the operator sees, at the full number). A request's time is taken by two clocks: the wall's,
which also counts what other processes took from this one, and the thread's own. The garbage collector is on, as in
a service.

Run as a script, it makes one experiment with one subject and prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.rate_limits.apps import Limit, ample
from tests.benchmarks.rate_limits.drive import Driver, FlawedError, admit
from tests.benchmarks.rate_limits.subjects import OURS, STARLETTE, SUBJECTS, Setup, build, build_bare
from tests.benchmarks.report import print_table, verdict

#: The most that a request costs at the largest number of clients, over that at the smallest; the slowest request;
#: bytes per client; the share of the memory that is given back within two windows.
_RATIO, _SLOWEST_MS, _BYTES, _FREED = 1.3, 10.0, 300, 0.5

_PAGE = 4096
#: What fills the storage itself, for those whose requests take too long for it: storage -> counters, expirations.
_FILLED_DIRECTLY = {
    "limits, plainly": lambda app: app.storage,
    "slowapi": lambda app: app.state.limiter._storage,
}
_UNABLE = {
    "fastapi-limiter, README": "one bucket for all clients",
    "fastapi-limiter, own buckets": "it leaves to its user when a bucket is forgotten; pyrate-limiter forgets none",
    "throttled-py": "it keeps 1,024 clients, then forgets the least recent one",
    "fastapi-redis-sdk": "it has no memory store",
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How many clients, and how long to measure.

    Attributes:
        clients: Ascending numbers of clients that are known at a time.
        traced: How many are known when bytes are counted exactly.
        flood: How many clients come while windows end.
        window_s: The window while memory is given back.
        cost_s: How long to measure the cost at one number of clients.
    """

    clients: tuple[int, ...]
    traced: int
    flood: int
    window_s: int
    cost_s: float


FULL = Scale(clients=(1_000, 100_000, 1_000_000), traced=100_000, flood=300_000, window_s=3, cost_s=2.0)
QUICK = Scale(clients=(1_000, 2_000, 10_000), traced=5_000, flood=10_000, window_s=1, cost_s=0.05)


@dataclass(kw_only=True)
class Findings:
    """What was found out about one subject.

    Attributes:
        cost_us: Microseconds per request above the bare application, by number of clients.
        bare_us: Those of the bare application.
        traced_bytes: Bytes per client that Python allocated.
        resident_bytes: Bytes per client that the process grew.
        filling: Slowest request while clients are new, with a window that does not end: wall and thread, in ms.
        rotating: The same while windows end, under a flood of new clients and after it.
        freed: Share of what a flood of new clients has allocated that is free two windows after it.
        given_back: Share of what the process has grown by a flood that the system has back two windows after it.
    """

    cost_us: dict[int, float] = field(default_factory=dict)
    bare_us: float = 0.0
    traced_bytes: float | None = None
    resident_bytes: float | None = None
    filling: tuple[float, float] | None = None
    rotating: tuple[float, float] | None = None
    freed: float | None = None
    given_back: float | None = None
    flaw: str | None = None


def measure_crowds(scale: Scale, *, is_quick: bool) -> None:
    """Measure every subject in turn, and print what was found."""
    rows: list[Sequence[str]] = []
    for name in SUBJECTS:
        if reason := _UNABLE.get(name):
            rows.append((name, f"- {reason}"))
            continue
        found = Findings()
        for experiment in _EXPERIMENTS:
            if experiment == "flood" and name in _FILLED_DIRECTLY:
                continue
            command = [sys.executable, "-m", __name__, name, experiment, *(["--quick"] if is_quick else [])]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found = replace(found, **json.loads(done.stdout))
        rows.append((name, f"FLAWED: {found.flaw}") if found.flaw else _row(name, found))
    few, many = scale.clients[0], scale.clients[-1]
    numbers = ", ".join(f"{clients:,}" for clients in scale.clients)
    print_table(
        f"In memory with many clients, 1 limit (row 6); us above bare at {numbers} clients",
        rows,
        (
            "subject",
            "us",
            f"{many:,} / {few:,}",
            "B/client",
            "resident",
            "slowest ms",
            "rotating ms",
            "freed",
            "given back",
            "bar",
            "",
        ),
    )
    print(
        "The ratio is that of whole requests. B/client and freed by tracemalloc, resident and given back by the process's"
        " size. Slowest request: by the wall's clock, in brackets by the thread's own, which is judged. The storages of"
        " limits and slowapi were filled directly."
    )


def _row(name: str, found: Findings) -> Sequence[str]:
    costs = {int(clients): us for clients, us in found.cost_us.items()}
    totals = [us + found.bare_us for us in costs.values()]
    ratio = totals[-1] / totals[0]
    slowest = [moment for moment in (found.filling, found.rotating) if moment]
    held = (
        ratio <= _RATIO
        and all(thread <= _SLOWEST_MS for _, thread in slowest)
        and (found.traced_bytes or 0) <= _BYTES
        and (found.freed or 0) >= _FREED
    )
    bar = f"{_RATIO} x, {_BYTES} B, {_SLOWEST_MS:.0f} ms, {_FREED:.0%}"
    return (
        name,
        ", ".join(f"{us:.3g}" for us in costs.values()),
        f"{ratio:.2f}",
        _shown(found.traced_bytes, "{:.0f}"),
        _shown(found.resident_bytes, "{:.0f}"),
        _moment(found.filling),
        _moment(found.rotating),
        _shown(found.freed, "{:.0%}"),
        _shown(found.given_back, "{:.0%}"),
        *(verdict(held, bar) if name == OURS else ("", "")),
    )


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _moment(times_ms: tuple[float, float] | None) -> str:
    return "-" if times_ms is None else f"{times_ms[0]:.1f} ({times_ms[1]:.1f})"


async def _find_costs(name: str, scale: Scale, found: Findings) -> None:
    """Fill storages with clients, and measure requests of clients that are known."""
    fill = _fill_directly if name in _FILLED_DIRECTLY else _fill
    drivers = {}
    async with AsyncExitStack() as stack:
        for clients in reversed(scale.clients):
            gc.collect()
            before = _resident()
            driver, app = await _build(name, Setup(limits=ample(1)), stack)
            slowest = await fill(driver, app, clients)
            if clients == scale.clients[-1]:
                found.resident_bytes = (_resident() - before) / clients
                found.filling = slowest
            drivers[clients] = driver
        await _compare(name, drivers, scale, found)


async def _find_bytes(name: str, scale: Scale, found: Findings) -> None:
    """Count what Python allocates for clients, and what of it is free when their windows are over."""
    fill = _fill_directly if name in _FILLED_DIRECTLY else _fill
    async with AsyncExitStack() as stack:
        driver, app = await _build(name, Setup(limits=ample(1)), stack)
        gc.collect()
        tracemalloc.start()
        await fill(driver, app, scale.traced)
        gc.collect()
        found.traced_bytes = _traced() / scale.traced
    if fill is _fill:
        found.freed, _ = await _flood(name, scale.window_s, scale.traced, _traced)


async def _find_memory_given_back(name: str, scale: Scale, found: Findings) -> None:
    """Let a flood of clients come and go, and see what of its memory the system has back."""
    found.given_back, found.rotating = await _flood(name, scale.window_s, scale.flood, _resident)


#: Each in a process of its own, in which nothing was allocated before.
_EXPERIMENTS = {"costs": _find_costs, "bytes": _find_bytes, "flood": _find_memory_given_back}


async def _build(name: str, setup: Setup, stack: AsyncExitStack) -> tuple[Driver, Any]:
    app = await build(name, setup, stack)
    driver = Driver(app)
    await admit(driver)
    return driver, app


async def _fill(driver: Driver, _app: object, clients: int) -> tuple[float, float]:
    """Send one request from each address; give the slowest one's milliseconds by both clocks."""
    slowest_wall = slowest_thread = 0
    send, wall, thread = driver.send_from, time.perf_counter_ns, time.thread_time_ns
    for number in range(clients):
        address = _address(number)
        wall_begun, thread_begun = wall(), thread()
        await send(address)
        await asyncio.sleep(0)
        thread_took, wall_took = thread() - thread_begun, wall() - wall_begun
        slowest_wall = max(slowest_wall, wall_took)
        slowest_thread = max(slowest_thread, thread_took)
    return slowest_wall / 1e6, slowest_thread / 1e6


async def _fill_directly(driver: Driver, app: Any, clients: int) -> None:
    """Put copies of the counter that one request has left into the storage of ``limits``."""
    name = "limits, plainly" if hasattr(app, "storage") else "slowapi"
    storage = _FILLED_DIRECTLY[name](app)
    await driver.send_from("template")
    templates = {key: count for key, count in storage.storage.items() if "template" in key}
    for number in range(clients):
        for key, count in templates.items():
            filled = key.replace("template", _address(number))
            storage.storage[filled] = count
            storage.expirations[filled] = storage.expirations[key]
            # A defaultdict: that is how a hit leaves one.
            _ = storage.locks[filled]


class _Known:
    """Sends requests of clients that are known, in an order that was drawn by lot."""

    def __init__(self, driver: Driver, addresses: list[str]) -> None:
        self._driver = driver
        self._addresses = itertools.cycle(addresses)
        self.seconds: list[float] = []
        self.spent_s = 0.0

    async def take_turn(self, turn_s: float) -> None:
        count, begun, took = 0, time.perf_counter(), 0.0
        while took < turn_s:
            await self._driver.send_from(next(self._addresses))
            await asyncio.sleep(0)
            count += 1
            took = time.perf_counter() - begun
        self.spent_s += took
        self.seconds.append(took / count)
        # A storage that sweeps in a thread shall not take its time from another's turn.
        while threading.active_count() > 1:
            await asyncio.sleep(0.001)


async def _compare(name: str, drivers: dict[int, Driver], scale: Scale, found: Findings) -> None:
    choice = random.Random(6)  # noqa: S311 - no secret
    drawn = {clients: [_address(choice.randrange(clients)) for _ in range(20_000)] for clients in drivers}
    senders = {clients: _Known(driver, drawn[clients]) for clients, driver in drivers.items()}
    bare = _Known(Driver(await build_bare(STARLETTE)), drawn[scale.clients[0]])
    # What is swept after a turn is nobody's time: turns of those who sweep in threads are long.
    turn_s = scale.cost_s if name == "slowapi" else scale.cost_s / 100
    while min(sender.spent_s for sender in (bare, *senders.values())) < scale.cost_s:
        for sender in (bare, *senders.values()):
            if sender.spent_s < scale.cost_s:
                await sender.take_turn(turn_s)
    found.bare_us = median(bare.seconds) * 1e6
    found.cost_us = {clients: median(senders[clients].seconds) * 1e6 - found.bare_us for clients in scale.clients}


async def _flood(
    name: str, window_s: int, clients: int, memory: Callable[[], int]
) -> tuple[float, tuple[float, float]]:
    """Let new clients come as fast as they can, then little traffic for two windows.

    Returns:
        The share of the memory that is free at the end, and the slowest request.
    """
    async with AsyncExitStack() as stack:
        driver, app = await _build(name, Setup(limits=(Limit(1_000_000, window_s),)), stack)
        gc.collect()
        before = memory()
        wall, thread = await _fill(driver, app, clients)
        flooded = memory()
        ends_at = time.perf_counter() + 2 * window_s
        while time.perf_counter() < ends_at:
            await asyncio.sleep(0.005)
            moment = await _fill(driver, app, 10)
            wall, thread = max(wall, moment[0]), max(thread, moment[1])
        gc.collect()
        return (flooded - memory()) / max(flooded - before, 1), (wall, thread)


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _address(number: int) -> str:
    """Make the address of a client; a new string each time, as from a server."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def main() -> None:
    """Measure one subject and print what was found as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("experiment", choices=_EXPERIMENTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = Findings()
    try:
        asyncio.run(_EXPERIMENTS[options.experiment](options.subject, QUICK if options.quick else FULL, found))
    except FlawedError as flaw:
        found.flaw = str(flaw)
    print(json.dumps({name: value for name, value in asdict(found).items() if value}))


if __name__ == "__main__":
    main()
