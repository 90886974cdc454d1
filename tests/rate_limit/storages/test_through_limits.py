"""Counting through ``limits``: over its own memory storage with a frozen clock, and over a real memcached."""

import asyncio
import gc
import re
import time
from collections.abc import Sequence
from typing import Any

import limits.aio.storage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.notation import parse
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages import through_limits
from envelope.rate_limit.storages.through_limits import LimitsStorage
from envelope.rate_limit.verdicts import Change, Demand, Verdict
from envelope.storage.errors import StorageUnavailableError
from tests.servers.memcached import Memcached

STRATEGIES = ("sliding-window-counter", "fixed-window", "moving-window")


class PlainStorage(
    limits.aio.storage.Storage,
    limits.aio.storage.MovingWindowSupport,
    limits.aio.storage.SlidingWindowCounterSupport,
):
    """What every storage of limits can do and no more, as MongoDB's; it answers like that one for what is not there."""

    STORAGE_SCHEME = ["async+plain"]
    base_exceptions = ZeroDivisionError

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri, **options)
        self.storage = Closable()
        self.inner = limits.aio.storage.MemoryStorage()

    async def incr(self, key, expiry, amount=1):
        return await self.inner.incr(key, expiry, amount)

    async def get(self, key):
        return await self.inner.get(key)

    async def get_expiry(self, key):
        return await self.inner.get_expiry(key)

    async def check(self):
        raise NotImplementedError

    async def reset(self):
        raise NotImplementedError

    async def clear(self, key):
        await self.inner.clear(key)

    async def acquire_entry(self, key, limit, expiry, amount=1):
        return await self.inner.acquire_entry(key, limit, expiry, amount)

    async def get_moving_window(self, key, limit, expiry):
        oldest, count = await self.inner.get_moving_window(key, limit, expiry)
        return oldest if count else None, count

    async def acquire_sliding_window_entry(self, key, limit, expiry, amount=1):
        return await self.inner.acquire_sliding_window_entry(key, limit, expiry, amount)

    async def get_sliding_window(self, key, expiry):
        found = await self.inner.get_sliding_window(key, expiry)
        return found if found[0] or found[2] else (0, 0.0, 0, 0.0)

    async def clear_sliding_window(self, key, expiry):
        await self.inner.clear_sliding_window(key, expiry)


class Closable:
    closed = 0

    def close(self) -> None:
        self.closed += 1


