"""The checker on histories written by hand: what it accepts, and each thing that it does not."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import Terms, Violation, Write, check_retry_after, judge
from tests.faults.history import Event, Op, Outcome, Recorder, read_history

KEY = ("entity:1",)
TERMS = Terms(ttl_s=1, grace_s=0.1)


def event(op: Op, lease: str, begun: float, ended: float, outcome: Outcome = "ok", **more: Any) -> Event:
    """Make an event; the process is what stands before the dash in the name of the lease."""
    process = lease.partition("-")[0]
    return Event(op, process, lease, more.pop("keys", KEY), begun, ended, outcome, **more)


def held(
    lease: str, begin: float, end: float, *, fence: int, until: float = math.inf, took: float = 0.1
) -> list[Event]:
    """Make a lease that is acquired and released; both take a while."""
    return [
        event("acquire", lease, begin, begin + took, fence=fence, until=until),
        event("release", lease, end, end + took, until=min(end, until)),
    ]


def kinds(violations: list[Violation]) -> list[str]:
    return [violation.kind for violation in violations]


def test_leases_one_after_the_other():
    """Holding an object one after the other is what locks are for; the answers may cross on the way."""
    history = [*held("a-1", 0, 1, fence=1), *held("b-1", 0.95, 2, fence=2), *held("a-2", 2.05, 3, fence=3)]

    assert judge(history, TERMS) == []


def test_two_holders():
    """S1: the second was told that it has the object while the first had not begun to release it."""
    history = [*held("a-1", 0, 1, fence=1), *held("b-1", 0.5, 2, fence=2)]

    assert kinds(judge(history, TERMS)) == ["mutual exclusion"]


def test_two_holders_behind_a_long_one():
    """S1: a short lease in between does not hide the long one."""
    history = [*held("a-1", 0, 9, fence=1), *held("b-1", 1, 2, fence=2), *held("c-1", 3, 4, fence=3)]

    assert kinds(judge(history, TERMS)) == ["mutual exclusion", "mutual exclusion"]


def test_two_objects():
    """S1: two objects are two; of several together each counts."""
    both = event("acquire", "a-1", 0, 0.1, fence=1, until=9, keys=("x", "y"))
    other = event("acquire", "b-1", 1, 1.1, fence=2, until=9, keys=("z",))
    third = event("acquire", "c-1", 1, 1.1, fence=3, until=9, keys=("y",))

    assert judge([both, other], TERMS) == []
    assert kinds(judge([both, other, third], TERMS)) == ["mutual exclusion"]


def test_holder_that_gave_up():
    """S1: a lease ends at its own deadline, whether its holder notices or not."""
    history = [*held("a-1", 0, 5, fence=1, until=0.9), *held("b-1", 1, 2, fence=2)]

    assert judge(history, TERMS) == []


def test_holder_that_was_renewed():
    """S1: the latest deadline that the holder has seen counts."""
    looked = event("hold", "a-1", 0.8, 0.8, until=1.7)
    history = [*held("a-1", 0, 5, fence=1, until=0.9), looked, *held("b-1", 1, 2, fence=2)]

    assert kinds(judge(history, TERMS)) == ["mutual exclusion"]


def test_handed_off_object():
    """S1: what is handed off is nobody's to take until it is claimed, and then its claimer's."""
    passed = [
        event("acquire", "a-1", 0, 0.1, fence=1, until=0.9),
        event("hand_off", "a-1", 0.2, 0.3, until=10),
        event("claim", "b-1", 2, 2.1, fence=2, until=3, parent="a-1"),
        event("claim", "c-1", 2, 2.1, "lost", parent="a-1"),
        event("release", "b-1", 2.5, 2.6, until=2.5),
    ]

    assert judge([*passed, *held("d-1", 2.7, 3, fence=3)], TERMS) == []
    assert kinds(judge([*passed, *held("d-1", 1, 1.5, fence=2)], TERMS)) == ["fence order", "mutual exclusion"]


@pytest.mark.parametrize(("answer", "expected"), [("ok", ["mutual exclusion"]), ("lost", [])])
def test_hand_off_that_failed(answer: Outcome, expected: list[str]):
    """S1: a holder whose hand-off failed has the object no more, unless his lease still says so."""
    history = [
        event("acquire", "a-1", 0, 0.1, fence=1, until=3),
        event("hand_off", "a-1", 0.2, 0.5, "unavailable", until=10),
        *held("b-1", 0.6, 2, fence=2),
        event("hold", "a-1", 1, 1, answer, until=3 if answer == "ok" else 0),
        event("release", "a-1", 1.5, 1.6),
    ]

    assert kinds(judge(history, TERMS)) == expected


def test_fence_that_falls():
    """S2: a later lease has a greater fence."""
    history = [*held("a-1", 0, 1, fence=5), *held("b-1", 2, 3, fence=4)]

    assert kinds(judge(history, TERMS)) == ["fence order"]


def test_fence_of_two():
    """S2: two leases that crossed on the way have two fences, in whatever order."""
    crossed = [*held("a-1", 0, 0.15, fence=5), *held("b-1", 0.05, 1, fence=4, took=0.2)]
    same = [*held("a-1", 0, 0.15, fence=5), *held("b-1", 0.05, 1, fence=5, took=0.2)]

    assert judge(crossed, TERMS) == []
    assert kinds(judge(same, TERMS)) == ["fence order"]


def test_register_of_accepted_writes():
    """S3: the value is the number of the writes."""
    log = [Write("x", 1, 1, "a-1"), Write("x", 2, 2, "b-1")]

    assert judge([], TERMS, log=log, values={"x": 2}) == []
    assert kinds(judge([], TERMS, log=log, values={"x": 1})) == ["lost update"]


def test_register_of_a_zombie():
    """S3: an earlier lease wrote after a later one."""
    log = [Write("x", 1, 2, "b-1"), Write("x", 2, 1, "a-1")]

    assert kinds(judge([], TERMS, log=log, values={"x": 2})) == ["lost update"]


def test_write_that_is_not_there():
    """S3: what a process was told is written is in the log."""
    written = event("write", "a-1", 0, 1, keys=("x",))

    assert kinds(judge([written], TERMS)) == ["lost update"]


def test_refusal_by_a_holder():
    """L2: whoever is refused met somebody, at whatever moment of the question."""
    history = held("a-1", 1, 2, fence=1)

    assert judge([*history, event("acquire", "b-1", 1.5, 1.6, "locked")], TERMS) == []
    assert judge([*history, event("acquire", "b-1", 2.05, 2.2, "locked")], TERMS) == []
    assert judge([*history, event("acquire", "b-1", 0.9, 1.05, "locked")], TERMS) == []


def test_refusal_by_nobody():
    """L2: before the first lease, after a release, or for an object that nobody got."""
    history = held("a-1", 1, 2, fence=1)

    for begun in (0.5, 2.2):
        refused = event("acquire", "b-1", begun, begun + 0.1, "locked")
        assert kinds(judge([*history, refused], TERMS)) == ["phantom 423"]
    others = [event("acquire", f"{name}-1", 5, 5.1, "locked") for name in "bc"]
    assert kinds(judge([*history, *others], TERMS)) == ["phantom 423", "phantom 423"]


@pytest.mark.parametrize("outcome", ["cancelled", "unavailable", "unknown"])
def test_refusal_by_what_nobody_knows(outcome: Outcome):
    """L2: an acquire without an answer may hold the object, for as long as it takes to give it back."""
    asked = event("acquire", "a-1", 0, 1, outcome)

    assert judge([asked, event("acquire", "b-1", 1.05, 1.06, "locked")], TERMS) == []
    assert kinds(judge([asked, event("acquire", "b-1", 1.2, 1.3, "locked")], TERMS)) == ["phantom 423"]


def test_refusal_after_a_fault():
    """L2: what was asked in a fault is given back when the fault is over."""
    history = [
        Event("fault", "server", begun=0.5, ended=3, outcome="ok"),
        event("acquire", "a-1", 0, 1, "unavailable"),
    ]

    assert judge([*history, event("acquire", "b-1", 3.05, 3.06, "locked")], TERMS) == []
    assert kinds(judge([*history, event("acquire", "b-1", 3.3, 3.4, "locked")], TERMS)) == ["phantom 423"]


def test_refusal_by_a_killed_process():
    """L1, L2: what a killed process held is busy until its lease is over, and not longer."""
    history = [
        event("acquire", "a-1", 0, 0.1, fence=1, until=0.9),
        Event("kill", "a", begun=0.5, ended=0.5),
        event("acquire", "b-1", 1.4, 1.45, "locked"),
    ]

    assert judge([*history, *held("c-1", 1.5, 1.6, fence=2, took=0)], TERMS) == []
    late = [event("acquire", "b-2", 1.8, 1.9, "locked"), *held("c-1", 2, 3, fence=2)]
    assert kinds(judge([*history, *late], TERMS)) == ["phantom 423", "liveness"]


def test_retry_after_that_is_right():
    """Q1: four of five come back in time."""
    assert list(check_retry_after([(1, True)] * 8 + [(2, False)] * 2, 3)) == []
    assert kinds(list(check_retry_after([(1, True)] * 7 + [(2, False)] * 3, 3))) == ["Retry-After"]


def test_retry_after_out_of_bounds():
    """Q1: never less than a second, never longer than any operation."""
    assert kinds(list(check_retry_after([(0.5, True)], 3))) == ["Retry-After"]
    assert kinds(list(check_retry_after([(4, True)], 3))) == ["Retry-After"]


def test_exclusion_that_nobody_promised():
    """Where the server forgot its leases, fences and the register are judged, and nothing else."""
    history = [*held("a-1", 0, 1, fence=1), *held("b-1", 0.5, 2, fence=2)]

    assert judge(history, TERMS, exclusion=False) == []
    assert kinds(judge(history, TERMS, exclusion=False, log=[Write("x", 7, 1, "a-1")])) == ["lost update"]


def test_history_of_a_killed_process(tmp_path: Path):
    """What was begun is replaced by its end; what a kill cut off is left out, what it had begun is there."""
    path = tmp_path / "a.jsonl"
    recorder = Recorder(path)
    begun = recorder.write(Event("acquire", "a", "a-1", KEY, 1))
    taken = recorder.write(replace(begun, ended=2, outcome="ok", fence=1))
    releasing = recorder.write(Event("release", "a", "a-1", KEY, 3))
    recorder.close()
    with path.open("a") as file:
        file.write(dumps(asdict(replace(releasing, ended=4)))[:20])

    assert read_history([path]) == [taken, releasing]
