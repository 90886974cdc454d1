"""The shop's tests, as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.testing.shop.app import create_app
from tests.testing.shop.cases import *  # noqa: F403 - the tests


@pytest.fixture
def app() -> FastAPI:
    return create_app()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@pytest.fixture
def quiet_client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)
