"""Counting in the storages of ``limits`` that we do not serve ourselves: memcached and MongoDB.

``limits`` takes from one quota at a time. A decision reads every quota together, takes from every quota
together only if all have room, and gives back if another process was faster in between. Where a storage cannot
give back, a request that lost such a race stays counted: a race admits too few, never too many.
Windows are told apart by the clocks of the processes (and MongoDB's own), which have to agree.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from hashlib import blake2b
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.verdicts import Change, Demand, Verdict
from envelope.rate_limit.windows import sliding_reset_ms, sliding_wait_ms
from envelope.storage.errors import StorageUnavailableError

Result = TypeVar("Result")

#: Scheme -> the package that ``limits`` needs for it.
_CLIENTS = {"memcached": "memcachio", "mongodb": "motor", "mongodb+srv": "motor"}

#: What the clients are given: memcachio would wait for a reply for ever.
_OPTIONS: dict[str, dict[str, float]] = {"memcached": {"connect_timeout": 1.0, "read_timeout": 1.0}}

#: Memcached takes a longer expiry for a date, long past: the counter is gone at once and limits nothing.
_MEMCACHED_LONGEST_MS = 30 * 86_400_000

#: Names in the storages are public: another version of this library has to find the same.
_NAMESPACE = "envelope:1"

#: ``reset`` remembers the quotas it has seen; there are as many as routes with limits, so this is plenty.
_MOST_QUOTAS = 4096

#: As an amount: takes whatever is there already.
_ANY = 2**53


class _Window(NamedTuple):
    """What a storage knows of one quota of one subject.

    Attributes:
        current: The count of the current window.
        left_ms: Until the current window ends, or the oldest entry leaves; all of it if there is nothing.
        previous: The count of the window before; only the sliding counter has one.
    """

    current: int
    left_ms: int
    previous: int = 0


class _Asked(NamedTuple):
    """A quota of a subject, its name in the storage, and what is taken from it."""

    key: str
    quota: Quota
    cost: int


class _Windows:
    """How the windows of one strategy lie in a storage of ``limits``."""

    #: How many windows long a counter is kept.
    kept = 1

    def __init__(self, storage: Any) -> None:
        self.storage = storage

    async def read(self, key: str, quota: Quota) -> _Window:
        raise NotImplementedError

    async def take(self, key: str, quota: Quota, cost: int) -> bool:
        """Count if there is room, and tell."""
        raise NotImplementedError

    async def add(self, key: str, quota: Quota, cost: int) -> None:
        """Count without asking for room."""
        raise NotImplementedError

    async def give_back(self, key: str, quota: Quota, cost: int, taken_at: float) -> None:
        """Count less, unless the window of that time is over."""
        raise NotImplementedError

    async def clear(self, key: str, quota: Quota) -> None:  # noqa: ARG002 - the sliding counter needs it
        await self.storage.clear(key)

    def used(self, window: _Window, quota: Quota) -> int:  # noqa: ARG002 - the sliding counter needs it
        return window.current

    def reset_ms(self, window: _Window, quota: Quota) -> int:  # noqa: ARG002 - the sliding counter needs it
        return window.left_ms if window.current else 0

    def wait_ms(self, window: _Window, quota: Quota, cost: int) -> int:
        """Give the milliseconds until a cost fits; one above the amount never does, and waits as for all of it."""
        if not cost or self.used(window, quota) + cost <= quota.amount:
            return 0
        # One more: limits reckons in floats, and an entry may count in its last millisecond.
        return self.room_ms(window, quota, max(0, quota.amount - cost)) + 1

    def room_ms(self, window: _Window, quota: Quota, fitting: int) -> int:
        """Give the milliseconds until use is at most ``fitting``."""
        raise NotImplementedError


class _FixedWindows(_Windows):
    """A counter whose window begins with its first hit."""

    async def read(self, key: str, quota: Quota) -> _Window:
        count, ends_at = await asyncio.gather(self.storage.get(key), self.storage.get_expiry(key))
        left_s = ends_at - time.time()
        # A counter whose end is not known (evicted, or not written yet) lasts a whole window at most.
        return _Window(count, _whole_ms(left_s) if count and left_s > 0 else quota.window_ms)

    async def take(self, key: str, quota: Quota, cost: int) -> bool:
        if await self.storage.incr(key, quota.window_ms // 1000, cost) <= quota.amount:
            return True
        await self._decrease(key, quota, cost)
        return False

    async def add(self, key: str, quota: Quota, cost: int) -> None:
        await self.storage.incr(key, quota.window_ms // 1000, cost)

    async def give_back(self, key: str, quota: Quota, cost: int, taken_at: float) -> None:
        window = await self.read(key, quota)
        if window.current and _begun_at(window, quota) <= taken_at:
            await self._decrease(key, quota, min(cost, window.current))

    async def _decrease(self, key: str, quota: Quota, cost: int) -> None:
        if hasattr(self.storage, "bridge"):  # memcached adds no negative number
            await self.storage.bridge.decr(key, cost)
        else:
            await self.add(key, quota, -cost)

    def room_ms(self, window: _Window, quota: Quota, fitting: int) -> int:  # noqa: ARG002 - all of it leaves at once
        # Memcached's clock ticks about once a second: 29 ms late were seen after 30 s, and it can be a second.
        return window.left_ms + min(1000, quota.window_ms // 200)


class _SlidingWindows(_Windows):
    """Two counters, of which the older is weighted."""

    kept = 2

    async def read(self, key: str, quota: Quota) -> _Window:
        window_s = quota.window_ms // 1000
        previous, previous_ttl, current, ttl = await self.storage.get_sliding_window(key, window_s)
        # A counter is kept for two windows. MongoDB says 0 for what it does not know.
        left_ms = _whole_ms(ttl - window_s) if ttl else quota.window_ms
        return _Window(current, min(left_ms, quota.window_ms), previous if previous_ttl else 0)

    async def take(self, key: str, quota: Quota, cost: int, amount: int = 0) -> bool:
        window_s = quota.window_ms // 1000
        return bool(await self.storage.acquire_sliding_window_entry(key, amount or quota.amount, window_s, cost))

    async def add(self, key: str, quota: Quota, cost: int) -> None:
        await self.take(key, quota, cost, _ANY)

    async def give_back(self, key: str, quota: Quota, cost: int, taken_at: float) -> None:
        if hasattr(self.storage, "sliding_window_keys"):
            # Counters are named after their window: this one is gone when its window is over.
            _, named = self.storage.sliding_window_keys(key, quota.window_ms // 1000, taken_at)
            await getattr(self.storage, "bridge", self.storage).decr(named, cost)
            return
        window = await self.read(key, quota)
        if window.current and _begun_at(window, quota) <= taken_at:
            await self.add(key, quota, -min(cost, window.current))

    async def clear(self, key: str, quota: Quota) -> None:
        await self.storage.clear_sliding_window(key, quota.window_ms // 1000)

    def used(self, window: _Window, quota: Quota) -> int:
        return window.current + window.previous * window.left_ms // quota.window_ms

    def reset_ms(self, window: _Window, quota: Quota) -> int:
        return sliding_reset_ms(window.previous, window.current, window.left_ms, quota.window_ms)

    def room_ms(self, window: _Window, quota: Quota, fitting: int) -> int:
        if self.used(window, quota) <= fitting:
            return quota.window_ms
        return sliding_wait_ms(window.previous, window.current, window.left_ms, quota.window_ms, fitting)


class _MovingWindows(_Windows):
    """A log, of which a storage tells the number of entries and the oldest."""

    async def read(self, key: str, quota: Quota) -> _Window:
        window_s = quota.window_ms // 1000
        oldest_at, count = await self.storage.get_moving_window(key, quota.amount, window_s)
        # MongoDB says None for the oldest of no entries.
        return _Window(count, _whole_ms(oldest_at + window_s - time.time()) if count else quota.window_ms)

    async def take(self, key: str, quota: Quota, cost: int) -> bool:
        return bool(await self.storage.acquire_entry(key, quota.amount, quota.window_ms // 1000, cost))

    async def add(self, key: str, quota: Quota, cost: int) -> None:
        """Count as much as there is room for: the log holds no more."""
        if room := min(cost, quota.amount - (await self.read(key, quota)).current):
            await self.take(key, quota, room)

    async def give_back(self, key: str, quota: Quota, cost: int, taken_at: float) -> None:
        """Do nothing: ``limits`` cannot take an entry out of a log."""

    def room_ms(self, window: _Window, quota: Quota, fitting: int) -> int:
        # The oldest entry makes room for one; nobody tells when the next ones leave.
        return window.left_ms if window.current - fitting == 1 else quota.window_ms


#: The windows, and what the storage has to have for them.
_STRATEGIES: dict[str, tuple[type[_Windows], str]] = {
    "sliding-window-counter": (_SlidingWindows, "get_sliding_window"),
    "fixed-window": (_FixedWindows, "incr"),
    "moving-window": (_MovingWindows, "get_moving_window"),
}


class LimitsStorage:
    """Quotas in memcached or MongoDB.

    Args:
        url: ``memcached://host:11211``, several servers separated by commas; or a URL of MongoDB, with all that
            its client reads from it.
        strategy: How windows move. Memcached has no ``"moving-window"``.

    Raises:
        ConfigurationError: The URL is of no use, a package is missing, or the storage has no such strategy.
    """

    def __init__(self, url: str, strategy: str) -> None:
        from limits.storage import storage_from_string  # noqa: PLC0415 - who has no such storage does not pay for it

        scheme, _, place = url.partition("://")
        if (package := _CLIENTS.get(scheme)) is None:
            raise ConfigurationError(f"unknown storage {scheme!r} (known through limits: {', '.join(_CLIENTS)})")
        if not place.split("/")[0].rpartition("@")[2]:
            raise ConfigurationError(f"a storage at {scheme}:// names no server; write {scheme}://host:port")
        if find_spec(package) is None:
            raise ConfigurationError(f"a storage at {scheme}:// needs a package; install {package}")
        options = _OPTIONS.get(scheme, {})
        self._build: Callable[[], Any] = lambda: storage_from_string(
            f"async+{url}", wrap_exceptions=True, **options
        )
        try:
            probe = self._build()
        except Exception as error:  # noqa: BLE001 - limits' own errors, ValueErrors, and those of the clients
            # limits quotes the URL, which may hold a password; so no chaining either.
            reason = str(error).replace(url, f"{scheme}://...")
            raise ConfigurationError(f"limits cannot use the storage at {scheme}://...: {reason}") from None
        able = {name: windows for name, (windows, needed) in _STRATEGIES.items() if hasattr(probe, needed)}
        if strategy not in able:
            raise ConfigurationError(f"{scheme}:// cannot count by {strategy!r} (it can: {', '.join(able)})")
        self._scheme = scheme
        self._strategy = able[strategy]
        self._prefix = f"{_NAMESPACE}:{strategy}/"
        self._windows: dict[asyncio.AbstractEventLoop, _Windows] = {}
        self._quotas: dict[str, Quota] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def check(self, quota: Quota) -> None:
        """Refuse a quota that this storage would not count.

        Raises:
            ConfigurationError: Its window is too long for memcached.
        """
        if self._scheme == "memcached" and quota.window_ms * self._strategy.kept > _MEMCACHED_LONGEST_MS:
            days = _MEMCACHED_LONGEST_MS // self._strategy.kept // 86_400_000
            raise ConfigurationError(
                f"memcached cannot count {quota.name!r}; take a window of {days} days at most, or another storage"
            )

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Take every demand or none, as far as the storage can.

        Raises:
            ConfigurationError: See ``check``.
            StorageUnavailableError: Nothing is known; the demands may have been taken.
        """
        for quota in (quota for demand in demands for quota in demand.quotas):
            if quota.field not in self._quotas:
                self.check(quota)
                if len(self._quotas) == _MOST_QUOTAS:
                    del self._quotas[next(iter(self._quotas))]
                self._quotas[quota.field] = quota
        return await self._run(lambda windows: self._decide(windows, demands))

    async def _decide(self, windows: _Windows, demands: Sequence[Demand]) -> Verdict:
        asked = [
            _Asked(self._key(demand.subject, quota), quota, demand.cost)
            for demand in demands
            for quota in demand.quotas
        ]
        found, waits = await _look(windows, asked)
        taken = [False] * len(asked)
        if not _longest(asked, waits):
            taken = await asyncio.gather(
                *(_take(windows, each, wait) for each, wait in zip(asked, waits, strict=True))
            )
            lost = [not got and not wait for got, wait in zip(taken, waits, strict=True)]
            if any(lost):  # another process was faster
                if any(late and not each.quota.is_shadow for late, each in zip(lost, asked, strict=True)):
                    await _give_back(windows, itertools.compress(asked, taken), time.time())
                    taken = [False] * len(asked)
                found, again = await _look(windows, asked)
                waits = [0 if got else max(wait, late) for got, wait, late in zip(taken, again, lost, strict=True)]
            else:
                found = [
                    window._replace(current=window.current + each.cost) if got else window
                    for window, each, got in zip(found, asked, taken, strict=True)
                ]
        return Verdict(
            self,
            demands,
            [
                max(0, each.quota.amount - windows.used(at, each.quota))
                for at, each in zip(found, asked, strict=True)
            ],
            [windows.reset_ms(at, each.quota) for at, each in zip(found, asked, strict=True)],
            waits if any(waits) else None,
            _longest(asked, waits),
            time.time(),
        )

    async def settle(self, changes: Sequence[Change], taken_at: float) -> None:
        """Correct what was taken, as far as the storage can.

        Raises:
            StorageUnavailableError: Nothing is known.
        """
        more = [_Asked(self._key(who, quota), quota, by) for who, quota, by in changes if by > 0]
        less = [_Asked(self._key(who, quota), quota, -by) for who, quota, by in changes if by < 0]

        async def change(windows: _Windows) -> None:
            await asyncio.gather(*(windows.add(*each) for each in more), _give_back(windows, less, taken_at))

        await self._run(change)

    async def reset(self, subject: str) -> None:
        """Forget what was counted for a subject, in the quotas that this process has decided since it started.

        Raises:
            StorageUnavailableError: Nothing is known.
        """
        quotas = list(self._quotas.values())

        async def clear(windows: _Windows) -> None:
            await asyncio.gather(*(windows.clear(self._key(subject, quota), quota) for quota in quotas))

        await self._run(clear)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        if (windows := self._windows.pop(asyncio.get_running_loop(), None)) is None:
            return
        storage = windows.storage  # limits closes nothing itself
        client = (
            (await storage.bridge.get_storage()).connection_pool if hasattr(storage, "bridge") else storage.storage
        )
        client.close()

    def _key(self, subject: str, quota: Quota) -> str:
        """Name a counter: short and printable for memcached, and telling nobody who the subject is."""
        name = f"{len(quota.field)}:{quota.field}{subject}".encode("utf-8", "surrogatepass")
        return self._prefix + blake2b(name, digest_size=16).hexdigest()

    async def _run(self, work: Callable[[_Windows], Coroutine[Any, Any, Result]]) -> Result:
        """Do it in a task of its own, which outlives a caller that is cancelled.

        Cancelled inside of a client, it would leave demands half taken; and memcachio's pool, which loses a
        connection with each attempt to connect that is cancelled, is dead after the second.
        """
        task = asyncio.create_task(self._work(work))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait([task])
        return task.result()

    async def _work(self, work: Callable[[_Windows], Coroutine[Any, Any, Result]]) -> Result:
        loop = asyncio.get_running_loop()
        try:
            if loop not in self._windows:
                self._windows = {each: windows for each, windows in self._windows.items() if not each.is_closed()}
                self._windows[loop] = self._strategy(self._build())
            return await work(self._windows[loop])
        except Exception as error:
            # The next one connects anew: memcachio stays with a connection that is silent for ever.
            self._windows.pop(loop, None)
            raise StorageUnavailableError(
                f"the storage at {self._scheme}:// failed ({type(error).__name__})"
            ) from error

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # was seen, also if nobody waits for it any more


async def _look(windows: _Windows, asked: Sequence[_Asked]) -> tuple[list[_Window], list[int]]:
    found = await asyncio.gather(*(windows.read(each.key, each.quota) for each in asked))
    return found, [windows.wait_ms(at, each.quota, each.cost) for at, each in zip(found, asked, strict=True)]


async def _take(windows: _Windows, asked: _Asked, wait: int) -> bool:
    return not wait and (not asked.cost or await windows.take(*asked))


async def _give_back(windows: _Windows, taken: Iterable[_Asked], taken_at: float) -> None:
    await asyncio.gather(*(windows.give_back(*each, taken_at) for each in taken))


def _longest(asked: Sequence[_Asked], waits: Sequence[int]) -> int:
    return max((wait for each, wait in zip(asked, waits, strict=True) if not each.quota.is_shadow), default=0)


def _whole_ms(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))


def _begun_at(window: _Window, quota: Quota) -> float:
    # A millisecond earlier, for left_ms is rounded up: nobody counts in a window before it begins.
    return time.time() + (window.left_ms - 1 - quota.window_ms) / 1000
