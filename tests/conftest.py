"""Servers for every test. The shared ones live as long as the run: a test that uses one flushes it first."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator

import pytest

from envelope.locks.storages.redis import heart as heart_of_locks
from tests.servers.cluster import Cluster
from tests.servers.memcached import Memcached
from tests.servers.sentinel import Sentinel
from tests.servers.server import Server, TlsServer


def pytest_collection_finish() -> None:
    """Keep the collector from what was imported: many tests collect, and would look at it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_lease_outlives_its_test() -> Iterator[None]:
    """End the threads that renew what a test has left locked; they would speak in the log of the next one."""
    yield
    for heart in list(heart_of_locks._hearts):
        heart.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_sentinel() -> Iterator[Sentinel]:
    """A sentinel set that stays as it is; take ``own_sentinel`` for a failover."""
    with Sentinel() as sentinel:
        yield sentinel


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def tls_redis() -> Iterator[TlsServer]:
    _require("redis-server")
    with TlsServer() as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[Memcached]:
    _require("memcached")
    with Memcached() as server:
        yield server


@pytest.fixture
def own_valkey() -> Iterator[Server]:
    """A server for one test, which may stop, suspend or fill it."""
    with Server() as server:
        yield server


@pytest.fixture
def own_sentinel() -> Iterator[Sentinel]:
    """A sentinel set for one test, which may fail it over."""
    with Sentinel() as sentinel:
        yield sentinel


def _require(program: str) -> None:
    """Skip where Debian's servers cannot be had, but never in CI, whose script installs them."""
    if shutil.which(program) is None:
        absent = pytest.fail if os.environ.get("CI") else pytest.skip
        absent(f"{program} is not installed: apt-get install {program}")
