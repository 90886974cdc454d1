"""Scenarios 5, 8 and 13: the server stands still, loses replies, is cut off, forgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.scenarios import network
from tests.servers.server import Server


@pytest.mark.timeout(60)
def test_suspended_server(own_valkey: Server):
    """A server that stands still costs answers, never the exclusion, and leaves nothing locked behind."""
    assert network.suspended_server(own_valkey) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("scenario", "loss"),
    [
        (network.lost_reply_of_acquire, "reset"),
        (network.lost_reply_of_acquire, "silence"),
        (network.lost_reply_of_release, "reset"),
        (network.lost_reply_of_release, "silence"),
        (network.lost_reply_of_renewal, "reset"),
        (network.lost_reply_of_renewal, "silence"),
        (network.lost_reply_of_hand_off, "reset"),
        (network.lost_reply_of_hand_off, "silence"),
        (network.lost_reply_of_claim, "reset"),
        (network.lost_reply_of_claim, "silence"),
    ],
)
def test_lost_reply(valkey: Server, scenario: Callable[..., Any], loss: str):
    """With a lost reply nothing stays locked that nobody has, and nobody is told what is not so."""
    assert scenario(valkey, loss=loss) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "scenario",
    [
        network.late_renewal,
        network.late_hand_off,
        network.unanswered_contender,
        network.partition,
        network.flushed_server,
    ],
)
def test_broken_way(valkey: Server, scenario: Callable[..., Any]):
    """Late renewals create nothing, compensation frees only its own, a cut off holder gives up in time, and fences
    grow although the server has forgotten them."""
    assert scenario(valkey) == []
