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

#: Whoever comes back so long after the announced time says nothing about it, and nothing about how long the object
#: was busy: others have had it meanwhile, elsewhere. Seconds.
_STALE_S = 60

#: ``right``: the object was free at the announced time. ``early``: the same hold still had it. ``overtaken``:
#: another one had it by then.
Promise = Literal["right", "early", "overtaken"]


class Blocked(NamedTuple):
    """An object that was refused.

    Attributes:
        since: When it was refused first.
        fence: Of the hold that it was refused for.
        until: When whoever was refused should come back.
    """

    since: float
    fence: int
    until: float


class BlockedObjects:
    """Objects that somebody was refused and nobody has had since.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked: dict[str, Blocked] = {}

    def refuse(self, key: str, fence: int, retry_after_s: float) -> Promise | None:
        """Note that an object was refused.

        Returns:
            How right the last announced time was, if it has come; None if it has not.
        """
        now = self._clock()
        before = self._forget(key, now)
        if before is not None and now < before.until:
            self._blocked[key] = before  # whoever was told first may still come
            return None
        self._blocked[key] = Blocked(now if before is None else before.since, fence, now + retry_after_s)
        if len(self._blocked) > _MOST:
            with suppress(StopIteration, RuntimeError):  # other threads forget, too
                self._blocked.pop(next(iter(self._blocked)), None)
        if before is None:
            return None
        return "early" if before.fence == fence else "overtaken"

    def grant(self, key: str) -> tuple[float, Promise | None] | None:
        """Note that somebody has an object.

        Returns:
            For how many seconds it was refused, and how right the announced time was, if it has come; None if
            nobody was refused.
        """
        if not self._blocked:
            return None
        now = self._clock()
        before = self._forget(key, now)
        if before is None:
            return None
        return now - before.since, "right" if now >= before.until else None

    def _forget(self, key: str, now: float) -> Blocked | None:
        """Take out what is known of an object; None if it says nothing any more."""
        before = self._blocked.pop(key, None)
        return None if before is None or now > before.until + _STALE_S else before
