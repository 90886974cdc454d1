"""What the tests of outages share: a loop that is watched, waits that are measured, counts read at the server."""

from __future__ import annotations

import asyncio
import gc
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from envelope.errors.tree import RateLimitedError, ServiceUnavailableError
from envelope.rate_limit import verdicts
from envelope.rate_limit.notation import parse
from envelope.rate_limit.quotas import Strategy
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.storages.outage import OnOutage, OutageGuard
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Demand, Verdict
from tests.servers.process import wait_until
from tests.servers.server import Server

T = TypeVar("T")

#: What a request may wait: the deadline, and as much scheduling as a busy machine needs.
PATIENCE_S = 0.1 + 0.4

#: The default strategy, whose hash fields are read by ``counted``.
STRATEGY: Strategy = "sliding-window-counter"


def run(main: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Run in a loop of its own, and fail if the loop complains; the collector's complaints are pytest's business."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        loop.slow_callback_duration = 60  # nobody reads how slow a busy machine is
        try:
            return await main
        finally:
            for _ in range(5):  # what was cancelled or closed last ends
                await asyncio.sleep(0)

    try:
        answer = asyncio.run(watched(), debug=debug)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # pytest keeps it, and so whatever a failed test holds
        raise
    gc.collect()
    assert not complaints, f"the loop complains: {complaints}"
    return answer


class Clock:
    """Milliseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, milliseconds: int) -> None:
        self.now += milliseconds


def demand(subject: str = "ada", *notations: str, cost: int = 1) -> tuple[Demand, ...]:
    quotas = tuple(quota for notation in notations or ("20/minute",) for quota in parse(notation))
    return (Demand(subject, quotas, cost),)


def guarded(
    url: str,
    clock: Callable[[], int] | None = None,
    *,
    on_outage: OnOutage = "deny",
    timeout_s: float = 0.1,
) -> OutageGuard:
    """Make what ``RateLimiter`` makes of a URL, with a clock of the test's own for the breaker."""
    storage = RedisStorage(url, STRATEGY, timeout_s=timeout_s)
    local = MemoryStorage(STRATEGY)
    if clock is None:
        return OutageGuard(storage, "the-storage", on_outage=on_outage, local=local)
    return OutageGuard(storage, "the-storage", on_outage=on_outage, local=local, clock=clock)


async def timed(check: Awaitable[T]) -> tuple[float, T | Exception]:
    """Give how long a check took and what came of it."""
    begun = time.monotonic()
    try:
        outcome: T | Exception = await check
    except (RateLimitedError, ServiceUnavailableError) as error:
        outcome = error
    return time.monotonic() - begun, outcome


async def is_answered(check: Awaitable[Any]) -> bool:
    """Tell whether the storage itself answered, with ``deny``."""
    try:
        await check
    except ServiceUnavailableError:
        return False
    return True


async def eventually(condition: Callable[[], Awaitable[bool]], *, within_s: float) -> float:
    """Ask again and again until the condition holds, and give how long it took."""
    begun = time.monotonic()
    while not await condition():
        assert time.monotonic() - begun < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def settle(verdict: Verdict, cost: int) -> None:
    """Correct what one verdict took, by the storage that gave it."""
    await verdicts.settle([verdict], cost)


def is_local(verdict: object) -> bool:
    """Tell whether this process decided."""
    return isinstance(verdict, Verdict) and isinstance(verdict.storage, MemoryStorage)


def remaining(verdict: object) -> int:
    """Give what is left in the first quota."""
    assert isinstance(verdict, Verdict)
    return verdict.figures[0].remaining


def keys_of(server: Server) -> list[str]:
    found: list[str] = server.call("KEYS", "envelope:rate-limit:*")
    return found


def counted(server: Server) -> int:
    """Add up what the server has counted in the current windows, of all subjects and quotas."""
    return sum(int(text.split()[1]) for key in keys_of(server) for text in server.call("HVALS", key))


def connections(server: Server) -> int:
    """Count the clients of a server, without the one that asks."""
    return int(server.call("INFO", "clients")["connected_clients"]) - 1


def wait_for_no_connections(server: Server) -> None:
    """Wait until the server has noticed that its clients have gone."""
    wait_until(
        lambda: connections(server) == 0, within_s=3, told=lambda: f"{connections(server)} connections are left"
    )
