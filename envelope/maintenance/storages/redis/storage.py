"""A switch in Redis or Valkey: one key, read and written by scripts with the server's time."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from envelope.maintenance.readings import Reading
from envelope.storage.redis.errands import Arguments
from envelope.storage.redis.line import Lines
from envelope.storage.redis.links import plan_connection
from envelope.storage.redis.scripts import Script, read_script

#: Version of what lies under the key; another layout gets another number.
_VERSION = 1


class RedisSwitch:
    """A switch of a fleet. Clocks of hosts do not matter: only durations travel.

    Args:
        url: Where the server, the Sentinels or the cluster are.
        timeout_s: How long a question may take.
        namespace: Tells services apart.

    Raises:
        ConfigurationError: The client library is not installed, or refuses the URL.
    """

    def __init__(self, url: str, *, timeout_s: float, namespace: str) -> None:
        self._lines = Lines(plan_connection(url, timeout_s), timeout_s)
        self._key = f"envelope:{{maintenance:{namespace}}}:{_VERSION}".encode()
        self._scripts = _load_scripts()

    async def read(self) -> Reading | None:
        """Ask whether the key is there, and what it says."""
        return await self._ask(self._scripts.read)

    async def begin(self, rest_ms: int | None) -> Reading | None:
        """Set the key."""
        return await self._ask(self._scripts.begin, "" if rest_ms is None else rest_ms)

    async def end(self) -> Reading | None:
        """Delete the key."""
        return await self._ask(self._scripts.end)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._lines.aclose()

    async def _ask(self, script: Script, *arguments: str | int) -> Reading | None:
        words = await self._lines.here().run(script, [self._key], Arguments.of(*arguments))
        if words[0] == b"off":
            return None
        _, age, rest = words
        return Reading(int(age), None if rest == b"-" else int(rest))


class _Scripts(NamedTuple):
    read: Script
    begin: Script
    end: Script


@cache
def _load_scripts() -> _Scripts:
    return _Scripts(*(read_script(__package__, "switch", name) for name in ("read", "begin", "end")))
