"""What becomes of those who were refused, by a clock that passes when the test says so."""

from __future__ import annotations

from envelope.telemetry.blocked import BlockedObjects
from tests.locks.storages.places import Clock


def test_object_is_blocked_until_somebody_has_it():
    """From the first refusal; whoever comes too soon says nothing about the announced time."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    assert blocked.refuse("a", fence=1, retry_after_s=2) is None
    clock.pass_s(1)
    assert blocked.refuse("a", fence=1, retry_after_s=9) is None
    clock.pass_s(0.5)
    assert blocked.grant("a") == (1.5, None)
    assert blocked.grant("a") is None


def test_announced_time_is_right_when_the_object_is_free_then():
    """At that time, or later."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    blocked.refuse("a", fence=1, retry_after_s=2)
    clock.pass_s(2)
    assert blocked.grant("a") == (2, "right")


def test_announced_time_is_early_while_the_same_hold_lasts():
    """The first announced time counts, not the one of whoever was refused in between."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    blocked.refuse("a", fence=1, retry_after_s=2)
    clock.pass_s(1)
    blocked.refuse("a", fence=2, retry_after_s=9)
    clock.pass_s(1)
    assert blocked.refuse("a", fence=1, retry_after_s=2) == "early"
    clock.pass_s(2)
    assert blocked.refuse("a", fence=3, retry_after_s=2) == "overtaken"
    clock.pass_s(1)
    assert blocked.grant("a") == (5, None)


def test_long_absence_says_nothing():
    """Others have had the object meanwhile, in other processes."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    blocked.refuse("a", fence=1, retry_after_s=2)
    blocked.refuse("b", fence=1, retry_after_s=2)
    clock.pass_s(63)
    assert blocked.refuse("a", fence=1, retry_after_s=2) is None
    assert blocked.grant("b") is None
    clock.pass_s(2)
    assert blocked.grant("a") == (2, "right")


def test_a_thousand_objects_are_remembered():
    """The oldest is forgotten first; one that was refused again is not the oldest."""
    blocked = BlockedObjects(Clock())
    for number in range(1024):
        blocked.refuse(f"{number}", fence=1, retry_after_s=2)
    blocked.refuse("0", fence=1, retry_after_s=2)
    blocked.refuse("one more", fence=1, retry_after_s=2)
    assert blocked.grant("1") is None
    assert blocked.grant("0") is not None
    assert blocked.grant("one more") is not None
