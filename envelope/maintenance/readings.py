"""What a maintenance switch says when it is read, and what operators are told of it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

#: No time is further away than a hundred years: what somebody wrote into a file can be any.
_FURTHEST_MS = 100 * 366 * 86_400_000


class Reading(NamedTuple):
    """A switch that is on; one that is off reads as None.

    Attributes:
        age_ms: Since when, in milliseconds before now.
        rest_ms: Milliseconds until the announced end; 0 or less if that has passed, None if none is announced.
    """

    age_ms: int
    rest_ms: int | None


class Announcement(NamedTuple):
    """Maintenance as operators see it.

    Attributes:
        since: When it began; UTC, by this host's clock.
        until: The announced end, which may have passed; None if none is announced.
    """

    since: datetime
    until: datetime | None

    @classmethod
    def of(cls, reading: Reading) -> Announcement:
        """Give the times of day of a reading that was just taken."""
        now = datetime.now(UTC)
        until = None if reading.rest_ms is None else now + _limited(reading.rest_ms)
        return cls(now - _limited(reading.age_ms), until)


class SharedSwitch(Protocol):
    """A switch that processes share. It keeps its own deadlines, and is used in one event loop at a time.

    Every method raises ``StorageUnavailableError`` if nothing is known of what was asked.
    """

    async def read(self) -> Reading | None:
        """Tell whether it is on."""

    async def begin(self, rest_ms: int | None) -> Reading | None:
        """Switch it on, or announce another end, and read it."""

    async def end(self) -> Reading | None:
        """Switch it off, and read it."""

    async def aclose(self) -> None:
        """Close its connections of the running event loop."""


def _limited(milliseconds: int) -> timedelta:
    return timedelta(milliseconds=max(-_FURTHEST_MS, min(milliseconds, _FURTHEST_MS)))
