"""Measures ``import envelope`` in fresh interpreters that have FastAPI already (row 15)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from statistics import median

#: What only those pay for who use it.
OPTIONAL = ("redis", "valkey", "opentelemetry")

_SCRIPT = f"""
import fastapi, json, sys, time
before = {{name for name in {OPTIONAL} if name in sys.modules}}
begun = time.perf_counter()
import envelope
took_ms = (time.perf_counter() - begun) * 1e3
print(json.dumps([took_ms, [name for name in {OPTIONAL} if name in sys.modules and name not in before]]))
"""


@dataclass(frozen=True, kw_only=True)
class ImportFigures:
    """How long the import took, over several interpreters, and which optional packages it loaded."""

    median_ms: float
    least_ms: float
    loaded: list[str]


def measure_import(runs: int) -> ImportFigures:
    """Import in ``runs`` fresh interpreters, after one that only writes the byte code."""
    results = [_import() for _ in range(runs + 1)][1:]
    times = [took_ms for took_ms, _ in results]
    return ImportFigures(median_ms=median(times), least_ms=min(times), loaded=results[0][1])


def _import() -> tuple[float, list[str]]:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True)  # noqa: S603 - our own script
    took_ms, loaded = json.loads(done.stdout)
    return took_ms, loaded
