"""Judges a history. Pure functions: events in, violations out.

A lease has two intervals. In the **inner** one its process was told that it has the object and nobody has told it
otherwise: from the answer to ``acquire`` until it begins to release, or until the lease's own local deadline. Inner
intervals of an object never overlap. The **outer** one is as long as anybody could see the object busy: from the
first byte of ``acquire`` to the end of ``release``; until the lease ends if its process was killed; and if nobody
knows whether there is a lease (a cancelled or unanswered ``acquire``), until what gives it back has had its time.
Whoever is refused with 423 meets such an interval.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from tests.faults.history import Event

Kind = Literal[
    "mutual exclusion",
    "fence order",
    "lost update",
    "phantom 423",
    "liveness",
    "Retry-After",
    # What only a scenario itself can see:
    "own 423",
    "cancellation",
    "answer",
]


class Violation(NamedTuple):
    """Something that must not happen, and happened."""

    kind: Kind
    text: str


class Terms(NamedTuple):
    """What the leases of a history were promised.

    Attributes:
        ttl_s: After so long the objects of a killed process are free.
        grace_s: So long may it take until what nobody knows about is given back, counted from the end of the
            attempt, or of the fault that it fell into; and so long may a busy machine be late.
    """

    ttl_s: float = 1.0
    grace_s: float = 0.5


class Write(NamedTuple):
    """A line of the register's log: a write that was accepted."""

    key: str
    value: int
    fence: int
    lease: str


class Interval(NamedTuple):
    begin: float
    end: float
    lease: str


def judge(
    events: Sequence[Event],
    terms: Terms,
    *,
    log: Sequence[Write] = (),
    values: Mapping[str, int] | None = None,
    exclusion: bool = True,
) -> list[Violation]:
    """Run every check that needs nothing but the history and the register.

    Args:
        events: Of all processes.
        terms: What they were promised.
        log: The accepted writes, in their order.
        values: What the register has in the end.
        exclusion: False where the server itself has forgotten leases: then fences have to do alone.
    """
    found = [*check_fences(events), *check_register(events, log, values or {})]
    if exclusion:
        found += [*check_exclusion(events), *check_phantoms(events, terms), *check_liveness(events, terms)]
    return found


def check_exclusion(events: Sequence[Event]) -> Iterator[Violation]:
    """S1: no two processes have an object at once."""
    for key, intervals in _inner(events).items():
        before: Interval | None = None
        for interval in sorted(intervals):
            if before is not None and interval.begin < before.end:
                yield Violation(
                    "mutual exclusion",
                    f"{key}: {interval.lease} had it from {interval.begin:.4f}, {before.lease} until {before.end:.4f}",
                )
            if before is None or interval.end > before.end:
                before = interval


def check_fences(events: Iterable[Event]) -> Iterator[Violation]:
    """S2: whoever gets an object later has a greater fence, and no two leases have the same."""
    grants: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.op in ("acquire", "claim") and event.outcome == "ok" and event.fence:
            for key in event.keys:
                grants[key].append(event)
    for key, ours in grants.items():
        ended = sorted(ours, key=lambda event: event.ended)
        position, greatest = 0, None
        seen: dict[int, Event] = {}
        for event in sorted(ours, key=lambda event: event.begun):
            while ended[position].ended < event.begun:
                if greatest is None or ended[position].fence > greatest.fence:
                    greatest = ended[position]
                position += 1
            if greatest is not None and event.fence <= greatest.fence:
                yield Violation(
                    "fence order",
                    f"{key}: {event.lease} has {event.fence}, {greatest.lease} had {greatest.fence} before",
                )
            elif event.fence in seen:
                yield Violation("fence order", f"{key}: {event.lease} and {seen[event.fence].lease} share a fence")
            seen[event.fence] = event


def check_register(
    events: Iterable[Event], log: Sequence[Write], values: Mapping[str, int]
) -> Iterator[Violation]:
    """S3: the register is the fold of the accepted writes; each adds one, so their number is the value."""
    accepted: dict[str, list[Write]] = defaultdict(list)
    for write in log:
        before = accepted[write.key][-1] if accepted[write.key] else None
        if before is not None and write.fence < before.fence:
            yield Violation("lost update", f"{write.key}: {write.lease} wrote after {before.lease}, a later lease")
        accepted[write.key].append(write)
    for key, writes in accepted.items():
        if values.get(key) != len(writes):
            yield Violation(
                "lost update", f"{key}: {len(writes)} writes were accepted, and it is {values.get(key)}"
            )
    written = {(write.key, write.lease) for write in log}
    for event in events:
        if (
            event.op == "write"
            and event.outcome == "ok"
            and not {(key, event.lease) for key in event.keys} <= written
        ):
            yield Violation("lost update", f"{event.keys}: what {event.lease} wrote is not there")


def check_phantoms(events: Sequence[Event], terms: Terms) -> Iterator[Violation]:
    """L2: whoever is refused meets somebody."""
    outer = {key: sorted(intervals) for key, intervals in _outer(events, terms).items()}
    for event in events:
        if event.outcome == "locked" and not any(_meets(event, outer.get(key, [])) for key in event.keys):
            yield Violation(
                "phantom 423",
                f"{', '.join(event.keys)}: {event.lease} was refused at {event.ended:.4f}; {_last(event, outer)}",
            )


