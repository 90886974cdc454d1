"""Runs the benchmarks of the rate limits and prints their tables; ``--quick`` is a smoke run of a minute."""

from __future__ import annotations

import argparse
import asyncio
import platform
from collections.abc import Awaitable, Callable

from tests.benchmarks.event_loop import find_event_loop
from tests.benchmarks.rate_limits import crowd
from tests.benchmarks.rate_limits.memory import measure_requests, measure_routes
from tests.benchmarks.rate_limits.server import measure_server

_PARTS = ("memory", "crowd", "server")


def main() -> None:
    """Measure everything and print it; a figure over its bar is printed, never an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rate_limits", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: the figures mean little")
    parser.add_argument("--only", choices=_PARTS, action="append", help="a part; may be given several times")
    options = parser.parse_args()
    parts = options.only or _PARTS
    name, new_loop = find_event_loop()
    print(f"Python {platform.python_version()}, {name}, in process")

    def run(measure: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_awaited(measure))

    few = options.quick
    if "memory" in parts:
        run(lambda: measure_requests(rounds=3 if few else 60, batch_s=0.002 if few else 0.008))
        run(lambda: measure_routes(rounds=3 if few else 60, batch_s=0.002 if few else 0.008))
    if "crowd" in parts:
        crowd.measure_crowds(crowd.QUICK if few else crowd.FULL, is_quick=few)
    if "server" in parts:
        run(lambda: measure_server(rounds=2 if few else 25, batch_s=0.005 if few else 0.02))


async def _awaited(measure: Callable[[], Awaitable[None]]) -> None:
    await measure()


if __name__ == "__main__":
    main()
