"""What every switch does, wherever it is."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest

from envelope import Maintenance
from tests.maintenance.switches import Place, by_every_link, shared, until
from tests.servers.server import Server


def _now() -> datetime:
    return datetime.now(UTC)


#: A file is dated by the kernel's clock, which ticks; its end is written in whole seconds.
TICK, WHOLE = timedelta(milliseconds=50), timedelta(seconds=1)


@by_every_link
def test_off_at_first(place: Place):
    """Nobody has switched it on."""
    maintenance = place.open()

    assert maintenance.read() is None
    assert not maintenance.is_on
    assert maintenance._known.wait_s() == 60


@by_every_link
def test_on_until_it_is_stopped(place: Place):
    """Since now, and with no end."""
    maintenance = place.open(retry_after_s=7)
    before = _now()

    maintenance.start()

    after, announcement = _now(), maintenance.read()
    assert announcement is not None
    assert before - TICK <= announcement.since <= after + TICK
    assert announcement.since.tzinfo is UTC
    assert announcement.until is None
    assert (maintenance.is_on, maintenance._known.wait_s()) == (True, 7)
    maintenance.stop()
    assert maintenance.read() is None
    assert not maintenance.is_on


@by_every_link
def test_announced_end(place: Place):
    """Clients are told the seconds until then, rounded up."""
    maintenance = place.open()
    before = _now()

    maintenance.start(retry_after_s=90)

    announcement = maintenance.read()
    assert announcement is not None
    assert announcement.until is not None
    end = timedelta(seconds=90)
    assert before + end - TICK <= announcement.until <= _now() + end + WHOLE
    assert 80 <= maintenance._known.wait_s() <= 91


@by_every_link
def test_another_end_is_announced(place: Place):
    """It goes on since its beginning; None takes the end back."""
    maintenance = place.open()
    maintenance.start(retry_after_s=90)
    first = maintenance.read()

    maintenance.start(retry_after_s=900)
    second = maintenance.read()
    maintenance.start()
    third = maintenance.read()

    assert first is not None
    assert second is not None
    assert third is not None
    assert second.until is not None
    assert second.until > _now() + timedelta(seconds=800)
    assert third.until is None
    assert abs(second.since - first.since) < TICK
    assert abs(third.since - first.since) < TICK


@by_every_link
def test_announced_end_that_passes_ends_nothing(place: Place):
    """A migration that takes longer is not exposed; clients are told the constructor's seconds."""
    maintenance = place.open(retry_after_s=45)

    maintenance.start(retry_after_s=0.001)

    until(lambda: maintenance._known.wait_s() == 45)
    announcement = maintenance.read()
    assert announcement is not None
    assert announcement.until is not None
    assert announcement.until < _now() + TICK
    assert maintenance.is_on


@by_every_link
def test_stop_and_start_can_be_repeated(place: Place):
    """To stop what is off is no error."""
    maintenance = place.open()
    for _ in range(2):
        maintenance.stop()
        maintenance.stop()
        assert maintenance.read() is None
        maintenance.start()
        maintenance.start()
        assert maintenance.read() is not None


@by_every_link
def test_switched_from_a_thread_in_which_an_event_loop_runs(place: Place):
    """Synchronous as it is."""
    maintenance = place.open()

    async def main() -> None:
        maintenance.start()
        assert maintenance.read() is not None
        maintenance.stop()
        assert maintenance.read() is None
        await maintenance.aclose()

    asyncio.run(main())


@by_every_link
def test_change_is_logged_once(place: Place, caplog: pytest.LogCaptureFixture):
    """When the process learns of it."""
    maintenance = place.open()
    with caplog.at_level(logging.WARNING, "envelope.maintenance"):
        maintenance.start()
        maintenance.start(retry_after_s=5)
        maintenance.read()
        maintenance.stop()
        maintenance.stop()
        maintenance.read()

    assert [record.event_name for record in caplog.records] == [  # type: ignore[attr-defined]
        "envelope.maintenance.begun",
        "envelope.maintenance.ended",
    ]


@pytest.mark.parametrize("place", ["file", "redis", "redis+sentinel", "redis+cluster"], indirect=True)
def test_other_processes_learn_of_it(place: Place):
    """The same announcement, and both ways."""
    here, there = place.open(), place.open()

    here.start(retry_after_s=90)

    assert there.read() is not None
    assert there.is_on
    assert 80 <= there._known.wait_s() <= 91
    there.stop()
    assert here.read() is None


@shared
def test_many_threads_switch(place: Place):
    """What is read at the end is what was done last."""
    maintenance = place.open()
    problems: list[object] = []

    def work() -> None:
        try:
            for _ in range(5):
                maintenance.start(retry_after_s=50)
                maintenance.read()
                maintenance.stop()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert maintenance.read() is None
    assert not maintenance.is_on


def test_namespaces_tell_services_apart(valkey: Server):
    """One server, two services, one key each, which never expires."""
    valkey.flush()
    a, b = (Maintenance(valkey.url, namespace=name, timeout_s=2) for name in ("a", "b"))

    a.start()

    assert b.read() is None
    assert valkey.call("KEYS", "*") == ["envelope:{maintenance:a}:1"]
    assert valkey.call("PTTL", "envelope:{maintenance:a}:1") == -1
