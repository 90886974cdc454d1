"""instrument() is asked for; without it nothing is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from envelope import ConfigurationError, signals
from envelope.telemetry import instrument, uninstrument
from envelope.telemetry.listener import OpenTelemetryListener


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_nothing_is_imported_without_it():
    """Not even by ``envelope.telemetry`` itself."""
    code = "import envelope, envelope.telemetry, sys; print([m for m in sys.modules if 'opentelemetry' in m])"
    assert run(code) == "[]\n"


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    """The message says what to install."""
    monkeypatch.delitem(sys.modules, "envelope.telemetry.listener")
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'asgi-envelope\[otel\]'"):
        instrument()
    assert signals.listener is None


def test_other_missing_modules_are_not_hidden(monkeypatch: pytest.MonkeyPatch):
    """Only OpenTelemetry is an extra."""
    monkeypatch.delitem(sys.modules, "envelope.telemetry.listener")
    monkeypatch.setitem(sys.modules, "envelope.telemetry.blocked", None)
    with pytest.raises(ModuleNotFoundError, match="blocked"):
        instrument()


def test_global_provider_is_taken_by_default():
    """Without a provider the API's own proxy is asked, which records nothing until an SDK is there."""
    instrument()
    try:
        first = signals.listener
        assert isinstance(first, OpenTelemetryListener)
        first.failure(404, None)
        instrument()
        assert signals.listener is first  # two of them would report everything twice
    finally:
        uninstrument()
    assert signals.listener is None
