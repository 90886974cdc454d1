"""Scenarios 6, 7, 10, 11, 12 and 21, which take minutes: ``python -m tests.faults.long``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scenarios import long
from tests.servers.cluster import Cluster
from tests.servers.sentinel import Sentinel
from tests.servers.server import Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(0)]


@pytest.mark.parametrize("scenario", [long.restarted_server, long.forgotten_scripts, long.flushed_under_load])
def test_forgetful_server(own_valkey: Server, scenario: Callable[..., Any]):
    """A server that has lost its scripts is told them anew; with lost leases, fences keep the table right."""
    assert scenario(own_valkey) == []


def test_failover(own_sentinel: Sentinel):
    """A replica that takes over may know too little: fences keep the table right."""
    assert long.failed_over(own_sentinel) == []


def test_moved_slot():
    """Moving the locks to another server of a cluster costs answers, and nothing else."""
    with Cluster() as cluster:
        assert long.moved_slot(cluster) == []


def test_clock_set(tmp_path: Path):
    """A server's clock that is set costs exclusion at the most, never the table, and locks nothing for long."""
    if shutil.which("gcc") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("gcc is not installed: apt-get install gcc")
    with long.SkewedServer(tmp_path) as server:
        assert long.clock_set(server) == []


def test_soak(own_valkey: Server):
    """In the end there is no more than in the beginning."""
    assert long.soak(own_valkey, seconds=float(os.environ.get("SOAK_S", "600"))) == []
