"""The server, or the way to it, does not do what it should."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from tests.faults.checker import Violation
from tests.faults.history import Event, clock
from tests.faults.stage import OURS, Cast, Stage
from tests.faults.worker import Worker
from tests.servers.delay import Delay
from tests.servers.server import Server

T = TypeVar("T")

#: A connection that is made while the way is broken is given up after this long, beside what is usual.
_CONNECTING_S = 1.0

#: How a reply is lost: the connection is reset, and there is time to ask again; or nothing is heard any more.
Loss = Literal["reset", "silence"]


def suspended_server(server: Server, cast: Cast = OURS) -> list[Violation]:
    """The server stands still twice, for longer than anybody waits for it and longer than a lease."""

    async def play(stage: Stage) -> None:
        clients = await asyncio.to_thread(stage.clients, 2)
        roaming = [asyncio.create_task(client.ado("roam", 4, 5.5, (0.01, 0.05), tasks=3)) for client in clients]
        for _ in range(2):
            await asyncio.sleep(0.5)
            with stage.fault():
                server.suspend()
                await asyncio.sleep(1.2)
                server.resume()
        await asyncio.gather(*roaming)

    with Stage(server, cast, grace_s=_CONNECTING_S + 0.5, ttl_s=3) as stage:
        try:
            asyncio.run(play(stage))
        finally:
            server.resume()
        if stage.count("acquire", "unavailable") + stage.count("release", "unavailable") == 0:
            raise RuntimeError("nobody noticed")
        return stage.judge()


def lost_reply_of_acquire(server: Server, cast: Cast = OURS, *, loss: Loss = "reset") -> list[Violation]:
    """The server gives the object away, and its answer is lost."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        taken = await _lose_reply(stage, proxy, loss, lambda: far.acquire("entity:1"))
        if taken.outcome == "ok":
            await far.release(taken.lease)
        await near.poll("entity:1", within_s=stage.ttl_s + 2)

    return _behind_proxy(server, cast, play)


def lost_reply_of_release(server: Server, cast: Cast = OURS, *, loss: Loss = "reset") -> list[Violation]:
    """The server frees the object, and its answer is lost."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        taken = await far.acquire("entity:1")
        released = await _lose_reply(stage, proxy, loss, lambda: far.release(taken.lease))
        if released.outcome != "ok":
            stage.seen.append(
                Violation("answer", f"the lock was released, and its holder was told {released.outcome}")
            )
        await near.poll("entity:1", within_s=stage.ttl_s + 2)

    return _behind_proxy(server, cast, play)


def lost_reply_of_renewal(server: Server, cast: Cast = OURS, *, loss: Loss = "reset") -> list[Violation]:
    """A lease is renewed, and nobody hears of it: it goes on."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        taken = await far.acquire("entity:1")
        await _renewed(far, taken)
        await _lose_reply(stage, proxy, loss, lambda: asyncio.sleep(0))
        await _knock(near, "entity:1", 1.1 * stage.ttl_s)
        look = await far.look(taken.lease)
        if look.outcome != "ok":
            stage.seen.append(Violation("liveness", "the lease was lost with one reply"))
        await far.release(taken.lease)
        await near.poll("entity:1")

    return _behind_proxy(server, cast, play, ttl_s=3)


