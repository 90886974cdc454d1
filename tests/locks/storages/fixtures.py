"""Storages to lock in: each empty, and closed at the end. Modules outside of this folder assign them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.locks.storages.places import SERVERS, Place
from tests.servers.server import Server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def socket_valkey() -> Iterator[Server]:
    """A server that listens at a unix socket as well, ``server.sock`` in its directory."""
    with Server("--unixsocket", "server.sock") as server:
        yield server


@pytest.fixture
async def place(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Place]:
    name = request.param
    if name == "memory":
        opened = Place(name)
    else:
        fixture, scheme = SERVERS[name]
        server = request.getfixturevalue(fixture)
        server.flush()
        rest = f"{server.directory}/server.sock" if "unix" in name else server.url.partition("://")[2]
        opened = Place(name, f"{scheme}://{rest}", server)
    yield opened
    await opened.aclose()
