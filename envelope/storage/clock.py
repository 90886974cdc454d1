"""The clock of what is counted in this process."""

from __future__ import annotations

import time


def monotonic_ms() -> int:
    """Give whole milliseconds of the clock that nobody sets."""
    return time.monotonic_ns() // 1_000_000
