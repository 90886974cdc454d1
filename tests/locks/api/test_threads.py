"""A sync endpoint works in a thread, which no cancellation stops: its object stays locked until the work is done."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import anyio.to_thread
import pytest

from envelope import ObjectLocks
from envelope.locks.endpoints import _Thread
from tests.locks.api.asking import is_busy
from tests.locks.api.test_guard import _fastapi
from tests.wire.apps import scope_of, talk


def _request(app: object, entity_id: int) -> asyncio.Task[object]:
    asking = talk(app, scope_of(f"/e/{entity_id}", method="POST"))  # type: ignore[arg-type]
    return asyncio.create_task(asking, context=contextvars.Context())


async def _cancel(request: asyncio.Task[object]) -> None:
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


def test_cancelled_request_leaves_the_lock_to_its_thread() -> None:
    """Cancelled from outside of anyio, as by ``asyncio.timeout`` or the end of a server."""
    locks = ObjectLocks()
    app = _fastapi(locks)
    has_begun, may_end = threading.Event(), threading.Event()

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    def work(entity_id: int) -> None:
        has_begun.set()
        may_end.wait(5)

    async def story() -> None:
        request = _request(app, 1)
        assert await asyncio.to_thread(has_begun.wait, 5)
        await _cancel(request)
        assert await is_busy(locks)
        may_end.set()
        async with asyncio.timeout(5):
            while await is_busy(locks):
                await asyncio.sleep(0.001)

    asyncio.run(story())


def test_request_that_is_cancelled_before_a_thread_is_free_does_nothing() -> None:
    """All threads are busy; the function never runs, and its object is free."""
    locks = ObjectLocks()
    app = _fastapi(locks)
    worked_on: list[int] = []
    may_end = threading.Event()

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    def work(entity_id: int) -> None:
        worked_on.append(entity_id)
        may_end.wait(5)

    async def story() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        first = _request(app, 1)
        async with asyncio.timeout(5):
            while not worked_on:
                await asyncio.sleep(0.001)
            second = _request(app, 2)
            while not await is_busy(locks, "e:2"):
                await asyncio.sleep(0)
        await _cancel(second)
        assert not await is_busy(locks, "e:2")
        may_end.set()
        await first
        assert worked_on == [1]

    asyncio.run(story())


def test_function_whose_caller_gave_up_does_not_begin() -> None:
    """The thread comes to it after the wait has ended."""
    locks = ObjectLocks()
    worked: list[bool] = []

    async def story() -> None:
        lease = await locks.acquire("a")
        with _Thread(lease) as thread:
            pass
        thread.run(worked.append, True)
        assert lease.is_held
        await lease.release()

    asyncio.run(story())
    assert worked == []
