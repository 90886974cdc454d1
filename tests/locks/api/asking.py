"""What the tests of the guards share: a storage whose trips take time, a server that notes when objects are free."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Scope

from envelope import Lease, ObjectLockedError, ObjectLocks, install
from envelope.locks.grants import Holder, Refusal
from envelope.locks.storages.memory import MemoryLocks
from tests.wire.apps import Exchange, failure, scope_of, strict_json, success, talk

JSON = {"content-type": "application/json"}
EMPTY: Message = {"type": "http.request", "body": b"", "more_body": False}

#: The convention's own text.
TEXT = "The object is still being updated (locked). Try your request again later."
BUSY = failure(423, TEXT)
DONE = success("done")


class QuickStorage(MemoryLocks):
    """Locks in memory that note what was taken, by others than those who only look."""

    def __init__(self) -> None:
        super().__init__(max_hold_s=120)
        self.taken: list[str] = []

    async def acquire(self, keys: tuple[str, ...], operation: str) -> Lease | Refusal:
        answer = await super().acquire(keys, operation)
        if isinstance(answer, Lease) and operation != "observer":
            self.taken.extend(keys)
        return answer


class SlowStorage(QuickStorage):
    """Locks in memory whose every trip takes some steps of the event loop, as one to a server does.

    What nobody waits for (``let_go``, and a release whose caller was cancelled) stays ``adrift`` until a test says
    ``settle()``: as on a server, it may come after everything else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.adrift: list[Lease] = []

    async def acquire(self, keys: tuple[str, ...], operation: str) -> Lease | Refusal:
        await _trip()
        answer = await super().acquire(keys, operation)
        try:
            await _trip()
        except asyncio.CancelledError:
            if isinstance(answer, Lease):
                self.adrift.append(answer)
            raise
        return answer

    async def release(self, lease: Lease) -> bool:
        try:
            await _trip()
        except asyncio.CancelledError:
            self.adrift.append(lease)
            raise
        return await super().release(lease)

    def let_go(self, lease: Lease) -> None:
        self.adrift.append(lease)

    async def inspect(self, key: str) -> Holder | None:
        await _trip()
        return await super().inspect(key)

    def settle(self) -> None:
        """Let arrive what is on its way."""
        while self.adrift:
            super().let_go(self.adrift.pop())


async def _trip() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def quick_locks(**options: Any) -> ObjectLocks:
    return ObjectLocks(QuickStorage(), **options)


def slow_locks(**options: Any) -> ObjectLocks:
    return ObjectLocks(SlowStorage(), **options)


def settle(locks: ObjectLocks) -> None:
    if isinstance(locks.storage, SlowStorage):
        locks.storage.settle()


async def apart(work: Any) -> Any:
    """Do something as nobody's request: what is at work here is not at work there."""
    return await asyncio.create_task(work, context=contextvars.Context())


async def is_busy(locks: ObjectLocks, key: str = "e:1") -> bool:
    """Ask by taking the object, as another request would."""

    async def ask() -> bool:
        try:
            async with locks.hold(key, operation="observer"):
                return False
        except ObjectLockedError:
            return True

    return bool(await apart(ask()))


def are_free(locks: ObjectLocks, *keys: str) -> bool:
    """Tell whether nobody has these objects any more (``e:1`` if none is named)."""

    async def look() -> bool:
        return not any([await is_busy(locks, key) for key in keys or ("e:1",)])

    return asyncio.run(look())


class Seen(NamedTuple):
    """What a server saw of one request.

    Attributes:
        sent: The messages.
        busy: Whether the object was locked when they left, message by message.
        raised: What came out of the application.
        is_busy_after: Whether it was locked when the application had returned.
        was_taken: Whether it was taken at all.
    """

    sent: list[Message]
    busy: list[bool]
    raised: BaseException | None
    is_busy_after: bool
    was_taken: bool

    @property
    def held(self) -> list[bool]:
        """Like ``busy``; but of a head that leaves together with the whole body, whether the object was taken.

        The envelope sends most heads with what comes after them, and the object is free before both.
        """
        bodies = [message for message in self.sent if message["type"] != "http.response.start"]
        is_whole = bool(bodies) and not bodies[-1].get("more_body", False)
        leaves_at_once = is_whole and last_that_counts(self.sent, "") == 1
        return [True, *self.busy[1:]] if self.was_taken and leaves_at_once else self.busy

    @property
    def exchange(self) -> Exchange:
        return Exchange(self.sent, self.raised)

    @property
    def status(self) -> int:
        return self.exchange.status

    @property
    def json(self) -> Any:
        return strict_json(self.exchange.body)

    def held_until(self, method: str = "POST") -> list[bool]:
        """Give what ``held`` has to be: true until the message with which the client has everything."""
        last = last_that_counts(self.sent, method)
        return [index < last for index in range(len(self.sent))]


