"""Processes die, stop, or are kept busy while they hold objects."""

from __future__ import annotations

import asyncio
import random

from tests.faults.checker import Violation
from tests.faults.history import clock
from tests.faults.stage import OURS, Cast, Client, Stage
from tests.faults.worker import Worker
from tests.servers.server import Server


def killed_holders(server: Server, cast: Cast = OURS, *, seconds: float = 6, seed: int = 0) -> list[Violation]:
    """A random process of three is killed three times a second: its objects are free when its leases are over."""
    chance = random.Random(seed)

    async def watch(worker: Worker, until: float) -> None:
        await worker.roam(4, until - clock(), (0.001, 0.002), tasks=2)

    async def kill(stage: Stage, until: float) -> None:
        clients = await asyncio.to_thread(stage.clients, 3)
        for client in clients:
            client.begin("roam", 4, 60, (0.1, 0.4), tasks=2)
        while clock() < until:
            await asyncio.sleep(1 / 3)
            clients.pop(chance.randrange(3)).kill()
            clients.append(await asyncio.to_thread(stage.client))
            clients[-1].begin("roam", 4, 60, (0.1, 0.4), tasks=2)
        for client in clients:
            client.kill()

    async def play(stage: Stage) -> None:
        async with stage.worker() as worker:
            end = clock() + seconds
            # After the last kill somebody still asks, until the last lease has to be over.
            await asyncio.gather(watch(worker, end + 2 * (stage.ttl_s + stage.terms.grace_s)), kill(stage, end))

    with Stage(server, cast) as stage:
        asyncio.run(play(stage))
        return stage.judge()


def suspended_holders(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A process stands still for half a lease, one and a half and three: what it writes afterwards is refused if
    somebody else had the object meanwhile, and its release frees nobody else's lease."""

    async def one(stage: Stage, zombie: Client, key: str, factor: float) -> None:
        async with stage.worker() as heir, stage.worker() as third:
            taken = await zombie.ado("acquire", key)
            await zombie.ado("read", taken.lease)
            zombie.suspend()
            stopped = asyncio.create_task(asyncio.sleep(factor * stage.ttl_s))
            inherited = await heir.acquire(key)
            while not stopped.done() and inherited.outcome != "ok":
                await asyncio.sleep(0.02)
                inherited = await heir.acquire(key)
            if inherited.outcome == "ok":
                await heir.read(inherited.lease)
            await stopped
            zombie.resume()
            await zombie.ado("write", taken.lease)
            await zombie.ado("release", taken.lease)
            if inherited.outcome == "ok":
                await _meet(third, key)
                await heir.look(inherited.lease)
                await heir.write(inherited.lease)
                await heir.release(inherited.lease)
            elif factor > 1:
                stage.seen.append(Violation("liveness", f"{key} was not free after {factor} leases"))
            await _meet(third, key)

    async def play(stage: Stage) -> None:
        factors = (0.5, 1.5, 3)
        zombies = stage.clients(len(factors))
        await asyncio.gather(
            *(
                one(stage, zombie, f"entity:{factor}", factor)
                for zombie, factor in zip(zombies, factors, strict=True)
            )
        )

    with Stage(server, cast) as stage:
        asyncio.run(play(stage))
        return stage.judge()


def stalled_event_loop(server: Server, cast: Cast = OURS) -> list[Violation]:
    """Code that blocks its event loop for longer than a lease keeps the object: it is renewed beside the loop."""

    async def play(stage: Stage) -> None:
        client = stage.client()
        async with stage.worker() as other:
            taken = await client.ado("acquire", "entity:1")
            await client.ado("read", taken.lease)
            stall = asyncio.create_task(client.ado("stall", 1.75 * stage.ttl_s))
            while not stall.done():
                await other.change("entity:1", hold_s=0.005)
                await asyncio.sleep(0.02)
            await client.ado("write", taken.lease)
            look = await client.ado("look", taken.lease)
            await client.ado("release", taken.lease)
            if look.outcome != "ok" or stage.count("write", "ok") != 1:
                stage.seen.append(Violation("liveness", "the lease was lost because the event loop was busy"))
            await other.poll("entity:1")

    with Stage(server, cast, ttl_s=2) as stage:
        asyncio.run(play(stage))
        return stage.judge()


async def _meet(worker: Worker, key: str) -> None:
    """Try to get an object, and give it back at once."""
    event = await worker.acquire(key)
    if event.outcome == "ok":
        await worker.look(event.lease)
        await worker.release(event.lease)