class Clock:
    """The time of day, which stands still."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        self.now += milliseconds / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setitem(through_limits._CLIENTS, "memory", "limits")
    monkeypatch.setitem(through_limits._CLIENTS, "plain", "limits")
    return clock


@pytest.fixture(params=["memory", "plain"])
def url(request: pytest.FixtureRequest, clock: Clock) -> str:
    return f"{request.param}://here"


def demand(*notations: str, cost: int = 1, subject: str = "ada", shadow: str = "") -> list[Demand]:
    quotas = [quota for notation in notations for quota in parse(notation)]
    if shadow:
        quotas += parse(shadow, is_shadow=True)
    return [Demand(subject, tuple(quotas), cost)]


def correction(verdict: Verdict, difference: int) -> list[Change]:
    return [
        Change(demand.subject, quota, difference)
        for demand in verdict.demands
        for quota, wait in zip(demand.quotas, verdict.waits_ms or [0] * len(demand.quotas), strict=True)
        if not wait
    ]


async def left(storage: LimitsStorage, *notations: str, subject: str = "ada") -> list[int]:
    return list((await storage.decide(demand(*notations, cost=0, subject=subject))).remaining)


# Deciding


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decide_counts_down_then_refuses(url, strategy):
    """The figures are those after the request; a refusal has a wait, and the figures as they are."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        first = await storage.decide(demand("3/minute", cost=2))
        assert (first.remaining, first.waits_ms, first.wait_ms) == ([1], None, 0)
        assert first.storage is storage
        assert 0 < first.resets_ms[0] <= 60_000
        second = await storage.decide(demand("3/minute", cost=2))
        assert second.remaining == [1]
        assert second.waits_ms == [second.wait_ms]
        assert second.wait_ms > 0
        third = await storage.decide(demand("3/minute"))
        assert (third.remaining, third.wait_ms) == ([0], 0)

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decide_untouched_quota_has_no_reset(url, strategy):
    """Nothing was taken, so nothing comes back."""

    async def run() -> None:
        verdict = await LimitsStorage(url, strategy).decide(demand("3/minute", cost=0))
        assert (verdict.remaining, verdict.resets_ms, verdict.wait_ms) == ([3], [0], 0)

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decide_refused_takes_nothing_anywhere(url, strategy):
    """The quotas that have room are not touched by a request that another quota refuses."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        await storage.decide(demand("1/minute"))
        refused = await storage.decide([*demand("100/hour", "1/minute"), *demand("7/day", subject="team")])
        assert refused.remaining == [100, 0, 7]
        assert refused.waits_ms is not None
        assert [wait > 0 for wait in refused.waits_ms] == [False, True, False]
        assert await left(storage, "100/hour") == [100]
        assert await left(storage, "7/day", subject="team") == [7]

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decide_cost_above_amount_burns_nothing(url, strategy):
    """A cost that never fits is refused with a wait, and the next small one is admitted."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        for used in (0, 3):
            await storage.decide(demand("10/minute", cost=used))
            refused = await storage.decide(demand("10/minute", cost=11))
            assert refused.wait_ms > 0
            assert refused.remaining == [10 - used]
        assert (await storage.decide(demand("10/minute", cost=7))).wait_ms == 0

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decide_shadow_that_does_not_fit_is_neither_taken_nor_refusing(url, strategy):
    """It says how long it would have been, and its count stays."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        verdicts = [await storage.decide(demand("9/minute", cost=2, shadow="5/minute")) for _ in range(3)]
        assert [verdict.wait_ms for verdict in verdicts] == [0, 0, 0]
        assert verdicts[2].remaining == [3, 1]
        assert verdicts[2].waits_ms is not None
        assert verdicts[2].waits_ms[0] == 0 < verdicts[2].waits_ms[1]

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decide_cost_zero_only_looks(url, strategy):
    """It takes nothing and is admitted where nothing is left."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        assert await left(storage, "2/minute") == [2]
        await storage.decide(demand("2/minute", cost=2))
        look = await storage.decide(demand("2/minute", cost=0))
        assert (look.remaining, look.wait_ms, look.waits_ms) == ([0], 0, None)
        await storage.settle(correction(look, 5), look.taken_at)
        assert (await storage.decide(demand("2/minute", cost=0))).wait_ms == 0

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120)
@given(
    amount=st.integers(1, 12),
    window_s=st.sampled_from([1, 3, 60, 3600]),
    steps=st.lists(st.tuples(st.floats(0, 1.5), st.integers(1, 12)), min_size=1, max_size=25),
)
def test_wait_is_never_too_early(url, clock, strategy, amount, window_s, steps):
    """Whoever waits as long as told is admitted, at any cost that fits; and never more fit than the strategy lets."""
    quota = Quota(amount, window_s)
    # Hypothesis runs many examples in one clock, and the memory storage does not like to go back.
    clock.now = 1_700_000_000.123

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        for share, cost in steps:
            asked = [Demand("ada", (quota,), min(cost, amount))]
            clock.pass_ms(share * window_s * 1000)
            verdict = await storage.decide(asked)
            assert verdict.remaining[0] >= 0
            assert verdict.resets_ms[0] >= 0
            if verdict.wait_ms:
                assert verdict.wait_ms <= 2 * quota.window_ms + 1
                clock.pass_ms(verdict.wait_ms)
                verdict = await storage.decide(asked)
            assert verdict.wait_ms == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("told", "remaining", "reset_ms"),
    [
        ((9, 0.0, 0, 0.0), 10, 0),  # MongoDB after a long silence: the count before is over
        ((0, 0.0, 4, 133.0), 6, 60_000),  # its clock goes before ours
        ((0, 0.0, 4, 55.0), 6, 1),  # and behind ours
    ],
)
def test_sliding_window_as_mongodb_tells_it(clock, told, remaining, reset_ms):
    """What is left of a window is never more than a window, and never nothing."""

    async def run() -> None:
        storage = LimitsStorage("plain://here", "sliding-window-counter")
        await left(storage, "10/minute")
        (windows,) = storage._windows.values()

        async def get_sliding_window(key, expiry):
            return told

        windows.storage.get_sliding_window = get_sliding_window
        verdict = await storage.decide(demand("10/minute", cost=0))
        assert (verdict.remaining, verdict.resets_ms) == ([remaining], [reset_ms])

    asyncio.run(run())


