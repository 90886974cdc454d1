"""Schemathesis runs the examples against their own documents, and finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.openapi.proofs.conftest import Run
from tests.openapi.proofs.example import ROOT, Example, quickstart, verification_service

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make_example", [quickstart, verification_service])
def test_schemathesis_finds_nothing_in_an_example(make_example: Callable[[], Example], run_tool: Run) -> None:
    """All phases, with valid and invalid input and sequences of calls: every answer is as the document says."""
    with make_example() as example:
        ran = run_tool(
            *("schemathesis", "--config-file", str(CONFIGURATION), "run", f"{example.url}/openapi.json"),
            *("--max-examples", "50", "--generation-deterministic", "--no-color"),
            PYTHONPATH=str(ROOT),
        )

    assert ran.returncode == 0, ran.stdout
    for phase in ("Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in ran.stdout.replace("  ", " "), ran.stdout
    assert "Tested: 5" in ran.stdout
