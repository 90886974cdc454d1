"""What goes wrong where nobody waits: an answer that is read too late, an error in the thread, the end of the process."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, suppress
from itertools import chain
from unittest.mock import patch

import anyio
import pytest

from envelope import ConfigurationError, Lease, ObjectLocks, ServiceUnavailableError
from envelope.locks.holdings import drop_all
from envelope.locks.storages.memory import MemoryLocks
from envelope.locks.storages.redis import heart as hearts
from tests.locks.storages.places import elsewhere, eventually, heart_threads, run
from tests.servers.server import Server

TTL_S, TIMEOUT_S = 0.6, 0.19


def open_locks(server: Server) -> ObjectLocks:
    return ObjectLocks(server.url, ttl_s=TTL_S, timeout_s=TIMEOUT_S)


def test_answer_that_is_read_after_the_lease_is_no_lease(valkey: Server):
    """The process stood still for longer than the lease lasts: nobody works under it, and it is given back."""
    valkey.flush()

    async def story() -> None:
        locks = open_locks(valkey)
        async with aclosing(locks):
            begun = time.monotonic() - TTL_S
            with (
                patch.object(locks.storage, "clock", side_effect=chain([begun], iter(time.monotonic, None))),
                pytest.raises(ServiceUnavailableError),
            ):
                await locks.acquire("a")

        async def is_free() -> bool:
            others = open_locks(valkey)
            async with aclosing(others):
                return await others.inspect("a") is None

        await eventually(lambda: elsewhere(is_free()))

    run(story())


def test_error_of_one_renewal_is_told_and_the_next_comes(valkey: Server, caplog: pytest.LogCaptureFixture):
    """Whatever it is: a thread that died of it would lose all leases of the process."""
    valkey.flush()

    async def story() -> None:
        locks = open_locks(valkey)
        async with aclosing(locks), locks.hold("a") as lease:
            with patch.object(locks.storage, "renew", side_effect=[KeyError("a bug"), True]):
                await eventually(lambda: "a lease could not be renewed" in caplog.text)
                until = lease.deadline
                await eventually(lambda: lease.deadline > until)

    with caplog.at_level(logging.ERROR, "envelope.locks"):
        run(story())


def test_end_of_the_process_ends_the_thread(valkey: Server):
    """After what is to be freed is free; once is enough."""
    valkey.flush()

    async def story() -> ObjectLocks:
        locks = open_locks(valkey)
        lease = await locks.acquire("a")
        lease.let_go()
        lease.let_go()
        await locks.storage.close_line()  # type: ignore[attr-defined]  # the thread's own stays open
        return locks

    locks = run(story())
    hearts._end()
    hearts._end()

    assert heart_threads() == set()

    async def look() -> None:
        async with aclosing(locks):
            assert await locks.inspect("a") is None

    run(look())


def test_memory_hands_nothing_off():
    """Also if it is asked past the lease, which asks first."""

    async def story() -> None:
        memory = MemoryLocks(max_hold_s=10)
        lease = await ObjectLocks(memory).acquire("a")
        for refused in (memory.hand_off(lease, 1000), memory.claim("token")):
            with pytest.raises(ConfigurationError, match="memory://"):
                await refused

    run(story())


def test_release_while_the_storage_is_spared(own_valkey: Server):
    """After several failures nothing is asked for a moment, and the release goes on in the background."""

    async def story() -> None:
        locks = open_locks(own_valkey)
        async with aclosing(locks):
            held = await locks.acquire("a")
            own_valkey.kill()
            for _ in range(6):
                with pytest.raises(ServiceUnavailableError):
                    await locks.acquire("b")
            begun = time.monotonic()
            await held.release()
            assert time.monotonic() - begun < TIMEOUT_S
            own_valkey.start()

            async def is_free() -> bool:
                with suppress(ServiceUnavailableError):
                    return await locks.inspect("a") is None
                return False

            await eventually(is_free)

    run(story())


def test_freeing_ends_with_the_time_of_the_lease(own_valkey: Server):
    """A server that never comes back is not asked for ever."""

    async def story() -> None:
        locks = open_locks(own_valkey)
        lease = await locks.acquire("a")
        own_valkey.kill()
        lease.let_go()
        await asyncio.sleep(1.5 * TTL_S)
        await locks.aclose()

    run(story())
    assert heart_threads() == set()


def test_thread_ends_when_its_last_lease_does(valkey: Server):
    """``aclose`` leaves what others in the process hold alone."""
    valkey.flush()

    async def story() -> None:
        locks = open_locks(valkey)
        lease = await locks.acquire("a")
        await locks.aclose()
        await asyncio.sleep(1.5 * TTL_S)
        assert lease.is_held
        await lease.release()
        await eventually(lambda: heart_threads() == set())
        await locks.aclose()

    run(story())


def test_cancelled_between_two_releases():
    """None stays behind."""

    async def story() -> None:
        locks = ObjectLocks()
        leases = [await locks.acquire("a"), await locks.acquire("b")]
        with anyio.CancelScope() as scope:
            scope.cancel()
            await drop_all([*leases])
        assert await locks.inspect("a") is None
        assert await locks.inspect("b") is None

    run(story())


def test_renewal_that_comes_back_after_the_release(valkey: Server):
    """Changes nothing: the lease may have been handed off, or released, while it was under way."""
    valkey.flush()
    renewed: list[Lease] = []

    async def story() -> None:
        locks = open_locks(valkey)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            until = lease.deadline

            async def renew(lease: Lease, ttl_s: float) -> bool:
                locks.storage._heart.forget(lease)  # type: ignore[attr-defined]
                renewed.append(lease)
                return True

            with patch.object(locks.storage, "renew", renew):
                await eventually(lambda: renewed)
            assert lease.deadline == until
            await lease.release()

    run(story())
