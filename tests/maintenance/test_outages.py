"""Servers that hang, die and come back: the last known state stays in force, and requests do not wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from envelope import Maintenance, ServiceUnavailableError, install
from tests.maintenance.switches import Clock, settle, until
from tests.rate_limit.asking import ask, one
from tests.servers.delay import Delay
from tests.servers.server import Server

#: What a request may wait: the deadline, and as much scheduling as a busy machine needs.
TIMEOUT_S = 0.25
PATIENCE_S = TIMEOUT_S + 0.5


class Service:
    """An application with a switch on a server, and a clock of its own for when it is read."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, *, patience_s: float | None = TIMEOUT_S) -> None:
        self.maintenance = Maintenance(url, timeout_s=timeout_s)
        switch: Any = self.maintenance._watch and self.maintenance._watch.switch
        if patience_s is not None:
            switch._lines._timeout_s = patience_s  # spares the tests seconds
        self.clock = self.maintenance._known.clock = Clock()
        self.app = Starlette(routes=[Route("/", one)])
        install(self.app, maintenance=self.maintenance)

    def status(self, *, after_s: float = 0) -> int:
        """Ask once; what is begun in the background then has an end."""
        self.clock.pass_s(after_s)
        begun = time.monotonic()
        status = ask(self.app).status
        self.waited_s = time.monotonic() - begun
        settle(self.maintenance._watch)
        return status

    def statuses(self, seconds: int) -> set[int]:
        """Ask for so many seconds, one request each, of which none may wait for the server."""
        found = set()
        for _ in range(seconds):
            self.clock.pass_s(1)
            begun = time.monotonic()
            found.add(ask(self.app).status)
            assert time.monotonic() - begun < TIMEOUT_S / 2
            settle(self.maintenance._watch)
        return found


def _events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["event_name"].removeprefix("envelope.") for record in caplog.records]


@contextmanager
def _suspended(server: Server) -> Iterator[None]:
    server.suspend()
    try:
        yield
    finally:
        server.resume()


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("trouble", ["suspend", "kill"])
def test_last_known_state_stays_in_force(
    own_valkey: Server, is_on: bool, trouble: str, caplog: pytest.LogCaptureFixture
):
    """Through eight seconds without an answer, of which no request waits for one; two records tell of it."""
    service = Service(own_valkey.url)
    if is_on:
        service.maintenance.start()
    before = service.status()

    getattr(own_valkey, trouble)()
    during = service.statuses(8)
    if trouble == "suspend":
        own_valkey.resume()
    else:
        own_valkey.start()  # it keeps nothing: maintenance is off there
    after = {service.status(after_s=1), service.status(after_s=1), service.status(after_s=1)}

    expected = 503 if is_on else 200
    assert (before, during) == (expected, {expected})
    assert after <= {expected} if trouble == "suspend" else 200 in after
    switched = ["maintenance.begun"] * is_on
    ended = ["maintenance.ended"] * (is_on and trouble == "kill")
    assert _events(caplog) == [*switched, "storage.unavailable", "storage.recovered", *ended]


def test_request_waits_only_if_nothing_is_known(own_valkey: Server):
    """At most the timeout, and once; the service was up, so it is."""
    service = Service(own_valkey.url)
    with _suspended(own_valkey):
        assert service.status() == 200
        assert TIMEOUT_S / 2 < service.waited_s < PATIENCE_S
        assert service.statuses(6) == {200}


def test_after_a_quiet_time_one_request_waits(own_valkey: Server):
    """It is told what was last known, after the timeout."""
    service = Service(own_valkey.url)
    service.maintenance.start()
    with _suspended(own_valkey):
        assert service.status(after_s=60) == 503
        assert service.waited_s < PATIENCE_S
        assert service.statuses(3) == {503}


def test_many_requests_that_know_nothing_wait_together(own_valkey: Server):
    """Fifty at once, and none longer than the timeout."""
    service = Service(own_valkey.url)

    async def main() -> list[float]:
        async def catch_up() -> float:
            assert service.maintenance._watch is not None
            begun = time.monotonic()
            await service.maintenance._watch.catch_up()
            return time.monotonic() - begun

        return await asyncio.gather(*(catch_up() for _ in range(50)))

    with _suspended(own_valkey):
        waited = asyncio.run(main())

    assert max(waited) < PATIENCE_S
    settle(service.maintenance._watch)


