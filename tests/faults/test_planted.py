"""The checker sees each of ten bugs that locks have had."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest

from tests.faults.checker import Kind, Violation
from tests.faults.planted import BUGS
from tests.faults.scenarios import cancellation, contention, network, processes, requests
from tests.faults.stage import Cast
from tests.servers.server import Server

#: What depends on who comes first may go well with a bug; then it is played again.
_ATTEMPTS = 6


class Catch(NamedTuple):
    """Where a bug shows, as cheaply as possible, and as what."""

    scenario: Callable[..., list[Violation]]
    kind: Kind


CATCHES = {
    "blind-release": Catch(processes.suspended_holders, "mutual exclusion"),
    "acquire-not-idempotent": Catch(network.lost_reply_of_acquire, "phantom 423"),
    "renewal-creates": Catch(network.late_renewal, "phantom 423"),
    "token-of-the-thread": Catch(partial(contention.steady_contention, seconds=2), "mutual exclusion"),
    "release-after-the-answer": Catch(partial(requests.create_then_update, times=100), "own 423"),
    "fence-from-a-counter": Catch(network.flushed_server, "fence order"),
    "blind-compensation": Catch(network.unanswered_contender, "mutual exclusion"),
    "retry-after-from-ttl": Catch(requests.retry_after, "Retry-After"),
    "cancellation-swallowed": Catch(cancellation.cancelled_acquire, "cancellation"),
    "key-from-the-raw-path": Catch(requests.spellings, "mutual exclusion"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_planted_bug_is_caught(valkey: Server, bug: str):
    """With the bug the scenario finds what it should, and does not only fail."""
    scenario, kind = CATCHES[bug]

    for _ in range(_ATTEMPTS):
        kinds = {violation.kind for violation in scenario(valkey, Cast(bug=bug))}
        if kind in kinds:
            break

    assert kind in kinds


def test_every_bug_has_its_catch() -> None:
    """Ten bugs are planted, and each has a scenario that shows it."""
    assert sorted(CATCHES) == sorted(BUGS)
    assert len(BUGS) == 10
