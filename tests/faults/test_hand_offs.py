"""Scenario 14: a request passes an object on, and something goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.scenarios import hand_offs
from tests.servers.server import Server


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "scenario",
    [
        hand_offs.worker_dies_before_claim,
        hand_offs.worker_dies_after_claim,
        hand_offs.double_delivery,
        hand_offs.enqueue_failure,
        hand_offs.claim_after_deadline,
    ],
)
def test_hand_off(valkey: Server, scenario: Callable[..., Any]):
    """One worker at the most does the job, and an object that nobody claims is free in time."""
    assert scenario(valkey) == []
