"""Counting in this process: bounded, flat in cost, without tasks or threads.

The counters of one window length lie in shards, each with its own phase, so that whatever happens to many
counters at once happens to one shard, which holds a few thousand. A shard has two generations of counters.
At the end of a window the old one is dropped whole, which costs nothing per counter, and the young one
becomes old. Nothing sweeps on the path of a request but the turn of a few shards.

A generation is full when it holds its share of ``max_keys``. A counter that has used at most half of its
amount makes room then, the least used of a few of the oldest; one nearer to its limit never does. If nothing
makes room, the newcomers of a shard share one counter.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Generic, TypeVar, cast

from envelope.events import LIMITS_MEMORY_FULL, log_event
from envelope.rate_limit.quotas import Quota, Strategy, check_log, read_field
from envelope.rate_limit.verdicts import Change, Demand, Verdict
from envelope.rate_limit.windows import sliding_reset_ms, sliding_wait_ms
from envelope.storage.clock import monotonic_ms
from envelope.storage.forks import renew_after_fork

logger = logging.getLogger("envelope.rate_limit")

Count = TypeVar("Count")
State = tuple[Any, ...]

#: Counters of a full shard: dropping, growing or searching so many stays far below a millisecond.
_SHARD = 4096

#: How many of the oldest counters are looked at when one has to make room.
_LOOKED_AT = 8

#: The share of its amount up to which a counter may have to make room for another.
_IDLE_SHARE = 0.5

#: Begins the name of the counter that newcomers share; other names begin with a digit.
_OVERFLOW = "\0"

#: Shards that a request turns at the most, beside its own.
_TURNED_AT_ONCE = 8

#: Bits of a fixed window's count; its start stands above them.
_COUNT_BITS = 56
_COUNT_MASK = (1 << _COUNT_BITS) - 1


class MemoryStorage:
    """Quotas of one process, for any number of event loops and threads.

    Args:
        strategy: How windows move.
        max_keys: The most counters of one window length in each of two generations.
        clock: Milliseconds that only grow.
    """

    def __init__(
        self, strategy: Strategy, *, max_keys: int = 1_000_000, clock: Callable[[], int] = monotonic_ms
    ) -> None:
        self._clock = clock
        self._strategy: Strategy = strategy
        self._make_windows = _STRATEGIES[strategy]
        self._max_keys = max_keys
        self._windows: dict[int, _Windows[Any]] = {}
        self._turn_at = 0
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """Make the lock anew; a thread of the parent may have held it when it forked."""
        self._lock = threading.Lock()

    def check(self, quota: Quota) -> None:
        """Refuse a quota whose log would be too long."""
        check_log(self._strategy, quota)

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Take every demand or none."""
        remaining: list[int] = []
        resets: list[int] = []
        states: list[State] = []
        fits = True
        with self._lock:
            now = self._clock()
            if now >= self._turn_at:
                self._turn(now)
            for subject, quotas, cost, _ in demands:
                for quota in quotas:
                    windows = self._windows.get(quota.window_ms)
                    if windows is None:
                        windows = self._open(quota.window_ms, now)
                    field = quota.field
                    state = windows.weigh(field + subject, field if cost else "", now)
                    room = quota.amount - state[0] - cost
                    if room < 0:
                        if cost:
                            fits = False
                        else:  # more was settled than fits
                            room = 0
                    remaining.append(room)
                    states.append(state)
            if not fits:
                return self._refuse(demands, remaining, states, now)
            index = 0
            for _, quotas, cost, _ in demands:
                for quota in quotas:
                    resets.append(self._windows[quota.window_ms].take(states[index], cost))
                    index += 1
            return Verdict(self, demands, remaining, resets, None, 0, now)

    def _refuse(self, demands: Sequence[Demand], remaining: list[int], states: list[State], now: int) -> Verdict:
        """Finish a decision in which a quota does not fit; it may be one in shadow, which refuses nothing."""
        waits: list[int] = []
        resets: list[int] = []
        wait_ms = index = 0
        for _, quotas, cost, _ in demands:
            for quota in quotas:
                wait = 0
                if remaining[index] < 0:
                    wait = self._windows[quota.window_ms].wait_ms(states[index], quota.amount - cost)
                    if wait > wait_ms and not quota.is_shadow:
                        wait_ms = wait
                waits.append(wait)
                index += 1
        index = 0
        for _, quotas, cost, _ in demands:
            for quota in quotas:
                taken = 0 if wait_ms or waits[index] else cost
                remaining[index] = max(0, remaining[index] + cost - taken)
                resets.append(self._windows[quota.window_ms].take(states[index], taken))
                index += 1
        return Verdict(self, demands, remaining, resets, waits, wait_ms, now)

    async def settle(self, changes: Sequence[Change], taken_at: int) -> None:
        """Correct what was taken at that time."""
        with self._lock:
            now = self._clock()
            for subject, quota, difference in changes:
                windows = self._windows.get(quota.window_ms)
                if windows is None:
                    windows = self._open(quota.window_ms, now)
                name = quota.field + subject
                if difference > 0:
                    windows.add(name, quota.field, difference, taken_at, now)
                else:
                    windows.give_back(name, -difference, taken_at, now)

    async def reset(self, subject: str) -> None:
        """Forget everything that was counted for a subject."""
        with self._lock:
            for windows in self._windows.values():
                windows.forget(subject)

    async def quotas_of(self, subject: str) -> Sequence[Quota]:
        """Tell which quotas are counted for a subject."""
        with self._lock:
            fields = [field for windows in self._windows.values() for field in windows.fields_of(subject)]
        return [quota for quota in map(read_field, fields) if quota is not None]

    async def aclose(self) -> None:
        """Do nothing; there are no connections."""

    def __len__(self) -> int:
        """Give the number of counters."""
        return sum(
            len(counters) for windows in self._windows.values() for counters in (*windows.young, *windows.old)
        )

    def _open(self, window_ms: int, now: int) -> _Windows[Any]:
        windows = self._windows[window_ms] = self._make_windows(window_ms, self._max_keys, now)
        self._turn_at = now
        return windows

    def _turn(self, now: int) -> None:
        self._turn_at = min((windows.turn_due(now) for windows in self._windows.values()), default=now + 1)


