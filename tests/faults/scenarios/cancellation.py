"""Whoever waits for the server is cancelled, at every moment of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.faults.checker import Violation
from tests.faults.stage import OURS, Cast, Stage
from tests.faults.worker import Worker
from tests.servers.delay import Delay
from tests.servers.server import Server

#: The server is a millisecond away, so that there is time to cancel on the way there, and on the way back.
_EACH_WAY_S = 0.001

#: The first moments are so many passes of the event loop, the others so many seconds apart.
_PASSES = 15
_STEP_S = 0.0003
_MOMENTS = 27


def cancelled_acquire(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A cancelled acquire ends cancelled, and the object is free a moment later."""

    async def play(stage: Stage, worker: Worker, other: Worker) -> None:
        for moment in range(1, _MOMENTS):  # before the first one nothing has begun
            key = f"entity:{moment}"
            task = asyncio.ensure_future(worker.acquire(key))
            if await _cancel(stage, task, moment) and task.result().outcome == "ok":
                await worker.release(task.result().lease)
            await other.poll(key, within_s=stage.ttl_s + 2)

    return _play(server, cast, play)


def cancelled_release(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A cancelled release goes on without whoever waited for it."""

    async def play(stage: Stage, worker: Worker, other: Worker) -> None:
        for moment in range(1, _MOMENTS):  # before the first one nothing has begun
            key = f"entity:{moment}"
            taken = await worker.acquire(key)
            await _cancel(stage, asyncio.ensure_future(worker.release(taken.lease)), moment)
            await other.poll(key, within_s=stage.ttl_s + 2)

    return _play(server, cast, play)


def cancelled_hand_off(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A cancelled hand-off is withdrawn: nobody has the token, so nobody has to wait for its end."""

    async def play(stage: Stage, worker: Worker, other: Worker) -> None:
        for moment in range(1, _MOMENTS):  # before the first one nothing has begun
            key = f"entity:{moment}"
            taken = await worker.acquire(key)
            await _cancel(stage, asyncio.ensure_future(worker.hand_off(taken.lease, 60)), moment)
            await worker.release(taken.lease)
            await other.poll(key, within_s=stage.ttl_s + 2)

    return _play(server, cast, play)


def cancelled_claim(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A cancelled claim leaves the object free, or to be claimed, and never claimed twice."""

    async def play(stage: Stage, worker: Worker, other: Worker) -> None:
        for moment in range(1, _MOMENTS):  # before the first one nothing has begun
            key = f"entity:{moment}"
            taken = await other.acquire(key)
            token = await other.hand_off(taken.lease, 60)
            task = asyncio.ensure_future(worker.claim(token, taken.lease, key))
            if await _cancel(stage, task, moment) and task.result().outcome == "ok":
                await worker.release(task.result().lease)
            await other.release(taken.lease)
            await other.poll(key, within_s=stage.ttl_s + 2)

    return _play(server, cast, play)


def _play(server: Server, cast: Cast, play: Callable[[Stage, Worker, Worker], Awaitable[None]]) -> list[Violation]:
    async def both(stage: Stage, proxy: Delay) -> None:
        async with stage.worker(proxy.url) as worker, stage.worker() as other:
            for each in (worker, other):
                await each.change("entity", hold_s=0)
            await play(stage, worker, other)

    with Stage(server, cast, ttl_s=3) as stage, Delay(server.port, _EACH_WAY_S) as proxy:
        asyncio.run(both(stage, proxy))
        return stage.judge()


async def _cancel(stage: Stage, task: asyncio.Future[Any], moment: int) -> bool:
    """Cancel at a moment, and tell whether it ended by itself."""
    for _ in range(min(moment, _PASSES)):
        await asyncio.sleep(0)
    if moment > _PASSES:
        await asyncio.sleep((moment - _PASSES) * _STEP_S)
    was_over = task.done()
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    if not was_over and not task.cancelled():
        stage.seen.append(Violation("cancellation", f"cancelled at moment {moment}, it went on"))
    await asyncio.sleep(5 * _EACH_WAY_S)  # what is still on its way arrives
    return not task.cancelled()
