"""What the tests of maintenance share: every storage behind one interface, a switch that does as it is told, time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envelope import Maintenance
from envelope.maintenance.knowledge import Knowledge
from envelope.maintenance.readings import Reading
from envelope.maintenance.watch import Watch
from envelope.storage.breaker import Breaker
from envelope.storage.errors import StorageUnavailableError
from tests.servers.process import wait_until
from tests.servers.server import Server

#: Name -> the fixture of its server, and how that server's URL begins.
SERVERS = {
    "redis": ("valkey", "redis"),
    "valkey": ("valkey", "valkey"),
    "redis+unix": ("socket_valkey", "redis+unix"),
    "valkey+unix": ("socket_valkey", "valkey+unix"),
    "rediss": ("tls_redis", "rediss"),
    "valkeys": ("tls_redis", "valkeys"),
    "redis+sentinel": ("valkey_sentinel", "redis+sentinel"),
    "valkey+sentinel": ("valkey_sentinel", "valkey+sentinel"),
    "redis+cluster": ("valkey_cluster", "redis+cluster"),
    "valkey+cluster": ("valkey_cluster", "valkey+cluster"),
}

#: Long enough for a busy machine.
TIMEOUT_S = 2.0

KEY = "envelope:{maintenance:}:1"

by_every_link = pytest.mark.parametrize("place", ["memory", "file", *SERVERS], indirect=True)
shared = pytest.mark.parametrize("place", ["file", "redis"], indirect=True)


class Place:
    """Where a switch is.

    Attributes:
        name: Of the storage.
        url: Of the same.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url
        self._opened: list[Maintenance] = []

    def open(self, url: str = "", **options: Any) -> Maintenance:
        """Open the switch as one more process does."""
        maintenance = Maintenance(url or self.url, **{"timeout_s": TIMEOUT_S, **options})
        self._opened.append(maintenance)
        return maintenance

    def close(self) -> None:
        for maintenance in self._opened:
            if maintenance._watch is not None:
                maintenance._watch.close()


def place_of(name: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    """Give a storage with nothing in it."""
    if name == "memory":
        return Place(name, "memory://")
    if name == "file":
        return Place(name, f"file://{folder}/maintenance")
    fixture, scheme = SERVERS[name]
    server = request.getfixturevalue(fixture)
    server.flush()
    rest = f"{server.directory}/server.sock" if "unix" in name else server.url.partition("://")[2]
    return Place(name, f"{scheme}://{rest}")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


class ScriptedSwitch:
    """Answers what a test has written down, once the gate is open.

    Attributes:
        reading: What it says; an exception is raised.
        asked: How often it was read.
        closed: How often it was closed.
    """

    def __init__(self, reading: Reading | Exception | None = None) -> None:
        self.reading = reading
        self.asked = self.closed = 0
        self.gate = threading.Event()
        self.gate.set()

    async def read(self) -> Reading | None:
        self.asked += 1
        reading = self.reading  # as it is when the question arrives
        while not self.gate.is_set():
            await asyncio.sleep(0.001)
        if isinstance(reading, Exception):
            raise reading
        return reading

    async def begin(self, rest_ms: int | None) -> Reading | None:
        self.reading = Reading(0, rest_ms)
        return self.reading

    async def end(self) -> Reading | None:
        self.reading = None
        return None

    async def aclose(self) -> None:
        self.closed += 1


ON = Reading(0, None)
GONE = StorageUnavailableError("gone")


class Watched:
    """A watch over a scripted switch, by a clock of the test's own."""

    def __init__(
        self, reading: Reading | Exception | None = None, *, timeout_s: float = TIMEOUT_S, patience_s: float = 10
    ) -> None:
        import logging

        self.clock = Clock()
        self.switch = ScriptedSwitch(reading)
        self.known = Knowledge(clock=self.clock)
        breaker = Breaker(
            "there://", logging.getLogger("envelope.maintenance"), what="the switch", doing="nothing"
        )
        self.watch = Watch(self.switch, self.known, breaker, timeout_s, patience_s)

    @property
    def is_on(self) -> bool:
        return self.known.read is not None

    @property
    def is_due(self) -> bool:
        return self.known.due_at <= self.clock()

    def catch_up(self) -> bool:
        """Do as a request does, in a loop of its own."""
        if self.is_due:
            asyncio.run(self.watch.catch_up())
        return self.is_on

    def settle(self) -> None:
        """Wait until no reading is under way."""
        settle(self.watch)


def settle(watch: Watch | None) -> None:
    assert watch is not None
    wait_until(lambda: watch._under_way is None, within_s=5, told=lambda: "the reading is still under way")


def until(condition: Callable[[], bool], within_s: float = 5) -> None:
    wait_until(condition, within_s=within_s, told=lambda: "what was waited for")


def keys_of(server: Server) -> list[str]:
    return sorted(server.call("KEYS", "*"))