@pytest.mark.parametrize("cost", range(1, 6))
def test_sliding_wait_is_exact(url, clock, cost):
    """The wait of the sliding counter is the least: two milliseconds less, and the cost does not fit."""

    async def run() -> None:
        asked = demand("10/minute", cost=cost)
        for early_ms, admitted in ((2, False), (0, True)):
            storage = LimitsStorage(url, "sliding-window-counter")
            clock.now = 1_700_000_040.0  # a window begins
            await storage.decide(demand("10/minute", cost=10))
            clock.pass_ms(60_000)
            verdict = await storage.decide(asked)
            clock.pass_ms(verdict.wait_ms - early_ms)
            assert ((await storage.decide(asked)).wait_ms == 0) is admitted

    asyncio.run(run())


def test_fixed_counter_without_an_end_lasts_a_whole_window(clock):
    """Memcached can lose the end of a counter and keep the counter: the wait is the longest that it can be."""

    async def run() -> None:
        storage = LimitsStorage("memory://here", "fixed-window")
        await storage.decide(demand("1/minute"))
        (windows,) = storage._windows.values()

        async def get_expiry(key):
            return time.time()

        windows.storage.get_expiry = get_expiry
        refused = await storage.decide(demand("1/minute"))
        assert refused.resets_ms == [60_000]
        assert refused.wait_ms >= 60_000

    asyncio.run(run())


# Races


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_race_never_admits_too_many(url, strategy):
    """Of thirty at once just as many are admitted as fit; those that lost have a wait, and gave back what they can."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        verdicts = await asyncio.gather(*(storage.decide(demand("20/minute", "90/hour")) for _ in range(30)))
        assert sum(verdict.wait_ms == 0 for verdict in verdicts) == 20
        given_back = 10 if strategy != "moving-window" else 0
        assert await left(storage, "20/minute", "90/hour") == [0, 60 + given_back]

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_race_lost_leaves_room_for_less(url, strategy):
    """Who lost at a high cost has not burnt what a lower one needs."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        verdicts = await asyncio.gather(*(storage.decide(demand("10/minute", cost=6)) for _ in range(3)))
        assert sum(verdict.wait_ms == 0 for verdict in verdicts) == 1
        assert (await storage.decide(demand("10/minute", cost=4))).wait_ms == 0

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_race_lost_by_a_shadow_refuses_nobody(url, strategy):
    """All are admitted, and the shadow counts what fits."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        verdicts = await asyncio.gather(*(storage.decide(demand("90/hour", shadow="3/minute")) for _ in range(5)))
        assert [verdict.wait_ms for verdict in verdicts] == [0] * 5
        late = [(*verdict.waits_ms, *verdict.remaining) for verdict in verdicts if verdict.waits_ms]
        assert [(enforced, shadow > 0, *remaining) for enforced, shadow, *remaining in late] == [
            (0, True, 85, 0)
        ] * 2

    asyncio.run(run())


def test_race_that_leaves_room_again_still_says_wait(clock):
    """Who lost against somebody that is gone again is refused with a wait of a millisecond, never of none."""

    async def run() -> None:
        storage = LimitsStorage("memory://here", "sliding-window-counter")
        await left(storage, "5/minute")
        (windows,) = storage._windows.values()

        async def refuse(*_):
            return False

        windows.storage.acquire_sliding_window_entry = refuse
        verdict = await storage.decide(demand("5/minute"))
        assert (verdict.wait_ms, verdict.waits_ms, verdict.remaining) == (1, [1], [5])

    asyncio.run(run())


# Settling and forgetting


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_settle_takes_more_even_if_it_does_not_fit(url, strategy):
    """The log of the moving window holds no more than its amount; the counters go beyond it."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        verdict = await storage.decide(demand("10/minute", cost=2))
        await storage.settle(correction(verdict, 3), verdict.taken_at)
        assert await left(storage, "10/minute") == [5]
        for _ in range(2):
            await storage.settle(correction(verdict, 9), verdict.taken_at)
        refused = await storage.decide(demand("10/minute"))
        assert refused.remaining == [0]
        assert refused.wait_ms > 0

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_settle_gives_back_what_was_taken(url, strategy):
    """The counters do, to nothing and not below; the log of the moving window cannot."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        verdict = await storage.decide(demand("10/minute", "50/hour", cost=4))
        await storage.settle(correction(verdict, -3), verdict.taken_at)
        moving = strategy == "moving-window"
        assert await left(storage, "10/minute", "50/hour") == ([6, 46] if moving else [9, 49])
        for _ in range(2):
            await storage.settle(correction(verdict, -3), verdict.taken_at)
        assert await left(storage, "10/minute", "50/hour") == ([6, 46] if moving else [10, 50])

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_settle_gives_nothing_back_when_the_window_is_over(url, clock, strategy):
    """What others have taken since is theirs."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        verdict = await storage.decide(demand("10/minute", cost=4))
        clock.pass_ms(125_000)
        await storage.decide(demand("10/minute", cost=5))
        await storage.settle(correction(verdict, -3), verdict.taken_at)
        assert await left(storage, "10/minute") == [5]

    asyncio.run(run())


