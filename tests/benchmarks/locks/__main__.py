"""Runs the benchmarks of the object locks and prints their tables; ``--quick`` is a smoke run of seconds."""

from __future__ import annotations

import argparse
import asyncio
import platform

from tests.benchmarks.event_loop import find_event_loop
from tests.benchmarks.locks.leftovers import measure_leftovers
from tests.benchmarks.locks.memory import measure_holds, measure_requests
from tests.benchmarks.locks.server import measure_server

_PARTS = ("memory", "leftovers", "server")


def main() -> None:
    """Measure everything and print it; a figure over its bar is printed, never an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.locks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: the figures mean little")
    parser.add_argument("--only", choices=_PARTS, action="append", help="a part; may be given several times")
    options = parser.parse_args()
    name, new_loop = find_event_loop()
    print(f"Python {platform.python_version()}, {name}, in process")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_measure(options.only or _PARTS, few=options.quick))


async def _measure(parts: tuple[str, ...], *, few: bool) -> None:
    if "memory" in parts:
        await measure_requests(rounds=3 if few else 120, batch_s=0.002 if few else 0.008)
        await measure_holds(rounds=3 if few else 120, batch_s=0.002 if few else 0.008)
    if "leftovers" in parts:
        await measure_leftovers(cycles=1_000 if few else 100_000)
    if "server" in parts:
        await measure_server(rounds=2 if few else 60, batch_s=0.005 if few else 0.02)


if __name__ == "__main__":
    main()
