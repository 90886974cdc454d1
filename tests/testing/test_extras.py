"""What ``envelope.testing`` imports and the package does not install is asked for in words."""

from __future__ import annotations

import importlib
import sys

import pytest

import envelope.testing


def test_missing_http_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install; it is an ImportError, which ``pytest.importorskip`` understands."""
    monkeypatch.delitem(sys.modules, "envelope.testing.transport")
    for library in ("httpx", "httpx2"):
        monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(ModuleNotFoundError, match="pip install httpx2$") as raised:
        importlib.reload(envelope.testing)

    assert raised.value.name == "httpx2"


def test_other_missing_modules_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the HTTP client is not installed by the package."""
    monkeypatch.delitem(sys.modules, "envelope.testing.transport")
    monkeypatch.setitem(sys.modules, "envelope.wire.bodies", None)

    with pytest.raises(ModuleNotFoundError, match="envelope.wire.bodies"):
        importlib.reload(envelope.testing)
