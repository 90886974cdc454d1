"""The arithmetic of the sliding window counter, in whole milliseconds.

A subject's use is the count of the current window plus the count of the one before, weighted with the share
of it that the sliding window still covers: ``current + previous * left // window`` (the rule of ``limits``).
``storages/redis/sliding-window-counter.lua`` says the same in Lua.
"""

from __future__ import annotations


def sliding_reset_ms(previous: int, current: int, left: int, window: int) -> int:
    """Give the milliseconds until there begins to be more left.

    At the turn of the window itself the count still weighs in full, as it does for ``limits``; from then on less.

    Args:
        previous: Count of the window before.
        current: Count of the current window.
        left: Milliseconds until the current window ends; 1 to ``window``.
        window: Length of a window in milliseconds.
    """
    weighted = previous * left // window
    if weighted:
        # The largest y with previous * y < weighted * window is the first left at which it weighs less.
        return left - (weighted * window - 1) // previous
    return left if current else 0


def sliding_wait_ms(previous: int, current: int, left: int, window: int, fitting: int) -> int:
    """Give the least milliseconds until use is at most ``fitting``, which is the amount less the cost.

    The other arguments are those of ``sliding_reset_ms``; use is above ``fitting`` now.
    """
    if current <= fitting:
        return left - ((fitting - current + 1) * window - 1) // previous
    # Only the next window, in which the current count is weighted, has room.
    return left + window - ((fitting + 1) * window - 1) // current
