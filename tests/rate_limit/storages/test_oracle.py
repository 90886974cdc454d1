"""Decision by decision beside ``limits``' own strategies, under one clock.

``limits`` decides one limit at a time and ``FixedWindowRateLimiter`` counts what it refuses, so the oracle asks
``test`` of every limit and hits only if all agree: the deviation that we mean is left out, any other is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import fakeredis
import limits.aio.storage
import limits.aio.strategies
import limits.storage
import limits.strategies
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond

from envelope.rate_limit.quotas import Quota, Strategy
from envelope.rate_limit.verdicts import Verdict
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

WINDOWS_S = (1, 2, 10, 60)

several_quotas = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from(WINDOWS_S)), min_size=1, max_size=3, unique=True
)

pauses_ms = st.one_of(
    st.integers(0, 3),
    st.integers(0, 1500),
    st.builds(
        lambda window_s, parts, off: max(0, window_s * 1000 * parts // 4 + off),
        st.sampled_from(WINDOWS_S),
        st.integers(0, 9),
        st.integers(-1, 1),
    ),
)

schedules = st.lists(st.tuples(pauses_ms, st.integers(0, 13)), min_size=1, max_size=25)

quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=False)


class MemoryOracle:
    """``limits`` in memory."""

    def __init__(self, strategy: Strategy, clock: Clock) -> None:
        storage: Any = limits.aio.storage.MemoryStorage()

        async def never() -> None:
            """Its sweeper runs in a task, at a time of its own, and takes entries that still count."""

        storage._MemoryStorage__schedule_expiry = never
        strategies: dict[str, Any] = {**limits.aio.strategies.STRATEGIES}
        self.limiter = strategies[strategy](storage)
        self.clock = clock

    async def decide(self, quotas: Sequence[Quota], cost: int) -> tuple[list[bool], list[int], list[Any]]:
        """Give which limits have room, what remains in each, and milliseconds until it says there is more."""
        items = [_item_of(quota) for quota in quotas]
        fits = [await self.limiter.test(item, "ada", cost=cost) for item in items]
        if all(fits) and cost:
            for item in items:
                assert await self.limiter.hit(item, "ada", cost=cost)
        stats = [await self.limiter.get_window_stats(item, "ada") for item in items]
        return (
            fits,
            [each.remaining for each in stats],
            [1000 * (each.reset_time - self.clock.exact()) for each in stats],
        )


class ServerOracle:
    """``limits`` over a server of the Redis protocol: its own Lua scripts."""

    def __init__(self, strategy: Strategy, clock: Clock, server: FakeServer) -> None:
        pool: Any = redis.ConnectionPool(connection_class=fakeredis.FakeRedisConnection, server=server.server)
        storage: Any = limits.storage.RedisStorage("redis://nowhere", connection_pool=pool)
        look = storage.get_sliding_window

        def look_exactly(key: str, expiry: int) -> tuple[Fraction, Fraction, int, Fraction]:
            previous, previous_ttl, current, ttl = look(key, expiry)
            return (
                Fraction(previous),
                Fraction(round(1000 * previous_ttl), 1000),
                current,
                Fraction(round(1000 * ttl), 1000),
            )

        storage.get_sliding_window = look_exactly
        self.limiter: Any = limits.strategies.STRATEGIES[strategy](storage)
        self.clock = clock

    def decide(self, quotas: Sequence[Quota], cost: int) -> tuple[list[bool], list[int], list[Any]]:
        items = [_item_of(quota, RateLimitItemPerSecond) for quota in quotas]
        fits = [self.limiter.test(item, "ada", cost=cost) for item in items]
        if all(fits) and cost:
            for item in items:
                assert self.limiter.hit(item, "ada", cost=cost)
        stats = [self.limiter.get_window_stats(item, "ada") for item in items]
        return (
            fits,
            [each.remaining for each in stats],
            [1000 * (each.reset_time - self.clock.exact()) for each in stats],
        )


class ExactItem(RateLimitItemPerSecond):
    """A limit whose window is no integer, which would make floats of what it divides."""

    def get_expiry(self) -> Any:
        return Fraction(super().get_expiry())


def _item_of(quota: Quota, kind: type[RateLimitItemPerSecond] = ExactItem) -> RateLimitItemPerSecond:
    return kind(quota.amount, quota.window_ms // 1000)


def fits_of(verdict: Verdict) -> list[bool]:
    return [not wait_ms for wait_ms in verdict.waits_ms or [0] * len(verdict.remaining)]


def step_aside(clock: Clock, quotas: Sequence[Quota], begun: Sequence[int]) -> None:
    """Leave the milliseconds out in which a window, or an entry, that began at one of these times ends."""
    while any(at < clock.now and not (clock.now - at) % quota.window_ms for at in begun for quota in quotas):
        clock.now += 1


def assert_resets_agree(
    strategy: Strategy, quotas: Sequence[Quota], verdict: Verdict, theirs: Sequence[Any], off_ms: float = 0
) -> None:
    """Ours is the first whole millisecond in which there is more; theirs the instant up to which there is not."""
    for quota, remaining, ours, their in zip(quotas, verdict.remaining, verdict.resets_ms, theirs, strict=True):
        if remaining == quota.amount:
            assert ours == 0  # untouched, or of no weight any more; theirs says when the window ends
        elif strategy == "fixed-window":
            assert abs(ours - their) <= off_ms
        elif strategy == "moving-window":
            assert abs(ours - (their + 1)) <= off_ms  # an entry still counts at the age of its window
        else:
            # Theirs is 0 in the instant in which a weight is whole or a window begins; it has no more then.
            assert 0 < ours
            assert their == 0 or 0 <= ours - their <= 1


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(parent=quick, max_examples=100)
@given(pairs=several_quotas, schedule=schedules)
def test_memory_decides_like_limits(strategy, pairs, schedule):
    """Admitted, remaining and reset are those of limits at every step of a random schedule."""
    clock = Clock()

    async def run() -> None:
        storage, oracle = memory_under(clock, strategy), MemoryOracle(strategy, clock)
        quotas = quotas_of(*pairs)
        await take(storage, quotas, 0)  # windows of the sliding counter begin now, as those of limits do
        most = min(quota.amount for quota in quotas)
        begun: list[int] = []
        for pause_ms, wanted in schedule:
            cost = min(wanted, most)  # a cost that never fits is refused before a storage is asked
            clock.now += pause_ms
            if strategy == "moving-window":
                # hit() counts what is exactly as old as the window, test() and get_window_stats() do not.
                step_aside(clock, quotas, begun)
            fits, remaining, resets = await oracle.decide(quotas, cost)
            verdict = await take(storage, quotas, cost)
            assert fits_of(verdict) == fits
            assert verdict.remaining == remaining
            assert_resets_agree(strategy, quotas, verdict, resets)
            if cost and not verdict.wait_ms:
                begun.append(clock.now)

    with shared(clock):
        asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(parent=quick, max_examples=40)
@given(pairs=several_quotas, schedule=schedules)
def test_scripts_decide_like_limits(strategy, pairs, schedule):
    """Our Lua admits what limits' Lua admits, with the same figures, at every step of a random schedule."""
    clock = Clock()

    async def run() -> None:
        server = FakeServer()
        storage, oracle = lua_under(clock, strategy, server), ServerOracle(strategy, clock, server)
        quotas = quotas_of(*pairs)
        begun: list[int] = []
        most = min(quota.amount for quota in quotas)
        for pause_ms, wanted in schedule:
            cost = min(wanted, most)  # a cost that never fits is refused before a storage is asked
            clock.now += pause_ms
            if strategy == "sliding-window-counter" and any(
                clock.now >= begun[-1] - (begun[-1] - begun[0]) % quota.window_ms + 2 * quota.window_ms
                for quota in (quotas if begun else ())
            ):
                # A look of limits writes, and so keeps the beginning of a window that ours has forgotten.
                server, begun = FakeServer(), []
                storage, oracle = lua_under(clock, strategy, server), ServerOracle(strategy, clock, server)
            # A server lets keys live through the millisecond in which they end, and so do windows of limits.
            step_aside(clock, quotas, begun)
            fits, remaining, resets = oracle.decide(quotas, cost)
            storage._refusals.forget("ada")
            verdict = await take(storage, quotas, cost)
            assert fits_of(verdict) == fits
            assert verdict.remaining == remaining
            # The TTL that limits asks for in a fixed window is in whole seconds; its times in a log are floats.
            assert_resets_agree(strategy, quotas, verdict, resets, 1000 if strategy == "fixed-window" else 0.01)
            if cost and not verdict.wait_ms:
                begun.append(clock.now)

    with shared(clock):
        asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(parent=quick, max_examples=40)
