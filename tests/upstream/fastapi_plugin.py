"""pytest plugin: every FastAPI application is installed, and every answer unwrapped before a test reads it.

    test client <- Unwrapping <- installed application

Tests that call an application themselves, or through ``httpx.ASGITransport``, are unwrapped at its door.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import fastapi
import fastapi.testclient
import pytest
import starlette.testclient
from starlette.types import Receive, Scope, Send

from envelope import install
from envelope.testing import Unwrapping, UnwrappingClient
from envelope.wire.witness import WITNESS, Witness

counts = Counter(successes=0, failures=0)

_init, _call = fastapi.FastAPI.__init__, fastapi.FastAPI.__call__


@functools.wraps(_init)
def init_and_install(app: fastapi.FastAPI, *args: Any, **kwargs: Any) -> None:
    _init(app, *args, **kwargs)
    install(app)


async def unwrap_at_the_door(app: fastapi.FastAPI, scope: Scope, receive: Receive, send: Send) -> None:
    """Call an application; where nobody unwraps yet, do it here."""
    if scope["type"] != "http" or "app" in scope:  # mounted
        await _call(app, scope, receive, send)
        return
    inside = functools.partial(_call, app)
    try:
        await (inside if WITNESS in scope else Unwrapping(inside))(scope, receive, send)
    finally:
        witness: Witness = scope[WITNESS]
        counts["successes"] += witness.success is not None
        counts["failures"] += bool(witness.failures)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--counts", type=Path, help="where to write how many responses were unwrapped")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the counts."""
    path: Path | None = config.getoption("--counts")
    if path is not None:
        path.write_text(json.dumps(counts))


fastapi.FastAPI.__init__ = init_and_install  # type: ignore[method-assign, assignment]
fastapi.FastAPI.__call__ = unwrap_at_the_door  # type: ignore[method-assign, assignment]
fastapi.testclient.TestClient = UnwrappingClient  # type: ignore[misc]
starlette.testclient.TestClient = UnwrappingClient  # type: ignore[misc]
