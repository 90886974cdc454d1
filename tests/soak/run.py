"""One soak: a server with the service, its load, what is measured meanwhile, and the verdict."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.servers.process import wait_until
from tests.servers.server import Server
from tests.soak.sampling import (
    LASTING,
    LONGEST_S,
    Sample,
    Slope,
    find_illegal_keys,
    find_locked,
    read_process,
    slope_of,
)
from tests.soak.servers import ServiceProcess
from tests.soak.service import CLAIM_WITHIN_S, STORAGE, TTL_S, make_switch

#: Memory is judged in runs of this length or longer, in seconds: a shorter one is all warming up.
FULL_S = 300

#: MB an hour that a service may seem to grow by: at the usual rate some 60 bytes a request.
_FLAT_MB_PER_H = 20

#: Seconds between two samples, and for which the storage's server is gone.
_PAUSE_S, _OUTAGE_S = 1.0, 2.0

#: Threads of the framework's pool end when they have been idle for 10 s and somebody asks for another; servers
#: close a connection that nobody uses sooner.
_POOL_IDLE_S = 11

#: After so long a server has noticed that a client is gone.
_CLOSED_S = 2

#: Each shows that a part of the load was there.
_SEEN = (
    "200",
    "400",
    "404",
    "405",
    "409",
    "410",
    "418",
    "423",
    "429",
    "500",
    "503",
    "cut",
    "hung up",
    "read slowly",
)


@dataclass
class Report:
    """What a soak has found.

    Attributes:
        samples: While the load lasted.
        before: After one request of each kind, at rest.
        after: The same, after the load.
        faults: Why the service is not what it should be; empty if it is.
        load: What the clients and the worker have seen.
        left: Keys on the server at the end.
    """

    server: str
    seconds: float
    samples: list[Sample]
    before: Sample
    after: Sample
    load: dict[str, Any]
    left: list[str]
    slope: Slope
    faults: list[str] = field(default_factory=list)


def soak(name: str, seconds: float, rate: float, *, waits: bool) -> Report:
    """Load a service and see what becomes of it.

    Args:
        name: Of the server.
        seconds: Of load.
        rate: Requests a second.
        waits: Wait at the end until everything that has a lifetime must be gone; else only the lifetimes are
            judged.
    """
    with Server() as storage, ServiceProcess(name, storage.url) as service:
        pid = service.state()["pid"]
        begun = time.monotonic()

        def sample() -> Sample:
            keys = None
            with suppress(redis.RedisError):
                keys = storage.call("DBSIZE")
            tasks = service.state()["tasks"]
            return Sample(time.monotonic() - begun, *read_process(pid), tasks, keys)

        _finish(_start_load(service, storage, 2, 20))
        _rest(service, waits=waits)
        before = sample()
        begun = time.monotonic()
        load = _start_load(service, storage, seconds, rate)
        samples: list[Sample] = []
        is_killed = False
        while load.poll() is None:
            time.sleep(_PAUSE_S)
            if not is_killed and time.monotonic() > begun + seconds / 2:
                is_killed = True
                storage.kill()
                time.sleep(_OUTAGE_S)
                storage.start()
            with suppress(http.client.HTTPException, OSError):
                samples.append(sample())
        seen = _finish(load)
        _switch_off_and_on(service, storage)
        _rest(service, waits=waits)
        if waits:  # the pool looks at its threads when it is asked for one
            _finish(_start_load(service, storage, 2, 20))
            _rest(service, waits=True)
        wait_until(
            lambda: not find_locked(storage), within_s=_LEASES_S, told=lambda: f"{find_locked(storage)} free"
        )
        after = sample()
        illegal = find_illegal_keys(storage)
        if waits:
            time.sleep(LONGEST_S)
        left = sorted(storage.call("KEYS", "*"))
        report = Report(name, seconds, samples, before, after, seen, left, slope_of(samples))
        report.faults = [*_judge(report, illegal), *([f"left: {left}"] if waits and left != [LASTING] else [])]
        return report


_LEASES_S = TTL_S + CLAIM_WITHIN_S + 5


def _switch_off_and_on(service: ServiceProcess, storage: Server) -> None:
    """Begin maintenance and end it, and wait until the service has seen both."""
    switch = make_switch(storage.url)
    for act, status in ((switch.start, 503), (switch.stop, 200)):
        act()
        wait_until(lambda: _asks(service) == status, within_s=5, told=lambda: f"{status}")  # noqa: B023


def _asks(service: ServiceProcess) -> int:
    time.sleep(0.2)  # each question is a connection
    return service.ask("/things/1")


def _start_load(service: ServiceProcess, storage: Server, seconds: float, rate: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.soak.load", str(service.port), str(seconds), str(rate)],
        env={**os.environ, STORAGE: storage.url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def _finish(load: subprocess.Popen[bytes]) -> dict[str, Any]:
    printed, _ = load.communicate()
    if load.returncode:
        raise RuntimeError(f"the load ended with {load.returncode}")
    return dict(json.loads(printed))


def _rest(service: ServiceProcess, *, waits: bool) -> None:
    time.sleep(_POOL_IDLE_S if waits else _CLOSED_S)
    service.ask("/rest")


def _judge(report: Report, illegal: list[str]) -> list[str]:
    before, after, slope = report.before, report.after, report.slope
    faults = [f"{number} x {flaw}" for flaw, number in report.load["flaws"].items()]
    faults += [f"no {seen} was seen" for seen in _SEEN if seen not in report.load["seen"]]
    faults += [f"lives too long: {key}" for key in illegal]
    # The connection of the sample itself may be open still.
    faults += [f"open files: {before.fds} before, {after.fds} after"] * (after.fds > before.fds + 3)
    faults += [f"threads: {before.threads} before, {after.threads} after"] * (after.threads > before.threads + 3)
    faults += [f"tasks: {before.tasks} before, {after.tasks} after"] * (after.tasks > before.tasks + 2)
    if report.seconds >= FULL_S and slope.mb_per_h - 2 * slope.error > _FLAT_MB_PER_H:
        faults.append(f"memory grows by {slope.mb_per_h:.1f} +- {slope.error:.1f} MB an hour")
    return faults


def print_report(report: Report) -> None:
    """Print what was found as a table."""
    samples, mb = report.samples, 1024 * 1024
    third = len(samples) // 3
    print(f"\n{report.server}, {report.seconds:g} s of load")
    print(f"{'':24}{'before':>10}{'1/3':>10}{'2/3':>10}{'end':>10}{'after':>10}{'most':>10}")
    moments = [report.before, *(samples[each] for each in (third, 2 * third, -1)), report.after]
    for title, row in (
        ("memory, MB", [f"{each.rss / mb:.1f}" for each in [*moments, max(samples, key=lambda s: s.rss)]]),
        ("open files", [str(each.fds) for each in [*moments, max(samples, key=lambda s: s.fds)]]),
        ("threads", [str(each.threads) for each in [*moments, max(samples, key=lambda s: s.threads)]]),
        ("tasks", [str(each.tasks) for each in [*moments, max(samples, key=lambda s: s.tasks)]]),
        ("keys on the server", [str(each.keys) for each in [*moments, max(samples, key=lambda s: s.keys or 0)]]),
    ):
        print(f"{title:24}" + "".join(f"{cell:>10}" for cell in row))
    print(f"memory, last two thirds: {report.slope.mb_per_h:+.2f} +- {report.slope.error:.2f} MB an hour")
    print(f"answers: {json.dumps(report.load['seen'])}")
    print(f"worker: {json.dumps(report.load['worker'])}")
    print(f"left on the server: {len(report.left)} keys" + (f": {report.left}" if len(report.left) < 4 else ""))
    for fault in report.faults:
        print(f"FAULT {fault}")
    print("flat, nothing left" if not report.faults else "not as it should be")
