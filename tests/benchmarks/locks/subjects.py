"""Who locks on a server: we, our own scripts sent raw, and what people use today.

Each locks objects and releases them at once. The peers lock several objects one after the other.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool

from envelope import ObjectLockedError, ObjectLocks
from tests.benchmarks.locks.overhear import Overheard

Keys = tuple[str, ...]

#: Of everybody's locks in seconds; the holders of what is busy keep it for the whole run.
_TTL_S, _RUN_S = 15, 3600

#: Through the client, as the rate limits' floor; and on its bare connections, as we do it.
FLOOR, CONNECTION = "floor", "floor, connections held"
OURS = "ours"


class Attempt(Protocol):
    """Somebody who locks."""

    async def block(self, keys: Keys) -> None:
        """Take objects for the whole run, as somebody else."""

    async def __call__(self, keys: Keys) -> bool:
        """Lock objects and release them; False if one was busy."""


Build = Callable[[str, Mapping[Keys, Overheard], AsyncExitStack], Awaitable[Attempt]]


class _Ours:
    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._locks = ObjectLocks(url, ttl_s=_TTL_S)
        self._others = ObjectLocks(url, ttl_s=_RUN_S, max_hold_s=_RUN_S)
        for locks in (self._locks, self._others):
            stack.push_async_callback(locks.aclose)

    async def block(self, keys: Keys) -> None:
        await self._others.acquire(*keys)

    async def __call__(self, keys: Keys) -> bool:
        try:
            async with self._locks.hold(*keys):
                return True
        except ObjectLockedError:
            return False


class _Scripts:
    """Our own two scripts, sent raw."""

    def __init__(self, send: Callable[..., Awaitable[bytes]], commands: Mapping[Keys, Overheard]) -> None:
        self._send = send
        self._commands = commands

    async def block(self, keys: Keys) -> None:
        """Do nothing: what is blocked for us is blocked for these scripts."""

    async def __call__(self, keys: Keys) -> bool:
        token = token_hex(16)
        (before, after), release = self._commands[keys]
        reply = await self._send(*before, token, *after)
        if not reply.startswith(b"granted"):
            return False
        if release is None or await self._send(*release[0], token, *release[1]) != b"1":
            raise RuntimeError("it was not released")
        return True


async def _ours(url: str, _commands: Mapping[Keys, Overheard], stack: AsyncExitStack) -> Attempt:
    return _Ours(url, stack)


async def _floor(url: str, commands: Mapping[Keys, Overheard], stack: AsyncExitStack) -> Attempt:
    return _Scripts(_client(url, stack).execute_command, commands)


async def _connections(url: str, commands: Mapping[Keys, Overheard], stack: AsyncExitStack) -> Attempt:
    client = _client(url, stack)
    idle: list[Any] = []

    async def send(*words: Any) -> bytes:
        if idle:
            connection = idle.pop()
        else:
            connection = client.connection_pool.make_connection()
            await connection.connect()
            stack.push_async_callback(connection.disconnect)
        await connection.send_command(*words)
        reply: bytes = await connection.read_response()
        idle.append(connection)
        return reply

    return _Scripts(send, commands)


class _RedisPy:
    """redis-py's own lock: SET NX, and a script that releases; nothing renews it."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._client = _client(url, stack)

    async def block(self, keys: Keys) -> None:
        for key in keys:
            await self._client.lock(key, timeout=_RUN_S).acquire()

    async def __call__(self, keys: Keys) -> bool:
        held: list[Any] = []
        try:
            for key in keys:
                lock = self._client.lock(key, timeout=_TTL_S)
                if not await lock.acquire(blocking=False):
                    return False
                held.append(lock)
            return True
        finally:
            for lock in held:
                await lock.release()


async def _redis_py(url: str, _commands: Mapping[Keys, Overheard], stack: AsyncExitStack) -> Attempt:
    return _RedisPy(url, stack)


class _PythonRedisLock:
    """python-redis-lock, which knows no event loop: an endpoint with it is a ``def``, in the thread pool."""

    def __init__(self, url: str, stack: AsyncExitStack, *, auto_renewal: bool) -> None:
        self._lock_class = importlib.import_module("redis_lock").Lock
        logging.getLogger("redis_lock").setLevel(logging.ERROR)  # it warns of each refusal
        self._client = importlib.import_module("redis").Redis.from_url(url)
        stack.callback(self._client.close)
        self._options = {"expire": _TTL_S, "auto_renewal": auto_renewal}

    async def block(self, keys: Keys) -> None:
        for key in keys:
            self._lock_class(self._client, key, expire=_RUN_S).acquire(blocking=False)

    async def __call__(self, keys: Keys) -> bool:
        return await run_in_threadpool(self._lock, keys)

    def _lock(self, keys: Sequence[str]) -> bool:
        held: list[Any] = []
        try:
            for key in keys:
                lock = self._lock_class(self._client, key, **self._options)
                if not lock.acquire(blocking=False):
                    return False
                held.append(lock)
            return True
        finally:
            for lock in held:
                lock.release()


def _python_redis_lock(*, auto_renewal: bool) -> Build:
    async def build(url: str, _commands: Mapping[Keys, Overheard], stack: AsyncExitStack) -> Attempt:
        return _PythonRedisLock(url, stack, auto_renewal=auto_renewal)

    return build


def _client(url: str, stack: AsyncExitStack) -> Any:
    client = importlib.import_module("redis.asyncio").from_url(url)
    stack.push_async_callback(client.aclose)
    return client


SUBJECTS: dict[str, Build] = {
    FLOOR: _floor,
    CONNECTION: _connections,
    OURS: _ours,
    "redis-py Lock": _redis_py,
    "python-redis-lock": _python_redis_lock(auto_renewal=False),
    "python-redis-lock, renewed": _python_redis_lock(auto_renewal=True),
}
