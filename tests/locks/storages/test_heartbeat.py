"""Leases live as long as they are held, no longer than they may be, and their holders know it: in real time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import aclosing
from typing import Any

import pytest

from envelope import Lease, LeaseLostError, ObjectLocks
from envelope.locks.storages.redis.heart import Heart
from tests.locks.storages.places import Clock, die, elsewhere, eventually, heart_threads, run, slot_of
from tests.servers.server import Server

#: So short that three of them pass in a test, so long that a machine which stands still for half a second
#: (the collector in a large test process, a neighbour) renews in time.
TTL_S, TIMEOUT_S = 1.5, 0.45


def open_locks(server: Server, **options: float) -> ObjectLocks:
    return ObjectLocks(server.url, **{"ttl_s": TTL_S, "timeout_s": TIMEOUT_S, **options})  # type: ignore[arg-type]


async def is_busy(server: Server, key: str = "a") -> bool:
    """Ask as somebody else would."""

    async def attempt() -> bool:
        locks = open_locks(server)
        async with aclosing(locks):
            return await locks.inspect(key) is not None

    return await elsewhere(attempt())


def test_lease_is_renewed_while_it_is_held(valkey: Server):
    """For three of its times: always held, always some time left, and refused to others at the end.

    Also if the server forgets its scripts meanwhile, and whatever an endpoint does to its event loop.
    """
    valkey.flush()

    async def main() -> None:
        locks = open_locks(valkey)
        async with aclosing(locks), locks.hold("a") as lease:
            valkey.call("SCRIPT", "FLUSH")
            fence, begun = lease.fence, time.monotonic()
            time.sleep(2 * TTL_S)
            while time.monotonic() < begun + 3.2 * TTL_S:
                assert 0 < lease.remaining_s() <= TTL_S
                assert lease.is_held
                assert not lease.lost
                await asyncio.sleep(0.02)
            assert lease.fence == fence
            assert await is_busy(valkey)
        assert not await is_busy(valkey)

    run(main())


def test_lease_is_renewed_for_max_hold_s_only(valkey: Server, caplog: pytest.LogCaptureFixture):
    """A wedged holder does not hold for ever: the object is free, he knows it, and so does the log."""
    valkey.flush()

    async def main() -> None:
        locks = open_locks(valkey, max_hold_s=2)
        async with aclosing(locks):
            begun = time.monotonic()
            with pytest.raises(LeaseLostError):
                async with locks.hold("a", operation="wedged") as lease:
                    await asyncio.sleep(1.5)
                    assert lease.is_held
                    assert await is_busy(valkey)
                    await asyncio.sleep(begun + 2 - time.monotonic())
                    assert lease.lost
                    assert not lease.is_held
                    await asyncio.sleep(0.05)
                    assert not await is_busy(valkey)
                    await eventually(lambda: "max_hold_s" in caplog.text)

    with caplog.at_level(logging.WARNING, "envelope.locks"):
        run(main())
    (record,) = [record for record in caplog.records if "max_hold_s" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "wedged" in record.getMessage()


def test_lease_that_cannot_be_renewed_is_lost_in_time(own_valkey: Server, caplog: pytest.LogCaptureFixture):
    """By the holder's own clock, before anybody else can have the object, and for good."""

    async def main() -> None:
        locks = open_locks(own_valkey)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            own_valkey.suspend()
            suspended = time.monotonic()
            assert lease.is_held
            await asyncio.sleep(suspended + TTL_S - time.monotonic())
            assert (lease.lost, lease.is_held, lease.remaining_s()) == (True, False, 0)
            own_valkey.resume()
            begun = time.monotonic()
            while time.monotonic() < begun + TTL_S:
                assert lease.lost
                await asyncio.sleep(0.01)
            assert not await is_busy(own_valkey)
            other = await locks.acquire("a")
            assert other.fence > lease.fence
            await lease.release()
            assert await is_busy(own_valkey)
            await other.release()
            assert not other.lost

    with caplog.at_level(logging.WARNING, "envelope.locks"):
        run(main())
    assert any("lost" in record.getMessage() for record in caplog.records)


