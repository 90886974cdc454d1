"""Looking at locks and breaking them, for those who operate a service."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from datetime import UTC, datetime, timedelta

import pytest

from envelope import LeaseLostError, ObjectLockedError
from envelope.locks.grants import LockInfo
from tests.locks.storages import fixtures
from tests.locks.storages.places import everywhere, on_servers

pytestmark = pytest.mark.anyio

anyio_backend, place = fixtures.anyio_backend, fixtures.place


@everywhere
async def test_nothing_is_known_of_a_free_object(place):
    """Never locked, or not any more."""
    assert await place.locks.inspect("a") is None
    async with place.locks.hold("a"):
        pass
    assert await place.locks.inspect("a") is None


@everywhere
async def test_who_has_it(place):
    """Who, since when, what for, until when; by another client."""
    before = datetime.now(UTC)
    lease = await place.locks.acquire("a", "b", operation="rename")
    if place.is_memory:
        place.clock.pass_s(3)
    else:
        for key in "ab":
            place.edit(key, a=int(place.record(key)["a"]) - 3000, e=int(place.record(key)["e"]) - 3000)
    info = await place.other.inspect("b")
    assert isinstance(info, LockInfo)
    assert (info.key, info.fence, info.operation, info.state) == ("b", lease.fence, "rename", "held")
    assert info.holder == f"{socket.gethostname()}:{os.getpid()}"
    assert 3 <= info.age_s < 8
    assert 7 < info.expires_in_s <= 12
    assert info.since.tzinfo is not None
    assert abs(info.since - (before - timedelta(seconds=3))) < timedelta(seconds=5)


@everywhere
async def test_looking_changes_nothing(place):
    """The object stays as it was, held or free."""
    await place.locks.inspect("a")
    if not place.is_memory:
        assert place.keys() == {}
    lease = await place.locks.acquire("a")
    for _ in range(3):
        await place.locks.inspect("a")
    with pytest.raises(ObjectLockedError):
        await place.other.acquire("a")
    await lease.release()
    assert not lease.lost


@everywhere
async def test_broken_lock_is_free(place, caplog):
    """Whoever had it learns it at the end, and cannot release the next one's."""
    lease = await place.locks.acquire("a")
    with caplog.at_level(logging.WARNING, "envelope.locks"):
        assert await place.other.break_lock("a", fence=lease.fence)
    assert any("broken" in record.getMessage() and "a" in record.getMessage() for record in caplog.records)
    other = await place.other.acquire("a")
    assert other.fence > lease.fence
    await lease.release()
    assert lease.lost
    assert not lease.is_held
    with pytest.raises(ObjectLockedError):
        await place.other.acquire("a")
    assert other.is_held


@everywhere
async def test_block_whose_lock_was_broken_raises(place):
    """At its end."""
    with pytest.raises(LeaseLostError):
        async with place.locks.hold("a") as lease:
            assert await place.locks.break_lock("a", fence=lease.fence)
    async with place.locks.hold("a"):
        pass


@everywhere
async def test_wrong_fence_breaks_nothing(place):
    """What is broken is what was looked at."""
    async with place.locks.hold("a") as before:
        pass
    lease = await place.locks.acquire("a")
    for fence in (before.fence, lease.fence + 1, 0, -1):
        assert not await place.locks.break_lock("a", fence=fence)
    assert not await place.locks.break_lock("b", fence=lease.fence)
    assert lease.is_held
    with pytest.raises(ObjectLockedError):
        await place.locks.acquire("a")


@everywhere
async def test_breaking_twice(place):
    """The second time there is nothing to break."""
    lease = await place.locks.acquire("a")
    assert await place.locks.break_lock("a", fence=lease.fence)
    assert not await place.locks.break_lock("a", fence=lease.fence)
    async with place.locks.hold("a"):
        assert not await place.locks.break_lock("a", fence=lease.fence)


@everywhere
async def test_breaking_what_has_expired(place):
    """Nothing is held, nothing is broken."""
    lease = await place.locks.acquire("a")
    place.expire("a")
    assert not await place.locks.break_lock("a", fence=lease.fence)


@everywhere
async def test_one_of_several_is_broken(place):
    """The others are free when their holder has ended, not when his lease's time is over."""
    with pytest.raises(LeaseLostError):
        async with place.locks.hold("a", "b", "c") as lease:
            assert await place.locks.break_lock("b", fence=lease.fence)
            assert await place.locks.inspect("b") is None
            assert await place.locks.inspect("a") is not None
    assert [await place.locks.inspect(key) for key in "abc"] == [None] * 3


@on_servers
async def test_holder_of_a_broken_lock_learns_it_by_the_heartbeat(place):
    """Without doing anything, and for all its objects."""
    locks = place.open(ttl_s=0.9, timeout_s=0.29)
    lease = await locks.acquire("a", "b")
    assert await place.locks.break_lock("b", fence=lease.fence)
    async with asyncio.timeout(5):
        while not lease.lost:
            await asyncio.sleep(0.01)
    assert not lease.is_held
    await lease.release()
    assert await place.locks.inspect("a") is None


@everywhere
async def test_looking_inside_of_a_block(place):
    """It is told what is, not what is shared."""
    async with place.locks.hold("a") as lease:
        info = await place.locks.inspect("a")
        assert info is not None
        assert info.fence == lease.fence


@on_servers
async def test_who_had_to_hand_it_off(place):
    """The state says that nobody has claimed it, and after that who has."""
    lease = await place.locks.acquire("a", operation="rename")
    token = await lease.hand_off(claim_within_s=30)
    info = await place.locks.inspect("a")
    assert info is not None
    assert (info.state, info.fence, info.operation) == ("handed_off", lease.fence, "rename")
    assert 15 < info.expires_in_s <= 30
    async with place.other.claim(token) as claimed:
        info = await place.locks.inspect("a")
        assert info is not None
        assert (info.state, info.fence, info.operation) == ("held", claimed.fence, "rename")


@on_servers
async def test_breaking_what_was_handed_off(place):
    """Nobody can claim it any more."""
    lease = await place.locks.acquire("a")
    token = await lease.hand_off(claim_within_s=30)
    assert await place.locks.break_lock("a", fence=lease.fence)
    with pytest.raises(LeaseLostError):
        async with place.locks.claim(token):
            raise AssertionError
    async with place.locks.hold("a"):
        pass