@given(pairs=several_quotas, schedule=schedules)
def test_scripts_decide_like_memory(strategy, pairs, schedule):
    """The Lua scripts and the Python say the same to the millisecond, waits included."""
    clock = Clock()

    async def run() -> None:
        storage, memory = lua_under(clock, strategy), memory_under(clock, strategy)
        quotas = quotas_of(*pairs)
        most = min(quota.amount for quota in quotas)
        for each in (storage, memory):
            await take(each, quotas)
        begun = last = clock.now
        for pause_ms, wanted in schedule:
            cost = min(wanted, most)  # a cost that never fits is refused before a storage is asked
            clock.now += pause_ms
            # The scripts' sliding windows begin anew with the first hit after two idle ones, memory's do not.
            windows = [quota.window_ms for quota in quotas]
            if any(clock.now >= last - (last - begun) % window + 2 * window for window in windows):
                storage, memory = lua_under(clock, strategy), memory_under(clock, strategy)
                for each in (storage, memory):
                    await take(each, quotas)
                begun = last = clock.now
            storage._refusals.forget("ada")
            theirs, ours = await take(storage, quotas, cost), await take(memory, quotas, cost)
            assert figures_of(theirs) == figures_of(ours)
            if cost and not ours.wait_ms:
                last = clock.now

    with shared(clock):
        asyncio.run(run())


def figures_of(verdict: Verdict) -> tuple[list[int], list[int], list[int], int]:
    waits = verdict.waits_ms or [0] * len(verdict.remaining)
    return list(verdict.remaining), list(verdict.resets_ms), list(waits), verdict.wait_ms
