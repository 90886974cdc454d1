"""Locks of one process, for any number of event loops and threads; nothing is awaited and nothing runs beside.

A lease lasts as long as it may be held at the most: whoever holds it lives exactly as long as what it is held in.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TypeVar

from envelope.errors.tree import ConfigurationError
from envelope.locks.grants import Holder, Refusal
from envelope.locks.lease import Lease
from envelope.locks.retry_after import REMEMBERED
from envelope.storage.forks import renew_after_fork

#: Operations whose holds are remembered.
_MOST_OPERATIONS = 1000

_NO_OTHER_PROCESS = (
    "memory:// is this process's own memory, where no other process could claim a lease; name a server that they"
    " share, ObjectLocks('redis://...'), or keep the lease for the background tasks: acquire(..., background=True)"
)

T = TypeVar("T")


class MemoryLocks:
    """Locks of one process.

    Args:
        max_hold_s: How long a lease lasts.
        clock: Seconds that only grow.
    """

    def __init__(self, *, max_hold_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._max_hold_s = max_hold_s
        self.begin_anew()
        renew_after_fork(self)
        self._holds: dict[str, deque[int]] = {}
        self._fence = 0

    def begin_anew(self) -> None:
        """Forget what is held; after a fork that is the parent's."""
        self._lock = threading.Lock()
        # In the order in which they end, because all last equally long.
        self._held: dict[str, Lease] = {}

    async def acquire(self, keys: tuple[str, ...], operation: str) -> Lease | Refusal:
        """Take all the objects or none."""
        held = self._held
        if held:
            self._drop_ended()
        with self._lock:
            now = self.clock()
            busy = [key for key in keys if key in held]
            if busy:
                return Refusal([self._describe(key, held[key], now) for key in busy])
            # As on a server: greater than that of a process before this one.
            self._fence = fence = max(self._fence + 1, time.time_ns() // 1000)
            lease = Lease(self, keys, fence, operation, now, now + self._max_hold_s)
            for key in keys:
                held[key] = lease
        return lease

    async def release(self, lease: Lease) -> bool:
        """Free the objects."""
        return self._free(lease)

    def let_go(self, lease: Lease) -> None:
        """Free the objects."""
        self._free(lease)

    def check_hand_off(self) -> None:
        """Refuse: nobody else could claim it."""
        raise ConfigurationError(_NO_OTHER_PROCESS)

    async def hand_off(self, lease: Lease, claim_within_ms: int) -> str | None:  # noqa: ARG002
        """Refuse: nobody else could claim it."""
        raise ConfigurationError(_NO_OTHER_PROCESS)

    async def claim(self, token: str) -> Lease | None:  # noqa: ARG002
        """Refuse: nothing was handed off."""
        raise ConfigurationError(_NO_OTHER_PROCESS)

    def entered(self, block: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:  # noqa: ARG002
        """Refuse: nothing was handed off."""
        raise ConfigurationError(_NO_OTHER_PROCESS)

    async def inspect(self, key: str) -> Holder | None:
        """Tell who has an object."""
        self._drop_ended()
        with self._lock:
            now = self.clock()
            lease = self._held.get(key)
            return None if lease is None else self._describe(key, lease, now)

    async def survey(self) -> AsyncGenerator[Holder, None]:
        """Tell who has which object, as it is when this begins."""
        self._drop_ended()
        with self._lock:
            now = self.clock()
            holders = [self._describe(key, lease, now) for key, lease in self._held.items()]
        for holder in holders:
            yield holder

    async def break_lock(self, key: str, fence: int) -> bool:
        """Free an object if the lease on it has this fence."""
        self._drop_ended()
        with self._lock:
            lease = self._held.get(key)
            if lease is None or lease.fence != fence:
                return False
            del self._held[key]
        lease.lose("broken")
        return True

    async def aclose(self) -> None:
        """Do nothing; there are no connections."""

    def __len__(self) -> int:
        """Give the number of objects that are locked."""
        return len(self._held)

    def _free(self, lease: Lease) -> bool:
        is_whole = True
        with self._lock:
            for key in lease.keys:
                if self._held.get(key) is lease:
                    del self._held[key]
                else:
                    is_whole = False
            holds = self._holds.get(lease.operation)
            if holds is None:
                if len(self._holds) >= _MOST_OPERATIONS:
                    del self._holds[next(iter(self._holds))]
                holds = self._holds[lease.operation] = deque(maxlen=REMEMBERED)
            if is_whole:
                holds.append(int((self.clock() - lease.since) * 1000))
        return is_whole

    def _drop_ended(self) -> None:
        """Forget leases that nobody released in time."""
        ended = []
        with self._lock:
            now = self.clock()
            while self._held:
                key, lease = next(iter(self._held.items()))
                if lease.deadline > now:
                    break
                del self._held[key]
                ended.append(lease)
        for lease in ended:  # outside of the lock: it is logged
            lease.lose("max_hold")

    def _describe(self, key: str, lease: Lease, now: float) -> Holder:
        age_ms = int((now - lease.since) * 1000)
        return Holder(
            key=key,
            fence=lease.fence,
            operation=lease.operation,
            process=f"{socket.gethostname()}:{os.getpid()}",
            age_ms=age_ms,
            beat_ms=0,  # it lives where this is asked
            rest_ms=int((lease.deadline - now) * 1000),
            lease_ms=int(self._max_hold_s * 1000),
            is_handed_off=False,
            holds_ms=tuple(self._holds.get(lease.operation, ())),
        )