def lost_reply_of_hand_off(server: Server, cast: Cast = OURS, *, loss: Loss = "reset") -> list[Violation]:
    """An object is passed on, and nobody hears of it: it can be claimed, or it is free."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        await _load_scripts(near)
        taken = await far.acquire("entity:1")
        token = await _lose_reply(stage, proxy, loss, lambda: far.hand_off(taken.lease, stage.ttl_s))
        if token:
            claimed = await near.claim(token, taken.lease, "entity:1")
            if claimed.outcome != "ok":
                stage.seen.append(
                    Violation("answer", f"what was handed off could not be claimed: {claimed.outcome}")
                )
            else:
                await near.release(claimed.lease)
            await near.poll("entity:1")
        else:
            # Whoever takes a failed hand-off as an order to do the work himself asks his lease first.
            inherited = await near.poll("entity:1", within_s=stage.ttl_s + 2)
            await far.look(taken.lease)
            await near.look(inherited.lease)
            await far.release(taken.lease)

    return _behind_proxy(server, cast, play)


def lost_reply_of_claim(server: Server, cast: Cast = OURS, *, loss: Loss = "reset") -> list[Violation]:
    """A worker claims what was handed off, and does not hear that it has it."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        await _load_scripts(near)
        taken = await near.acquire("entity:1")
        token = await near.hand_off(taken.lease, stage.ttl_s)
        claimed = await _lose_reply(stage, proxy, loss, lambda: far.claim(token, taken.lease, "entity:1"))
        again = await near.claim(token, taken.lease, "entity:1")
        if again.outcome == "ok":
            stage.seen.append(Violation("mutual exclusion", "a token was claimed twice"))
        if claimed.outcome == "ok":
            await far.release(claimed.lease)
        await near.poll("entity:1", within_s=stage.ttl_s + 2)

    return _behind_proxy(server, cast, play)


def late_renewal(server: Server, cast: Cast = OURS, *, attempts: int = 2) -> list[Violation]:
    """A renewal comes to the server after the release: the object stays free."""

    async def one(stage: Stage, near: Worker, far: Worker, proxy: Delay, key: str) -> None:
        taken = await far.acquire(key)
        await _renewed(far, taken)
        # It is looked at every sixth of the lease and renewed every third, so one is on its way when this is over.
        proxy.slow(0.45 * stage.ttl_s)
        await asyncio.sleep(stage.ttl_s * 0.55)
        proxy.heal()
        await far.release(taken.lease)
        await _knock(near, key, 0.6 * stage.ttl_s)

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        for number in range(attempts):
            await one(stage, near, far, proxy, f"entity:{number}")

    return _behind_proxy(server, cast, play, ttl_s=1)


def late_hand_off(server: Server, cast: Cast = OURS) -> list[Violation]:
    """A hand-off comes to the server when it was given up and withdrawn: nobody has its token, so it gives nothing."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        await _load_scripts(near)
        taken = await far.acquire("entity:1")
        with stage.fault():
            proxy.slow(4 * stage.timeout_s)
            passing = asyncio.create_task(far.hand_off(taken.lease, 60))
            await asyncio.sleep(0.1)
            proxy.heal()
            await asyncio.sleep(5 * stage.timeout_s)
            await passing
            await far.release(taken.lease)
        inherited = await near.poll("entity:1", within_s=stage.ttl_s)
        if inherited.outcome != "ok":
            stage.seen.append(Violation("phantom 423", "what was handed off too late keeps the object"))

    return _behind_proxy(server, cast, play)


def unanswered_contender(server: Server, cast: Cast = OURS) -> list[Violation]:
    """Somebody asks for a busy object and hears nothing: what he gives back is not the holder's."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        taken = await near.acquire("entity:1")
        await _lose_reply(stage, proxy, "silence", lambda: far.acquire("entity:1"))
        end = clock() + 0.5 * stage.ttl_s
        async with stage.worker() as third:
            while clock() < end:
                await third.change("entity:1", hold_s=0)
                await asyncio.sleep(0.02)
        await near.look(taken.lease)
        await near.release(taken.lease)

    return _behind_proxy(server, cast, play)


