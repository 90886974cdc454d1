"""What a test of outages leaves behind is collected, and complained of, before the next one begins."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.servers.cluster import Cluster


@pytest.fixture(autouse=True)
def _collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    for record in caplog.get_records("call"):
        record.args = ()  # the errors, which hold whatever was under way
    gc.collect()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster for one test, which may stop its nodes or move its slots."""
    with Cluster() as cluster:
        yield cluster
