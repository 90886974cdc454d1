"""The programs of other people that the proofs run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import _require
from tests.openapi.proofs.swagger_ui import BROWSER

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_tool(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program that stands beside the interpreter, in an empty directory, and give what came of it."""
    programs = Path(sys.executable).parent
    folder = tmp_path_factory.mktemp("tool")

    def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(programs / program), *arguments],
            cwd=folder,
            # Generators look for their formatters in PATH, which a virtual environment that is not active is not in.
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def browser() -> None:
    """Skip where there is no browser, but never in CI."""
    _require(BROWSER)