def check_liveness(events: Sequence[Event], terms: Terms) -> Iterator[Violation]:
    """L1: what a killed process held, somebody gets as soon as the lease is over."""
    kills = {event.process: event for event in events if event.op == "kill"}
    ended = {event.lease for event in events if event.op in ("release", "hand_off") and event.outcome != "unknown"}
    attempts: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.op == "acquire":
            for key in event.keys:
                attempts[key].append(event)
    for event in events:
        kill = kills.get(event.process)
        if kill is None or event.op not in ("acquire", "claim") or event.outcome != "ok" or event.lease in ended:
            continue
        limit = kill.begun + terms.ttl_s + terms.grace_s
        for key in event.keys:
            later = [attempt for attempt in attempts[key] if attempt.begun > kill.begun]
            if any(attempt.begun > limit for attempt in later) and not any(
                attempt.outcome == "ok" and attempt.begun <= limit for attempt in later
            ):
                yield Violation(
                    "liveness",
                    f"{key}: {event.process} was killed at {kill.begun:.4f}, nobody had it by {limit:.4f}",
                )


def check_retry_after(waits: Sequence[tuple[float, bool]], longest_s: float) -> Iterator[Violation]:
    """Q1: of those who come back exactly when they were told, four of five get the object.

    Args:
        waits: What a refused client was told in seconds, and whether it got the object then.
        longest_s: More than that is never told.
    """
    told = [seconds for seconds, _ in waits]
    if min(told) < 1 or max(told) > longest_s:
        yield Violation("Retry-After", f"from {min(told)} to {max(told)} s; it has to be from 1 to {longest_s}")
    right = sum(is_free for _, is_free in waits)
    if right < 0.8 * len(waits):
        yield Violation("Retry-After", f"{right} of {len(waits)} clients that waited as told got the object")


def _inner(events: Sequence[Event]) -> dict[str, list[Interval]]:
    leases = _leases(events)
    claimed: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.op == "claim" and event.outcome != "lost":
            claimed[event.parent].append(event.begun)
    intervals: dict[str, list[Interval]] = defaultdict(list)
    for name, lease in leases.items():
        taken = lease[0]
        if taken.op not in ("acquire", "claim") or taken.outcome != "ok":
            continue
        # Whoever hears that a hand-off failed asks the lease whether it is still his.
        asked_at = max((event.begun for event in lease if event.op == "hold" and event.outcome == "ok"), default=0)
        ends = [
            event
            for event in lease
            if event.op in ("release", "hand_off")
            and not (event.outcome == "unavailable" and event.begun < asked_at)
        ]
        deadline = max(event.until for event in lease if event.op != "hand_off")
        end = min([deadline, *(event.begun for event in ends)])
        parts = [(taken.ended, end)]
        for handed in ends:
            if handed.op == "hand_off" and handed.outcome == "ok":
                # Nobody has the object until it is claimed or withdrawn.
                others = [event.begun for event in ends if event is not handed]
                parts.append((handed.ended, min([handed.until, *others, *claimed[name]])))
        for key in taken.keys:
            intervals[key] += [Interval(begin, end, name) for begin, end in parts if begin < end]
    return intervals


def _outer(events: Sequence[Event], terms: Terms) -> dict[str, list[Interval]]:
    killed = {event.process: event.begun for event in events if event.op == "kill"}
    faults = [(event.begun, event.ended) for event in events if event.op == "fault"]

    def settled(instant: float) -> float:
        return max([instant, *(end + terms.grace_s for begin, end in faults if begin <= instant <= end + 0.1)])

    intervals: dict[str, list[Interval]] = defaultdict(list)
    for name, lease in _leases(events).items():
        taken, last = lease[0], lease[-1]
        if taken.op not in ("acquire", "claim") or taken.outcome in ("locked", "lost"):
            continue  # nothing was taken
        handed = [event.until for event in lease if event.op == "hand_off"]
        if taken.process in killed and (last.outcome == "unknown" or last.op not in ("release", "hand_off")):
            end = max([killed[taken.process] + terms.ttl_s, *handed]) + terms.grace_s
        elif last.op == "hand_off":
            end = max(settled(last.ended), *handed) + terms.grace_s
        elif last.op == "release":
            is_known = not any(event.outcome in ("cancelled", "unavailable") for event in lease)
            end = settled(last.ended) + (0 if is_known else terms.grace_s)
        elif taken.outcome == "ok":
            end = math.inf
        else:
            end = settled(taken.ended) + terms.grace_s
        for key in taken.keys:
            intervals[key].append(Interval(taken.begun, end, name))
    return intervals


def _leases(events: Iterable[Event]) -> dict[str, list[Event]]:
    leases: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.lease:
            leases[event.lease].append(event)
    return leases


def _meets(event: Event, intervals: Sequence[Interval]) -> bool:
    begun_before = bisect_right(intervals, event.ended, key=lambda interval: interval.begin)
    return any(
        interval.end >= event.begun and interval.lease != event.lease
        for interval in reversed(intervals[:begun_before])
    )


def _last(event: Event, outer: Mapping[str, Sequence[Interval]]) -> str:
    ends = [
        (interval.end, interval.lease)
        for key in event.keys
        for interval in outer.get(key, ())
        if interval.lease != event.lease and interval.end < event.begun
    ]
    return f"the last one, {max(ends)[1]}, was over at {max(ends)[0]:.4f}" if ends else "there was nobody"