def test_at_most_one_reading_a_second(own_valkey: Server):
    """Counted on the server: 20 seconds, 200 requests, 20 readings of one command each."""
    service = Service(own_valkey.url, patience_s=2)
    service.status()
    with own_valkey.counting() as traffic:
        for _ in range(200):
            service.status(after_s=0.1)

    assert 18 <= traffic.commands["evalsha"] <= 20
    assert sum(traffic.commands.values()) == traffic.commands["evalsha"]
    assert traffic.round_trips == traffic.commands["evalsha"]


def test_quiet_service_asks_nothing(own_valkey: Server):
    """Without requests no reading is begun."""
    service = Service(own_valkey.url, patience_s=2)
    service.status()
    with own_valkey.counting() as traffic:
        service.clock.pass_s(3600)

    assert not traffic.commands


def test_switching_without_a_server(own_valkey: Server):
    """An error that says so, within the timeout; nothing changes here."""
    service = Service(own_valkey.url)
    service.maintenance.start()
    with _suspended(own_valkey):
        for act in (service.maintenance.stop, service.maintenance.read, service.maintenance.start):
            begun = time.monotonic()
            with pytest.raises(
                ServiceUnavailableError, match="switch does not answer; whether .* known. Try again"
            ):
                act()
            assert time.monotonic() - begun < PATIENCE_S
        assert service.maintenance.is_on


def test_those_who_ask_at_once_wait_at_once(own_valkey: Server):
    """Not one after the other: an answer that does not come costs each of them its own deadline, and no more."""
    service = Service(own_valkey.url, patience_s=None)
    service.maintenance.read()
    waited: list[float] = []

    def ask_now() -> None:
        begun = time.monotonic()
        with pytest.raises(ServiceUnavailableError):
            service.maintenance.read()
        waited.append(time.monotonic() - begun)

    with _suspended(own_valkey):
        asking = [threading.Thread(target=ask_now) for _ in range(8)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()

    assert len(waited) == 8
    assert max(waited) < 2


def test_reply_that_is_lost(valkey: Server, caplog: pytest.LogCaptureFixture):
    """It may have been switched nevertheless: the next reading knows."""
    other = Maintenance(valkey.url, timeout_s=2)
    other.start()  # so that the server knows the script
    other.stop()
    caplog.clear()
    with Delay(valkey.port, 0) as proxy:
        service = Service(proxy.url)
        assert service.status() == 200
        proxy.lose_replies()
        with pytest.raises(ServiceUnavailableError):
            service.maintenance.start(retry_after_s=900)
        was_on = service.maintenance._known.read is not None
        proxy.heal()
        until(lambda: service.status(after_s=1) == 503)

    assert not was_on
    assert _events(caplog) == ["storage.unavailable", "storage.recovered", "maintenance.begun"]


def test_server_that_is_slow_to_connect(valkey: Server):
    """The reading goes on when the request has stopped waiting, so the next request knows."""
    valkey.flush()
    other = Maintenance(valkey.url, timeout_s=2)
    other.start()
    other.read()  # the server knows the script
    with Delay(valkey.port, 0.1) as proxy:  # a round trip takes 0.2 s, and connecting another
        service = Service(proxy.url, timeout_s=0.05, patience_s=None)
        assert service.status() == 200
        assert service.waited_s < 1
        until(lambda: service.status(after_s=1) == 503)


@pytest.mark.parametrize("trouble", ["pause", "drop"])
def test_network_that_breaks(valkey: Server, trouble: str):
    """What was known stays in force; afterwards another connection is found."""
    valkey.flush()
    other = Maintenance(valkey.url, timeout_s=2)
    with Delay(valkey.port, 0) as proxy:
        service = Service(proxy.url)
        other.start()
        assert service.status() == 503
        getattr(proxy, trouble)()
        assert service.statuses(3) == {503}
        proxy.heal()
        other.stop()
        until(lambda: service.status(after_s=1) == 200)
