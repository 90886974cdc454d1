"""Runs the benchmarks and prints one table per group; ``--quick`` is a smoke run of seconds."""

from __future__ import annotations

import argparse
import asyncio
import platform
from dataclasses import dataclass

from tests.benchmarks.event_loop import find_event_loop
from tests.benchmarks.imports import measure_import
from tests.benchmarks.measure import Client, compare
from tests.benchmarks.report import print_import, print_peaks, print_table, rows_of
from tests.benchmarks.subjects import BARE, FLOOR, SPLICED, Bar, Work, groups, stream_of

_CHUNK = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure."""

    rounds: int
    batch_s: float
    imports: int


FULL = Effort(rounds=120, batch_s=0.012, imports=15)
QUICK = Effort(rounds=5, batch_s=0.002, imports=1)


def main() -> None:
    """Measure everything and print it; a figure over its bar is printed, never an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: the figures mean little")
    effort = QUICK if parser.parse_args().quick else FULL
    name, new_loop = find_event_loop()
    print(f"Python {platform.python_version()}, {name}, in process; medians of {effort.rounds} rounds")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_measure(effort))
    print_import(measure_import(effort.imports))


async def _measure(effort: Effort) -> None:
    for group in groups():
        rows = []
        for work in group.works:
            clients, flaws = await _prepare(work)
            rows += rows_of(work, await compare(clients, rounds=effort.rounds, batch_s=effort.batch_s), flaws)
        print_table(group.title, rows)
    await _measure_memory()


async def _prepare(work: Work) -> tuple[dict[str, Client], dict[str, str]]:
    """Build the subjects, and take out those whose answer is wrong."""
    clients, flaws = {}, {}
    for subject, dress in work.dresses.items():
        app = work.build()
        dress(app)
        client = Client(app, work)
        flaw = work.flaw(subject, *await client.answer())
        if flaw is None:
            clients[subject] = client
        elif subject in (BARE, FLOOR):
            raise RuntimeError(f"{work.name}, {subject}: {flaw}")
        else:
            flaws[subject] = flaw
    return clients, flaws


async def _measure_memory() -> None:
    chunks = [b'"', *(b"-" * _CHUNK for _ in range(100)), b'"']
    work = Work(
        name="stream",
        build=lambda: stream_of(chunks),
        dresses=SPLICED,
        bar=Bar(ratio=1.0, over=BARE),
        content="-" * _CHUNK * 100,
    )
    clients, _ = await _prepare(work)
    peaks = {subject: await client.peak() for subject, client in clients.items()}
    print_peaks("Memory of a stream of 100 x 64 KB (row 2)", peaks, most=2 * _CHUNK)


if __name__ == "__main__":
    main()
