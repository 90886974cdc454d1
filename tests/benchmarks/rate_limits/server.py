"""Measures the limits on a real server: rows 9, 10 and 11.

The floor is our own script, sent as we send it but once per request and through redis-py: its command is overheard
from one of our requests.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from tests.benchmarks.measure import Figures, Runs, compare
from tests.benchmarks.rate_limits.apps import ADMITTED, ample, starlette_of, tight
from tests.benchmarks.rate_limits.drive import (
    IN_FLIGHT,
    Driver,
    FlawedError,
    InFlight,
    OneByOne,
    Sends,
    exhaust,
)
from tests.benchmarks.rate_limits.floors import ScriptFloor
from tests.benchmarks.rate_limits.overhear import overhear
from tests.benchmarks.rate_limits.subjects import FLOOR, OURS, SUBJECTS, Setup, build
from tests.benchmarks.report import print_table, verdict
from tests.servers.delay import Delay
from tests.servers.server import Server

_COUNTS = (1, 3)
#: The floor without an application: nothing but the call.
RAW = "the script alone"
#: The most that an admitted request costs over the floor, one at a time and in flight (rows 9 and 10); the most that
#: three limits cost over one; the least rate over the floor's with the server far away (row 11).
_ALONE, _IN_FLIGHT, _THREE, _RATE = 1.2, 0.6, 1.1, 1.5
_ASKED_AGAIN = 0.1


async def measure_server(*, rounds: int, batch_s: float) -> None:
    """Measure every subject on a server nearby and on one that is 1 ms away, and print what was found."""
    with Server() as server:
        for title, runner, judge_admitted in (
            ("one at a time (row 9)", OneByOne, _judge_alone),
            ("64 in flight (row 10)", InFlight, _judge_in_flight),
        ):
            server.flush()
            async with AsyncExitStack() as stack:
                admitted, refused, flaws = await _prepare(server.url, _COUNTS, runner, stack)
                for outcome, runners in (("admitted", admitted), ("refused", refused)):
                    figures = await compare(runners, rounds=rounds, batch_s=batch_s)
                    trips = {name: await _count_trips(server, runners[name]) for name in runners}
                    judge = _judge_refused if outcome == "refused" else judge_admitted
                    _print_near(f"Valkey, {title}, {outcome}", figures, trips, flaws, judge)
        server.flush()
        with Delay(server.port) as delay:
            async with AsyncExitStack() as stack:
                runners, _, flaws = await _prepare(delay.url, (3,), InFlight, stack)
                _print_far(await compare(runners, rounds=max(rounds // 3, 3), batch_s=batch_s), flaws)


async def _prepare(
    url: str, counts: Sequence[int], run: Callable[[Sends], Runs], stack: AsyncExitStack
) -> tuple[dict[str, Runs], dict[str, Runs], dict[str, str]]:
    """Build everybody, see limits enforced, and give who admits, who refuses, and who is not measured."""
    admitted: dict[str, Runs] = {}
    refused: dict[str, Runs] = {}
    flaws: dict[str, str] = {}
    addresses = (f"10.1.{number >> 8}.{number & 255}" for number in range(1, 1000))
    for count in counts:
        for limits, runners in ((ample(count), admitted), (tight(count), refused)):
            script = await _load(Setup(limits=limits, url=url), next(addresses), stack)
            floor = Driver(ScriptFloor(starlette_of(), script.call, limits[-1].amount))
            if runners is refused:
                await _exhaust(floor)
            runners[f"{RAW} {count}"] = run(script)
            runners[f"{FLOOR} {count}"] = run(floor)
    for name, subject in SUBJECTS.items():
        if name == FLOOR:
            continue
        if reason := subject.unable.get("server"):
            flaws[name] = f"- {reason}"
            continue
        try:
            for count in counts:
                driver = Driver(
                    await build(name, Setup(limits=tight(count), url=url), stack), address=next(addresses)
                )
                await exhaust(driver)
                refused[f"{name} {count}"] = run(driver)
                driver = Driver(
                    await build(name, Setup(limits=ample(count), url=url), stack), address=next(addresses)
                )
                await driver.send()
                admitted[f"{name} {count}"] = run(driver)
        except FlawedError as flaw:
            flaws[name] = f"FLAWED: {flaw}"
            for runners in (admitted, refused):
                for count in counts:
                    runners.pop(f"{name} {count}", None)
    return admitted, refused, flaws


async def _exhaust(floor: Driver) -> None:
    """See the floor admit and then refuse; it knows one client only, which has sent requests already."""
    statuses = [(await floor.answer())[0] for _ in range(ADMITTED)]
    if statuses[-1] != 429:
        raise RuntimeError(f"the floor answers {statuses}")


class _Script:
    """Sends the script once per request."""

    def __init__(self, client: Any, command: list[bytes]) -> None:
        self._client = client
        self._command = command

    async def call(self) -> tuple[int, float]:
        """Give what is left, below 0 if that is not enough, and the seconds until there is more."""
        # The time, and for each limit: what remains, milliseconds until there is more, milliseconds to wait.
        figures = (await self.reply()).split()
        wait_ms = max(map(int, figures[3::3]))
        if wait_ms:
            return -1, wait_ms / 1000
        remaining = [int(figure) for figure in figures[1::3]]
        least = min(remaining)
        return least, int(figures[3 * remaining.index(least) + 2]) / 1000

    async def reply(self) -> bytes:
        return await self._client.execute_command(*self._command)  # type: ignore[no-any-return]

    async def send(self) -> None:
        await self.reply()


async def _load(setup: Setup, address: str, stack: AsyncExitStack) -> _Script:
    command = await overhear(setup, address)
    client = importlib.import_module("redis.asyncio").from_url(setup.url)
    stack.push_async_callback(client.aclose)
    return _Script(client, command)


async def _count_trips(server: Server, runner: Runs) -> float:
    await runner.run(1)
    with server.counting() as traffic:
        await runner.run(IN_FLIGHT)
    return traffic.round_trips / IN_FLIGHT


def _print_near(
    title: str,
    figures: Mapping[str, Figures],
    trips: Mapping[str, float],
    flaws: Mapping[str, str],
    judge: Callable[[list[float], list[float], float], tuple[str, str]],
) -> None:
    rows: list[Sequence[str]] = []
    for name in (RAW, *SUBJECTS):
        if name in flaws:
            rows.append((name, flaws[name]))
            continue
        cells: list[str] = []
        for count in _COUNTS:
            own = figures[f"{name} {count}"]
            cells += [
                f"{own.median_us:.1f}",
                f"{own.ratio(figures[f'{FLOOR} {count}']):.2f}",
                f"{own.ratio(figures[f'{RAW} {count}']):.2f}",
                f"{trips[f'{name} {count}']:.2f}",
            ]
        ratios = [figures[f"{name} {count}"].ratio(figures[f"{FLOOR} {count}"]) for count in _COUNTS]
        three = figures[f"{name} 3"].ratio(figures[f"{name} 1"])
        judged = (
            judge(ratios, [trips[f"{name} {count}"] for count in _COUNTS], three) if name == OURS else ("", "")
        )
        rows.append((name, *cells, f"{three:.2f}", *judged))
    columns = [f"{count}: {column}" for count in _COUNTS for column in ("us", "x floor", "x script", "trips")]
    print_table(title, rows, ("subject", *columns, "3 / 1", "bar", ""))


def _judge_alone(ratios: list[float], trips: list[float], three: float) -> tuple[str, str]:
    held = max(ratios) <= _ALONE and three <= _THREE and set(trips) == {1}
    return verdict(held, f"{_ALONE} x floor, {_THREE} x, 1 trip")


def _judge_in_flight(ratios: list[float], _trips: list[float], _three: float) -> tuple[str, str]:
    return verdict(max(ratios) <= _IN_FLIGHT, f"{_IN_FLIGHT} x floor")


def _judge_refused(_ratios: list[float], trips: list[float], _three: float) -> tuple[str, str]:
    # A refusal is remembered for a second; then the server is asked again.
    return verdict(max(trips) < _ASKED_AGAIN, "0 trips")


def _print_far(figures: Mapping[str, Figures], flaws: Mapping[str, str]) -> None:
    rows: list[Sequence[str]] = []
    for name in (RAW, *SUBJECTS):
        if name in flaws:
            rows.append((name, flaws[name]))
            continue
        own = figures[f"{name} 3"]
        rate = 1 / own.ratio(figures[f"{FLOOR} 3"])
        judged = verdict(rate >= _RATE, f"{_RATE} x floor") if name == OURS else ("", "")
        rows.append((name, f"{1e6 / own.median_us:,.0f}", f"{rate:.2f}", *judged))
    print_table(
        "Valkey 1 ms away, 64 in flight, 3 limits, admitted (row 11)",
        rows,
        ("subject", "requests/s", "x floor's", "bar", ""),
    )
