"""What every storage of locks keeps to: one suite over all of them, on real servers."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from typing import Any

import pytest

from envelope import (
    ConfigurationError,
    ConflictError,
    Lease,
    LeaseLostError,
    ObjectLockedError,
)
from envelope.locks.grants import LockInfo
from tests.locks.storages.places import (
    Place,
    by_every_link,
    elsewhere,
    everywhere,
    on_servers,
    server_ms,
)

pytestmark = pytest.mark.anyio

NAMES = [
    "entity:42",
    "größe:☃",
    "a b  c",
    "line\nbreak\r\n$5\r\n",
    "tab\tnul\0",
    "{brace}",
    "}{",
    "-",
    " ",
    "%20",
    "x" * 10_000,
    "y" * 10_000 + "☃",
    "\ud800 alone",
    "*",
    "a:b",
    "a%3Ab",
]


async def is_free(place: Place, *keys: str) -> bool:
    """Tell whether somebody else could take the objects, and leave them as they are."""

    async def attempt() -> bool:
        try:
            lease = await place.other.acquire(*keys)
        except ObjectLockedError:
            return False
        await lease.release()
        return True

    return await elsewhere(attempt())


async def reached(event: asyncio.Event, task: asyncio.Task[Any]) -> None:
    """Wait until the task has set the event, or has failed."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        await task


async def refusal_of(place: Place, *keys: str) -> ObjectLockedError:
    with pytest.raises(ObjectLockedError) as refused:
        await elsewhere(place.other.acquire(*keys))
    return refused.value


# Taken and given back


@by_every_link
async def test_taken_refused_and_given_back(place):
    """One has the object, others are refused until it is free."""
    lease = await place.locks.acquire("entity:1")
    for locks in (place.locks, place.open()):
        with pytest.raises(ObjectLockedError):
            await locks.acquire("entity:1")
    assert await is_free(place, "entity:2")
    await lease.release()
    assert await is_free(place, "entity:1")


@everywhere
async def test_lease_tells_what_it_is(place):
    """All that its holder can read of it."""
    lease = await place.locks.acquire("entity:1", "entity:2", operation="rename")
    assert isinstance(lease, Lease)
    assert (lease.key, lease.keys, lease.operation) == ("entity:1", ("entity:1", "entity:2"), "rename")
    assert (lease.is_held, lease.lost) == (True, False)
    assert 0 < lease.remaining_s() <= (15 if place.is_memory else 0.9 * 15)  # clocks run apart
    assert isinstance(lease.fence, int)
    assert 0 < lease.fence < 2**53
    await lease.release()
    assert (lease.is_held, lease.lost, lease.remaining_s()) == (False, False, 0)


@everywhere
async def test_hold_is_for_its_block(place):
    """Nobody else comes in while it runs; after it everybody may, whatever its end."""
    async with place.locks.hold("entity:1") as lease:
        assert not await is_free(place, "entity:1")
        assert lease.is_held
    assert (lease.is_held, lease.lost) == (False, False)
    with pytest.raises(ZeroDivisionError):
        async with place.locks.hold("entity:1"):
            raise ZeroDivisionError
    assert await is_free(place, "entity:1")


@by_every_link
async def test_all_or_none(place):
    """One busy object among several: none of the others is taken, wherever it stands."""
    lease = await place.locks.acquire("b")
    for keys in (("a", "b", "c"), ("b", "a", "c"), ("a", "c", "b")):
        with pytest.raises(ObjectLockedError):
            await place.other.acquire(*keys)
        assert await is_free(place, "a", "c")
    await lease.release()
    assert await is_free(place, "a", "b", "c")


@everywhere
async def test_several_are_taken_and_given_back_together(place):
    """Each refuses others while they are held; their fences are one."""
    lease = await place.locks.acquire("a", "b", "c")
    assert [await is_free(place, key) for key in "abc"] == [False] * 3
    found = [await place.locks.inspect(key) for key in "abc"]
    assert [info and info.fence for info in found] == [lease.fence] * 3
    await lease.release()
    assert [await is_free(place, key) for key in "abc"] == [True] * 3


@everywhere
@pytest.mark.parametrize("keys", [("a", "a"), ("a", "b", "a", "b"), ("b", "a", "a")])
async def test_repeated_names_are_one_object(place, keys):
    """Nobody stands in his own way, and the order stays."""
    lease = await place.locks.acquire(*keys)
    assert lease.keys == tuple(dict.fromkeys(keys))
    assert not await is_free(place, "a")
    await lease.release()
    assert await is_free(place, "a", "b")


