"""Locks in Redis or Valkey: every question is one script, and each can be asked twice without harm.

All the objects of a namespace share a slot, so that on a cluster several are taken together as well.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cache, lru_cache
from typing import NamedTuple, TypeVar
from urllib.parse import quote, unquote

from envelope.events import LOCKS_FOREIGN_KEYS, log_event
from envelope.locks.grants import Holder, Refusal
from envelope.locks.keys import check_keys
from envelope.locks.lease import Lease
from envelope.locks.retry_after import REMEMBERED
from envelope.locks.storages.redis.heart import MARGIN, Heart
from envelope.storage.breaker import Breaker
from envelope.storage.errors import ForeignKeyError, StorageUnavailableError
from envelope.storage.redis.errands import Arguments
from envelope.storage.redis.line import Lines
from envelope.storage.redis.links import plan_connection
from envelope.storage.redis.scripts import Script, read_script

logger = logging.getLogger("envelope.locks")

#: Version of what lies under a key; another layout gets another number.
_VERSION = 1

#: How long a free object's fence is kept, in milliseconds: while it lives, the next fence is greater even if the
#: server's clock was set back.
_KEPT_MS = 60_000

#: Objects whose keys are remembered.
_MOST_KEYS = 8192

#: Of the name of an object, for those who look into the server.
_LONGEST_NAME = 200

#: Begins a token that was handed off.
_TOKEN = "envelope-lease-1."  # noqa: S105

#: How many random bytes a token has.
_TOKEN_BYTES = 16

T = TypeVar("T")


class RedisLocks:
    """Locks of a fleet.

    Args:
        url: Where the server, the Sentinels or the cluster are.
        breaker: Knows whether it answers.
        ttl_s: How long a lease lasts unless it is renewed.
        max_hold_s: How long it is renewed.
        timeout_s: How long a question may take.
        namespace: Tells services apart.

    Raises:
        ConfigurationError: The client library is not installed, or refuses the URL.
    """

    def __init__(
        self, url: str, breaker: Breaker, *, ttl_s: float, max_hold_s: float, timeout_s: float, namespace: str
    ) -> None:
        self._lines = Lines(plan_connection(url, timeout_s), timeout_s)
        self._breaker = breaker
        self._timeout_s = timeout_s
        self._ttl_s = min(ttl_s, max_hold_s)
        self._ttl_ms = int(self._ttl_s * 1000)
        self._scripts = _load_scripts()
        self._heart = Heart(self, ttl_s=self._ttl_s, max_hold_s=max_hold_s)
        prefix = f"envelope:{{locks:{namespace}}}:{_VERSION}"
        self._holds = f"{prefix}:holds".encode()
        self._objects = f"{prefix}:*"

        def slot_of(name: str) -> tuple[bytes, str]:
            digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=16)
            return f"{prefix}:{digest.hexdigest()}".encode(), _quote(name[:_LONGEST_NAME])

        self._new_slot_of, self._known_slot_of = slot_of, lru_cache(maxsize=_MOST_KEYS)(slot_of)

    def clock(self) -> float:
        """Give seconds that only grow."""
        return time.monotonic()

    async def acquire(self, keys: tuple[str, ...], operation: str) -> Lease | Refusal:
        """Take all the objects or none."""
        self._check_breaker()
        token = secrets.token_hex(_TOKEN_BYTES)
        names = [self._slot_of(key)[1] for key in keys]
        arguments = Arguments.of(token, self._ttl_ms, _KEPT_MS, _quote(operation), _process(os.getpid()), *names)
        since = self.clock()
        words, _ = await self._take(self._scripts.acquire, token, keys, arguments)
        if words[0] == b"granted":
            return self._lease(keys, token, int(words[1]), operation, since)
        return Refusal([_read_holder(keys, words[at : at + _WORDS]) for at in range(1, len(words), _WORDS)])

    async def release(self, lease: Lease) -> bool:
        """Free the objects, or withdraw what was handed off."""
        self._heart.forget(lease)
        token: str = lease.token
        if not self._breaker.may_ask():
            self._heart.let_go(token, lease.keys, self._ttl_s)
            return True
        try:
            words, is_repeated = await self._take(self._scripts.release, token, lease.keys, _releasing(token))
        except StorageUnavailableError:
            return True
        # Others may have had the object since it was released, if that answer was lost.
        return words[0] == b"1" or is_repeated

    def let_go(self, lease: Lease) -> None:
        """Free the objects without waiting."""
        self._heart.forget(lease)
        self._heart.let_go(lease.token, lease.keys, self._ttl_s)

    def check_hand_off(self) -> None:
        """Do nothing: other processes see what is handed off here."""

    async def hand_off(self, lease: Lease, claim_within_ms: int) -> str | None:
        """Give the objects to whoever claims the token that is returned."""
        token = secrets.token_hex(_TOKEN_BYTES)
        arguments = Arguments.of(lease.token, token, claim_within_ms, _KEPT_MS)
        self._heart.forget(lease)  # the token that it would renew is not the lease's any more
        words, _ = await self._take(
            self._scripts.hand_off, token, lease.keys, arguments, lasting_s=claim_within_ms / 1000
        )
        if words[0] != b"1":
            return None
        lease.token = token
        self._heart.watch_offer(lease, claim_within_ms / 1000)
        return _write_token(token, lease.keys)

    async def claim(self, token: str) -> Lease | None:
        """Take what was handed off."""
        handed_off, keys = _read_token(token)
        own = secrets.token_hex(_TOKEN_BYTES)
        arguments = Arguments.of(handed_off, own, self._ttl_ms, _KEPT_MS, _process(os.getpid()))
        since = self.clock()
        words, _ = await self._take(self._scripts.claim, own, keys, arguments)
        if len(words) == 1:
            return None
        fence, operation = words
        return self._lease(keys, own, int(fence), _unquote(operation), since)

    async def renew(self, lease: Lease, ttl_s: float) -> bool:
        """Prolong a lease; False if it has ended."""
        arguments = Arguments.of(lease.token, int(ttl_s * 1000), _KEPT_MS)
        words, _ = await self._ask(self._scripts.renew, lease.keys, arguments)
        return words[0] == b"1"

    async def is_offered(self, lease: Lease) -> bool:
        """Tell whether a lease that was handed off waits to be claimed."""
        words, _ = await self._ask(self._scripts.inspect, lease.keys[:1], Arguments.of())
        holder = _read_holder(lease.keys[:1], words) if words else None
        return holder is not None and holder.is_handed_off and holder.fence == lease.fence

    async def free(self, token: str, keys: tuple[str, ...]) -> None:
        """Free whatever this token has."""
        await self._ask(self._scripts.release, keys, _releasing(token))

    async def inspect(self, key: str) -> Holder | None:
        """Tell who has an object."""
        self._check_breaker()
        words, _ = await self._breaker.ask(self._ask(self._scripts.inspect, (key,), Arguments.of()))
        try:
            return _read_holder((key,), words) if words else None
        except ValueError as error:
            raise ForeignKeyError("what lies under a key is not ours, or cannot be read") from error

    async def survey(self) -> AsyncGenerator[Holder, None]:
        """Tell who has which object, by many short questions.

        If another server takes over meanwhile, some may be missing.
        """
        cursor, told, foreign = "0", set(), 0
        while True:
            self._check_breaker()
            question = self._ask(self._scripts.list_, (), Arguments.of(self._objects, cursor))
            (following, strange, *words), _ = await self._breaker.ask(question)
            foreign += int(strange)
            for at in range(0, len(words), _WORDS + 1):
                digest, *described = words[at : at + _WORDS + 1]
                if digest not in told:  # a server may come to a key twice
                    told.add(digest)
                    try:
                        yield self._read_found(digest, described)
                    except ValueError:
                        foreign += 1
            cursor = following.decode()
            if cursor == "0":
                break
        if foreign:
            log_event(logger, LOCKS_FOREIGN_KEYS, count=foreign)

    async def break_lock(self, key: str, fence: int) -> bool:
        """Free an object if the lease on it has this fence."""
        self._check_breaker()
        words, _ = await self._breaker.ask(self._ask(self._scripts.break_, (key,), Arguments.of(fence, _KEPT_MS)))
        return words[0] == b"1"

    def entered(self, block: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """Enter and leave a block in the background thread."""
        return self._heart.entered(block)

    async def aclose(self) -> None:
        """Finish what goes on in the background, and close the connections of the running event loop."""
        await self._heart.aclose()
        await self._lines.aclose()

    async def close_line(self) -> None:
        """Close the connections of the running event loop."""
        await self._lines.aclose()

    def _lease(self, keys: tuple[str, ...], token: str, fence: int, operation: str, since: float) -> Lease:
        deadline = since + self._ttl_s * (1 - MARGIN)
        lease = Lease(self, keys, fence, operation, since, deadline)
        lease.token, lease.renewed_at = token, since
        if not lease.is_held:  # this process stood still
            self.let_go(lease)
            raise StorageUnavailableError("its answer was read too late")
        self._heart.watch(lease)
        return lease

    def _read_found(self, digest: bytes, words: Sequence[bytes]) -> Holder:
        name = _unquote(words[0])
        is_cut = not self._new_slot_of(name)[0].endswith(digest)
        return _read_holder((name,), [b"0", *words[1:]])._replace(is_cut=is_cut)

    def _check_breaker(self) -> None:
        if not self._breaker.may_ask():
            raise StorageUnavailableError("it did not answer a moment ago")

    def _slot_of(self, name: str) -> tuple[bytes, str]:
        # What clients can make as long as they like is not remembered.
        return self._known_slot_of(name) if len(name) <= _LONGEST_NAME else self._new_slot_of(name)

    async def _take(
        self,
        script: Script,
        token: str,
        keys: tuple[str, ...],
        arguments: Arguments,
        *,
        lasting_s: float | None = None,
    ) -> tuple[list[bytes], bool]:
        """Ask what gives the objects to ``token``, or takes them; if nobody learns whether, let them go."""
        is_known = False
        try:
            answer = await self._breaker.ask(self._ask(script, keys, arguments))
            is_known = True
        finally:
            if not is_known:
                self._heart.let_go(token, keys, lasting_s or self._ttl_s)
        return answer

    async def _ask(self, script: Script, keys: tuple[str, ...], arguments: Arguments) -> tuple[list[bytes], bool]:
        """Ask, and once more on another connection if the first is lost in time.

        Returns:
            The words of the answer, and whether it is that to a second question.
        """
        slots = [self._holds, *(self._slot_of(key)[0] for key in keys)]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        try:
            return await self._lines.here().run(script, slots, arguments, deadline=deadline), False
        except ForeignKeyError:
            log_event(logger, LOCKS_FOREIGN_KEYS, count=1)
            raise
        except StorageUnavailableError:
            if loop.time() >= deadline:
                raise
        return await self._lines.here().run(script, slots, arguments, deadline=deadline), True


class _Scripts(NamedTuple):
    acquire: Script
    release: Script
    renew: Script
    hand_off: Script
    claim: Script
    inspect: Script
    list_: Script
    break_: Script


@cache
def _load_scripts() -> _Scripts:
    names = ("acquire", "release", "renew", "hand-off", "claim", "inspect", "list", "break")
    return _Scripts(*(read_script(__package__, "record", name) for name in names))


def _releasing(token: str) -> Arguments:
    return Arguments.of(token, _KEPT_MS, REMEMBERED)


#: How many words describe a holder.
_WORDS = 10


def _read_holder(keys: tuple[str, ...], words: Sequence[bytes]) -> Holder:
    index, fence, age, beat, rest, lease, state = map(int, words[:7])
    operation, process, holds = words[7:]
    return Holder(
        key=keys[index],
        fence=fence,
        operation=_unquote(operation),
        process=_unquote(process),
        age_ms=age,
        beat_ms=beat,
        rest_ms=rest,
        lease_ms=lease,
        is_handed_off=state == 1,
        holds_ms=[] if holds == b"-" else [int(hold) for hold in holds.split(b",")],
    )


@cache
def _process(pid: int) -> str:
    return _quote(f"{socket.gethostname()}:{pid}")


@lru_cache(maxsize=1024)
def _quote(text: str) -> str:
    """Make a word of a text; "-" stands for none."""
    return "%2D" if text == "-" else quote(text, safe="/:{}", errors="surrogatepass") or "-"


@lru_cache(maxsize=1024)
def _unquote(word: bytes) -> str:
    return "" if word == b"-" else unquote(word.decode(), errors="surrogatepass")


def _write_token(token: str, keys: tuple[str, ...]) -> str:
    # The secret last: whoever logs a job's arguments cuts them there.
    return _TOKEN + base64.urlsafe_b64encode(json.dumps([*keys, token]).encode()).decode()


def _read_token(text: str) -> tuple[str, tuple[str, ...]]:
    try:
        if not text.startswith(_TOKEN):
            raise ValueError  # noqa: TRY301
        *keys, token = json.loads(base64.b64decode(text.removeprefix(_TOKEN), b"-_", validate=True))
        if len(bytes.fromhex(token)) != _TOKEN_BYTES:
            raise ValueError  # noqa: TRY301
        return token, check_keys(tuple(keys))
    except (AttributeError, RecursionError, TypeError, ValueError):
        # Not the text, which may be somebody's token.
        raise ValueError("this is no token of hand_off(); give it as it was returned") from None
