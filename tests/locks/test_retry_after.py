"""Retry-After: how long whoever is refused should wait, from how long such work usually takes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope import ObjectLockedError
from envelope.locks.grants import Holder
from envelope.locks.retry_after import retry_after_s
from tests.locks.storages import fixtures
from tests.locks.storages.places import Place, elsewhere, everywhere, on_servers

anyio_backend, place = fixtures.anyio_backend, fixtures.place

#: Every estimate is made longer by up to a fifth.
JITTER = 1.2


def holder(
    holds_ms: Sequence[int] = (),
    age_ms: int = 0,
    beat_ms: int = 0,
    rest_ms: int = 15_000,
    lease_ms: int = 15_000,
    *,
    is_handed_off: bool = False,
) -> Holder:
    return Holder(
        key="a",
        fence=1,
        operation="x",
        process="host:1",
        age_ms=age_ms,
        beat_ms=beat_ms,
        rest_ms=rest_ms,
        lease_ms=lease_ms,
        is_handed_off=is_handed_off,
        holds_ms=holds_ms,
    )


def waits_s(*holders: Holder) -> tuple[float, float]:
    """Give the shortest and the longest of many estimates."""
    waits = [retry_after_s(holders) for _ in range(300)]
    return min(waits), max(waits)


def assert_about(seconds: float, *holders: Holder) -> None:
    shortest, longest = waits_s(*holders)
    assert seconds <= shortest
    assert longest <= seconds * JITTER
    assert longest > seconds * 1.1 or seconds <= 1 / 1.1  # not all at once
    assert shortest < seconds * 1.1


def test_unknown_is_two_seconds():
    """Before any hold has ended, whatever its age, in the header's whole seconds."""
    for age_ms in (0, 1000, 60_000):
        shortest, longest = waits_s(holder(age_ms=age_ms))
        assert {math.ceil(shortest), math.ceil(longest)} == {2}


@pytest.mark.parametrize(
    ("holds_s", "age_s", "expected_s"),
    [
        ([10], 0, 10),
        ([10], 4, 6),
        ([10] * 16, 3, 7),
        (list(range(1, 11)), 0, 9),  # nine of ten are over by then
        ([*range(2, 12)], 0, 10),
        ([5] * 9 + [500], 0, 5),  # one of ten took for ever
        ([5] * 15 + [500], 2, 3),
        ([500, *[5] * 9], 0, 5),  # in whatever order
        ([2, 4, 20, 22], 5, 17),  # those that lasted longer than this one already
        ([1, 1, 1, 60], 10, 50),
        ([1] * 15 + [60], 2, 58),
    ],
)
def test_nine_tenths_of_those_that_lasted_longer(holds_s, age_s, expected_s):
    """Minus the age."""
    assert_about(expected_s, holder([second * 1000 for second in holds_s], age_ms=age_s * 1000))


@pytest.mark.parametrize(("holds_s", "age_s", "expected_s"), [([5], 40, 10), ([1, 2, 3], 60, 15), ([10], 10, 2.5)])
def test_overdue(holds_s, age_s, expected_s):
    """Longer than all before it: a quarter of its age."""
    assert_about(expected_s, holder([second * 1000 for second in holds_s], age_ms=age_s * 1000))


def test_silent_holder():
    """Nobody renews its lease any more: its rest is how long the object is busy, whatever was learned."""
    assert_about(4, holder([60_000], age_ms=11_000, beat_ms=11_000, rest_ms=4000))
    assert_about(60 - 9, holder([60_000], age_ms=9000, beat_ms=9000, rest_ms=6000))  # it has not missed one yet
    assert_about(3, holder([], age_ms=60_000, beat_ms=12_000, rest_ms=3000))


def test_handed_off_is_not_silent():
    """Nobody renews it: whoever claims it works as long as usual, and if nobody does it is free with its time."""
    silent = {"age_ms": 14_000, "beat_ms": 14_000, "is_handed_off": True}
    assert_about(46, holder([60_000], rest_ms=3_600_000, **silent))  # type: ignore[arg-type]
    assert_about(3, holder([60_000], rest_ms=3000, **silent))  # type: ignore[arg-type]
    shortest, longest = waits_s(holder(rest_ms=60_000, **silent))  # type: ignore[arg-type]
    assert {math.ceil(shortest), math.ceil(longest)} == {2}


