"""Ten bugs that locks have had, planted into the library of a running process: the checker has to see each.

Each is a small change: another text for one of the scripts, or another function in place of one.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

from envelope.locks import retry_after
from envelope.locks.keys import KeyTemplate
from envelope.locks.middleware import LocksMiddleware
from envelope.locks.storages.redis import storage
from envelope.storage.redis.errands import Arguments
from envelope.storage.redis.scripts import Script
from envelope.wire.ending import Ending

Patch = Any

BUGS: dict[str, Callable[[], Patch]] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have a bug in this process; locks that are made within have it."""
    with BUGS[name]():
        yield


def _bug(make: Callable[[], Patch]) -> Callable[[], Patch]:
    BUGS[make.__name__.replace("_", "-")] = make
    return make


def _swap(script: str, old: str, new: str) -> Patch:
    """Change the text of a script."""
    scripts = storage._load_scripts()
    text: str = getattr(scripts, script).text.decode()
    if old not in text:
        raise ValueError(f"{script}.lua reads otherwise now; plant the bug anew: {old!r}")
    return patch.object(
        storage, "_load_scripts", lambda: scripts._replace(**{script: _script(text.replace(old, new))})
    )


def _script(text: str) -> Script:
    return Script(text.encode(), hashlib.sha1(text.encode()).hexdigest().encode())


_DELETE = "for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end return '1' "


@_bug
def blind_release() -> Patch:
    """Release deletes the key, whoever has it (go-redsync before 2015, countless snippets)."""
    return _swap("release", "local token, keep, most", f"do {_DELETE} end local token, keep, most")


@_bug
def acquire_not_idempotent() -> Patch:
    """An acquire that is repeated, because its answer was lost, is refused by itself (redis-py, reply of SET NX lost)."""
    return _swap("acquire", "if record[1] == token then", "if false then")


@_bug
def renewal_creates() -> Patch:
    """A renewal makes a lease that is not there (aioredlock's extend)."""
    return _swap(
        "renew",
        "if record[1] == ARGV[1] and rest(KEYS[i], record[2], record[3]) > 0 then",
        "if not record[1] then redis.call('HSET', KEYS[i], 'a', number(now), 'o', '-', 'w', '-') end if true then",
    )


@_bug
@contextmanager
def token_of_the_thread() -> Iterator[None]:
    """The token belongs to the thread, which all tasks share (redis-py's thread_local)."""
    own = threading.local()
    fresh = secrets.token_hex

    def token_hex(size: int) -> str:
        if not hasattr(own, "token"):
            own.token = fresh(size)
        return str(own.token)

    # Such a token is used again, so nobody remembers which was released.
    with (
        patch.object(secrets, "token_hex", token_hex),
        _swap("acquire", "if record[5] == token then", "if false then"),
    ):
        yield


@_bug
def release_after_the_answer() -> Patch:
    """The lock is given back when the answer has been sent (a dependency with yield)."""

    return patch.object(Ending, "is_reached", lambda self, message: False)


@_bug
def fence_from_a_counter() -> Patch:
    """Fences are counted in a key, which a server can lose."""
    # Per object, as one would; the record's own fence is not looked at.
    return _swap(
        "acquire",
        "if mine == #KEYS - 1 then",
        "if mine < #KEYS - 1 then fence = redis.call('INCR', KEYS[1] .. ':fence') end if mine == #KEYS - 1 then",
    )


@_bug
def blind_compensation() -> Patch:
    """After an acquire without an answer the key is deleted, whoever has it (coredis, when WAIT fails)."""

    async def free(self: Any, token: str, keys: tuple[str, ...]) -> None:
        await self._ask(_script(_DELETE), keys, Arguments.of(token))

    return patch.object(storage.RedisLocks, "free", free)


@_bug
def retry_after_from_ttl() -> Patch:
    """Retry-After is what is left of the lease."""
    return patch.object(retry_after, "_wait_ms", lambda holder: holder.rest_ms)


@_bug
def cancellation_swallowed() -> Patch:
    """Whoever is cancelled while he waits for the lock goes on as if nothing had happened."""
    acquire = storage.RedisLocks.acquire

    async def stubborn(self: Any, keys: tuple[str, ...], operation: str) -> Any:
        task = asyncio.ensure_future(acquire(self, keys, operation))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            return await task

    return patch.object(storage.RedisLocks, "acquire", stubborn)


@_bug
@contextmanager
def key_from_the_raw_path() -> Iterator[None]:
    """The key is what stands in the path, so that another spelling is another object."""
    path: ContextVar[str] = ContextVar("path")
    call = LocksMiddleware.__call__

    async def remember(self: Any, scope: Any, receive: Any, send: Any) -> None:
        path.set(scope.get("path", ""))
        await call(self, scope, receive, send)

    def key(self: KeyTemplate, _: Any) -> str:
        return self.template.partition("{")[0] + path.get().rpartition("/")[2]

    with patch.object(LocksMiddleware, "__call__", remember), patch.object(KeyTemplate, "key", key):
        yield
