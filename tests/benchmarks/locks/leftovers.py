"""Looks for what locks in memory leave behind: row 13."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from envelope import ObjectLockedError, ObjectLocks, install
from envelope.locks.storages.memory import MemoryLocks
from tests.benchmarks.measure import scope_of
from tests.benchmarks.report import print_table, verdict

#: What a run may hold more than before: nothing that is counted once for each object.
_MOST_BYTES = 4096
_PORTION = 1_000

Cycle = Callable[[int], Awaitable[None]]


async def measure_leftovers(*, cycles: int) -> None:
    """Lock and release as many different objects, and print what is there afterwards that was not before."""
    rows: list[Sequence[str]] = []
    for name, make in (("hold()", _holding), ("a guarded request", _guarded), ("refused", _refused)):
        memory, cycle = await make()
        await _repeat(cycle, 0, _PORTION)
        tasks, threads, keys = len(asyncio.all_tasks()), threading.active_count(), len(memory)
        gc.collect()
        tracemalloc.start()
        try:
            await _repeat(cycle, _PORTION, _PORTION)
            gc.collect()
            before, blocks = tracemalloc.get_traced_memory()[0], _blocks()
            await _repeat(cycle, 2 * _PORTION, cycles)
            gc.collect()
            grown, blocks = tracemalloc.get_traced_memory()[0] - before, _blocks() - blocks
        finally:
            tracemalloc.stop()
        keys, tasks = len(memory) - keys, len(asyncio.all_tasks()) - tasks
        threads = threading.active_count() - threads
        held = grown <= _MOST_BYTES and keys == tasks == threads == 0
        rows.append(
            (name, f"{grown:+,}", f"{blocks:+,}", f"{keys}", f"{tasks}", f"{threads}")
            + verdict(held, f"{_MOST_BYTES:,}; 0; 0; 0")
        )
    print_table(
        f"What {cycles:,} different objects leave behind, in memory (row 13)",
        rows,
        ("cycle", "bytes", "blocks", "keys", "tasks", "threads", "bar", ""),
    )


async def _repeat(cycle: Cycle, first: int, cycles: int) -> None:
    for number in range(first, first + cycles):
        await cycle(number)


def _blocks() -> int:
    return sum(each.count for each in tracemalloc.take_snapshot().statistics("filename"))


async def _holding() -> tuple[MemoryLocks, Cycle]:
    locks = ObjectLocks()

    async def cycle(number: int) -> None:
        async with locks.hold(f"thing:{number}"):
            pass

    return _memory_of(locks), cycle


async def _guarded() -> tuple[MemoryLocks, Cycle]:
    locks = ObjectLocks()

    @locks.guarded("thing:{thing_id}")
    async def update(_request: Request) -> Response:
        return Response(b"{}", media_type="application/json")

    app = Starlette(routes=[Route("/things/{thing_id}", update, methods=["PATCH"])])
    install(app, locks=locks)

    async def cycle(number: int) -> None:
        await app(scope_of(f"/things/{number}", method="PATCH"), _receive, _drop)

    return _memory_of(locks), cycle


async def _refused() -> tuple[MemoryLocks, Cycle]:
    """Refuse two objects, one of which is free, which it has to stay."""
    locks = ObjectLocks(max_hold_s=3600)
    await locks.acquire("thing:busy")

    async def cycle(number: int) -> None:
        with suppress(ObjectLockedError):
            async with locks.hold(f"thing:{number}", "thing:busy"):
                raise AssertionError("it was not refused")

    return _memory_of(locks), cycle


def _memory_of(locks: ObjectLocks) -> MemoryLocks:
    assert isinstance(locks.storage, MemoryLocks)
    return locks.storage


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _drop(message: Message) -> None:
    pass
