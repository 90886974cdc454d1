"""Who waits exactly as long as was said is admitted, and a millisecond earlier is not: under a clock, for all costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Demand, refund, settle
from tests.rate_limit.storages.clocks import (
    STRATEGIES,
    Clock,
    FakeServer,
    lua_under,
    memory_under,
    quotas_of,
    shared,
    take,
)

several_quotas = st.lists(
    st.tuples(st.one_of(st.integers(1, 12), st.integers(1, 5000)), st.sampled_from([1, 2, 7, 60])),
    min_size=1,
    max_size=3,
    unique=True,
)
#: Milliseconds to pass, a share of what fits to take, and what to settle it to, if at all.
histories = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 2500), st.integers(0, 130_000)),
        st.integers(0, 100),
        st.one_of(st.none(), st.none(), st.integers(0, 120)),
    ),
    max_size=12,
)
storages = pytest.mark.parametrize("make", [memory_under, lua_under], ids=["memory", "lua"])
strategies = pytest.mark.parametrize("strategy", STRATEGIES)


async def go_through(
    storage: MemoryStorage | RedisStorage,
    clock: Clock,
    quotas: tuple[Quota, ...],
    history: list[tuple[int, int, int | None]],
) -> None:
    most = min(quota.amount for quota in quotas)
    for pause_ms, share, settled in history:
        clock.now += pause_ms
        verdict = await take(storage, quotas, most * share // 100)
        if settled is not None:
            await settle([verdict], most * settled // 100)


@storages
@strategies
@settings(deadline=None, max_examples=40)
@given(pairs=several_quotas, history=histories, share=st.integers(8, 100))
def test_wait_is_exact(make, strategy, pairs, history, share):
    """After a refusal the cost fits when its wait is over, and not a millisecond earlier, if nobody else comes."""
    clock = Clock()
    quotas = quotas_of(*pairs)
    most = min(quota.amount for quota in quotas)
    cost = max(1, most * share // 100)

    async def run() -> None:
        storage = make(clock, strategy)
        await go_through(storage, clock, quotas, history)
        while not (verdict := await take(storage, quotas, cost)).wait_ms:
            pass
        assert verdict.wait_ms == max(verdict.waits_ms or ())
        clock.now += verdict.wait_ms - 1
        early = await take(storage, quotas, cost)
        assert early.wait_ms == 1
        clock.now += 1
        assert (await take(storage, quotas, cost)).wait_ms == 0

    with shared(clock):
        asyncio.run(run())


@storages
@strategies
@settings(deadline=None, max_examples=25)
@given(pairs=several_quotas, history=histories, share=st.integers(1, 100))
def test_reset_is_exact(make, strategy, pairs, history, share):
    """When its reset is over a quota has more left, and not a millisecond earlier; 0 says that all of it is left."""
    clock = Clock()

    async def run() -> None:
        storage = make(clock, strategy)
        for pair in pairs:
            quotas = quotas_of(pair)
            await go_through(storage, clock, quotas, history)
            if isinstance(storage, RedisStorage):
                storage._refusals.forget("ada")  # a refusal that is repeated may be a second old
            verdict = await take(storage, quotas, max(1, quotas[0].amount * share // 100))
            (reset_ms,) = verdict.resets_ms
            # A settled cost may be above the amount: then there is more, but still none left to see.
            if verdict.remaining[0] == 0:
                continue
            if not reset_ms:
                assert verdict.remaining == [quotas[0].amount]
                continue
            clock.now += reset_ms - 1
            assert (await take(storage, quotas, 0)).remaining == verdict.remaining
            clock.now += 1
            later = await take(storage, quotas, 0)
            # The sliding counter says when its window ends, although the new weight is less a moment later.
            assert later.remaining > verdict.remaining or (
                strategy == "sliding-window-counter" and 0 < later.resets_ms[0] < quotas[0].window_ms
            )

    with shared(clock):
        asyncio.run(run())


@storages
@strategies
def test_settle_changes_the_cost_again_and_again(make, strategy):
    """What was settled up a second later can be settled down another second later."""
    clock = Clock()
    quotas = quotas_of((100, 60))

    async def run() -> None:
        storage = make(clock, strategy)
        await take(storage, quotas, 0)
        verdict = await take(storage, quotas, 10)
        for settled in (30, 5, 50, 0):
            clock.now += 1000
            await settle([verdict], settled)
            assert (await take(storage, quotas, 0)).remaining == [100 - settled]

    with shared(clock):
        asyncio.run(run())


@storages
@strategies
def test_refund_of_a_window_that_is_over_gives_nothing_away(make, strategy):
    """Given back after its window, a cost leaves alone what others took since."""
    clock = Clock()
    quotas = quotas_of((10, 60))

    async def run() -> None:
        storage = make(clock, strategy)
        early = await take(storage, quotas, 6)
        clock.now += 121_000
        await take(storage, quotas, 4)
        await refund([early])
        assert (await take(storage, quotas, 0)).remaining == [6]

    with shared(clock):
        asyncio.run(run())


@storages
def test_refund_of_the_window_before(make):
    """The sliding counter gives back with the weight that the cost still has."""
    clock = Clock()
    quotas = quotas_of((10, 60))

    async def run() -> None:
        storage = make(clock, "sliding-window-counter")
        early = await take(storage, quotas, 8)
        clock.now += 90_000
        assert (await take(storage, quotas, 2)).remaining == [4]
        await refund([early])
        assert (await take(storage, quotas, 0)).remaining == [8]

    with shared(clock):
        asyncio.run(run())


@strategies
def test_short_quota_beside_a_long_one(strategy):
    """A quota of a second is free again after its second, although the subject is remembered for the hour."""
    clock = Clock()
    quotas = (Quota(1, 1), Quota(100, 3600))

    async def run() -> None:
        storage = lua_under(clock, strategy)
        for round_trips in range(1, 6):
            assert (await take(storage, quotas)).remaining == [0, 100 - round_trips]
            clock.now += 2500

    with shared(clock):
        asyncio.run(run())


@strategies
def test_no_counter_outlives_its_windows(strategy):
    """On a server all is gone two windows after the last request, and a request keeps what it needs so long."""
    clock = Clock()
    quotas = (Quota(5, 1), Quota(50, 60))

    async def run() -> None:
        fake = FakeServer()
        server = lua_under(clock, strategy, fake)
        for _ in range(20):
            await take(server, quotas)
            clock.now += 7_000
        client: Any = fake.client
        assert client.keys()
        assert all(0 < client.pttl(key) <= 121_000 for key in client.keys())
        clock.now += 121_000
        assert not client.keys()

    with shared(clock):
        asyncio.run(run())


@strategies
def test_refusal_that_is_remembered_is_shortened(strategy, monkeypatch):
    """A refusal that needs no round trip says what is left of the wait; after a second the server is asked."""
    clock = Clock()
    quotas = quotas_of((1, 60))

    async def run() -> None:
        fake = FakeServer()
        storage = lua_under(clock, strategy, fake)
        await take(storage, quotas)
        clock.now += 10
        first = await take(storage, quotas)
        asked: list[int] = []
        exchange = fake.exchange

        async def count(commands):
            asked.append(clock.now)
            await exchange(commands)

        monkeypatch.setattr(fake, "exchange", count)
        for passed in (0, 1, 998):
            clock.now += passed
            again = await take(storage, quotas)
            assert again.wait_ms == first.wait_ms - (clock.now - began - 10)
            assert again.resets_ms[0] == first.resets_ms[0] - (clock.now - began - 10)
        assert not asked
        clock.now += 1
        await take(storage, quotas)
        assert asked == [clock.now]

    began = clock.now
    with shared(clock):
        asyncio.run(run())


@strategies
def test_refusal_is_not_repeated_when_more_was_taken(strategy):
    """What was refused is asked again after a smaller cost was admitted: less remains, and the wait may be longer."""
    clock = Clock()
    quotas = quotas_of((10, 60))

    async def run() -> None:
        storage = lua_under(clock, strategy)
        await take(storage, quotas, 4)
        clock.now += 10
        refused = await take(storage, quotas, 8)
        assert (refused.remaining, refused.wait_ms > 0) == ([6], True)
        clock.now += 10
        await take(storage, quotas, 5)
        again = await take(storage, quotas, 8)
        assert again.remaining == [1]
        clock.now += again.wait_ms
        assert (await take(storage, quotas, 8)).wait_ms == 0

    with shared(clock):
        asyncio.run(run())


@storages
@strategies
def test_demands_of_one_subject_share_its_place(make, strategy):
    """Two demands of one subject with costs of their own are counted both."""
    clock = Clock()
    one, two = Quota(10, 60, "one"), Quota(20, 60, "two")

    async def run() -> None:
        storage = make(clock, strategy)
        for _ in range(3):
            verdict = await storage.decide((Demand("ada", (one,), 1), Demand("ada", (two,), 5)))
        assert verdict.remaining == [7, 5]

    with shared(clock):
        asyncio.run(run())
