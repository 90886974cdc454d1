"""Watching an application: every request and its response, as they are on the wire, with whatever client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Self
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope.conformance.exchanges import Exchange, Fields
from envelope.conformance.exchanges import Request as SentRequest
from envelope.testing.compression import decompress
from envelope.wire.paths import route_path


class Watch:
    """Writes down what an application answers, for a block of code.

    Args:
        app: Started or not, installed or not.
    """

    def __init__(self, app: Starlette) -> None:
        if not isinstance(app, Starlette):
            raise TypeError(f"{app!r} cannot be watched; give a Starlette or FastAPI application")
        self._app = app
        self._exchanges: list[Exchange] = []
        self._is_over = False

    def __enter__(self) -> Self:
        app = self._app
        self._own_build = vars(app).get("build_middleware_stack")
        build = app.build_middleware_stack

        def build_and_watch() -> ASGIApp:
            return _Layer(build(), self._note)

        self._build = app.build_middleware_stack = build_and_watch  # type: ignore[method-assign]
        if app.middleware_stack is not None:
            app.middleware_stack = _Layer(app.middleware_stack, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        app = self._app
        # What install() was told meanwhile stays: then the layer only passes on.
        if vars(app).get("build_middleware_stack") is self._build:
            del app.build_middleware_stack
            if self._own_build is not None:
                app.build_middleware_stack = self._own_build  # type: ignore[method-assign]
        if isinstance(app.middleware_stack, _Layer) and app.middleware_stack.note == self._note:
            app.middleware_stack = app.middleware_stack.app

    def take(self) -> list[Exchange]:
        """Give what was written down since the last time."""
        exchanges, self._exchanges = self._exchanges, []
        return exchanges

    def _note(self, exchange: Exchange) -> None:
        if not self._is_over:
            self._exchanges.append(exchange)


class _Layer:
    """Writes down what passes, and changes nothing.

    Attributes:
        app: What it stands around; install() looks for its place from layer to layer.
        note: Is given what was asked and answered.
    """

    def __init__(self, app: ASGIApp, note: Callable[[Exchange], None]) -> None:
        self.app = app
        self.note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _request_of(scope)
        sent, start, body, is_whole = bytearray(), None, bytearray(), False

        async def receive_and_note() -> Message:
            message = await receive()
            sent.extend(message.get("body", b""))
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal start, is_whole
            if message["type"] == "http.response.start":
                # A copy: what comes behind may change the list.
                start = {**message, "headers": list(message.get("headers", ()))}
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                is_whole = not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive_and_note, send_and_note)
        finally:
            # What breaks off, a server cuts off; the client sees that it has nothing.
            if start is not None and is_whole:
                fields = start["headers"]
                self.note(
                    Exchange(
                        replace(request, body=bytes(sent) if sent else None),
                        start["status"],
                        _decoded(fields),
                        decompress(fields, bytes(body)),
                    )
                )


def _request_of(scope: Scope) -> SentRequest:
    """Describe a request before the application does something to its scope."""
    # Starlette's rule for the path below the root path, for the path as it was sent.
    raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
    path = route_path({**scope, "path": raw_path.decode("latin-1")})
    url = str(Request(scope).url)
    return SentRequest(method=scope["method"], url=url, path=path, headers=_decoded(scope["headers"]))


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
