"""Scenario 9, first half: whoever waits for the server is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.scenarios import cancellation
from tests.servers.server import Server


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "scenario",
    [
        cancellation.cancelled_acquire,
        cancellation.cancelled_release,
        cancellation.cancelled_hand_off,
        cancellation.cancelled_claim,
    ],
)
def test_cancelled(valkey: Server, scenario: Callable[..., Any]):
    """Wherever it happens: the task ends cancelled, and the object is free a moment later."""
    assert scenario(valkey) == []
