"""Measures the locks in memory: rows 13 and 14."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from time import perf_counter

from envelope import ObjectLocks
from tests.benchmarks.locks.apps import BUILDS, EVERYTHING, GUARDED, INSTALLED, answers, build, is_wrapped
from tests.benchmarks.measure import Client, Figures, Runs, compare
from tests.benchmarks.report import print_table, verdict
from tests.benchmarks.subjects import BARE, FLOOR

#: What a bare Starlette request costs where the bars were set: microseconds are judged as if it did here.
_BARE_US = 8.0
#: The most microseconds that lock and release add (row 13), and that everything adds (row 14).
_LOCK_US, _ALL_US = 3.0, 15.0
_HOLD, _TRIO = "hold()", "hold(), 3 objects"
_KEYS = ("thing:42", "thing:43", "thing:44")


async def measure_requests(*, rounds: int, batch_s: float) -> None:
    """Measure requests that lock what they change, and print what that adds."""
    clients: dict[str, Runs] = {}
    flaws: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for subject in BUILDS:
            try:
                client = Client(build(subject, stack), answers(subject))
            except ImportError as error:
                flaws[subject] = f"- {error}"
                continue
            flaw = answers(subject).flaw(BARE if not is_wrapped(subject) else subject, *await client.answer())
            if flaw is None:
                clients[subject] = client
            else:
                flaws[subject] = f"WRONG: {flaw}"
        figures = await compare(clients, rounds=rounds, batch_s=batch_s)
    _print_requests(figures, flaws)


def _print_requests(figures: Mapping[str, Figures], flaws: Mapping[str, str]) -> None:
    bare, scale = figures[BARE], _BARE_US / figures[BARE].median_us
    rows: list[Sequence[str]] = []
    for subject in BUILDS:
        if subject in flaws:
            rows.append((subject, flaws[subject]))
            continue
        own = figures[subject]
        to_installed = own.added_us(figures[INSTALLED])
        judged = ("", "")
        if subject == GUARDED:
            judged = verdict(to_installed * scale <= _LOCK_US, f"{_LOCK_US:.0f} more than {INSTALLED}")
        elif subject == EVERYTHING:
            judged = verdict(own.added_us(bare) * scale <= _ALL_US, f"{_ALL_US:.0f} more than bare")
        rows.append(
            (
                subject,
                f"{own.median_us:.2f}",
                f"{own.least_us:.2f}",
                f"{own.added_us(bare):+.2f}",
                f"{to_installed:+.2f}",
                f"{own.added_us(bare) * scale:+.1f}, {to_installed * scale:+.1f}",
                *judged,
            )
        )
    print_table(
        "A request that changes one object, in memory, Starlette (rows 13 and 14)",
        rows,
        ("subject", "us/request", "least", "added us", "to install()", "where bare takes 8", "bar", ""),
    )


async def measure_holds(*, rounds: int, batch_s: float) -> None:
    """Measure blocks that hold objects and do nothing, and print what they cost."""
    locks = ObjectLocks()
    held: set[str] = set()
    known: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def hold() -> None:
        async with locks.hold("thing:42"):
            pass

    async def hold_three() -> None:
        async with locks.hold(*_KEYS):
            pass

    async def hold_by_hand() -> None:
        if "thing:42" in held:
            raise RuntimeError("it is held")
        held.add("thing:42")
        try:
            pass
        finally:
            held.discard("thing:42")

    async def hold_asyncio() -> None:
        async with known["thing:42"]:
            pass

    blocks = {
        FLOOR: _Block(hold_by_hand),
        "asyncio.Lock": _Block(hold_asyncio),
        _HOLD: _Block(hold),
        _TRIO: _Block(hold_three),
    }
    async with AsyncExitStack() as stack:
        bare = Client(build(BARE, stack), answers(BARE))
        figures = await compare({BARE: bare, **blocks}, rounds=rounds, batch_s=batch_s)
    scale = _BARE_US / figures[BARE].median_us
    rows: list[Sequence[str]] = []
    for name in blocks:
        own = figures[name]
        judged = verdict(own.median_us * scale <= _LOCK_US, f"{_LOCK_US:.0f}") if name == _HOLD else ("", "")
        rows.append((name, f"{own.median_us:.2f}", f"{own.least_us:.2f}", f"{own.median_us * scale:.2f}", *judged))
    print_table(
        "A block that holds, in memory, outside of requests (row 13)",
        rows,
        ("subject", "us/block", "least", "where bare takes 8", "bar", ""),
    )


class _Block:
    """Runs a block again and again."""

    def __init__(self, block: Callable[[], Awaitable[None]]) -> None:
        self._block = block

    async def run(self, requests: int) -> float:
        """Give the mean seconds of one block."""
        block = self._block
        begun = perf_counter()
        for _ in range(requests):
            await block()
        return (perf_counter() - begun) / requests
