"""Scenarios 1 and 15: many processes want the same objects."""

from __future__ import annotations

import pytest

from tests.faults.scenarios.contention import crossed_order, steady_contention
from tests.servers.server import Server


@pytest.mark.timeout(60)
def test_steady_contention(valkey: Server):
    """Four processes x four tasks x 20 objects: one at a time, growing fences, no lost change, no phantom 423."""
    assert steady_contention(valkey) == []


@pytest.mark.timeout(60)
def test_crossed_order(valkey: Server):
    """Who wants several objects gets all or none, in whatever order: no deadlock, no part of them held."""
    assert crossed_order(valkey) == []
