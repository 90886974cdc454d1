"""What this process knows of a maintenance switch, and when it has to ask again."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from envelope.events import MAINTENANCE_BEGUN, MAINTENANCE_ENDED, log_event
from envelope.maintenance.readings import Reading

#: The longest wait that clients are told, in seconds: a year.
LONGEST_WAIT_S = 366 * 86_400

logger = logging.getLogger("envelope.maintenance")


class Knowledge:
    """The last reading of a switch.

    Args:
        retry_after_s: Whole seconds that clients are told while no end is announced, or after it has passed.
        clock: Seconds that only grow.

    Attributes:
        read: What was read, and when by the clock; None: the service is up, or nothing was ever known.
        due_at: By the clock; from then on a request should see to it that the switch is read again.
    """

    __slots__ = ("_retry_after_s", "clock", "due_at", "read")

    def __init__(self, retry_after_s: int = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry_after_s = retry_after_s
        self.clock = clock
        self.due_at = math.inf
        self.read: tuple[Reading, float] | None = None

    def learn(self, reading: Reading | None) -> None:
        """Take over what was just read; whether maintenance has begun or ended goes into the log, once."""
        was_on = self.read is not None
        self.read = None if reading is None else (reading, self.clock())
        if was_on != (reading is not None):
            log_event(logger, MAINTENANCE_ENDED if was_on else MAINTENANCE_BEGUN)

    def now(self) -> Reading | None:
        """Give what is known as it reads now, with the time that has passed since it was read."""
        read = self.read
        if read is None:
            return None
        (age_ms, rest_ms), read_at = read
        passed_ms = int((self.clock() - read_at) * 1000)
        return Reading(age_ms + passed_ms, None if rest_ms is None else rest_ms - passed_ms)

    def wait_s(self) -> int:
        """Give the whole seconds that clients are told, at least 1 and at most a year."""
        reading = self.now()
        if reading is None or reading.rest_ms is None or reading.rest_ms <= 0:
            return self._retry_after_s
        return min(-(-reading.rest_ms // 1000), LONGEST_WAIT_S)
