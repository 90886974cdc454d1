"""Heart: what goes on for a process's leases without anybody waiting for it.

Leases are renewed, and releases repeated that had no answer, in a thread of its own with a connection of its own.
So neither an event loop that is kept busy, nor a request that was cancelled, nor a loop that has ended, makes a
lease end early or last too long.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from envelope import signals
from envelope.events import LOCK_RENEWAL_FAILED, log_event
from envelope.locks.lease import Lease
from envelope.signals import LossCause
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.forks import renew_after_fork

#: The share of its time that the holder of a lease does not count on: clocks run apart, and work has to end
#: before.
MARGIN = 0.1

#: A lease is renewed after this share of its time ...
_RENEWED_AFTER = 1 / 3

#: ... and looked at so often in it.
_LOOKS = 6

#: Leases that were handed off are looked at as often, so many at a time.
_MOST_OFFERS = 200

#: How long is waited between two attempts to free something, in seconds.
_AGAIN_S = 0.1

#: How long whoever ends waits for what is still to be freed, in seconds.
_FAREWELL_S = 0.5

logger = logging.getLogger("envelope.locks")

T = TypeVar("T")


class Renewable(Protocol):
    """What is asked of the storage."""

    def clock(self) -> float:
        """Give seconds that only grow."""

    async def renew(self, lease: Lease, ttl_s: float) -> bool:
        """Prolong a lease; False if it has ended."""

    async def free(self, token: str, keys: tuple[str, ...]) -> None:
        """Free whatever a token has."""

    async def is_offered(self, lease: Lease) -> bool:
        """Tell whether a lease that was handed off waits to be claimed."""

    async def close_line(self) -> None:
        """Close the connections of the running event loop."""


@dataclass(slots=True)
class _Offer:
    """A lease that was handed off.

    Attributes:
        lease: As it was handed off.
        ends_at: When it cannot be claimed any more.
        look_at: When to ask whether it was claimed.
    """

    lease: Lease
    ends_at: float
    look_at: float


class Heart:
    """Renews the leases of one process, and frees what nobody waits for.

    The thread starts with the first lease and sleeps while there is none.

    Args:
        storage: Whose leases they are.
        ttl_s: How long a lease lasts unless it is renewed.
        max_hold_s: How long a lease is renewed.
    """

    def __init__(self, storage: Renewable, *, ttl_s: float, max_hold_s: float) -> None:
        self._storage = storage
        self._ttl_s = ttl_s
        self._max_hold_s = max_hold_s
        self.begin_anew()
        _hearts.add(self)
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """Forget everything: a forked process has no thread, and the leases are its parent's."""
        self._lock = threading.Lock()
        self._leases: dict[int, Lease] = {}
        #: Leases that were handed off and may wait to be claimed; only while somebody listens.
        self._offers: dict[int, _Offer] = {}
        self._thread: _Thread | None = None
        self._is_closing = False

    def watch(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        self._leases[id(lease)] = lease
        self._see()

    def watch_offer(self, lease: Lease, lasting_s: float) -> None:
        """Tell, from now on, whether a lease that was handed off still waits to be claimed.

        Args:
            lease: Was handed off.
            lasting_s: Until it cannot be claimed any more.
        """
        if signals.listener is not None:
            now = self._storage.clock()
            self._offers[id(lease)] = _Offer(lease, now + lasting_s, now)
            self._see()

    def _see(self) -> None:
        self._is_closing = False
        thread = self._thread
        if thread is None or not thread.is_awake:  # else the thread sees it in time
            with self._lock:
                self._started().wake()

    def forget(self, lease: Lease) -> None:
        """Do not renew a lease any more."""
        self._leases.pop(id(lease), None)
        self._offers.pop(id(lease), None)

    def count_offers(self) -> int:
        """Count the leases that were handed off and wait to be claimed."""
        return len(self._offers)

    def let_go(self, token: str, keys: tuple[str, ...], lasting_s: float) -> None:
        """Free what a token may have, as soon as the storage answers.

        Args:
            token: May have the objects.
            keys: The objects.
            lasting_s: After so long they are free anyway.
        """
        with self._lock:
            self._started().do(self._free(token, keys, lasting_s))

    @contextmanager
    def entered(self, block: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter and leave a block in the thread's event loop; it is one task, so that no interruption tears it."""
        entered: Future[T] = Future()
        left = asyncio.Event()

        async def live() -> None:
            try:
                async with block as value:
                    entered.set_result(value)
                    await left.wait()
            except BaseException as error:
                if not entered.done():
                    entered.set_exception(error)
                raise

        with self._lock:
            loop = self._started().loop
            lived = asyncio.run_coroutine_threadsafe(live(), loop)
        try:
            yield entered.result()
        finally:
            loop.call_soon_threadsafe(left.set)
            wait([lived])
        lived.result()

    async def aclose(self) -> None:
        """End the thread as soon as it has no lease to renew; wait if that is now, a moment at the most."""
        self._is_closing = True
        thread = self._ended_if_idle()
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def close(self) -> None:
        """End the thread, and wait for it."""
        self._leases.clear()
        thread = self._ended_if_idle()
        if thread is not None:
            thread.join()

    def _started(self) -> _Thread:
        self._is_closing = False
        if self._thread is None:
            self._thread = _Thread(self._beat, self._storage.close_line)
        return self._thread

    def _ended_if_idle(self) -> _Thread | None:
        with self._lock:
            if self._leases:
                return None
            self._offers.clear()
            thread, self._thread = self._thread, None
            if thread is not None:
                thread.stop()
        return thread

    async def _beat(self) -> float | None:
        """Look at all leases, and give the seconds until the next look; None if there is nothing to look at."""
        looks = [self._renew(lease) for lease in list(self._leases.values())]
        looks += [self._look_at(offer) for offer in self._due_offers()]
        for error in await asyncio.gather(*looks, return_exceptions=True):
            if error is not None:
                log_event(logger, LOCK_RENEWAL_FAILED, exc_info=error)
        if self._is_closing:
            self._ended_if_idle()
        return self._ttl_s / _LOOKS if self._leases or self._offers else None

    async def _renew(self, lease: Lease) -> None:
        now = self._storage.clock()
        ttl_s = min(self._ttl_s, lease.since + self._max_hold_s - now)
        if ttl_s <= 0:
            self._lose(lease, "max_hold")
        elif not lease.is_held:
            self._lose(lease, "not_renewed")
        elif now >= lease.renewed_at + self._ttl_s * _RENEWED_AFTER:
            try:
                is_renewed = await self._storage.renew(lease, ttl_s)
            except StorageUnavailableError:
                return  # there is another look before it ends
            if id(lease) not in self._leases:
                return  # released meanwhile, or handed off
            if not is_renewed:
                self._lose(lease, "taken")
            elif lease.is_held:  # once lost is lost
                lease.renewed_at = now
                lease.deadline = now + ttl_s * (1 - MARGIN)

    def _due_offers(self) -> list[_Offer]:
        """Give the offers to look at now, the longest due first: every lease that begins wakes the thread, too."""
        now = self._storage.clock()
        waiting = [offer for offer in list(self._offers.values()) if offer.look_at <= now]
        due = nsmallest(_MOST_OFFERS, waiting, key=lambda offer: offer.look_at)
        for offer in due:
            offer.look_at = now + self._ttl_s / _LOOKS
        return due

    async def _look_at(self, offer: _Offer) -> None:
        if self._storage.clock() < offer.ends_at:
            try:
                if await self._storage.is_offered(offer.lease):
                    return
            except StorageUnavailableError:
                return  # there is another look
        self._offers.pop(id(offer.lease), None)

    def _lose(self, lease: Lease, cause: LossCause) -> None:
        self.forget(lease)
        lease.lose(cause)

    async def _free(self, token: str, keys: tuple[str, ...], lasting_s: float) -> None:
        free_at = self._storage.clock() + lasting_s
        while self._storage.clock() < free_at:
            try:
                await self._storage.free(token, keys)
            except StorageUnavailableError as error:
                if error.is_outage:
                    await asyncio.sleep(_AGAIN_S)
                    continue
            return  # also if what lies there is not ours: asking again would only fill the log


class _Thread:
    """An event loop in a thread of its own.

    Args:
        beat: What is done again and again, after the pause that it gives, or when somebody wakes the thread.
        finish: Is awaited at the end.

    Attributes:
        is_awake: The next beat comes by itself.
    """

    def __init__(
        self,
        beat: Callable[[], Coroutine[Any, Any, float | None]],
        finish: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.is_awake = False
        self._beat = beat
        self._finish = finish
        self._woken = asyncio.Event()
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="envelope-leases", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self.loop.call_soon_threadsafe(self._woken.set)

    def do(self, task: Coroutine[Any, Any, None]) -> None:
        self.loop.call_soon_threadsafe(self._begin, task)

    def stop(self) -> None:
        """Begin to end; what was asked before is still done."""
        self.loop.call_soon_threadsafe(self._stopped.set)

    def join(self) -> None:
        self._thread.join(2 * _FAREWELL_S)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        beating = self.loop.create_task(self._go_on())
        await self._stopped.wait()
        beating.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FAREWELL_S)
        await self._finish()

    async def _go_on(self) -> None:
        while True:
            self._woken.clear()
            # Before the look: what comes after it wakes the thread, or is seen.
            self.is_awake = False
            pause_s = await self._beat()
            self.is_awake = pause_s is not None
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()


_hearts: WeakSet[Heart] = WeakSet()


def count_offers() -> int:
    """Count the leases of this process that were handed off and wait to be claimed, as far as it is known."""
    return sum(heart.count_offers() for heart in list(_hearts))


@atexit.register
def _end() -> None:
    for heart in list(_hearts):
        heart.close()
