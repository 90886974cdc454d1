"""What became of those who were refused an object: whether they came back at the right time, and how long it took.

Seen by one process: whoever comes back to another process is not seen. Nothing tells clients apart, so it is about
objects: the first who asks after the announced time stands for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple

#: Objects that are remembered; the oldest is forgotten first.
_MOST = 1024

#: Whoever comes so long after the announced time says nothing about it, and nothing about how long the object was
#: busy: it may have been free, or others may have had it, elsewhere. Seconds.
_STALE_S = 10

#: ``right``: the object was free at the announced time. ``early``: the same hold still had it. ``overtaken``:
#: another one had it by then.
Promise = Literal["right", "early", "overtaken"]


class Blocked(NamedTuple):
    """An object that was refused.

    Attributes:
        since: When it was refused first.
        told_at: When somebody was told to come back.
        until: When that should be.
        held_for: The operation that it was refused for.
    """

    since: float
    told_at: float
    until: float
    held_for: str


class Return(NamedTuple):
    """Somebody came back.

    Attributes:
        blocked_s: Since the object was refused first.
        promise: How right the announced time was; None if it had not come.
        held_for: The operation whose hold it was about.
    """

    blocked_s: float
    promise: Promise | None
    held_for: str


class BlockedObjects:
    """Objects that somebody was refused and nobody has had since.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked: dict[str, Blocked] = {}

    def refuse(self, key: str, held_for: str, age_s: float, retry_after_s: float) -> Return | None:
        """Note that an object was refused.

        Args:
            key: The object.
            held_for: The operation that has it.
            age_s: How long it has been busy.
            retry_after_s: When whoever was refused should come back.

        Returns:
            What this says about the last refusal; None if it says nothing.
        """
        now = self._clock()
        before = self._forget(key, now)
        if before is not None and now < before.until:
            self._blocked[key] = before  # whoever was told first may still come
            return None
        since = now if before is None else before.since
        self._blocked[key] = Blocked(since, now, now + retry_after_s, held_for)
        if len(self._blocked) > _MOST:
            with suppress(StopIteration, RuntimeError):  # other threads forget, too
                self._blocked.pop(next(iter(self._blocked)), None)
        if before is None:
            return None
        # Busy since then without a break, by whatever lease: work that a worker has claimed is the same work.
        is_same = now - age_s <= before.told_at
        return Return(now - before.since, "early" if is_same else "overtaken", before.held_for)

    def grant(self, key: str) -> Return | None:
        """Note that somebody has an object.

        Returns:
            What this says about the refusals; None if it says nothing.
        """
        if not self._blocked:
            return None
        now = self._clock()
        before = self._forget(key, now)
        if before is None:
            return None
        return Return(now - before.since, "right" if now >= before.until else None, before.held_for)

    def _forget(self, key: str, now: float) -> Blocked | None:
        """Take out what is known of an object; None if it says nothing any more."""
        before = self._blocked.pop(key, None)
        return None if before is None or now > before.until + _STALE_S else before
