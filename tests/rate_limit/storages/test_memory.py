"""Memory: bounded whatever comes, never forgetting who is at his limit, and given back; all under a clock."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from typing import Any
from unittest.mock import Mock

import pytest

from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages import memory
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.verdicts import Change, Demand, Verdict, refund, settle
from tests.rate_limit.storages.clocks import STRATEGIES, Clock, memory_under

strategies = pytest.mark.parametrize("strategy", STRATEGIES)

FIVE = Quota(5, 60)


def drive(coroutine: Any) -> Any:
    """Run what never waits for anything: an event loop for each of 100,000 decisions would take minutes."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("memory waited for something")


def take(storage: MemoryStorage, subject: str, *quotas: Quota, cost: int = 1) -> Verdict:
    verdict: Verdict = drive(storage.decide((Demand(subject, quotas or (FIVE,), cost),)))
    return verdict


def flood(storage: MemoryStorage, names: Iterable[object], quota: Quota = FIVE, cost: int = 1) -> None:
    for name in names:
        take(storage, f"noise-{name}", quota, cost=cost)


def windows_of(storage: MemoryStorage, quota: Quota = FIVE) -> Any:
    return storage._windows[quota.window_ms]


# Bounded


@strategies
def test_flood_of_new_subjects_is_bounded(strategy):
    """However many subjects come in how many windows, there are never more than two generations of counters."""
    clock = Clock()
    storage = memory_under(clock, strategy, 200)
    for name in range(20_000):
        clock.now += 17
        take(storage, f"noise-{name}", cost=1 + name % 5)
        assert len(storage) <= 2 * (200 + 1)


@strategies
def test_persistent_subjects_are_bounded(strategy):
    """Also when the same ones come back in each window, with several quotas each."""
    clock = Clock()
    storage = memory_under(clock, strategy, 200)
    quotas = (FIVE, Quota(50, 60, "more"))
    for _ in range(12):
        for name in range(700):
            clock.now += 25
            take(storage, f"noise-{name}", *quotas)
            assert len(storage) <= 2 * (200 + 4)


@strategies
def test_flood_is_bounded_for_each_length_of_window(strategy):
    """Each length of window has its own bound."""
    clock = Clock()
    storage = memory_under(clock, strategy, 100)
    for name in range(2000):
        clock.now += 1
        take(storage, f"noise-{name}", FIVE, Quota(5, 3600), Quota(5, 86_400))
    assert len(storage) <= 3 * (100 + 1)


@strategies
def test_refunds_of_strangers_are_bounded(strategy):
    """Corrections of what nobody took fill no memory."""
    clock = Clock()
    storage = memory_under(clock, strategy, 100)
    taken_at = take(storage, "ada").taken_at
    for name in range(2000):
        drive(storage.settle([Change(f"noise-{name}", FIVE, -1)], taken_at))
    assert len(storage) <= 2 * (100 + 1)


def test_shards_are_small():
    """Whatever a turn or a growing dict costs is paid for a few thousand counters, not for all."""
    storage = MemoryStorage("sliding-window-counter", max_keys=100_000, clock=Clock())
    flood(storage, range(100_000))
    shards = windows_of(storage).young
    assert len(shards) == 32
    assert max(map(len, shards)) <= 4096
    assert len(storage) > 95_000


@strategies
def test_decision_touches_a_few_counters_only(strategy, monkeypatch):
    """Full, and with every shard due, a decision turns a few shards and looks twice at eight counters for a quota."""
    clock = Clock()
    storage = MemoryStorage(strategy, max_keys=16_384, clock=clock)
    flood(storage, range(20_000))
    windows = windows_of(storage)
    turn, weigh = Mock(wraps=windows.turn), Mock(wraps=windows.weigh)
    monkeypatch.setattr(windows, "turn", turn)
    monkeypatch.setattr(windows, "weigh", weigh)
    take(storage, "ada")
    assert 1 <= weigh.call_count <= 1 + 2 * memory._LOOKED_AT
    clock.now += 60_000
    take(storage, "bob")
    assert 1 <= turn.call_count <= 1 + memory._TURNED_AT_ONCE


@strategies
def test_memory_is_given_back(strategy):
    """With light traffic the counters of a flood are gone after two windows and a turn."""
    clock = Clock()
    storage = MemoryStorage(strategy, max_keys=50_000, clock=clock)
    flood(storage, range(50_000))
    assert len(storage) > 40_000
    for _ in range(60):
        clock.now += 3 * 60_000 // 60
        take(storage, "ada")
    assert len(storage) <= 2


@strategies
def test_memory_is_given_back_after_a_silence(strategy):
    """After a long silence as many requests as half the shards free all of it."""
    clock = Clock()
    storage = MemoryStorage(strategy, max_keys=50_000, clock=clock)
    flood(storage, range(50_000))
    clock.now += 100 * 60_000
    for _ in range(len(windows_of(storage).young)):
        clock.now += 1
        take(storage, "ada", cost=0)
    assert len(storage) == 0