class _Windows(Generic[Count]):
    """The counters of one window length, by name; a name is a quota's field and a subject."""

    def __init__(self, window: int, max_keys: int, now: int) -> None:
        shards = 1
        while shards * _SHARD < max_keys:
            shards *= 2
        self.window = window
        self.mask = shards - 1
        self.young: list[dict[str, Count]] = [{} for _ in range(shards)]
        self.old: list[dict[str, Count]] = [{} for _ in range(shards)]
        self.ends = [now + window * (index + 1) // shards for index in range(shards)]
        self._most = -(-max_keys // shards)
        self._tick = max(1, window // (2 * shards))
        self._tick_at = now
        self._next = 0
        self._is_full = False
        self._idle: dict[int, str] = {}
        self._fields: set[str] = set()

    def weigh(self, name: str, field: str, now: int) -> State:
        """Give what is used, followed by what the other methods need to know.

        Args:
            name: Of the counter.
            field: What its name begins with, if something may be taken; empty only looks.
            now: Milliseconds.
        """
        raise NotImplementedError

    def take(self, state: State, cost: int) -> int:
        """Count, and give the milliseconds until there begins to be more left."""
        raise NotImplementedError

    def wait_ms(self, state: State, fitting: int) -> int:
        """Give the milliseconds until use is at most ``fitting``."""
        raise NotImplementedError

    def add(self, name: str, field: str, cost: int, taken_at: int, now: int) -> None:
        """Count more for what was taken at that time."""
        raise NotImplementedError

    def give_back(self, name: str, cost: int, taken_at: int, now: int) -> None:
        """Count less for what was taken at that time, if it still counts; never below nothing."""
        raise NotImplementedError

    def turn(self, shard: int, now: int) -> None:
        """Begin a shard's next window."""
        late = now - self.ends[shard]
        self.old[shard] = self.young[shard] if late < self.window else {}
        self.young[shard] = {}
        self.ends[shard] += (late // self.window + 1) * self.window

    def turn_due(self, now: int) -> int:
        """Turn shards whose time has come although nobody asked for them, a few at once, and give the next time.

        Each shard is looked at twice in a window, as long as there are requests.
        """
        looks = min((now - self._tick_at) // self._tick + 1, _TURNED_AT_ONCE)
        for _ in range(looks):
            if self.ends[self._next] <= now:
                self.turn(self._next, now)
            self._next = (self._next + 1) & self.mask
        # After a silence all of them are late, once.
        self._tick_at = max(self._tick_at + looks * self._tick, now - self.mask * self._tick)
        return self._tick_at

    def place(self, name: str, field: str, shard: int, now: int) -> str:
        """Find the place of a counter that the young generation does not hold yet."""
        self._fields.add(field)
        if len(self.young[shard]) < self._most:
            return name
        idle = self._find_idle(shard, now)
        if idle is not None:
            self._idle[shard] = idle
            return name
        if not self._is_full:
            self._is_full = True
            log_event(logger, LIMITS_MEMORY_FULL)
        return _OVERFLOW + field

    def make_room(self, shard: int, now: int) -> None:
        """Let the counter go that was found for a new one, if the young generation is full."""
        young = self.young[shard]
        if len(young) >= self._most:
            idle = self._idle.pop(shard, None)
            if idle not in young:  # another quota of the same request was given it
                idle = self._find_idle(shard, now)
            if idle is not None:
                del young[idle]

    def _find_idle(self, shard: int, now: int) -> str | None:
        """Find the least used of a few of the oldest counters; none that is near its limit."""
        young = self.young[shard]
        found, least = None, _IDLE_SHARE
        for name in list(islice(young, _LOOKED_AT)):
            young[name] = young.pop(name)  # to the end: the next search looks at others
            share = 1.0 if name.startswith(_OVERFLOW) else self.weigh(name, "", now)[0] / _amount_of(name)
            if share <= least:
                found, least = name, share
        return found

    def forget(self, subject: str) -> None:
        """Drop the counters of a subject."""
        for field in self._fields:
            name = field + subject
            shard = hash(name) & self.mask
            self.young[shard].pop(name, None)
            self.old[shard].pop(name, None)

    def fields_of(self, subject: str) -> list[str]:
        """Give the fields of the counters that a subject has."""
        shards = [(field, hash(field + subject) & self.mask) for field in self._fields]
        return [
            field
            for field, shard in shards
            if field + subject in self.young[shard] or field + subject in self.old[shard]
        ]


def _amount_of(name: str) -> int:
    return int(name[: name.index("/")])


class _SlidingWindows(_Windows[int]):
    """Young: the current windows; old: those before."""

    def weigh(self, name: str, field: str, now: int) -> State:
        shard = hash(name) & self.mask
        left = self.ends[shard] - now
        if left <= 0:
            self.turn(shard, now)
            left = self.ends[shard] - now
        young, old = self.young[shard], self.old[shard]
        current = young.get(name, 0)
        previous = old.get(name, 0) if old else 0
        if not current and field:
            place = self.place(name, field, shard, now)
            if place is not name:
                name, current, previous = place, young.get(place, 0), previous + old.get(place, 0)
        used = current + previous * left // self.window if previous else current
        return used, shard, name, current, previous, left

    def take(self, state: State, cost: int) -> int:
        _, shard, name, current, previous, left = state
        if cost:
            if not current:
                self.make_room(shard, self.ends[shard] - left)
            self.young[shard][name] = current = current + cost
        return sliding_reset_ms(previous, current, left, self.window) if previous else left if current else 0

    def wait_ms(self, state: State, fitting: int) -> int:
        _, _, _, current, previous, left = state
        return sliding_wait_ms(previous, current, left, self.window, fitting)

    def add(self, name: str, field: str, cost: int, taken_at: int, now: int) -> None:
        counts = self._counts_at(name, taken_at, now)
        if name in counts:
            counts[name] += cost
        else:
            self.take(self.weigh(name, field, now), cost)

    def give_back(self, name: str, cost: int, taken_at: int, now: int) -> None:
        counts = self._counts_at(name, taken_at, now)
        if counts.get(name, 0) > cost:
            counts[name] -= cost
        else:
            counts.pop(name, None)

    def _counts_at(self, name: str, taken_at: int, now: int) -> dict[str, int]:
        """Give the counts of the window in which something was taken; empty if that is long over."""
        _, shard, _, _, _, left = self.weigh(name, "", now)
        begun = now + left - self.window
        if taken_at >= begun:
            return self.young[shard]
        return self.old[shard] if taken_at >= begun - self.window else {}


class _FixedWindows(_Windows[int]):
    """A count, and above its bits the start of its window, which is the first hit. Old: begun a turn ago."""

    def weigh(self, name: str, field: str, now: int) -> State:
        shard = hash(name) & self.mask
        if self.ends[shard] <= now:
            self.turn(shard, now)
        while True:
            for counts in (self.young[shard], self.old[shard]):
                packed = counts.get(name)
                if packed is not None and (left := (packed >> _COUNT_BITS) + self.window - now) > 0:
                    return packed & _COUNT_MASK, shard, counts, name, packed, left
            place = self.place(name, field, shard, now) if field else name
            if place is name:
                return 0, shard, None, name, now << _COUNT_BITS, self.window
            name, field = place, ""  # the shared counter, which may count already

    def take(self, state: State, cost: int) -> int:
        used, shard, counts, name, packed, left = state
        if cost:
            if counts is None:  # a new window
                counts = self.young[shard]
                self.make_room(shard, packed >> _COUNT_BITS)
            counts[name] = packed + min(cost, _COUNT_MASK - used)
        return left if used or cost else 0

    def wait_ms(self, state: State, fitting: int) -> int:  # noqa: ARG002 - the whole count leaves at once
        return state[-1]  # type: ignore[no-any-return]

    def add(self, name: str, field: str, cost: int, taken_at: int, now: int) -> None:  # noqa: ARG002 - taken now
        self.take(self.weigh(name, field, now), cost)

    def give_back(self, name: str, cost: int, taken_at: int, now: int) -> None:
        used, _, counts, _, packed, _ = self.weigh(name, "", now)
        if counts is not None and taken_at >= packed >> _COUNT_BITS:
            counts[name] = packed - min(cost, used)


class _Log:
    """When what was taken, oldest first, and the sum of it."""

    __slots__ = ("entries", "total")

    def __init__(self) -> None:
        self.entries: deque[tuple[int, int]] = deque()
        self.total = 0

    def add(self, at: int, cost: int) -> None:
        later = []
        while self.entries and self.entries[-1][0] > at:
            later.append(self.entries.pop())
        self.entries.append((at, cost))
        self.entries.extend(reversed(later))
        self.total += cost

    def expire(self, before: int) -> int:
        while self.entries and self.entries[0][0] < before:
            self.total -= self.entries.popleft()[1]
        return self.total

    def give_back(self, taken_at: int, cost: int) -> None:
        kept = []
        while cost and self.entries and self.entries[-1][0] >= taken_at:
            at, taken = self.entries.pop()
            back = min(cost, taken) if at == taken_at else 0
            cost -= back
            self.total -= back
            kept.append((at, taken - back))
        self.entries.extend(entry for entry in reversed(kept) if entry[1])


class _MovingWindows(_Windows[_Log]):
    """Young: logs written to since the turn; old: written to in the window before."""

    def weigh(self, name: str, field: str, now: int) -> State:
        shard = hash(name) & self.mask
        if self.ends[shard] <= now:
            self.turn(shard, now)
        young, old = self.young[shard], self.old[shard]
        log, own = young.get(name) or old.get(name), None
        if name not in young and field and (place := self.place(name, field, shard, now)) is not name:
            name, log, own = place, young.get(place) or old.get(place), log
        # What was taken a whole window ago, to the millisecond, still counts (limits' own rule).
        used = sum(each.expire(now - self.window) for each in (log, own) if each is not None)
        return used, shard, name, log, own, now

    def take(self, state: State, cost: int) -> int:
        _, shard, name, log, own, now = state
        if cost:
            log = self._log(shard, name, log, now)
            log.add(now, cost)
        oldest = [each.entries[0][0] for each in (log, own) if each is not None and each.entries]
        return min(oldest) + self.window + 1 - now if oldest else 0

    def _log(self, shard: int, name: str, log: _Log | None, now: int) -> _Log:
        """Give the log to write to, in the young generation."""
        if name not in self.young[shard]:
            self.make_room(shard, now)
            self.old[shard].pop(name, None)
            log = self.young[shard][name] = log if log is not None else _Log()
        return cast(_Log, log)

    def wait_ms(self, state: State, fitting: int) -> int:
        _, _, _, log, own, now = state
        logs = [each for each in (log, own) if each is not None]
        over = sum(each.total for each in logs) - fitting
        at = now
        for at, cost in merge(*(each.entries for each in logs)):  # noqa: B007 - the last one that has to go
            over -= cost
            if over <= 0:
                break
        return at + self.window + 1 - now  # type: ignore[no-any-return]

    def add(self, name: str, field: str, cost: int, taken_at: int, now: int) -> None:
        _, shard, name, log, _, _ = self.weigh(name, field, now)
        at = taken_at if taken_at >= now - self.window else now
        self._log(shard, name, log, now).add(at, cost)

    def give_back(self, name: str, cost: int, taken_at: int, now: int) -> None:
        log = self.weigh(name, "", now)[3]
        if log is not None:
            log.give_back(taken_at, cost)


_STRATEGIES: dict[str, type[_Windows[Any]]] = {
    "sliding-window-counter": _SlidingWindows,
    "fixed-window": _FixedWindows,
    "moving-window": _MovingWindows,
}
