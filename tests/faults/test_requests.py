"""Scenarios 9 (second half) and 17, and what clients are promised: R1, Q1 and one lock for one object."""

from __future__ import annotations

import pytest

from tests.faults.scenarios import requests
from tests.servers.server import Server


@pytest.mark.timeout(120)
def test_create_then_update(valkey: Server):
    """A client that changes what it has just created is never told 423, ten thousand times in a row."""
    assert requests.create_then_update(valkey) == []


@pytest.mark.timeout(60)
def test_retry_after(valkey: Server):
    """Four of five clients that wait as they were told get the object, and none is told less than a second."""
    assert requests.retry_after(valkey) == []


def test_spellings(valkey: Server):
    """The lock is on the object, not on what the path says."""
    assert requests.spellings(valkey) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["stopped", "suspended", "black hole"])
def test_outage(own_valkey: Server, how: requests.Outage):
    """Without a server writes are refused at once, reads go on, and everything comes back by itself."""
    assert requests.outage(own_valkey, how=how) == []


@pytest.mark.timeout(60)
def test_departed_clients(valkey: Server):
    """Whenever a client leaves, nothing stays locked."""
    assert requests.departed_clients(valkey) == []