@strategies
def test_nothing_runs_beside(strategy):
    """No task is started, and no thread."""

    async def run() -> None:
        threads = threading.active_count()
        storage = MemoryStorage(strategy, max_keys=100)
        for name in range(500):
            await storage.decide((Demand(f"noise-{name}", (FIVE,), 1),))
        assert len(asyncio.all_tasks()) == 1
        assert threading.active_count() == threads
        await storage.aclose()

    asyncio.run(run())


# Under attack


@strategies
@pytest.mark.parametrize(("max_keys", "strangers"), [(500, 100_000), (10_000, 30_000)])
def test_blocked_stay_blocked_under_a_flood(strategy, max_keys, strangers):
    """A hundred thousand strangers free nobody who is at his limit, up to the last millisecond of his wait."""
    clock = Clock()
    storage = MemoryStorage(strategy, max_keys=max_keys, clock=clock)
    flood(storage, range(max_keys // 2))
    clock.now += 21_000
    take(storage, "victim", cost=5)
    wait_ms = take(storage, "victim").wait_ms
    ends_at = clock.now + wait_ms
    for part in range(10):
        flood(storage, range(part * strangers // 10, (part + 1) * strangers // 10))
        clock.now += (wait_ms - 10) // 10
        refused = take(storage, "victim")
        assert clock.now + refused.wait_ms == ends_at
    clock.now = ends_at - 1
    assert take(storage, "victim").wait_ms == 1
    clock.now = ends_at
    assert take(storage, "victim").wait_ms == 0


@strategies
@pytest.mark.parametrize("max_keys", [500, 10_000])
def test_blocked_stay_blocked_among_the_blocked(strategy, max_keys):
    """Strangers who all go to their limits free nobody either; whoever comes then has to share."""
    clock = Clock()
    storage = MemoryStorage(strategy, max_keys=max_keys, clock=clock)
    take(storage, "victim", cost=5)
    wait_ms = take(storage, "victim").wait_ms
    ends_at = clock.now + wait_ms
    for part in range(10):
        flood(storage, range(part * 1500, (part + 1) * 1500), cost=5)
        clock.now += (wait_ms - 10) // 10
        assert clock.now + take(storage, "victim").wait_ms >= ends_at
    clock.now = ends_at - 1
    assert take(storage, "victim").wait_ms >= 1


@strategies
def test_least_used_makes_room(strategy):
    """The one with the smallest share of its amount goes, whatever that is; none that has used more than half."""
    clock = Clock()
    storage = memory_under(clock, strategy, 5)
    hundred = Quota(100, 60)
    for subject, quota, cost in (
        *(("half", FIVE, 3), ("third", hundred, 34), ("tenth", hundred, 10)),
        *(("full", FIVE, 5), ("most", hundred, 99)),
    ):
        take(storage, subject, quota, cost=cost)
    gone = []
    subjects = {"half": FIVE, "third": hundred, "tenth": hundred, "full": FIVE, "most": hundred}
    for newcomer in range(6):
        take(storage, f"new-{newcomer}", FIVE, cost=5)
        young = windows_of(storage).young[0]
        gone += [name for name, quota in subjects.items() if quota.field + name not in young and name not in gone]
    assert gone == ["tenth", "third"]


@strategies
def test_those_at_their_limits_stand_in_nobodys_way(strategy):
    """However many of the oldest are at their limits, soon one is found that makes room."""
    clock = Clock()
    storage = memory_under(clock, strategy, 60)
    flood(storage, range(30), cost=5)
    flood(storage, range(30, 60))
    flood(storage, (f"new-{name}" for name in range(10)))
    own = [name for name in windows_of(storage).young[0] if "new-" in name]
    assert len(own) >= 5


@strategies
def test_newcomers_share_what_is_left_when_all_are_at_their_limits(strategy):
    """Where nobody makes room strangers share one budget for each quota, which is neither free nor closed."""
    clock = Clock()
    storage = memory_under(clock, strategy, 20)
    other = Quota(2, 60, "other")
    flood(storage, range(20), cost=5)
    admitted = [take(storage, f"new-{name}").wait_ms == 0 for name in range(8)]
    assert admitted == [True] * 5 + [False] * 3
    assert [take(storage, f"new-{name}", other).wait_ms == 0 for name in range(3)] == [True, True, False]
    assert all(take(storage, f"noise-{name}").wait_ms for name in range(20))
    clock.now += 121_000
    assert take(storage, "new-9").remaining == [4]


@strategies
def test_shared_budget_is_not_refilled_by_a_turn(strategy):
    """What strangers share is remembered over the end of a window as what one has."""
    clock = Clock()
    storage = memory_under(clock, strategy, 20)
    take(storage, "first", cost=0)
    clock.now += 59_000
    flood(storage, range(20), cost=5)
    assert [take(storage, f"new-{name}").wait_ms == 0 for name in range(6)] == [True] * 5 + [False]
    clock.now += 1500
    flood(storage, range(100, 120), cost=5)
    assert take(storage, "new-7", cost=5).wait_ms > 0


@strategies
def test_refund_after_an_eviction_goes_to_nobody(strategy):
    """A counter that had to make room takes its refund along: it does not enlarge what strangers share."""
    clock = Clock()
    storage = memory_under(clock, strategy, 10)
    evicted = take(storage, "ada", cost=2)
    flood(storage, range(10), cost=5)
    assert [take(storage, f"new-{name}").wait_ms == 0 for name in range(6)] == [True] * 5 + [False]
    drive(refund([evicted]))
    assert take(storage, "new-7").wait_ms > 0


@strategies
def test_subject_named_like_the_shared_counter(strategy):
    """A stranger may call himself what he likes: he has his own budget, and makes room like others."""
    clock = Clock()
    storage = memory_under(clock, strategy, 10)
    take(storage, memory._OVERFLOW, cost=5)
    flood(storage, range(9), cost=5)
    assert take(storage, "new").wait_ms == 0
    storage = memory_under(clock, strategy, 10)
    flood(storage, (f"{name}{memory._OVERFLOW}" for name in range(10)))
    assert take(storage, "ada", cost=5).wait_ms == 0
    assert take(storage, "bob", cost=5).wait_ms == 0


@strategies
def test_look_makes_nobody_go(strategy):
    """A look, and a request that is refused, count nothing and so need no room."""
    clock = Clock()
    storage = memory_under(clock, strategy, 10)
    flood(storage, range(9))
    take(storage, "blocked", cost=5)
    before = set(windows_of(storage).young[0])
    take(storage, "stranger", cost=0)
    drive(storage.decide((Demand("blocked", (FIVE,), 1), Demand("stranger", (FIVE,), 1))))
    assert set(windows_of(storage).young[0]) == before


# Windows


@strategies
def test_windows_end_exactly(strategy):
    """At the last millisecond a window still holds, at the next it does not."""
    clock = Clock()
    storage = memory_under(clock, strategy)
    take(storage, "ada", cost=5)
    clock.now += 59_999
    assert take(storage, "ada", cost=5).wait_ms > 0
    # The sliding counter weighs nothing any more as soon as 5 times what is left of it is less than a window.
    clock.now += {"sliding-window-counter": 48_001, "fixed-window": 0, "moving-window": 1}[strategy]
    assert take(storage, "ada", cost=5).wait_ms == 1
    clock.now += 1
    assert take(storage, "ada", cost=5).wait_ms == 0


@strategies
@pytest.mark.parametrize("windows", [2, 3, 7, 1000])
@pytest.mark.parametrize("off_ms", [0, 1, 59_999])
def test_time_jumps(strategy, windows, off_ms):
    """After any number of windows nothing is left of the past, and shards keep their phases."""
    clock = Clock()
    storage = MemoryStorage(strategy, max_keys=20_000, clock=clock)
    flood(storage, range(100), cost=5)
    phases = [end % 60_000 for end in windows_of(storage).ends]
    assert len(set(phases)) == len(phases) == 8
    clock.now += windows * 60_000 + off_ms + 1
    for name in range(100):
        assert take(storage, f"noise-{name}").remaining == [4]
    assert [end % 60_000 for end in windows_of(storage).ends] == phases


class Unhurried(Quota):
    """Lets other threads go first wherever its amount is looked at, which is between reading and counting."""

    __slots__ = ("_amount",)

    @property
    def amount(self) -> int:
        time.sleep(0)
        return self._amount

    @amount.setter
    def amount(self, amount: int) -> None:
        self._amount = amount


@strategies
def test_threads_share_the_limit(strategy):
    """Eight threads with event loops of their own admit exactly the limit together."""
    storage = MemoryStorage(strategy, clock=Clock())
    quota = Unhurried(150, 3600)
    admitted: list[int] = []
    begin = threading.Barrier(8)

    async def ask() -> int:
        return sum([not (await storage.decide((Demand("ada", (quota,), 1),))).wait_ms for _ in range(100)])

    def work() -> None:
        begin.wait(5)
        admitted.append(asyncio.run(ask()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 150


@strategies
def test_settled_beyond_all_bounds(strategy):
    """A cost that was settled absurdly high blocks for as long as windows are, and no longer."""
    clock = Clock()
    storage = memory_under(clock, strategy)
    drive(settle([take(storage, "ada")], 10**24))
    assert 0 < take(storage, "ada").wait_ms <= 120_000
    clock.now += 121_000
    assert take(storage, "ada").wait_ms == 0
