"""What becomes of those who were refused, by a clock that passes when the test says so."""

from __future__ import annotations

from envelope.telemetry.blocked import BlockedObjects
from tests.locks.storages.places import Clock


def test_object_is_blocked_until_somebody_has_it():
    """From the first refusal; whoever comes too soon says nothing about the announced time."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    assert blocked.refuse("a", "work", age_s=0, retry_after_s=2) is None
    clock.pass_s(1)
    assert blocked.refuse("a", "work", age_s=1, retry_after_s=9) is None
    clock.pass_s(0.5)
    assert blocked.grant("a") == (1.5, None, "work")
    assert blocked.grant("a") is None


def test_announced_time_is_right_when_the_object_is_free_then():
    """At that time, or soon after."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    blocked.refuse("a", "work", age_s=0, retry_after_s=2)
    clock.pass_s(2)
    assert blocked.grant("a") == (2, "right", "work")


def test_announced_time_is_early_while_the_same_work_lasts():
    """The first announced time counts, not the one of whoever was refused in between."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    blocked.refuse("a", "work", age_s=5, retry_after_s=2)
    clock.pass_s(1)
    blocked.refuse("a", "work", age_s=6, retry_after_s=9)
    clock.pass_s(1)
    assert blocked.refuse("a", "claimed", age_s=7, retry_after_s=2) == (2, "early", "work")
    clock.pass_s(2)
    assert blocked.refuse("a", "other", age_s=1, retry_after_s=2) == (4, "overtaken", "claimed")
    clock.pass_s(1)
    assert blocked.grant("a") == (5, None, "other")


def test_long_absence_says_nothing():
    """The object may have been free for long, or had by others in other processes."""
    clock = Clock()
    blocked = BlockedObjects(clock)
    blocked.refuse("a", "work", age_s=0, retry_after_s=2)
    blocked.refuse("b", "work", age_s=0, retry_after_s=2)
    clock.pass_s(12.5)
    assert blocked.refuse("a", "work", age_s=0, retry_after_s=2) is None
    assert blocked.grant("b") is None
    clock.pass_s(2)
    assert blocked.grant("a") == (2, "right", "work")


def test_a_thousand_objects_are_remembered():
    """The oldest is forgotten first; one that was refused again is not the oldest."""
    blocked = BlockedObjects(Clock())
    for number in range(1024):
        blocked.refuse(f"{number}", "work", age_s=0, retry_after_s=2)
    blocked.refuse("0", "work", age_s=0, retry_after_s=2)
    blocked.refuse("one more", "work", age_s=0, retry_after_s=2)
    assert blocked.grant("1") is None
    assert blocked.grant("0") is not None
    assert blocked.grant("one more") is not None
