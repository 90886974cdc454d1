"""Locks of one process: what only they can get wrong."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from envelope import ConfigurationError, LeaseLostError, ObjectLockedError, ObjectLocks
from envelope.locks.grants import LockStorage, Refusal
from envelope.locks.lease import Lease
from envelope.locks.storages.memory import MemoryLocks
from tests.locks.storages.places import Clock

T = TypeVar("T")


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run something in no event loop at all, and so in any: it may wait for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError("it waits for an event loop")


class Memory:
    def __init__(self, max_hold_s: float = 120) -> None:
        self.clock = Clock()
        self.storage = MemoryLocks(max_hold_s=max_hold_s, clock=self.clock)
        self.locks = ObjectLocks(self.storage)


def test_no_event_loop_is_needed():
    """R17: on trio as on asyncio, because nothing is awaited. (trio itself is not installed for these tests.)"""
    memory = Memory()

    async def main() -> None:
        async with memory.locks.hold("a", "b") as lease:
            async with memory.locks.hold("a") as inner:
                assert inner is lease
            assert await memory.locks.inspect("a") is not None
        lease = await memory.locks.acquire("a")
        assert await memory.locks.break_lock("a", fence=lease.fence)
        await lease.release()
        await memory.locks.aclose()

    finish(main())
    assert len(memory.storage) == 0


def test_no_thread_is_started():
    """Nothing renews what lasts as long as it may be held."""
    before = set(threading.enumerate())
    locks = ObjectLocks()

    async def main() -> None:
        async with locks.hold("a"):
            await asyncio.sleep(0)
        await locks.aclose()

    asyncio.run(main())
    assert set(threading.enumerate()) <= before


def test_it_is_a_storage():
    """As ``ObjectLocks`` takes them."""
    assert isinstance(Memory().storage, LockStorage)
    assert all(
        inspect.iscoroutinefunction(getattr(MemoryLocks, name)) for name in ("acquire", "release", "inspect")
    )


def test_lease_lasts_max_hold_s():
    """Neither the holder nor anybody else needs to do anything."""
    memory = Memory(max_hold_s=10)
    lease = finish(memory.locks.acquire("a", "b"))
    assert lease.remaining_s() == 10
    memory.clock.pass_s(9.999)
    assert lease.is_held
    with pytest.raises(ObjectLockedError):
        finish(memory.locks.acquire("b"))
    memory.clock.pass_s(0.001)
    assert (lease.lost, lease.is_held, lease.remaining_s()) == (True, False, 0)
    other = finish(memory.locks.acquire("b"))
    assert other.fence > lease.fence
    finish(lease.release())
    assert other.is_held
    with pytest.raises(ObjectLockedError):
        finish(memory.locks.acquire("b"))
    assert finish(memory.locks.inspect("a")) is None


def test_options_say_how_long(monkeypatch: pytest.MonkeyPatch):
    """The URL's storage takes ``max_hold_s``, not ``ttl_s``."""
    lease = finish(ObjectLocks(ttl_s=1, max_hold_s=50).acquire("a"))
    assert 49 < lease.remaining_s() <= 50


def test_end_of_a_hold_that_took_too_long(caplog: pytest.LogCaptureFixture):
    """Also if nobody else wanted it."""
    memory = Memory(max_hold_s=10)

    async def main() -> None:
        async with memory.locks.hold("a", operation="slow"):
            memory.clock.pass_s(10)

    with caplog.at_level(logging.WARNING, "envelope.locks"), pytest.raises(LeaseLostError):
        finish(main())
    assert len(memory.storage) == 0
    assert "slow" in caplog.text


def test_ended_leases_are_forgotten():
    """Of those who never release; with those who do in between."""
    memory = Memory(max_hold_s=10)
    kept = []
    for number in range(100):
        memory.clock.pass_s(1)
        lease = finish(memory.locks.acquire(f"{number}", f"other {number}"))
        if number % 3:
            finish(lease.release())
        else:
            kept.append(number)
        assert len(memory.storage) <= 8
    memory.clock.pass_s(10)
    finish(memory.locks.acquire("x"))
    assert len(memory.storage) == 1


def test_nothing_is_left_behind():
    """After a release there is nothing of the object."""
    memory = Memory()
    for number in range(3000):
        lease = finish(memory.locks.acquire(f"{number}", operation=f"{number}"))
        finish(lease.release())
    assert len(memory.storage) == 0
    assert len(memory.storage._holds) <= 1000


@pytest.mark.parametrize("way", ["hand_off", "claim", "claim_sync"])
def test_nothing_can_be_handed_off(way: str):
    """No other process sees this memory, and the text says what to do."""
    memory = Memory()
    lease = finish(memory.locks.acquire("a"))

    async def claim() -> None:
        async with memory.locks.claim("envelope-lease-1.eA=="):
            raise AssertionError

    with pytest.raises(ConfigurationError) as refused:
        if way == "hand_off":
            finish(lease.hand_off(claim_within_s=60))
        elif way == "claim":
            finish(claim())
        else:
            with memory.locks.claim_sync("envelope-lease-1.eA=="):
                raise AssertionError
    assert "memory://" in str(refused.value)
    assert "redis://" in str(refused.value)
    assert lease.is_held


def test_what_was_described_does_not_change():
    """A refusal is read while other threads release what it tells of."""
    memory = Memory()
    finish(finish(memory.locks.acquire("a", operation="x")).release())
    lease = finish(memory.storage.acquire(("a",), "x"))
    assert isinstance(lease, Lease)
    refusal = finish(memory.storage.acquire(("a",), "y"))
    assert isinstance(refusal, Refusal)
    holds = iter(refusal.holders[0].holds_ms)
    next(holds)
    finish(lease.release())
    assert list(holds) == []  # and not: deque mutated during iteration


def test_eight_threads():
    """Each with an event loop of its own: never two inside, whatever keys they take and in which order."""
    locks, inside, entered = ObjectLocks(), {"a": 0, "b": 0, "c": 0}, [0] * 8
    problems: list[str] = []

    async def work(number: int) -> None:
        chance = random.Random(number)
        while entered[number] < 30:
            keys = chance.sample("abc", chance.randint(1, 3))
            try:
                async with locks.hold(*keys):
                    for key in keys:
                        inside[key] += 1
                        if inside[key] != 1:
                            problems.append(key)
                    await asyncio.sleep(0)
                    for key in keys:
                        inside[key] -= 1
                    entered[number] += 1
            except ObjectLockedError:
                await asyncio.sleep(0)

    threads = [threading.Thread(target=lambda n=number: asyncio.run(work(n))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert entered == [30] * 8
    assert len(locks.storage) == 0  # type: ignore[arg-type]


def test_fences_are_of_the_process():
    """They grow over objects as well, and are above those of a process before."""
    memory, before = Memory(), 0
    for number in range(20):
        lease = finish(memory.locks.acquire(f"{number % 3}"))
        assert lease.fence > before
        before = lease.fence
        finish(lease.release())
    assert finish(Memory().locks.acquire("a")).fence > before


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_through_anyio(backend: str):
    """Tasks of either library exclude each other."""
    import anyio

    if backend == "trio":
        pytest.importorskip("trio")
    locks, inside, entered = ObjectLocks(), 0, 0

    async def work() -> None:
        nonlocal inside, entered
        while True:
            try:
                async with locks.hold("a"):
                    inside += 1
                    assert inside == 1
                    await anyio.sleep(0)
                    inside -= 1
                    entered += 1
                return
            except ObjectLockedError:
                await anyio.sleep(0)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(work)

    anyio.run(main, backend=backend)
    assert entered == 5
