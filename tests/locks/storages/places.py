"""What the tests of the locks share: every storage behind one interface, and a look at what lies on its servers."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

import pytest

from envelope import ObjectLocks
from envelope.locks.storages.memory import MemoryLocks
from tests.servers.server import Server

T = TypeVar("T")

#: Name -> the fixture of its server, and how that server's URL begins.
SERVERS = {
    "redis": ("valkey", "redis"),
    "valkey": ("valkey", "valkey"),
    "redis+unix": ("socket_valkey", "redis+unix"),
    "valkey+unix": ("socket_valkey", "valkey+unix"),
    "rediss": ("tls_redis", "rediss"),
    "valkeys": ("tls_redis", "valkeys"),
    "redis+sentinel": ("valkey_sentinel", "redis+sentinel"),
    "valkey+sentinel": ("valkey_sentinel", "valkey+sentinel"),
    "redis+cluster": ("valkey_cluster", "redis+cluster"),
    "valkey+cluster": ("valkey_cluster", "valkey+cluster"),
}

#: Long enough for a busy machine, short enough that nothing waits for it.
TTL_S, TIMEOUT_S = 15.0, 2.0

#: How long the fence of a free object is kept.
TOMBSTONE_MS = 60_000

by_every_link = pytest.mark.parametrize("place", ["memory", *SERVERS], indirect=True)
everywhere = pytest.mark.parametrize("place", ["memory", "redis", "redis+cluster"], indirect=True)
on_servers = pytest.mark.parametrize("place", ["redis", "redis+cluster"], indirect=True)
on_one_server = pytest.mark.parametrize("place", ["redis"], indirect=True)
in_memory = pytest.mark.parametrize("place", ["memory"], indirect=True)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


class Place:
    """Where is locked.

    Attributes:
        name: What it is.
        clock: Of the memory.
        locks: One client of it.
    """

    def __init__(self, name: str, url: str = "", server: Any = None) -> None:
        self.name, self.url, self.server = name, url, server
        self.clock = Clock()
        self._memory = MemoryLocks(max_hold_s=TTL_S, clock=self.clock)
        self._opened: list[ObjectLocks] = []
        self.locks = self.open()

    @property
    def is_memory(self) -> bool:
        return self.name == "memory"

    def open(self, **options: Any) -> ObjectLocks:
        """Open another client; of the memory all are of one process."""
        if self.is_memory:
            locks = ObjectLocks(self._memory, **options)
        else:
            locks = ObjectLocks(self.url, **{"ttl_s": TTL_S, "timeout_s": TIMEOUT_S, **options})
        self._opened.append(locks)
        return locks

    @property
    def other(self) -> ObjectLocks:
        """Another client than ``locks``."""
        if len(self._opened) == 1:
            self.open()
        return self._opened[1]

    async def aclose(self) -> None:
        for locks in self._opened:
            await die(locks)

    def expire(self, *keys: str) -> None:
        """Let the leases on these objects end, as their storage sees it."""
        if self.is_memory:
            self.clock.pass_s(TTL_S)
        for key in keys if not self.is_memory else ():
            self.edit(key, e=1)

    def server_of(self, name: str) -> Server:
        if self.name.endswith("+cluster"):
            return self.server.server_of(name)  # type: ignore[no-any-return]
        return getattr(self.server, "primary", self.server)  # type: ignore[no-any-return]

    def call(self, command: str, name: str, *arguments: Any) -> Any:
        return self.server_of(name).call(command, name, *arguments)

    def record(self, key: str, namespace: str = "") -> dict[str, str]:
        """Read what lies on the server under an object."""
        name = slot_of(key, namespace)
        words = self.call("HGETALL", name)
        return words if isinstance(words, dict) else dict(zip(words[::2], words[1::2], strict=True))

    def edit(self, key: str, **fields: Any) -> None:
        """Change what lies there, as a clock that steps would."""
        for field, value in fields.items():
            self.call("HSET", slot_of(key), field, value)

    def keys(self) -> dict[str, int]:
        """Give what the servers hold by its name, and milliseconds to live; -1 for ever."""
        servers = self.server.servers if self.name.endswith("+cluster") else [self.server_of("")]
        return {key: server.call("PTTL", key) for server in servers for key in server.call("KEYS", "*")}


def slot_of(key: str, namespace: str = "") -> str:
    """Give the name under which an object lies: version 1 of the layout."""
    digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"envelope:{{locks:{namespace}}}:1:{digest}"


def holds_of(namespace: str = "") -> str:
    return f"envelope:{{locks:{namespace}}}:1:holds"


def server_ms(server: Server) -> int:
    """Give the server's time."""
    seconds, micros = server.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def run(main: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Run in a loop of its own, and fail if the loop complains."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        loop.slow_callback_duration = 60
        try:
            return await main
        finally:
            for _ in range(5):  # what was cancelled or closed last ends
                await asyncio.sleep(0)

    try:
        answer = asyncio.run(watched(), debug=debug)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    gc.collect()
    assert not complaints, f"the loop complains: {complaints}"
    return answer


async def die(locks: ObjectLocks) -> None:
    """Close locks as if their process had ended: nobody renews what they hold."""
    heart: Any = getattr(locks.storage, "_heart", None)
    if heart is not None:
        heart._leases.clear()
    await locks.aclose()


async def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Do something that belongs to no block that is at work here."""
    return await asyncio.create_task(work, context=Context())


async def eventually(condition: Callable[[], Any], *, within_s: float = 5) -> None:
    """Ask again and again until the condition holds; it may be asynchronous."""
    begun = time.monotonic()
    while True:
        answer = condition()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        assert time.monotonic() - begun < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.01)


def heart_threads() -> set[threading.Thread]:
    """Give the threads that renew leases."""
    return {thread for thread in threading.enumerate() if thread.name == "envelope-leases"}