def test_settle_gives_back_to_the_window_before(clock):
    """Where counters are named after their window, what was taken from the last one weighs less now too."""

    async def run() -> None:
        storage = LimitsStorage("memory://here", "sliding-window-counter")
        clock.now = 1_700_000_040.0
        verdict = await storage.decide(demand("10/minute", cost=8))
        clock.pass_ms(90_000)
        assert await left(storage, "10/minute") == [6]
        await storage.settle(correction(verdict, -8), verdict.taken_at)
        assert await left(storage, "10/minute") == [10]

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reset_forgets_one_subject(url, strategy):
    """All that this process has decided for it, and nothing of others."""

    async def run() -> None:
        storage = LimitsStorage(url, strategy)
        await storage.decide([*demand("10/minute", "50/hour"), *demand("10/minute", subject="bob")])
        await storage.reset("ada")
        assert await left(storage, "10/minute", "50/hour") == [10, 50]
        assert await left(storage, "10/minute", subject="bob") == [9]

    asyncio.run(run())


def test_reset_remembers_a_bounded_number_of_quotas(clock, monkeypatch):
    """The quotas that were seen first are forgotten first."""
    monkeypatch.setattr(through_limits, "_MOST_QUOTAS", 2)

    async def run() -> None:
        storage = LimitsStorage("memory://here", "fixed-window")
        for notation in ("5/minute", "6/minute", "5/minute", "7/minute"):
            await storage.decide(demand(notation))
        await storage.reset("ada")
        assert len(storage._quotas) == 2
        assert await left(storage, "6/minute", "7/minute", "5/minute") == [6, 7, 3]

    asyncio.run(run())


# Names


def test_key_tells_nothing_and_fits_into_memcached():
    """Printable, short, without the subject, whatever the subject is."""
    storage = LimitsStorage("memcached://127.0.0.1:1", "sliding-window-counter")
    (quota,) = parse("999/12 months", "POST /entities/{entity_id}")
    for subject in ("sk-secret", "a b\r\nflush_all", "\ud800", "ü" * 5000, ""):
        key = storage._key(subject, quota)
        assert re.fullmatch(r"envelope:1:sliding-window-counter/[0-9a-f]{32}", key)
        assert len(key) + len("/1700000000") + len("/expires") < 250


def test_key_snapshot():
    """Names in the storages are public: two versions of this library count together."""
    storage = LimitsStorage("memcached://127.0.0.1:1", "fixed-window")
    assert storage._key("ada", parse("5/minute")[0]) == "envelope:1:fixed-window/b641b9553b0d0140b41e3ec76e324d7a"


def test_key_is_injective():
    """What moves from the scope into the subject, and the shadow, and the strategy make another name."""
    storages = [LimitsStorage("memcached://127.0.0.1:1", strategy) for strategy in STRATEGIES[:2]]
    quotas = [parse("5/minute")[0], parse("5/minute", "a")[0], parse("5/minute", is_shadow=True)[0]]
    keys = {storage._key(who, quota) for storage in storages for quota in quotas for who in ("", "a", "a:", ":a")}
    assert len(keys) == 2 * 3 * 4


