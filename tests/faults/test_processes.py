"""Scenarios 2 to 4: processes die, stop, or are kept busy while they hold objects."""

from __future__ import annotations

import pytest

from tests.faults.scenarios.processes import killed_holders, stalled_event_loop, suspended_holders
from tests.servers.server import Server


@pytest.mark.timeout(60)
def test_killed_holders(valkey: Server):
    """What a killed process held is free when its lease is over, and nothing else went wrong."""
    assert killed_holders(valkey) == []


@pytest.mark.timeout(60)
def test_suspended_holders(valkey: Server):
    """A process that stood still past its lease can neither write nor free what is somebody else's now."""
    assert suspended_holders(valkey) == []


@pytest.mark.timeout(60)
def test_stalled_event_loop(valkey: Server):
    """Blocking the event loop for longer than a lease does not lose it."""
    assert stalled_event_loop(valkey) == []
