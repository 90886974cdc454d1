"""Locks and rate limits on one application: a 429 locks nothing, a 423 tells its figures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Depends, FastAPI

from envelope import ObjectLocks, RateLimiter, install
from tests.locks.api.asking import BUSY, DONE, apart, are_free, asking, header, json_of, slow_locks, watch


def _app(locks: ObjectLocks, limiter: RateLimiter, way: str) -> FastAPI:
    app = FastAPI()
    install(app, locks=locks, rate_limiter=limiter)

    async def plain(entity_id: int) -> str:
        return "done"

    endpoint: Any = plain
    dependencies = []
    if way == "guard above":
        endpoint = locks.guarded("e:{entity_id}")(limiter.limited("1/hour")(plain))
    elif way == "limit above":
        endpoint = limiter.limited("1/hour")(locks.guarded("e:{entity_id}")(plain))
    elif way == "limit before":
        dependencies = [Depends(limiter.limit("1/hour")), Depends(locks.guard("e:{entity_id}"))]
    elif way == "global":
        endpoint = locks.guarded("e:{entity_id}")(plain)
    app.post("/e/{entity_id}", dependencies=dependencies)(endpoint)
    return app


@pytest.mark.parametrize("way", ["limit above", "limit before", "global"])
def test_429_locks_nothing(way: str) -> None:
    """It comes before 423, whether the object is busy or not."""
    locks = slow_locks()
    app = _app(locks, RateLimiter("1/hour" if way == "global" else "1000/second"), way)

    first, second = watch(app, locks), watch(app, locks)

    assert (first.json, first.held, second.status, second.was_taken) == (DONE, [True, False], 429, False)

    async def story() -> int:
        async with locks.hold("e:1"):
            return (await asking(app)).status

    assert asyncio.run(story()) == 429


def test_limit_below_the_guard() -> None:
    """The object is taken and given back with the 429."""
    locks = slow_locks()
    app = _app(locks, RateLimiter("1000/second"), "guard above")

    seen = [watch(app, locks) for _ in range(2)]

    assert [each.status for each in seen] == [200, 429]
    assert [each.held for each in seen] == [[True, False]] * 2
    assert are_free(locks)


def test_423_has_the_figures_of_the_limits() -> None:
    """It costs, like any answer, so that a loop of retries comes to an end."""
    locks = slow_locks()
    app = _app(locks, RateLimiter("2/hour"), "global")

    async def story() -> None:
        async def hold() -> list[Any]:
            async with locks.hold("e:1"):
                return [await asking(app) for _ in range(3)]

        first, second, third = await apart(hold())
        assert json_of(first) == json_of(second) == BUSY
        assert header(first, b"x-ratelimit-remaining") == [b"1"]
        assert header(second, b"x-ratelimit-remaining") == [b"0"]
        assert len(header(first, b"retry-after")) == len(header(first, b"cache-control")) == 1
        assert third.status == 429

    asyncio.run(story())
