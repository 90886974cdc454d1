"""What a test of outages leaves behind is collected, and complained of, before the next one begins."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.servers.cluster import Cluster
from tests.servers.process import wait_until


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> Iterator[None]:
    """Spare the collector what was there before: it runs after each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    for record in caplog.get_records("call"):
        record.args = ()  # the errors, which hold whatever was under way
    gc.collect()


@pytest.fixture(scope="module")
def _cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def own_cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster, made whole again after each test, which may suspend or kill its nodes."""
    _cluster.flush()
    yield _cluster
    for server in _cluster.servers:
        if server.is_running:
            server.resume()
        else:
            server.kill()  # for the guard that watches it
            server.start()
    for server in _cluster.servers:
        wait_until(server.is_in_cluster, within_s=15, told=lambda: "\n".join(s.output for s in _cluster.servers))
