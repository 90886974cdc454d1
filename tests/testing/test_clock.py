"""FakeClock: limits and locks of a test pass their time without a second going by."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from envelope import ConfigurationError, ObjectLocks, RateLimiter, install
from envelope.rate_limit.quotas import Strategy
from envelope.testing import FakeClock, assert_failure, assert_success


def limited_app(limiter: RateLimiter) -> FastAPI:
    app = FastAPI()
    install(app, rate_limiter=limiter)

    @app.get("/")
    async def read() -> int:
        return 1

    return app


@pytest.mark.parametrize("strategy", ["sliding-window-counter", "fixed-window", "moving-window"])
def test_limit_is_met_and_passes_with_the_clock(strategy: Strategy) -> None:
    """After what Retry-After says there is room, and one second earlier there is none."""
    limiter = RateLimiter("2/minute", strategy=strategy)
    client = TestClient(limited_app(limiter))

    with FakeClock(limiter) as clock:
        assert_success(client.get("/"))
        assert_success(client.get("/"))
        refused = client.get("/")
        assert_failure(refused, 429)
        clock.advance(int(refused.headers["retry-after"]) - 1)
        assert_failure(client.get("/"), 429)
        clock.advance(1)
        assert_success(client.get("/"))


def test_first_window_begins_with_the_first_request() -> None:
    """So that a test reads the same figures in every run; windows that slide still weigh the one before."""
    limiter = RateLimiter("2/minute")
    client = TestClient(limited_app(limiter))

    with FakeClock(limiter) as clock:
        resets = [client.get("/").headers["ratelimit"] for _ in range(2)]
        clock.advance(90)
        resets.append(client.get("/").headers["ratelimit"])

    assert resets == ['"2/minute";r=1;t=60', '"2/minute";r=0;t=60', '"2/minute";r=0;t=1']


def test_limiter_is_as_it_was_after_the_block() -> None:
    """What the test counted does not count, and what was counted before does."""
    limiter = RateLimiter("1/day")
    client = TestClient(limited_app(limiter))
    own = limiter.storage

    assert client.get("/").status_code == 200
    with FakeClock(limiter):
        assert client.get("/").status_code == 200
        assert client.get("/").status_code == 429
    with FakeClock(limiter):
        assert client.get("/").status_code == 200

    assert limiter.storage is own
    assert client.get("/").status_code == 429


def test_limiter_that_names_a_server_needs_none() -> None:
    """Nothing listens there; in the block the limiter counts in memory."""
    limiter = RateLimiter("1/day", storage="redis://127.0.0.1:1/0", on_outage="deny")
    client = TestClient(limited_app(limiter))

    with FakeClock(limiter) as clock:
        assert client.get("/").status_code == 200
        assert client.get("/").status_code == 429
        clock.advance(2 * 24 * 3600)
        assert client.get("/").status_code == 200

    assert client.get("/").status_code == 503


def test_lock_ends_with_the_clock() -> None:
    """A lease that is held too long is lost, and Retry-After counts down to it."""
    locks = ObjectLocks(max_hold_s=100)
    app = FastAPI()
    install(app, locks=locks)
    statuses: list[int] = []

    @app.put("/entities/{entity_id}")
    @locks.guarded("entity:{entity_id}")
    async def update(entity_id: int) -> None:
        if not statuses:
            statuses.append(0)
            statuses.append(client.put("/entities/1").status_code)
            clock.advance(99)
            statuses.append(client.put("/entities/1").status_code)
            clock.advance(1)
            statuses.append(client.put("/entities/1").status_code)

    client = TestClient(app)
    before = locks.storage
    with FakeClock(locks) as clock:
        client.put("/entities/1")

    assert statuses[1:] == [423, 423, 200]
    assert locks.storage is before


def test_locks_that_name_a_server_need_none() -> None:
    """Nothing listens there."""
    locks = ObjectLocks("redis://127.0.0.1:1/0")
    app = FastAPI()
    install(app, locks=locks)

    @app.put("/")
    @locks.guarded("one")
    async def update() -> int:
        return 1

    with FakeClock(locks):
        assert_success(TestClient(app).put("/"), 1)
    assert_failure(TestClient(app).put("/"), 503)


def test_several_guards_have_one_clock() -> None:
    """Two limiters, one after the other half a minute later."""
    first, second = (
        RateLimiter("1/minute", strategy="fixed-window"),
        RateLimiter("1/minute", strategy="fixed-window"),
    )
    clients = [TestClient(limited_app(limiter)) for limiter in (first, second)]

    def statuses() -> list[int]:
        return [client.get("/").status_code for client in clients]

    with FakeClock(first, second) as clock:
        assert statuses() == [200, 200]
        clock.advance(59.999)
        assert statuses() == [429, 429]
        clock.advance(0.001)
        assert statuses() == [200, 200]


def test_clock_refuses_what_it_cannot_do() -> None:
    """Nothing to drive, something else to drive, and time that goes back."""
    with pytest.raises(ConfigurationError, match="give it what counts by it"):
        FakeClock()
    with pytest.raises(ConfigurationError, match="give a RateLimiter or an ObjectLocks"):
        FakeClock("redis://")  # type: ignore[arg-type]
    with FakeClock(RateLimiter("1/day")) as clock, pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
