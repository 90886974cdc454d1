"""What a task of a request does when the request is over."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI

from envelope import LeaseLostError, ObjectLocks, install
from tests.locks.api.asking import SlowStorage, asking, is_busy, settle


def test_lease_that_comes_when_the_request_is_over_is_given_back() -> None:
    """Nobody else would: whoever asked is told so."""
    locks = ObjectLocks(SlowStorage())
    app = FastAPI()
    install(app, locks=locks)
    tasks: list[asyncio.Task[object]] = []

    @app.post("/e/1")
    async def endpoint() -> None:
        tasks.append(asyncio.create_task(locks.acquire("a")))
        await asyncio.sleep(0)

    async def story() -> None:
        await asking(app)
        with pytest.raises(LeaseLostError):
            await tasks[0]
        settle(locks)
        assert not await is_busy(locks, "a")

    asyncio.run(story())


def test_scopes_that_are_no_request_pass() -> None:
    """ASGI may know others one day."""
    locks = ObjectLocks()
    app = FastAPI()
    install(app, locks=locks)

    async def story() -> None:
        app.middleware_stack = app.build_middleware_stack()
        with pytest.raises(AssertionError):  # the framework's own
            await app.middleware_stack({"type": "other"}, None, None)  # type: ignore[arg-type]

    asyncio.run(story())
