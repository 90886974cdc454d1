"""Storages: how long they take, and whether they are asked."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from envelope import ObjectLocks, RateLimiter, signals
from tests.locks.storages.places import eventually, run
from tests.servers.server import Server
from tests.telemetry.conftest import Metrics


def test_answers_are_measured_by_guard(metrics: Metrics, valkey: Server):
    """Under the storage's name without credentials."""
    valkey.flush()
    url = valkey.url.replace("://", "://default:secret@")

    async def main() -> None:
        limiter, locks = RateLimiter("9/hour", storage=valkey.url, timeout_s=2), ObjectLocks(valkey.url)
        async with aclosing(limiter), aclosing(locks):
            await limiter.check("somebody")
            await (await locks.acquire("a")).release()

    run(main())
    assert metrics.read("storage.duration", "guard", "storage", "outcome") == {
        ("rate_limit", valkey.url.removesuffix("/0"), "answered"): 1,
        ("locks", valkey.url.removesuffix("/0"), "answered"): 2,
    }
    assert "secret" in url
    assert all(0 < seconds < 2 for seconds in metrics.sums("storage.duration"))


def test_credentials_are_no_attribute(metrics: Metrics):
    """The name is what the log says, too."""

    async def main() -> None:
        limiter = RateLimiter("9/hour", storage="redis://user:secret@127.0.0.1:1/0?password=hidden")
        async with aclosing(limiter):
            await limiter.check("somebody")

    run(main())
    (key,) = metrics.read("storage.duration", "storage", "outcome")
    assert key == ("redis://127.0.0.1:1", "failed")


def test_breaker_opens_and_closes(metrics: Metrics, own_valkey: Server):
    """Once each; the gauge says what is."""

    async def main() -> None:
        limiter = RateLimiter("9999/hour", storage=own_valkey.url, timeout_s=0.2)
        async with aclosing(limiter):
            await limiter.check("somebody")
            assert list(metrics.points("storage.breaker.open"))[0].value == 0
            own_valkey.suspend()
            for _ in range(6):
                await limiter.check("somebody")
            assert list(metrics.points("storage.breaker.open"))[0].value == 1
            own_valkey.resume()

            async def is_closed() -> bool:
                await limiter.check("somebody")
                return bool(list(metrics.points("storage.breaker.open"))[0].value == 0)

            await eventually(is_closed)

    run(main())
    (point,) = metrics.points("storage.breaker.open")
    assert point.attributes["envelope.guard"] == "rate_limit"


@pytest.mark.anyio
async def test_question_that_nobody_waits_for_is_abandoned(metrics: Metrics, own_valkey: Server):
    """A request that was cancelled says nothing about the storage."""
    limiter = RateLimiter("9/hour", storage=own_valkey.url, timeout_s=5)
    await limiter.check("somebody")
    own_valkey.suspend()
    task = asyncio.create_task(limiter.check("somebody"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    own_valkey.resume()
    await limiter.aclose()
    assert metrics.read("storage.duration", "outcome") == {"answered": 1, "abandoned": 1}


def test_breakers_of_one_storage_are_counted_together(metrics: Metrics):
    """One that asks again says nothing about the other; one that was open before anybody listened is not missed."""
    listener = signals.listener
    assert listener is not None

    def number() -> int:
        (point,) = metrics.points("storage.breaker.open")
        return int(point.value)

    listener.storage("locks", "redis://h:1", "failed", 1)
    assert metrics.points("storage.breaker.open") == []  # it may have been open before anybody listened
    listener.breaker("locks", "redis://h:1", is_open=False)
    assert number() == 0
    for is_open, expected in ((True, 1), (True, 2), (False, 1), (False, 0)):
        listener.breaker("locks", "redis://h:1", is_open=is_open)
        assert number() == expected
