"""The shop's tests, after ``install(app)``: the clients are others, the tests the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from envelope import install
from envelope.testing import UnwrappingClient
from tests.testing.shop.app import create_app
from tests.testing.shop.cases import *  # noqa: F403 - the tests


@pytest.fixture
def app() -> FastAPI:
    app = create_app()
    install(app)
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with UnwrappingClient(app) as client:
        yield client


@pytest.fixture
def quiet_client(app: FastAPI) -> TestClient:
    return UnwrappingClient(app, raise_server_exceptions=False)


def test_shop_speaks_the_convention(app: FastAPI) -> None:
    """Without unwrapping, most of the tests above would fail."""
    with TestClient(app) as client:
        assert client.delete("/items/1").json() == {"status": "success", "content": None}
        assert client.get("/items/x").status_code == 400