# Failures


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), RuntimeError("pool"), TimeoutError(), UnicodeDecodeError("utf-8", b"", 0, 1, "?")],
)
def test_failure_of_the_storage_is_storage_unavailable(clock, error):
    """Whatever class it has; and the next one connects anew."""

    async def run() -> None:
        storage = LimitsStorage("plain://here", "fixed-window")
        await left(storage, "5/minute")
        (windows,) = storage._windows.values()

        async def fail(*_):
            raise error

        windows.storage.inner.get = windows.storage.inner.clear = windows.storage.inner.incr = fail
        broken = dict(storage._windows)
        for attempt in (
            storage.decide(demand("5/minute")),
            storage.settle([Change("ada", parse("5/minute")[0], 1)], 0.0),
            storage.reset("ada"),
        ):
            storage._windows = dict(broken)
            with pytest.raises(StorageUnavailableError) as caught:
                await attempt
            assert caught.value.__cause__ is not None
        assert await left(storage, "5/minute") == [5]

    asyncio.run(run())


def test_cancelled_caller_leaves_whole_demands(clock):
    """The caller's cancellation is not swallowed, and what it began is done wholly."""

    async def run() -> None:
        storage = LimitsStorage("memory://here", "fixed-window")
        task = asyncio.create_task(storage.decide(demand("5/minute", "9/hour")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while storage._tasks:
            await asyncio.sleep(0)
        assert await left(storage, "5/minute", "9/hour") == [4, 8]

        # The loop ends with a decision under way: its task is cancelled with the others.
        asyncio.create_task(storage.decide(demand("5/minute")))  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(run())


def test_cancelled_caller_leaves_a_failure_to_nobody(clock, caplog):
    """No complaint that nobody looked at the exception."""

    async def run() -> None:
        storage = LimitsStorage("plain://here", "fixed-window")
        await left(storage, "5/minute")
        (windows,) = storage._windows.values()
        windows.storage.inner = None
        task = asyncio.create_task(storage.decide(demand("5/minute")))
        await asyncio.sleep(0)
        task.cancel()
        while storage._tasks:
            await asyncio.sleep(0)
        assert not storage._windows

    asyncio.run(run())
    gc.collect()
    assert not caplog.records


def test_event_loops_have_their_own_connections(clock):
    """One instance in several loops, one after another; what belongs to a closed loop is dropped."""
    storage = LimitsStorage("plain://here", "fixed-window")
    assert [asyncio.run(left(storage, "5/minute")) for _ in range(3)] == [[5]] * 3
    assert len(storage._windows) == 1


def test_aclose_closes_the_client_of_this_loop(clock):
    """And does nothing where there is none."""

    async def run() -> None:
        storage = LimitsStorage("plain://here", "fixed-window")
        await storage.aclose()
        await left(storage, "5/minute")
        (windows,) = storage._windows.values()
        await storage.aclose()
        assert windows.storage.storage.closed == 1
        assert not storage._windows

    asyncio.run(run())


# Configuration


@pytest.mark.parametrize(
    ("url", "strategy", "text"),
    [
        (
            "memcache://h:1",
            "fixed-window",
            "unknown storage 'memcache' (known through limits: memcached, mongodb, ",
        ),
        ("redis", "fixed-window", "unknown storage 'redis'"),
        ("memcached://", "fixed-window", "names no server; write memcached://host:port"),
        ("memcached://me:secret@/", "fixed-window", "names no server; write memcached://host:port"),
        ("memcached://me:secret@h:port", "fixed-window", "limits cannot use the storage at memcached://...: "),
        ("memcached://me:secret@h", "fixed-window", "limits cannot use the storage at memcached://...: "),
        ("memcached://h:1", "moving-window", "(it can: sliding-window-counter, fixed-window)"),
        ("memcached://h:1", "leaky", "memcached:// cannot count by 'leaky'"),
    ],
)
def test_configuration_error_says_what_to_do(url, strategy, text):
    """And never quotes a password, neither in its text nor in what it came from."""
    with pytest.raises(ConfigurationError, match=re.escape(text)) as caught:
        LimitsStorage(url, strategy)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_configuration_error_names_the_missing_package(monkeypatch):
    """limits would say "prerequisite"."""
    monkeypatch.setattr(through_limits, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="mongodb:// needs a package; install motor"):
        LimitsStorage("mongodb://h:1", "fixed-window")


@pytest.mark.parametrize(("strategy", "days"), [("fixed-window", 30), ("sliding-window-counter", 15)])
def test_memcached_refuses_windows_that_it_would_not_count(strategy, days):
    """A longer expiry is a date for memcached, and the counter is gone at once."""
    storage = LimitsStorage("memcached://127.0.0.1:1", strategy)
    storage.check(Quota(5, days * 86_400))
    with pytest.raises(ConfigurationError, match=f"take a window of {days} days at most"):
        storage.check(Quota(5, days * 86_400 + 1))
    with pytest.raises(ConfigurationError, match="memcached cannot count"):
        asyncio.run(storage.decide([Demand("ada", (Quota(5, days * 86_400 + 1),), 1)]))


# Memcached


@pytest.fixture
def memcached(memcached_server: Memcached) -> Memcached:
    memcached_server.flush()
    return memcached_server


@pytest.mark.parametrize("strategy", STRATEGIES[:2])
@pytest.mark.parametrize("window", ["hour", "15 days"])
def test_memcached_race_never_admits_too_many(memcached, strategy, window):
    """Two hundred at once from two clients, with two quotas."""

    async def run() -> None:
        storages = [LimitsStorage(memcached.url, strategy) for _ in range(2)]
        asked = demand(f"20/{window}", f"1000/{window}")
        verdicts = await asyncio.gather(*(storages[i % 2].decide(asked) for i in range(200)))
        admitted = sum(verdict.wait_ms == 0 for verdict in verdicts)
        assert 0 < admitted <= 20
        if strategy == "fixed-window":
            assert await left(storages[0], f"20/{window}", f"1000/{window}") == [20 - admitted, 1000 - admitted]
        while admitted < 20:  # who was refused in the crowd finds room afterwards
            assert (await storages[0].decide(asked)).wait_ms == 0
            admitted += 1
        refused = await storages[1].decide(asked)
        assert refused.waits_ms is not None
        assert refused.waits_ms[0] > 0 == refused.waits_ms[1]
        assert refused.remaining == [0, 980]
        for storage in storages:
            await storage.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES[:2])
def test_memcached_settles_both_ways_and_forgets(memcached, strategy):
    """With its own command for giving back, which stops at nothing."""

    async def run() -> None:
        storage = LimitsStorage(memcached.url, strategy)
        verdict = await storage.decide(demand("10/hour", cost=4))
        await storage.settle(correction(verdict, -3), verdict.taken_at)
        assert await left(storage, "10/hour") == [9]
        await storage.settle(correction(verdict, 12), verdict.taken_at)
        assert await left(storage, "10/hour") == [0]
        await storage.settle(correction(verdict, -99), verdict.taken_at)
        assert await left(storage, "10/hour") == [10]
        await storage.decide(demand("10/hour", cost=4))
        await storage.reset("ada")
        assert await left(storage, "10/hour") == [10]
        await storage.aclose()

    asyncio.run(run())


def test_memcached_lends_one_instance_to_several_loops(memcached):
    """One after another."""
    storage = LimitsStorage(memcached.url, "fixed-window")

    async def run() -> Sequence[int]:
        verdict = await storage.decide(demand("10/hour"))
        await storage.aclose()
        return verdict.remaining

    assert [asyncio.run(run()) for _ in range(3)] == [[9], [8], [7]]


def test_memcached_silent_then_back(monkeypatch):
    """No answer is StorageUnavailableError in the time of the client, and callers that gave up do no lasting harm."""
    monkeypatch.setitem(
        through_limits._OPTIONS, "memcached", dict.fromkeys(through_limits._OPTIONS["memcached"], 0.2)
    )

    async def run(server: Memcached) -> None:
        storage = LimitsStorage(server.url, "fixed-window")
        server.suspend()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(storage.decide(demand("10/hour")), 0.001)
        with pytest.raises(StorageUnavailableError):
            await storage.decide(demand("10/hour"))
        server.resume()
        while storage._tasks:
            await asyncio.wait(storage._tasks)
        await storage.decide(demand("10/hour"))
        server.kill()
        with pytest.raises(StorageUnavailableError):
            await storage.decide(demand("10/hour"))
        server.start()
        assert (await storage.decide(demand("10/hour"))).remaining == [9]
        await storage.aclose()

    with Memcached() as server:
        asyncio.run(run(server))
