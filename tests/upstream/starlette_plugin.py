"""pytest plugin: Starlette's test client talks to ``EnvelopeMiddleware`` and unwraps what comes back.

    test client <- Unwrapping <- EnvelopeMiddleware <- Spy <- application

The body that reaches a test was read off the wire. The spy remembers heads, never bodies: an envelope
cannot say whether its message was a text or JSON. It cuts every second JSON body in two, because the suite
streams none. Statuses, lengths and header fields that describe no body are compared besides; what does not
fit together is a lapse and fails the test, whatever the test looks at. The envelopes are spelled out here,
not imported: this is what a client sees.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import starlette.testclient
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import EnvelopeMiddleware

START, BODY = "http.response.start", "http.response.body"
PREFIX, SUFFIX = b'{"status":"success","content":', b"}"
NULL = PREFIX + b"null" + SUFFIX
FAILURE = re.compile(rb'\{"code":(\d{3}),"message":(.*),"status":"failure"\}', re.DOTALL)

LENGTH, TYPE = b"content-length", b"content-type"
#: What a failure's envelope may drop, because it replaces the body that they describe (RFC 9110, 8).
DESCRIPTION = {LENGTH, TYPE, b"accept-ranges", b"content-disposition", b"etag", b"last-modified"}

counts = Counter(wrapped=0, in_parts=0, converted=0)
lapses: list[str] = []


@dataclass
class Said:
    """What the spy remembers of one response: its head, and what the application raised."""

    start: Message | None = None
    raised: Exception | None = None


_said: ContextVar[Said] = ContextVar("_said")


class UnwrappingTestClient(starlette.testclient.TestClient):
    """Starlette's test client, with the middleware and its reversal around every application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        app = Unwrapping(EnvelopeMiddleware(Spy(self.app), success_status="keep"))
        self._transport.app = self.app = app  # type: ignore[attr-defined]


class Spy:
    """Remembers what the application says, and passes it on, JSON now whole and now in two parts."""

    _whole = cycle((True, False))

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = _said.get()

        async def remember(message: Message) -> None:
            if message["type"] == START:
                said.start = message
            elif message["type"] == BODY and said.start is not None and _is_json(said.start):
                body = message.get("body", b"")
                if body and not next(self._whole):
                    await send({**message, "body": body[: len(body) // 2], "more_body": True})
                    message = {**message, "body": body[len(body) // 2 :]}
            await send(message)

        try:
            await self.app(scope, receive, remember)
        except Exception as exc:
            said.raised = exc
            raise


class Unwrapping:
    """Gives back what the application said, from what the middleware made of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = Said()
        token = _said.set(said)
        response = _Response(scope["method"], said, send)
        try:
            await self.app(scope, receive, response.send)
        finally:
            _said.reset(token)
        if said.start is None and isinstance(said.raised, HTTPException):
            raise said.raised  # An answer for the middleware; the application had only raised it.
        if response.held is not None:
            await send(response.held)


class _Response:
    """One response on its way from the wire to the test.

    Attributes:
        held: A head that may be an envelope's, until the first message of its body shows it.
        envelope: Bytes of the envelope that is being unwrapped; None outside a success.
    """

    def __init__(self, method: str, said: Said, forward: Send) -> None:
        self._method = method
        self._said = said
        self._forward = forward
        self._length: bytes | None = None
        self.held: Message | None = None
        self.envelope: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == START and _is_json(message):
            self.held = message
        elif message["type"] == BODY and self.held is not None:
            wire, self.held = self.held, None
            if self._said.start is not None:
                await self._open(self._said.start, wire, message)
        elif message["type"] == BODY and self.envelope is not None:
            await self._strip(message, message.get("body", b""))
        else:
            await self._forward(message)

    async def _open(self, start: Message, wire: Message, message: Message) -> None:
        body = message.get("body", b"")
        if start["status"] >= 400 and (self._method == "HEAD" or FAILURE.fullmatch(body)):
            counts["converted"] += 1
            _compare(start, wire, DESCRIPTION | ({b"retry-after"} - _names(start)))
            _check(self._method == "HEAD" or _field(wire, LENGTH) == b"%d" % len(body), f"{wire} before {body!r}")
            await self._forward(start)
            await self._forward({**message, "body": _restore(body, start) if body else b""})
        elif body.startswith(PREFIX):
            counts["wrapped"] += 1
            counts["in_parts"] += message.get("more_body", False)
            added = {TYPE} - _names(start)
            empty = body == NULL and (added or _field(start, LENGTH) == b"0")
            _compare(start, wire, {LENGTH} | added)
            _check(empty or (LENGTH in _names(start)) == (LENGTH in _names(wire)), f"{start} became {wire}")
            await self._forward(start)
            self.envelope, self._length = 0, _field(wire, LENGTH)
            await self._strip(message, body, NULL[:-1] if empty else PREFIX)
        else:
            _check(start == wire, f"{start} became {wire}")
            await self._forward(wire)
            await self._forward(message)

    async def _strip(self, message: Message, body: bytes, prefix: bytes = b"") -> None:
        assert self.envelope is not None
        self.envelope += len(body)
        content = body.removeprefix(prefix)
        if not message.get("more_body", False):
            _check(content.endswith(SUFFIX), f"the envelope ends with {body[-20:]!r}")
            _check(int(self._length or self.envelope) == self.envelope, f"{self._length!r} is not {self.envelope}")
            content, self.envelope = content.removesuffix(SUFFIX), None
        await self._forward({**message, "body": content})


def _restore(body: bytes, start: Message) -> bytes:
    """Turn a failure's envelope back into the body that the application sent."""
    match = FAILURE.fullmatch(body)
    assert match is not None
    _check(int(match[1]) == start["status"], f"{start} became {body!r}")
    message, length = match[2], _field(start, LENGTH)
    if length == b"0":
        return b""
    if (_field(start, TYPE) or b"").startswith(b"text/plain"):
        message = str(json.loads(message)).encode()
    elif length == b"%d" % (len(message) + len('{"detail":}')):
        message = b'{"detail":%b}' % message
    _check(length in (None, b"%d" % len(message)), f"{start} became {body!r}")
    return message


def _is_json(start: Message) -> bool:
    return _field(start, TYPE) == b"application/json"


def _names(message: Message) -> set[bytes]:
    return {name.lower() for name, _ in message.get("headers", ())}


def _field(message: Message, name: bytes) -> bytes | None:
    return dict(message.get("headers", ())).get(name)


def _compare(start: Message, wire: Message, changed: set[bytes]) -> None:
    """Check that the status and the other header fields are still the application's."""
    heads = [
        [pair for pair in head.get("headers", ()) if pair[0].lower() not in changed] for head in (start, wire)
    ]
    _check(heads[0] == heads[1] and start["status"] == wire["status"], f"{start} became {wire}")


def _check(fits: object, lapse: str) -> None:
    if not fits:
        lapses.append(lapse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Fail the test if there was a lapse, whatever the test itself noticed."""
    lapses.clear()
    yield
    assert not lapses, lapses


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--counts", type=Path, help="where to write how many responses were unwrapped")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the counts."""
    path: Path | None = config.getoption("--counts")
    if path is not None:
        path.write_text(json.dumps(counts))


starlette.testclient.TestClient = UnwrappingTestClient  # type: ignore[misc]
