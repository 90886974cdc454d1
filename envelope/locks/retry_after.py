"""How long a client should wait for a busy object: until then it is usually free.

The lease's time to live says nothing about that: it is renewed while the work goes on, and given back as soon as
it is done. What says something is how long the last holds of the same operation lasted.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from envelope.locks.grants import Holder

#: How many of the last holds of an operation are remembered.
REMEMBERED = 16

#: Of ten holds that last as long as this one already, nine are over by then.
_SHARE = 0.9

#: Before the first hold of an operation has ended; milliseconds. With the jitter, and rounded up, 2 seconds.
_UNKNOWN_MS = 1600

#: A hold longer than all before it may go on for this share of its age.
_OVERDUE_SHARE = 0.25

#: A holder that has been silent for this share of its lease has missed a renewal; nobody may renew it any more.
_SILENT_SHARE = 0.67

#: The wait is made longer by up to this share, so that those who were refused together do not come back together.
_JITTER = 0.2


def retry_after_s(holders: Iterable[Holder]) -> float:
    """Estimate when all these objects are free; in seconds, at least 1.

    Source:
        RFC 9110, 10.2.3: whole seconds, to which the header field rounds up.
    """
    wait_ms = max(map(_wait_ms, holders))
    return max(1.0, wait_ms * random.uniform(1, 1 + _JITTER) / 1000)  # noqa: S311 - nothing secret


def _wait_ms(holder: Holder) -> float:
    if holder.is_handed_off:
        return min(_usual_ms(holder), holder.rest_ms)  # unless it is claimed by then
    if holder.beat_ms > holder.lease_ms * _SILENT_SHARE:
        return holder.rest_ms
    return _usual_ms(holder)


def _usual_ms(holder: Holder) -> float:
    longer = sorted(hold for hold in holder.holds_ms if hold > holder.age_ms)
    if longer:
        return longer[int(_SHARE * (len(longer) - 1) + 0.5)] - holder.age_ms
    return holder.age_ms * _OVERDUE_SHARE if holder.holds_ms else _UNKNOWN_MS