def last_that_counts(messages: Sequence[Message], method: str) -> int:
    """Find the message with which a client has its whole answer (RFC 9112, 6.3)."""
    left: int | None = None
    for index, message in enumerate(messages):
        kind = message["type"]
        if kind == "http.response.start":
            lengths = [int(value) for name, value in message["headers"] if name.lower() == b"content-length"]
            left = lengths[0] if lengths else None
            if method == "HEAD" or message["status"] in (204, 304) or left == 0:
                return index
        elif kind == "http.response.body":
            if left is not None:
                left -= len(message.get("body", b""))
            if left == 0 or not message.get("more_body", False):
                return index
        elif kind == "http.response.pathsend":
            return index
    raise AssertionError("the answer is not whole")


async def watching(
    app: ASGIApp,
    locks: ObjectLocks,
    scope: Scope,
    key: str = "e:1",
    *,
    incoming: Iterable[Message] = (EMPTY,),
    fail_at: int | None = None,
) -> Seen:
    """Play the server; ``send`` fails at the message with the number ``fail_at``."""
    messages = iter(incoming)
    sent: list[Message] = []
    busy: list[bool] = []
    is_over = asyncio.Event()
    taken: list[str] = getattr(locks.storage, "taken", [])
    taken.clear()

    async def receive() -> Message:
        message = next(messages, None)
        if message is None:
            await is_over.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Message) -> None:
        busy.append(await is_busy(locks, key))
        if len(busy) - 1 == fail_at:
            is_over.set()
            raise OSError("the client is gone")
        sent.append(dict(message))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            is_over.set()

    raised = None
    async with asyncio.timeout(10):
        try:
            await app(scope, receive, send)
        except Exception as exc:
            raised = exc
        is_busy_after = await is_busy(locks, key)
    return Seen(sent, busy, raised, is_busy_after, key in taken)


def watch(app: ASGIApp, locks: ObjectLocks, path: str = "/e/1", key: str = "e:1", **options: Any) -> Seen:
    """Send one request, a POST unless told otherwise. Options are those of ``watching`` and of ``scope_of``."""
    mine = {name: options.pop(name) for name in ("incoming", "fail_at") if name in options}
    options.setdefault("method", "POST")
    return asyncio.run(watching(app, locks, scope_of(path, **options), key, **mine))


async def asking(app: ASGIApp, path: str = "/e/1", *, method: str = "POST", **options: Any) -> Exchange:
    """Send one request from within a test's event loop, as a server does: not in the test's own context."""
    mine = {name: options.pop(name) for name in ("incoming", "send_error", "error_at") if name in options}
    done: Exchange = await apart(talk(app, scope_of(path, method=method, **options), **mine))
    return done


def ask(app: ASGIApp, path: str = "/e/1", **options: Any) -> Exchange:
    return asyncio.run(asking(app, path, **options))


def json_of(done: Exchange) -> Any:
    return strict_json(done.body)


def posted(content: bytes) -> dict[str, Any]:
    return {"headers": JSON, "incoming": [{"type": "http.request", "body": content, "more_body": False}]}


def header(done: Exchange, name: bytes) -> list[bytes]:
    return [value for key, value in done.headers if key == name]


class Door:
    """Keeps endpoints inside until a test opens it."""

    def __init__(self) -> None:
        self.entered, self.opened = asyncio.Event(), asyncio.Event()

    async def stay(self) -> None:
        self.entered.set()
        await self.opened.wait()


def starlette_of(locks: ObjectLocks | None, endpoint: Any, *more: BaseRoute, **options: Any) -> Starlette:
    """Make an application whose endpoint stands at ``/e/{entity_id}`` and has all methods."""
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]
    app = Starlette(routes=[Route("/e/{entity_id}", endpoint, methods=methods), *more])
    install(app, locks=locks, **options)
    return app


async def done(request: Request) -> JSONResponse:
    return JSONResponse("done")
