"""A request passes an object on to a worker, and something goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.faults.checker import Violation
from tests.faults.history import clock
from tests.faults.stage import OURS, Cast, Stage
from tests.faults.worker import Worker
from tests.servers.server import Server

_KEY = "entity:1"


def worker_dies_before_claim(server: Server, cast: Cast = OURS) -> list[Violation]:
    """Nobody claims: the object is busy until the claim is due, and free then."""

    async def play(stage: Stage) -> None:
        async with stage.worker() as other:
            client = await asyncio.to_thread(stage.client)
            taken = await client.ado("acquire", _KEY)
            await client.ado("hand_off", taken.lease, 1.5)
            client.kill()
            await other.poll(_KEY, within_s=5)

    return _play(server, cast, play)


def worker_dies_after_claim(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A process claims and is killed: the object is free when its lease is over."""

    async def play(stage: Stage) -> None:
        async with stage.worker() as first, stage.worker() as other:
            client = await asyncio.to_thread(stage.client)
            taken = await first.acquire(_KEY)
            token = await first.hand_off(taken.lease, 30)
            await client.ado("claim", token, taken.lease, _KEY)
            client.kill()
            await other.poll(_KEY, within_s=5)

    return _play(server, cast, play)


def double_delivery(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A job is delivered to two processes at once: one of them does it. Ten times."""

    async def play(stage: Stage) -> None:
        clients = await asyncio.to_thread(stage.clients, 2)
        async with stage.worker() as first:
            for _ in range(10):
                taken = await first.acquire(_KEY)
                token = await first.hand_off(taken.lease, 5)
                claims = await asyncio.gather(
                    *(client.ado("claim", token, taken.lease, _KEY) for client in clients)
                )
                outcomes = sorted(claim.outcome for claim in claims)
                if outcomes != ["lost", "ok"]:
                    stage.seen.append(Violation("mutual exclusion", f"two claims of one token: {outcomes}"))
                for client, claim in zip(clients, claims, strict=True):
                    if claim.outcome == "ok":
                        await client.ado("read", claim.lease)
                        await client.ado("write", claim.lease)
                        await client.ado("release", claim.lease)

    return _play(server, cast, play)


def enqueue_failure(server: Server, cast: Cast = OURS) -> list[Violation]:
    """The queue is down: what was handed off is withdrawn, free at once, and cannot be claimed."""

    async def play(stage: Stage) -> None:
        async with stage.worker() as first, stage.worker() as other:
            taken = await first.acquire(_KEY)
            token = await first.hand_off(taken.lease, 60)
            await first.release(taken.lease)
            await other.change(_KEY, hold_s=0)
            await _must_be_lost(stage, other, token, taken.lease)

    return _play(server, cast, play)


def claim_after_deadline(server: Server, cast: Cast = OURS) -> list[Violation]:
    """Whoever claims too late gets nothing, whether somebody else has the object by then or not."""

    async def play(stage: Stage) -> None:
        async with stage.worker() as first, stage.worker() as other:
            taken = await first.acquire(_KEY)
            token = await first.hand_off(taken.lease, 0.3)
            inherited = await other.poll(_KEY)
            await _must_be_lost(stage, first, token, taken.lease)
            await other.look(inherited.lease)
            await other.release(inherited.lease)
            if clock() < taken.ended + 0.3:
                stage.seen.append(Violation("mutual exclusion", "the object was free before the claim was due"))
            await _must_be_lost(stage, first, token, taken.lease)

    return _play(server, cast, play)


async def _must_be_lost(stage: Stage, worker: Worker, token: str, parent: str) -> None:
    claimed = await worker.claim(token, parent, _KEY)
    if claimed.outcome != "lost":
        stage.seen.append(Violation("answer", f"a claim that is void: {claimed.outcome}"))


def _play(server: Server, cast: Cast, play: Callable[[Stage], Coroutine[Any, Any, None]]) -> list[Violation]:
    with Stage(server, cast) as stage:
        asyncio.run(play(stage))
        return stage.judge()
