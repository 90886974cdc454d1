"""The storages that commands are about."""

from __future__ import annotations

import pytest

#: The fixture of each server.
SERVERS = {"one": "valkey", "sentinel": "valkey_sentinel", "cluster": "valkey_cluster"}


@pytest.fixture(params=SERVERS)
def server(request):
    """A server, a sentinel set and a cluster, each empty."""
    found = request.getfixturevalue(SERVERS[request.param])
    found.flush()
    return found


@pytest.fixture
def url(valkey):
    """One server, empty."""
    valkey.flush()
    return valkey.url