def partition(server: Server, cast: Cast = OURS) -> list[Violation]:
    """The holder cannot reach the server any more: it stops believing in its lease before somebody else has it, and
    when the way is there again it frees nobody else's."""

    async def play(stage: Stage, near: Worker, far: Worker, proxy: Delay) -> None:
        taken = await far.acquire("entity:1")
        await far.read(taken.lease)
        with stage.fault():
            proxy.pause()
            heir = asyncio.create_task(near.poll("entity:1"))
            end = clock() + 2 * stage.ttl_s
            while (look := await far.look(taken.lease)).outcome == "ok" and clock() < end:
                await asyncio.sleep(0.02)
            inherited = await heir
            await near.read(inherited.lease)
            await far.write(taken.lease)
            if look.outcome == "ok":
                stage.seen.append(Violation("mutual exclusion", "a holder without a server never gave up"))
            begun = clock()
            await far.release(taken.lease)
            if clock() > begun + stage.timeout_s + 0.5:
                stage.seen.append(Violation("answer", f"release took {clock() - begun:.2f} s without a server"))
        proxy.heal()
        async with stage.worker() as third:
            end = clock() + 0.5
            while clock() < end:
                await third.change("entity:1", hold_s=0)
                await asyncio.sleep(0.02)
        await near.look(inherited.lease)
        await near.write(inherited.lease)
        await near.release(inherited.lease)

    return _behind_proxy(server, cast, play, ttl_s=1)


def flushed_server(server: Server, cast: Cast = OURS) -> list[Violation]:
    """The server forgets everything: whoever had the object before cannot write after who has it next."""

    async def play(stage: Stage) -> None:
        async with stage.worker() as first, stage.worker() as second:
            for _ in range(3):  # a counter has counted
                await first.change("entity:1", hold_s=0)
            taken = await first.acquire("entity:1")
            await first.read(taken.lease)
            server.flush()
            await second.change("entity:1", hold_s=0)
            await first.write(taken.lease)
            await first.release(taken.lease)
            await second.change("entity:1", hold_s=0)

    with Stage(server, cast) as stage:
        asyncio.run(play(stage))
        return stage.judge(exclusion=False)


Play = Callable[[Stage, Worker, Worker, Delay], Awaitable[None]]


def _behind_proxy(server: Server, cast: Cast, play: Play, *, ttl_s: float = 4) -> list[Violation]:
    """Play with a worker near the server, and one whose way to it can be broken; both are warm."""

    async def both(stage: Stage, proxy: Delay) -> None:
        async with stage.worker() as near, stage.worker(proxy.url) as far:
            for worker in (near, far):
                await worker.change("entity:0", hold_s=0)
            await play(stage, near, far, proxy)

    with Stage(server, cast, ttl_s=ttl_s, grace_s=_CONNECTING_S + 0.6) as stage, Delay(server.port, 0) as proxy:
        asyncio.run(both(stage, proxy))
        return stage.judge()


async def _lose_reply(stage: Stage, proxy: Delay, loss: Loss, do: Callable[[], Awaitable[T]]) -> T:
    """Do something whose answer is lost after the server has done what it was asked."""
    before = _asked(stage.server)
    with stage.fault():
        proxy.lose_replies()
        task = asyncio.ensure_future(do())
        deadline = clock() + 5
        while _asked(stage.server) == before:
            if clock() > deadline:
                raise RuntimeError("the server was not asked")
            await asyncio.sleep(0.002)
        proxy.heal()  # new connections are served; the one that lost something hears nothing any more
        if loss == "reset":
            proxy.drop()
        return await task


def _asked(server: Server) -> int:
    """Count the commands by which locks are taken and freed."""
    calls = server.commands()
    return sum(calls[name] for name in ("evalsha", "eval", "set"))


async def _load_scripts(worker: Worker) -> None:
    """Have the server know what else is asked of it: a script that it does not know takes two trips."""
    taken = await worker.acquire("entity:0")
    token = await worker.hand_off(taken.lease, 1)
    claimed = await worker.claim(token, taken.lease, "entity:0")
    await worker.release(claimed.lease)


async def _renewed(worker: Worker, taken: Event) -> None:
    """Wait until a lease was renewed once: then the connection stands by which it is renewed."""
    while (await worker.look(taken.lease)).until < taken.until + 0.1:
        await asyncio.sleep(0.02)


async def _knock(worker: Worker, key: str, seconds: float) -> None:
    """Ask for an object for a while."""
    end = clock() + seconds
    while clock() < end:
        await worker.change(key, hold_s=0)
        await asyncio.sleep(0.02)
