"""FakeClock: time that passes when a test says so, for rate limits and object locks."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Self

from envelope.errors.tree import ConfigurationError
from envelope.locks.object_locks import ObjectLocks
from envelope.locks.storages.memory import MemoryLocks
from envelope.rate_limit.limiter import RateLimiter
from envelope.rate_limit.storages.memory import MemoryStorage

Guard = RateLimiter | ObjectLocks

#: So few counters have their windows together: the first begins with the first request, in every run.
_MAX_KEYS = 4096


class FakeClock:
    """Time that stands still for a block of a test, and passes when the test says so.

    For the block, rate limiters count and locks lock in a memory of their own, empty at its beginning, by this
    clock; also those that name a server, so that none is needed. After it they are as they were before::

        with FakeClock(limiter, locks) as clock:
            assert client.get("/reports").status_code == 200
            assert client.get("/reports").status_code == 429
            clock.advance(61)
            assert client.get("/reports").status_code == 200

    A lease that is held counts by it too; handing one to another process needs a server. ``X-RateLimit-Reset``, a
    time of day, is the real one plus the seconds that are left by this clock.

    Args:
        guards: What counts and locks by it, each a ``RateLimiter`` or an ``ObjectLocks``.

    Raises:
        ConfigurationError: There is no guard, or something that is none.
    """

    def __init__(self, *guards: Guard) -> None:
        if not guards:
            raise ConfigurationError(
                "FakeClock() drives nothing; give it what counts by it: FakeClock(limiter, locks)"
            )
        for guard in guards:
            if not isinstance(guard, Guard):
                raise ConfigurationError(f"FakeClock() was given {guard!r}; give a RateLimiter or an ObjectLocks")
        self._guards = guards
        # It begins now: what is told as a time of day then reads right.
        self._now_ms = time.monotonic_ns() // 1_000_000
        self._restored = ExitStack()

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: 0 or more; counted in whole milliseconds.

        Raises:
            ValueError: It is less than 0.
        """
        if seconds < 0:
            raise ValueError(f"advance({seconds}): time does not go back")
        self._now_ms += round(seconds * 1000)

    def __enter__(self) -> Self:
        for guard in self._guards:
            self._restored.callback(setattr, guard, "storage", guard.storage)
            if isinstance(guard, RateLimiter):
                guard.storage = MemoryStorage(guard.strategy, max_keys=_MAX_KEYS, clock=lambda: self._now_ms)
            else:
                guard.storage = MemoryLocks(max_hold_s=guard.max_hold_s, clock=lambda: self._now_ms / 1000)
        return self

    def __exit__(self, *_: object) -> None:
        self._restored.close()
