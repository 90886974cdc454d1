"""Unwrapping in process: an installed application answers its existing tests as it did before.

What was spliced is taken off the wire again, so a test still reads what was sent. What an envelope does not
tell (the status that became 200, the list of problems that became sentences) the wire layer notes in the
witness that stands in the scope of a request. What it did not write passes untouched.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope.testing.compression import compress, decompress, encoding_of
from envelope.testing.restoring import Answer, failure, success_head
from envelope.wire.head import Headers
from envelope.wire.witness import WITNESS, SuccessNote, Witness

_START, _BODY = "http.response.start", "http.response.body"


class UnwrappingClient(TestClient):
    """A test client to which an installed application answers as it did before ``install(app)``.

    In an existing suite only ``client = TestClient(app)`` changes, to ``client = UnwrappingClient(app)``.
    Successes have their own status and body, failures those of FastAPI's and Starlette's handlers.
    ``client.app`` is the application itself.

    Args:
        app: The application.
        args: Of ``TestClient``.
        options: Of ``TestClient``.
    """

    def __init__(self, app: ASGIApp, *args: Any, **options: Any) -> None:
        super().__init__(Unwrapping(app), *args, **options)
        self.app = app


class Unwrapping:
    """Turns what an installed application sends back into what it would have sent alone; pure ASGI.

    Args:
        app: The application. Its envelopes are known by what the wire layer says, not by their looks: one that
            is not installed, and every response that was not wrapped, passes as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        witness = scope[WITNESS] = Witness()
        await self.app(scope, receive, _Unwrapper(witness, Request(scope), send).take)


class _Unwrapper:
    """One response on its way back from the wire.

    Args:
        witness: Of the request.
        request: What the framework's handlers are asked with.
        send: Where it goes.
    """

    def __init__(self, witness: Witness, request: Request, send: Send) -> None:
        self._witness = witness
        self._request = request
        self._send = send
        self._start: Message | None = None  # held, until the body shows whether it is an envelope
        self._body = b""
        self._opened: SuccessNote | None = None  # between a success's prefix and its suffix

    async def take(self, message: Message) -> None:
        kind = message["type"]
        if kind == _START and self._may_be_ours(message):
            self._start = message
        elif kind == _BODY and (self._start is not None or self._opened is not None):
            self._body += message.get("body", b"")
            await self._look(is_last=not message.get("more_body", False))
        else:
            if self._start is not None:
                await self._release(self._start, is_last=False)
            await self._send(message)

    def _may_be_ours(self, start: Message) -> bool:
        if start["status"] >= 400:
            return bool(self._witness.failures)
        return start["status"] >= 200 and self._witness.success is not None

    async def _look(self, *, is_last: bool) -> None:
        start, success = self._start, self._witness.success
        if start is None:
            await self._go_on(is_last=is_last)
        elif success is None or start["status"] >= 400 or encoding_of(start["headers"]) is not None:
            if is_last:
                await self._unwrap_whole(start)
        else:
            await self._open(start, success, is_last=is_last)

    async def _open(self, start: Message, note: SuccessNote, *, is_last: bool) -> None:
        """Take a success's prefix off, as soon as it is here."""
        writer = note.writer
        if is_last and (not self._body or (note.is_null and self._body == writer.empty)):
            self._body = b""
            await self._release(_with(start, success_head(start, note)), is_last=True)
        elif self._body.startswith(writer.prefix):
            self._body = self._body.removeprefix(writer.prefix)
            self._start, self._opened = None, note
            head = success_head(start, note)
            length = _length(start["headers"])
            headers = head.headers if length is None else _with_length(head.headers, length - writer.overhead)
            await self._send({**start, "status": head.status, "headers": headers})
            await self._go_on(is_last=is_last)
        elif is_last or not writer.prefix.startswith(self._body):
            await self._release(start, is_last=is_last)

    async def _go_on(self, *, is_last: bool) -> None:
        """Send what came of a success, but for what may be the envelope's end."""
        assert self._opened is not None
        suffix = self._opened.writer.suffix
        body, self._body = self._body.removesuffix(suffix), self._body
        self._body = b"" if is_last or len(body) == len(self._body) else suffix
        await self._send({"type": _BODY, "body": body, "more_body": not is_last})

    async def _unwrap_whole(self, start: Message) -> None:
        """Unwrap what has to be known whole: a failure, or what a middleware has compressed."""
        encoding = encoding_of(start["headers"])
        body = self._body if encoding is None else decompress(start["headers"], self._body)
        answer = await self._own_failure(start, body) if start["status"] >= 400 else self._own_success(start, body)
        if answer is not None:
            if encoding is not None:
                answer = _compressed(answer, encoding)
            start, self._body = _with(start, answer), answer.body
        await self._release(start, is_last=True)

    def _own_success(self, start: Message, body: bytes) -> Answer | None:
        note = self._witness.success
        assert note is not None
        if not body.startswith(note.writer.prefix):
            return None
        content = b"" if note.is_null else body.removeprefix(note.writer.prefix).removesuffix(note.writer.suffix)
        return success_head(start, note)._replace(body=content)

    async def _own_failure(self, start: Message, body: bytes) -> Answer | None:
        failures = self._witness.failures
        # An answer to HEAD has none; the last that was written is the one.
        envelope = body or next(reversed(failures))
        note = failures.get(envelope)
        if note is None:
            return None
        answer = await failure(start, envelope, note, self._witness.origins.get(envelope), self._request)
        return answer if body else answer._replace(body=b"")

    async def _release(self, start: Message, *, is_last: bool) -> None:
        """Send a head that was held, and what came behind it."""
        self._start = None
        await self._send(start)
        if self._body or is_last:
            await self._send({"type": _BODY, "body": self._body, "more_body": not is_last})
        self._body = b""


def _with(start: Message, answer: Answer) -> Message:
    return {**start, "status": answer.status, "headers": answer.headers}


def _compressed(answer: Answer, encoding: bytes) -> Answer:
    """Compress an answer as it came; with an encoding that cannot be written here, it is sent plain."""
    body = compress(encoding, answer.body)
    headers = answer.headers
    if body is None:
        body, headers = answer.body, [field for field in headers if field[0].lower() != b"content-encoding"]
    return Answer(answer.status, _with_length(headers, len(body)), body)


def _length(headers: Headers) -> int | None:
    return next((int(value) for name, value in headers if name.lower() == b"content-length"), None)


def _with_length(headers: Headers, length: int) -> Headers:
    """Give headers with another length, if they have one."""
    return [(name, b"%d" % length if name.lower() == b"content-length" else value) for name, value in headers]
