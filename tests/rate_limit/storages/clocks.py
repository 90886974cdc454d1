"""Time that stands still, for our own counting, for that of ``limits``, and for a server that runs the Lua scripts.

``fakeredis`` runs the very scripts that a server runs, in the Lua of a server, on a clock that can be set.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import fakeredis
import fakeredis._helpers
import fakeredis._socket._base
import fakeredis.commands_mixins.server_mixin
import limits.aio.storage.memory
import limits.aio.strategies
import limits.storage.redis
import limits.strategies

from envelope.rate_limit.quotas import Quota, Strategy
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Demand, Verdict
from envelope.storage.redis.errands import Command
from envelope.storage.redis.line import Lines

STRATEGIES: tuple[Strategy, ...] = ("sliding-window-counter", "fixed-window", "moving-window")

#: A multiple of every window up to a year, so that windows that follow the epoch begin here.
BASE_MS = 1_555_200_000_000


class Clock:
    """Whole milliseconds that pass when they are told to."""

    def __init__(self, now: int = BASE_MS) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def exact(self) -> Fraction:
        """The time of day in seconds, of which no arithmetic rounds anything off."""
        return Fraction(self.now, 1000)

    def rounded(self) -> float:
        return self.now / 1000


@contextmanager
def shared(clock: Clock) -> Iterator[None]:
    """Put ``limits`` and ``fakeredis`` on a clock."""
    exact, rounded = types.SimpleNamespace(time=clock.exact), types.SimpleNamespace(time=clock.rounded)
    with (
        patch.object(limits.aio.storage.memory, "time", exact),
        patch.object(limits.aio.strategies, "time", exact),
        # What it sends to a server is a float.
        patch.object(limits.storage.redis, "time", rounded),
        patch.object(limits.strategies, "time", exact),
        patch.object(fakeredis._helpers, "time", exact),
        patch.object(fakeredis._socket._base, "time", exact),
        patch.object(fakeredis.commands_mixins.server_mixin, "time", exact),
    ):
        yield


class FakeServer:
    """A server under a clock, and a link of ours to it."""

    is_worn = False

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer(server_type="valkey")
        self.client = fakeredis.FakeRedis(server=self.server)

    async def connect(self) -> FakeServer:
        return self

    def is_lost(self) -> bool:
        return False

    async def exchange(self, commands: Sequence[Command]) -> None:
        for command in commands:
            keys = [key for errand in command.errands for key in errand.keys]
            values = [value for errand in command.errands for value in errand.arguments.values]
            reply: Any = self.client.eval(command.script.text.decode(), len(keys), *keys, *values)
            command.finish(reply)

    async def close(self) -> None:
        """Keep what was counted."""


def memory_under(clock: Clock, strategy: Strategy, max_keys: int = 1000) -> MemoryStorage:
    """One shard, so that all windows of one length begin when the first is asked for."""
    return MemoryStorage(strategy, max_keys=max_keys, clock=clock)


def lua_under(clock: Clock, strategy: Strategy, server: FakeServer | None = None) -> RedisStorage:
    storage = RedisStorage("redis://nowhere", strategy, timeout_s=10, clock=clock)
    storage._lines = Lines((server or FakeServer()).connect, 10)
    return storage


def quotas_of(*pairs: tuple[int, int]) -> tuple[Quota, ...]:
    """Make quotas of amounts and windows in seconds."""
    return tuple(Quota(amount, window_s) for amount, window_s in pairs)


async def take(storage: MemoryStorage | RedisStorage, quotas: Sequence[Quota], cost: int = 1) -> Verdict:
    return await storage.decide((Demand("ada", tuple(quotas), cost),))
