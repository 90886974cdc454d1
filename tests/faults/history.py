"""What processes saw: one file of JSON lines for each, in seconds of the clock that all processes of a host share.

What may be cut off by a kill is written down twice, when it begins and when it has ended.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

#: CLOCK_MONOTONIC on Linux, mach_absolute_time on macOS: the same in all processes, and nobody sets it.
clock = time.monotonic

Op = Literal["acquire", "claim", "hold", "write", "release", "hand_off", "kill", "fault"]

Outcome = Literal[
    "unknown",  # it has begun; nobody has seen its end
    "ok",
    "locked",  # refused with 423
    "unavailable",  # no answer from the server: 503
    "lost",  # the lease had ended before
    "cancelled",
    "refused",  # a write with a fence below the table's
]


@dataclass(frozen=True)
class Event:
    """One thing that a process did, or that was done to it.

    Attributes:
        op: What was done. ``hold`` only looks at the lease; ``kill`` and ``fault`` were done to the process, or to
            its way to the server.
        process: Its name.
        lease: Names what belongs together: an attempt to acquire, and what was done with what it gave.
        keys: The objects.
        begun: When it was begun ...
        ended: ... and when it was over; infinite if nobody saw that.
        outcome: How it ended.
        fence: Of the lease; 0 if there is none.
        until: Until when the process may believe that it holds the objects, as known at ``ended``; by ``hand_off``:
            until when they wait to be claimed.
        parent: By ``claim``: the lease that was handed off.
        retry_after: What a refused client was told, in seconds.
    """

    op: Op
    process: str
    lease: str = ""
    keys: tuple[str, ...] = ()
    begun: float = 0
    ended: float = math.inf
    outcome: Outcome = "unknown"
    fence: int = 0
    until: float = 0
    parent: str = ""
    retry_after: float = 0


class Recorder:
    """Appends events to a file; each is there when ``write`` returns, whatever becomes of the process then."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, event: Event) -> Event:
        os.write(self._file, json.dumps(asdict(event)).encode() + b"\n")
        return event

    def close(self) -> None:
        os.close(self._file)


def read_history(paths: Iterable[Path]) -> list[Event]:
    """Read files, and give each event once, in the order in which they began."""
    events: dict[object, Event] = {}
    for path in paths:
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                continue  # killed while it wrote: then it has begun, which stands above
            fields = json.loads(line)
            event = Event(**{**fields, "keys": tuple(fields["keys"])})
            is_single = event.op in ("acquire", "claim", "release", "hand_off")
            events[(event.op, event.lease) if is_single else (path, number)] = event
    return sorted(events.values(), key=lambda event: event.begun)
