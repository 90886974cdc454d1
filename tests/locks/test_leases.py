"""Leases by themselves, in whatever storage; and what stands for one where the storage does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

import envelope
from envelope import ConflictError, Lease, LeaseLostError, ObjectLockedError, ObjectLocks, ServiceUnavailableError
from envelope.locks.storages.memory import MemoryLocks
from tests.locks.storages.places import Clock, run
from tests.servers.process import free_port

TIMEOUT_S = 0.25


class Memory:
    def __init__(self) -> None:
        self.clock = Clock()
        self.storage = MemoryLocks(max_hold_s=100, clock=self.clock)
        self.locks = ObjectLocks(self.storage)


def absent(**options: Any) -> ObjectLocks:
    """Make locks whose server is not there."""
    return ObjectLocks(f"redis://user:hunter2@127.0.0.1:{free_port()}/0", timeout_s=TIMEOUT_S, **options)


def test_names_are_public():
    """As the documentation imports them."""
    for name in ("ObjectLocks", "Lease", "LeaseLostError"):
        assert name in envelope.__all__


@pytest.mark.parametrize("end", ["held", "released", "lost", "broken", "handed over"])
def test_states(end: str):
    """Each says what it is, and no two contradict each other."""
    memory = Memory()

    async def main() -> tuple[Lease, bool, bool]:
        lease = await memory.locks.acquire("a")
        if end == "released":
            await lease.release()
        elif end == "lost":
            memory.clock.pass_s(100)
        elif end == "broken":
            await memory.locks.break_lock("a", fence=lease.fence)
        elif end == "handed over":
            memory.clock.pass_s(100)
            await memory.locks.acquire("a")
        return lease, end == "held", end in ("lost", "broken", "handed over")

    lease, is_held, is_lost = run(main())
    assert (lease.is_held, lease.lost) == (is_held, is_lost)
    assert (lease.remaining_s() > 0) is is_held


def test_lost_stays_lost():
    """Also if its release comes after all, and often."""
    memory = Memory()

    async def main() -> None:
        lease = await memory.locks.acquire("a")
        memory.clock.pass_s(100)
        for _ in range(3):
            await lease.release()
            assert lease.lost
        memory.clock.now = 0
        assert lease.lost

    run(main())


def test_release_is_not_lost_later():
    """What was given back in time stays so."""
    memory = Memory()

    async def main() -> None:
        lease = await memory.locks.acquire("a")
        await lease.release()
        memory.clock.pass_s(1000)
        await memory.locks.acquire("a")
        assert not lease.lost
        await lease.release()
        assert not lease.lost

    run(main())


def test_remaining_time_passes():
    """To nothing, and not below."""
    memory = Memory()
    lease = run(memory.locks.acquire("a"))
    seen = []
    for _ in range(5):
        seen.append(lease.remaining_s())
        memory.clock.pass_s(30)
    assert seen == [100, 70, 40, 10, 0]


def test_repr_says_what_it_is():
    """For the log of whoever holds it."""
    memory = Memory()

    async def main() -> None:
        lease = await memory.locks.acquire("a", "b")
        assert all(word in repr(lease) for word in ("Lease", "a", "b", str(lease.fence), "held"))
        await lease.release()
        assert "released" in repr(lease)

    run(main())


def test_lease_lost_error():
    """A conflict, whose text names no object."""
    memory = Memory()

    async def main() -> None:
        async with memory.locks.hold("secret-name"):
            memory.clock.pass_s(100)

    with pytest.raises(LeaseLostError) as lost:
        run(main())
    error = lost.value
    assert isinstance(error, ConflictError)
    assert (error.status_code, error.error_code) == (409, "lease_lost")
    assert isinstance(error.message, str)
    assert "secret-name" not in error.message
    assert error.message


def test_loss_is_told_to_the_log(caplog: pytest.LogCaptureFixture):
    """Once, with what was lost."""
    memory = Memory()

    async def main() -> None:
        lease = await memory.locks.acquire("entity:1", operation="rename")
        memory.clock.pass_s(100)
        await lease.release()
        await lease.release()

    with caplog.at_level(logging.WARNING, "envelope.locks"):
        run(main())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert all(word in record.getMessage() for word in ("entity:1", "rename", "lost"))


# Without an answer


WAYS: list[Callable[[ObjectLocks], Awaitable[object]]] = [
    lambda locks: locks.acquire("a"),
    lambda locks: locks.acquire("a", on_outage="deny"),
    lambda locks: locks.inspect("a"),
    lambda locks: locks.break_lock("a", fence=1),
    lambda locks: locks.hold("a").__aenter__(),
    lambda locks: locks.claim(
        "envelope-lease-1.WyJhIiwgIjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwIl0="
    ).__aenter__(),
]


def test_denied_without_an_answer(caplog: pytest.LogCaptureFixture):
    """503, to be tried again in a second; the log says why, without the password, and the client does not learn."""

    async def attempt(way: Callable[[ObjectLocks], Awaitable[object]]) -> None:
        locks = absent()
        async with aclosing(locks):
            with pytest.raises(ServiceUnavailableError) as refused:
                await way(locks)
        assert (refused.value.status_code, refused.value.retry_after) == (503, 1)
        assert "127.0.0.1" not in str(refused.value.message)

    async def main() -> None:
        await asyncio.gather(*map(attempt, WAYS))

    with caplog.at_level(logging.ERROR, "envelope.locks"):
        run(main())
    assert [record.levelno for record in caplog.records if record.name == "envelope.locks"] == [40] * len(WAYS)
    assert "hunter2" not in caplog.text


def test_allowed_without_an_answer():
    """It goes on with what stands for a lease: it holds nothing, and has lost nothing. By its own option or not."""

    async def attempt(way: str, option: Any, default: Any) -> None:
        locks = absent(**default)
        async with aclosing(locks):
            if way == "acquire":
                lease = await locks.acquire("a", "b", operation="x", **option)
                await check(lease)
                await lease.release()
                await lease.release()
            else:
                async with locks.hold("a", "b", operation="x", **option) as lease:
                    await check(lease)
                    async with locks.hold("a", **option) as inner:
                        await check(inner)
                with pytest.raises(ZeroDivisionError):
                    async with locks.hold("a", **option):
                        raise ZeroDivisionError
            assert not lease.lost

    async def check(lease: Lease) -> None:
        assert isinstance(lease, Lease)
        assert (lease.fence, lease.is_held, lease.lost, lease.remaining_s()) == (0, False, False, 0)
        assert lease.key == "a"
        with pytest.raises(LeaseLostError):
            await lease.hand_off(claim_within_s=60)

    async def main() -> None:
        allow: Any = {"on_outage": "allow"}
        nothing: Any = {}
        ways: list[tuple[str, Any, Any]] = [
            (way, *options) for way in ("acquire", "hold") for options in ((allow, nothing), (nothing, allow))
        ]
        await asyncio.gather(*(attempt(*way) for way in ways))

    run(main())


def test_own_option_wins():
    """A hold may deny where the locks allow; None is what the locks do."""

    async def main() -> None:
        locks = absent(on_outage="allow")
        async with aclosing(locks):
            await locks.acquire("a", on_outage=None)
            with pytest.raises(ServiceUnavailableError):
                await locks.acquire("a", on_outage="deny")

    run(main())


def test_storage_is_spared():
    """After five failures it is not asked for a second: whoever comes is told at once."""

    async def main() -> None:
        locks = absent()
        spared = 0
        for _ in range(8):
            with pytest.raises(ServiceUnavailableError) as refused:
                await locks.acquire("a")
            spared += "moment" in str(refused.value.__cause__)
        assert spared == 3
        await locks.aclose()

    run(main())


def test_refusal_is_no_outage():
    """``allow`` lets nobody in beside somebody else."""
    memory = Memory()
    locks = ObjectLocks(memory.storage, on_outage="allow")

    async def main() -> None:
        await locks.acquire("a")
        with pytest.raises(ObjectLockedError):
            await locks.acquire("a", on_outage="allow")

    run(main())


def test_shares_are_counted():
    """Of three holds in any order of their ends, the last frees it."""
    memory = Memory()

    async def main() -> None:
        gates = [asyncio.Event() for _ in range(3)]
        entered = 0

        async def work(gate: asyncio.Event) -> None:
            nonlocal entered
            async with memory.locks.hold("a"):
                entered += 1
                await gate.wait()

        async with memory.locks.hold("a"):
            tasks = [asyncio.create_task(work(gate)) for gate in gates]
            while entered < 3:
                await asyncio.sleep(0)
        for number in (1, 2, 0):
            assert len(memory.storage) == 1
            gates[number].set()
            await tasks[number]
        assert len(memory.storage) == 0

    run(main())