@pytest.mark.parametrize("order", [1, -1])
def test_several_holders(order):
    """The longest counts: all have to be free."""
    holders = [holder([5000]), holder([30_000]), holder()][::order]
    assert_about(30, *holders)


@pytest.mark.parametrize(
    "busy",
    [
        holder([0]),
        holder([1]),
        holder([5000], age_ms=4999),
        holder([1], age_ms=4),
        holder(beat_ms=15_000, rest_ms=0),
        holder(beat_ms=15_000, rest_ms=1),
    ],
)
def test_at_least_a_second(busy):
    """The header has whole ones, and 0 would be a loop."""
    assert waits_s(busy) == (1, 1)


numbers = st.integers(0, 10**12)


@given(
    st.lists(
        st.builds(
            holder,
            st.lists(numbers, max_size=16),
            numbers,
            numbers,
            numbers,
            st.integers(1, 10**9),
            is_handed_off=st.booleans(),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_holders(holders):
    """A finite number of at least 1, no longer than the longest of what is known, with its jitter."""
    wait_s = retry_after_s(iter(holders))
    assert isinstance(wait_s, float | int)
    known = [
        max([*each.holds_ms, each.age_ms / 4, 2000 if not each.holds_ms else 0, each.rest_ms]) for each in holders
    ]
    assert 1 <= wait_s <= max(1, max(known) * JITTER / 1000)


def test_it_follows_the_generator():
    """The jitter alone is chance."""
    busy = holder([10_000])
    random.seed(1)
    first = retry_after_s([busy])
    random.seed(1)
    assert retry_after_s([busy]) == first


# Learned by the storages


async def hold_for(place: Place, seconds: int, operation: str, key: str = "a") -> None:
    """Hold an object so long by its storage's clock."""
    lease = await place.locks.acquire(key, operation=operation)
    if place.is_memory:
        place.clock.pass_s(seconds)
    else:
        place.edit(key, a=int(place.record(key)["a"]) - seconds * 1000)
    await lease.release()


async def wait_of(place: Place, *keys: str) -> float:
    with pytest.raises(ObjectLockedError) as refused:
        await elsewhere(place.other.acquire(*keys, operation="of whoever asks"))
    assert refused.value.retry_after is not None
    return refused.value.retry_after


@pytest.mark.anyio
@everywhere
async def test_learned_from_the_last_holds(place):
    """Of the operation that has the object, not of the one that asks; over all objects."""
    for number in range(3):
        await hold_for(place, 8, "slow", key=f"another {number}")
        await hold_for(place, 3, "fast")
        await hold_for(place, 1, "of whoever asks")
    async with place.locks.hold("a", operation="slow"):
        assert 7 < await wait_of(place, "a") <= 10
    async with place.locks.hold("a", operation="fast"):
        assert 2 < await wait_of(place, "a") <= 4
        async with place.locks.hold("b", operation="slow"):
            assert 7 < await wait_of(place, "a", "b") <= 10
    async with place.locks.hold("a", operation="new"):
        assert math.ceil(await wait_of(place, "a")) == 2


@pytest.mark.anyio
@everywhere
async def test_sixteen_are_remembered(place):
    """What was long ago counts no more."""
    for _ in range(20):
        await hold_for(place, 14, "x")
    for _ in range(16):
        await hold_for(place, 5, "x")
    async with place.locks.hold("a", operation="x"):
        assert 4 < await wait_of(place, "a") <= 6


@pytest.mark.anyio
@everywhere
async def test_age_is_taken_off(place):
    """The storage's own."""
    await hold_for(place, 10, "x")
    lease = await place.locks.acquire("a", operation="x")
    if place.is_memory:
        place.clock.pass_s(6)
    else:
        place.edit("a", a=int(place.record("a")["a"]) - 6000)
    assert 2 < await wait_of(place, "a") <= 5
    await lease.release()


@pytest.mark.anyio
@on_servers
async def test_silent_holder_on_a_server(place):
    """Who has died is waited for until his lease ends."""
    await hold_for(place, 100, "x")
    await place.locks.acquire("a", operation="x")
    record = place.record("a")
    place.edit("a", a=int(record["a"]) - 11_000, h=int(record["h"]) - 11_000, e=int(record["e"]) - 11_000)
    assert 2 < await wait_of(place, "a") <= 5