class Slow:
    """A server whose answer comes when the lease has ended by the holder's clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.renewed = threading.Event()

    async def renew(self, lease: Lease, ttl_s: float) -> bool:
        self.clock.pass_s(9)
        self.renewed.set()
        return True

    async def free(self, token: str, keys: tuple[str, ...]) -> None:
        pass

    async def close_line(self) -> None:
        pass


def test_renewal_that_is_heard_of_too_late():
    """Once lost is lost: whoever looked meanwhile was told so."""
    slow: Any = Slow()
    heart = Heart(slow, ttl_s=15, max_hold_s=120)
    now = slow.clock()
    lease = Lease(slow, ("a",), 1, "x", now, now + 13.5)
    lease.token, lease.renewed_at = "token", now
    slow.clock.pass_s(6)
    heart.watch(lease)
    assert slow.renewed.wait(5)
    heart.close()
    assert (lease.lost, lease.is_held, lease.remaining_s()) == (True, False, 0)


def test_short_pause_of_the_server_loses_nothing(own_valkey: Server):
    """A renewal that was missed is made up for."""

    async def main() -> None:
        locks = open_locks(own_valkey)
        async with aclosing(locks), locks.hold("a") as lease:
            own_valkey.suspend()
            await asyncio.sleep(0.45 * TTL_S)
            own_valkey.resume()
            await asyncio.sleep(0.7 * TTL_S)
            assert lease.is_held
            assert await is_busy(own_valkey)

    run(main())


def test_leases_are_renewed_together(valkey: Server):
    """Fifty leases of a process cost one round trip at a time."""
    valkey.flush()

    async def main() -> None:
        locks = open_locks(valkey)
        async with aclosing(locks):
            leases = await asyncio.gather(*(locks.acquire(f"{number}") for number in range(50)))
            await asyncio.sleep(TTL_S / 2)  # the thread has connected
            with valkey.counting() as traffic:
                await asyncio.sleep(2 * TTL_S)
            assert 150 <= traffic.commands["evalsha"] <= 350  # one every third of the lease, give or take a look
            assert set(traffic.commands) == {"evalsha"}
            assert traffic.round_trips <= traffic.commands["evalsha"] / 8
            assert all(lease.is_held for lease in leases)
            for lease in leases:
                await lease.release()
            with valkey.counting() as traffic:
                await asyncio.sleep(TTL_S / 2)
            assert traffic.round_trips == 0

    run(main())


def test_dead_holders_object_is_free_after_its_lease(valkey: Server):
    """Not before, and not much later; whoever waits as long as he is told gets it."""
    valkey.flush()

    async def main() -> None:
        dead, locks = open_locks(valkey), open_locks(valkey)
        async with aclosing(locks):
            await dead.acquire("a", "b")
            begun = time.monotonic()
            await die(dead)
            while time.monotonic() < begun + TTL_S - 0.2:
                assert await locks.inspect("a") is not None
                await asyncio.sleep(0.02)
            await asyncio.sleep(begun + TTL_S + 0.05 - time.monotonic())
            async with locks.hold("a", "b"):
                pass

    run(main())


def test_hand_off_is_not_renewed(valkey: Server):
    """Whoever gave it away does not keep it alive: it is free when its time to claim is over."""
    valkey.flush()

    async def main() -> None:
        locks = open_locks(valkey)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            token = await lease.hand_off(claim_within_s=TTL_S)
            await asyncio.sleep(TTL_S / 2)
            assert await locks.inspect("a") is not None
            await asyncio.sleep(TTL_S / 2 + 0.05)
            assert await locks.inspect("a") is None
            with pytest.raises(LeaseLostError):
                async with locks.claim(token):
                    raise AssertionError
            assert not lease.lost

    run(main())


def test_hand_off_may_outlive_its_giver_and_is_renewed_after_the_claim(valkey: Server):
    """Neither ``ttl_s`` nor ``max_hold_s`` of whoever handed it off bounds it; the claimer's begin anew."""
    valkey.flush()

    async def main() -> None:
        locks = open_locks(valkey, max_hold_s=TTL_S)
        worker = open_locks(valkey)
        async with aclosing(locks), aclosing(worker):
            lease = await locks.acquire("a")
            token = await lease.hand_off(claim_within_s=60)
            await asyncio.sleep(1.2 * TTL_S)
            async with worker.claim(token) as claimed:
                await asyncio.sleep(1.2 * TTL_S)
                assert claimed.is_held
                assert await is_busy(valkey)

    run(main())


def test_renewal_after_the_server_lost_all_data(valkey: Server):
    """Nothing is created: the holder has lost it, and the object is free."""
    valkey.flush()

    async def main() -> None:
        locks = open_locks(valkey)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            valkey.flush()
            await eventually(lambda: lease.lost, within_s=TTL_S)
            assert not valkey.call("EXISTS", slot_of("a"))

    run(main())


# The thread


def test_thread_begins_with_the_first_lease_and_ends_with_aclose(valkey: Server):
    """Looking needs none; any number of leases need one, as long as there is one."""
    valkey.flush()
    before = heart_threads()

    async def main() -> None:
        locks = open_locks(valkey)
        await locks.inspect("a")
        assert heart_threads() == before
        leases = [await locks.acquire(key) for key in "abc"]
        (thread,) = heart_threads() - before
        assert thread.daemon
        for lease in leases:
            await lease.release()
        await locks.aclose()
        assert heart_threads() == before
        await locks.aclose()  # once more is no harm

    run(main())


async def are_renewed_after_aclose(server: Server, *, does_release: bool) -> list[bool]:
    async def use(number: int) -> bool:
        locks = open_locks(server)
        lease = await locks.acquire(f"first {number}")
        if does_release:
            await lease.release()
        await locks.aclose()
        async with aclosing(locks):
            lease = await locks.acquire(f"{number}")
            await asyncio.sleep(1.2 * TTL_S)
            return lease.is_held

    return await asyncio.gather(*map(use, range(8)))


@pytest.mark.parametrize("does_release", [True, False])
def test_locks_are_used_again_after_aclose(valkey: Server, does_release: bool):
    """An application that starts again renews its leases as before, also if it was closed with one just taken."""
    valkey.flush()
    assert all(run(are_renewed_after_aclose(valkey, does_release=does_release)))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_lease_outlives_its_event_loop(valkey: Server):
    """It is renewed while no loop runs, and another one releases it."""
    valkey.flush()
    locks = open_locks(valkey)
    lease = run(locks.acquire("a"))  # and the loop ends without aclose()
    time.sleep(1.2 * TTL_S)
    assert lease.is_held

    async def second() -> None:
        assert await is_busy(valkey)
        await lease.release()
        assert not await is_busy(valkey)
        await locks.aclose()

    run(second())
    assert not lease.lost