@by_every_link
async def test_of_many_at_once_one_gets_it(place):
    """Also with several objects in whatever order."""
    clients = [place.open() for _ in range(4)]

    async def attempt(number: int) -> bool:
        keys = ["a", "b", "c"]
        random.Random(number).shuffle(keys)
        try:
            await clients[number % 4].acquire(*keys)
        except ObjectLockedError:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt(number) for number in range(40)))) == 1


@everywhere
async def test_mutual_exclusion(place):
    """Ten tasks of two clients that try again until it is theirs: never two inside, and all get in."""
    clients, inside, entered, fences = [place.open(), place.open()], 0, 0, []

    async def work(number: int) -> None:
        nonlocal inside, entered
        while True:
            try:
                async with clients[number % 2].hold("x", "y") as lease:
                    inside += 1
                    assert inside == 1
                    await asyncio.sleep(0)
                    entered += 1
                    fences.append(lease.fence)
                    inside -= 1
                return
            except ObjectLockedError:
                await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(10)))
    assert entered == 10
    assert fences == sorted(set(fences))


@everywhere
async def test_names_of_all_kinds(place):
    """No two share an object, and each comes back as it was."""
    leases = [await place.locks.acquire(name) for name in NAMES]
    for name, lease in zip(NAMES, leases, strict=True):
        with pytest.raises(ObjectLockedError):
            await place.locks.acquire(name)
        found = await place.locks.inspect(name)
        assert found is not None
        assert (found.key, found.fence) == (name, lease.fence)
    for lease in leases:
        await lease.release()
    assert await is_free(place, *NAMES)


@everywhere
@pytest.mark.parametrize("operation", ["rename all", "größe", "a\nb", "%41", "'", "x" * 3000, "\ud800", "a,b"])
async def test_operations_of_all_kinds(place, operation):
    """They come back as they were, and what is learned of them is theirs."""
    async with place.locks.hold("x", operation=operation):
        pass
    async with place.locks.hold("x", operation=operation) as lease:
        assert lease.operation == operation
        found = await place.locks.inspect("x")
        assert found is not None
        assert found.operation == operation
        assert ((await refusal_of(place, "x")).retry_after or 0) >= 1


@everywhere
@pytest.mark.parametrize("keys", [(), ("",), ("a", ""), (5,), (None,), (b"a",), (["a"],)])
async def test_what_is_no_name_is_a_value_error(place, keys):
    """Also for those who look, and nothing is taken."""
    with pytest.raises(ValueError):
        await place.locks.acquire(*keys)
    with pytest.raises(ValueError):
        async with place.locks.hold(*keys):
            pass
    if keys and keys[0] != "a":
        with pytest.raises(ValueError):
            await place.locks.inspect(keys[0])
        with pytest.raises(ValueError):
            await place.locks.break_lock(keys[0], fence=1)
    assert await is_free(place, "a")


# Fences


@everywhere
async def test_fences_grow(place):
    """Over releases, by whichever client, and over several objects."""
    fences = []
    for number in range(6):
        async with place.other.hold("a", *(["b"] if number % 2 else [])) as lease:
            fences.append(lease.fence)
    assert fences == sorted(set(fences))


@everywhere
async def test_fence_of_several_is_above_the_last_of_each(place):
    """The greatest of what the objects have seen counts."""
    for _ in range(3):
        async with place.locks.hold("b") as last:
            pass
    async with place.locks.hold("a", "b", "c") as lease:
        assert lease.fence > last.fence
    for key in "abc":
        async with place.locks.hold(key) as after:
            assert after.fence > lease.fence


@everywhere
async def test_fences_grow_over_expiry(place):
    """Who was lost has the smaller one."""
    lost = await place.locks.acquire("a")
    place.expire("a")
    lease = await place.other.acquire("a")
    assert lease.fence > lost.fence


@on_servers
async def test_fences_grow_over_the_loss_of_all_data(place):
    """They follow the server's clock where nothing else is known."""
    lost = await place.locks.acquire("a")
    place.server.flush()
    lease = await place.other.acquire("a")
    assert lease.fence > lost.fence


