"""Runs the scenarios that take minutes: ``python -m tests.faults.long [seconds of the soak]``."""

from __future__ import annotations

import os
import sys

import pytest

if __name__ == "__main__":
    os.environ["SOAK_S"] = str(float(sys.argv[1])) if len(sys.argv) > 1 else "600"
    sys.exit(pytest.main(["--no-cov", "-v", "-m", "long", os.path.dirname(__file__)]))