@on_servers
async def test_fence_is_above_one_of_a_faster_clock(place):
    """While the tombstone lives, a clock that was set back makes no smaller fence."""
    async with place.locks.hold("a"):
        pass
    ahead = 4_000_000_000_000_000
    place.edit("a", f=ahead)
    for number in range(1, 4):
        async with place.locks.hold("a", "b") as lease:
            assert lease.fence == ahead + number


@everywhere
async def test_fences_of_this_century_are_micros(place):
    """Greater than those of a process or a server before this one."""
    lease = await place.locks.acquire("a")
    assert 1_700_000_000_000_000 < lease.fence < 4_200_000_000_000_000
    if not place.is_memory:
        assert abs(lease.fence // 1000 - server_ms(place.server_of("x"))) < 10_000


# The end


@everywhere
async def test_expired_object_is_free(place):
    """Whoever died leaves nothing locked for ever."""
    await place.locks.acquire("a", "b")
    place.expire("a", "b")
    assert await place.locks.inspect("a") is None
    async with place.other.hold("a", "b"):
        pass


@everywhere
async def test_release_twice(place):
    """Once is enough, and a second time harms nobody."""
    lease = await place.locks.acquire("a")
    await lease.release()
    await lease.release()
    assert not lease.lost
    other = await place.other.acquire("a")
    await lease.release()
    assert not await is_free(place, "a")
    assert other.is_held


@by_every_link
async def test_release_after_somebody_else_got_it(place):
    """A late release leaves the other's lease alone, and the loser learns it."""
    late = await place.locks.acquire("a", "b")
    place.expire("a", "b")
    other = await place.other.acquire("a", "b")
    await late.release()
    assert late.lost
    assert not late.is_held
    assert not await is_free(place, "a")
    assert not await is_free(place, "b")
    await late.release()
    await other.release()
    assert not other.lost
    assert await is_free(place, "a", "b")


@everywhere
async def test_release_of_what_is_partly_somebody_elses(place):
    """What is still ours is freed, what is not is left alone."""
    lease = await place.locks.acquire("a", "b")
    info = await place.locks.inspect("a")
    assert info is not None
    assert await place.locks.break_lock("a", fence=info.fence)
    other = await place.other.acquire("a")
    await lease.release()
    assert lease.lost
    assert not await is_free(place, "a")
    assert other.is_held
    assert await is_free(place, "b")


@everywhere
async def test_hold_whose_lease_was_lost_raises_at_its_end(place):
    """Its work may have been done beside somebody else's."""
    with pytest.raises(LeaseLostError) as lost:
        async with place.locks.hold("a") as lease:
            place.expire("a")
            other = await elsewhere(place.other.acquire("a"))
    assert lease.lost
    assert isinstance(lost.value, ConflictError)
    assert (lost.value.status_code, lost.value.error_code) == (409, "lease_lost")
    assert other.is_held
    assert not await is_free(place, "a")


@everywhere
async def test_exception_of_the_body_is_not_replaced(place):
    """Whatever became of the lease."""
    mine = RuntimeError("mine")
    with pytest.raises(RuntimeError) as raised:
        async with place.locks.hold("a"):
            place.expire("a")
            await elsewhere(place.other.acquire("a"))
            raise mine
    assert raised.value is mine
    assert raised.value.__cause__ is None


@everywhere
async def test_hold_that_was_released_explicitly(place):
    """Explicit is final: the object is free before the block ends, and the end is no error."""
    async with place.locks.hold("a") as lease:
        await lease.release()
        assert not lease.is_held
        other = await elsewhere(place.other.acquire("a"))
    assert not lease.lost
    assert other.is_held
    assert not await is_free(place, "a")


@everywhere
async def test_hold_is_for_one_block(place):
    """Two would not know whose lease it is."""
    block = place.locks.hold("a")
    async with block:
        with pytest.raises(RuntimeError):
            await block.__aenter__()
    with pytest.raises(RuntimeError):
        await block.__aenter__()
    assert await is_free(place, "a")


@everywhere
async def test_block_that_was_refused_is_used(place):
    """Another attempt is another hold."""
    block = place.locks.hold("a")
    lease = await place.other.acquire("a")
    with pytest.raises(ObjectLockedError):
        await block.__aenter__()
    await lease.release()
    with pytest.raises(RuntimeError):
        await block.__aenter__()


@everywhere
async def test_cancelled_holder_frees_it(place):
    """At the latest a moment later."""
    inside = asyncio.Event()

    async def work() -> None:
        async with place.locks.hold("a"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await reached(inside, task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_free(place, "a")


@everywhere
async def test_acquire_outside_of_requests_lasts(place):
    """Until whoever took it releases it; a task's end is nothing to it."""
    lease = await asyncio.create_task(place.locks.acquire("a"))
    assert not await is_free(place, "a")
    with pytest.raises(ObjectLockedError):
        await place.locks.acquire("a")  # no block, no request: nothing to find it in
    await lease.release()
    assert await is_free(place, "a")


# What a refusal says


@by_every_link
async def test_refusal_describes_the_holder_to_the_log_only(place, caplog):
    """Who has it, what for, since when: to those who operate the service, not to clients."""
    await place.locks.acquire("entity:1", operation="rename-the-thing")
    with caplog.at_level(logging.INFO, "envelope.locks"):
        refused = await refusal_of(place, "entity:1")
    (record,) = [record for record in caplog.records if record.levelno == logging.INFO]
    text = record.getMessage()
    assert record.levelno == logging.INFO
    assert "entity:1" in text
    assert "rename-the-thing" in text
    assert f":{os.getpid()}" in text
    assert refused.status_code == 423
    assert (refused.retry_after or 0) >= 1
    assert (refused.headers or {})["Cache-Control"] == "no-store"
    for told in (str(refused), str(refused.message), repr(refused.headers)):
        assert "entity:1" not in told
        assert "rename" not in told


@everywhere
async def test_refusal_describes_each_holder(place, caplog):
    """Two of three are busy for different operations."""
    await place.locks.acquire("a", operation="first")
    await place.locks.acquire("c", operation="third")
    with caplog.at_level(logging.INFO, "envelope.locks"):
        await refusal_of(place, "a", "b", "c")
    text = "\n".join(record.getMessage() for record in caplog.records if record.name == "envelope.locks")
    assert re.search(r"\ba\b[^\n]*first", text)
    assert re.search(r"\bc\b[^\n]*third", text)


@everywhere
async def test_operation_is_the_kind_of_the_object(place):
    """Outside of requests, where none is given."""
    lease = await place.locks.acquire("entity:42:part")
    info = await place.locks.inspect("entity:42:part")
    assert isinstance(info, LockInfo)
    assert lease.operation == info.operation == "entity"


# Who holds it already


@everywhere
async def test_hold_inside_of_a_hold(place):
    """An operation may call others that lock the same object; the outermost frees it."""
    async with place.locks.hold("a") as outer:
        async with place.locks.hold("a") as inner:
            assert inner is outer
        assert outer.is_held
        assert not await is_free(place, "a")
    assert await is_free(place, "a")


@everywhere
async def test_acquire_inside_of_a_hold(place):
    """Outside of requests whoever takes a lease releases it, so it is nobody else's: not the block's either."""
    async with place.locks.hold("a") as outer:
        with pytest.raises(ObjectLockedError):
            await place.locks.acquire("a")
        inner = await place.locks.acquire("b")
        assert inner is not outer
    assert await is_free(place, "a")
    assert not await is_free(place, "b")
    await inner.release()
    assert await is_free(place, "b")


@everywhere
async def test_some_of_several_are_held_already(place):
    """No fence would be right for all of them: refused as a mistake, and nothing is taken."""
    async with place.locks.hold("a"):
        with pytest.raises(ConfigurationError) as refused:
            async with place.locks.hold("b", "a"):
                raise AssertionError
        assert "'a'" in str(refused.value)
        assert await is_free(place, "b")
        async with place.locks.hold("b"):
            with pytest.raises(ConfigurationError):  # two leases, two fences
                async with place.locks.hold("a", "b"):
                    raise AssertionError
        assert not await is_free(place, "a")
    assert await is_free(place, "a", "b")


@everywhere
async def test_some_of_what_one_lease_has(place):
    """In whatever order, are found with it."""
    async with place.locks.hold("a", "b", "c") as outer:
        for keys in (("a",), ("c", "b"), ("c", "a", "b", "c")):
            async with place.locks.hold(*keys) as inner:
                assert inner is outer
    assert await is_free(place, "a", "b", "c")


@everywhere
async def test_other_objects_inside_of_a_hold(place):
    """Are taken as anywhere, and refused as anywhere."""
    other = await place.other.acquire("c")
    async with place.locks.hold("a"):
        async with place.locks.hold("b") as inner:
            assert inner.keys == ("b",)
        assert await is_free(place, "b")
        with pytest.raises(ObjectLockedError):
            await place.locks.acquire("a", "c")
        assert not await is_free(place, "a")
    await other.release()


@everywhere
async def test_task_that_outlives_the_block(place):
    """The last of those who hold it frees it."""
    inside, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> bool:
        async with place.locks.hold("a") as lease:
            inside.set()
            await may_end.wait()
            return lease.is_held and not lease.lost

    async with place.locks.hold("a"):
        task = asyncio.create_task(work())
        await reached(inside, task)
    assert not await is_free(place, "a")
    may_end.set()
    assert await task
    assert await is_free(place, "a")


@everywhere
async def test_task_that_outlives_the_block_with_several(place):
    """What it found there is its own until its end, all of it."""
    inside, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with place.locks.hold("b"):
            inside.set()
            await may_end.wait()

    async with place.locks.hold("a", "b", "c"):
        task = asyncio.create_task(work())
        await reached(inside, task)
    assert [await is_free(place, key) for key in "abc"] == [False] * 3
    may_end.set()
    await task
    assert await is_free(place, "a", "b", "c")


@everywhere
async def test_task_begun_inside_that_locks_after_the_block(place):
    """It finds nothing any more, and takes it as anybody does."""
    may_begin = asyncio.Event()

    async def work() -> tuple[int, bool]:
        await may_begin.wait()
        async with place.locks.hold("a") as lease:
            return lease.fence, lease.is_held

    async with place.locks.hold("a") as outer:
        task = asyncio.create_task(work())
    may_begin.set()
    fence, was_held = await task
    assert was_held
    assert fence > outer.fence
    other = await place.other.acquire("a")
    with pytest.raises(ObjectLockedError):
        async with place.locks.hold("a"):
            pass
    await other.release()


@everywhere
async def test_release_inside_is_final(place):
    """Whoever releases a lease explicitly releases it for all who share it."""
    async with place.locks.hold("a") as outer:
        async with place.locks.hold("a") as inner:
            await inner.release()
            assert await is_free(place, "a")
        assert not outer.is_held
        async with place.locks.hold("a") as again:  # taken anew
            assert again.is_held
            assert again is not outer
            assert not await is_free(place, "a")
    assert await is_free(place, "a")
    assert not outer.lost


@everywhere
async def test_other_clients_find_nothing(place):
    """Another namespace is another object, also inside."""
    if place.is_memory:
        from envelope import ObjectLocks

        other = ObjectLocks()
    else:
        other = place.open(namespace="other")
    async with place.locks.hold("a") as outer:
        async with other.hold("a") as inner:
            assert inner is not outer


@everywhere
async def test_lease_that_was_lost_is_not_found(place):
    """Inside of a block that has lost its object, another hold is refused."""
    with pytest.raises(LeaseLostError):
        async with place.locks.hold("a"):
            place.expire("a")
            await elsewhere(place.other.acquire("a"))
            if place.is_memory:
                with pytest.raises(ObjectLockedError):
                    await place.locks.acquire("a")


@everywhere
async def test_siblings_do_not_share(place):
    """Tasks that began before the block are others."""
    held, tried = asyncio.Event(), asyncio.Event()

    async def one() -> None:
        async with place.locks.hold("a"):
            held.set()
            await tried.wait()

    task = asyncio.create_task(one())
    await reached(held, task)
    with pytest.raises(ObjectLockedError):
        await place.locks.acquire("a")
    tried.set()
    await task


@everywhere
async def test_tasks_of_one_block_do_not_share_what_they_take_beside_it(place):
    """What was held where they began they find; what another takes they do not."""
    held, tried = asyncio.Event(), asyncio.Event()

    async def one() -> None:
        async with place.locks.hold("b"):
            held.set()
            await tried.wait()

    async with place.locks.hold("a") as outer:
        task = asyncio.create_task(one())
        await reached(held, task)
        with pytest.raises(ObjectLockedError):
            await place.locks.acquire("b")
        async with place.locks.hold("a") as inner:
            assert inner is outer
        tried.set()
        await task
