"""What the tests of failures share: expected bodies, a client that survives crashes, and a raw exchange."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Scope

CRASH = {"code": 500, "message": "Internal Server Error", "status": "failure"}


def failure(code: int, message: object) -> dict[str, object]:
    """Give the parsed body of a failure."""
    return {"code": code, "message": message, "status": "failure"}


def success(content: object) -> dict[str, object]:
    """Give the parsed body of a success."""
    return {"status": "success", "content": content}


def client_of(app: ASGIApp, **options: Any) -> TestClient:
    """Give a client that shows the response to a crash instead of the crash."""
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False, **options)


def strict_json(body: bytes) -> Any:
    """Parse JSON as other languages do: UTF-8, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON (RFC 8259, 6)")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


class Exchange(NamedTuple):
    """What an application did with one request.

    Attributes:
        sent: Every message that reached the server, in order.
        raised: The exception that reached the server.
    """

    sent: list[Message]
    raised: BaseException | None

    @property
    def status(self) -> int:
        (start,) = (message for message in self.sent if message["type"] == "http.response.start")
        return int(start["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        (start,) = (message for message in self.sent if message["type"] == "http.response.start")
        return [(name.lower(), value) for name, value in start["headers"]]

    @property
    def body(self) -> bytes:
        return b"".join(
            message.get("body", b"") for message in self.sent if message["type"] == "http.response.body"
        )

    @property
    def is_complete(self) -> bool:
        """Tell whether the client was told that the body has ended."""
        bodies = [message for message in self.sent if message["type"] == "http.response.body"]
        return bool(bodies) and not bodies[-1].get("more_body", False)

    def types(self) -> list[str]:
        """Give the types of the messages, in order."""
        return [message["type"] for message in self.sent]


def scope_of(
    path: str = "/", *, method: str = "GET", headers: Mapping[str, str] | None = None, **more: Any
) -> Scope:
    """Give the scope of a request as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": {},
        **more,
    }


async def talk(
    app: ASGIApp,
    scope: Scope,
    *,
    incoming: Iterable[Message | Exception] = ({"type": "http.request", "body": b"", "more_body": False},),
    send_error: BaseException | None = None,
    error_at: str = "http.response.body",
) -> Exchange:
    """Play the server for one request; ``send`` fails with ``send_error`` at messages of type ``error_at``."""
    messages = iter(incoming)
    sent: list[Message] = []
    is_over = asyncio.Event()

    async def receive() -> Message:
        message = next(messages, None)
        if message is None:
            # As uvicorn: nothing more comes until the response is complete.
            await is_over.wait()
            return {"type": "http.disconnect"}
        if isinstance(message, Exception):
            raise message
        return message

    async def send(message: Message) -> None:
        if send_error is not None and message["type"] == error_at:
            raise send_error
        if "headers" in message:
            message = {**message, "headers": [(bytes(name), bytes(value)) for name, value in message["headers"]]}
        sent.append(dict(message))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            is_over.set()

    raised = None
    async with asyncio.timeout(10):
        try:
            await app(scope, receive, send)
        except Exception as exc:
            raised = exc
    return Exchange(sent, raised)


def exchange(app: ASGIApp, path: str = "/", **options: Any) -> Exchange:
    """Send one request on raw ASGI. Options are those of ``talk`` and of ``scope_of``."""
    names = ("incoming", "send_error", "error_at")
    talking = {name: options.pop(name) for name in names if name in options}
    return asyncio.run(talk(app, scope_of(path, **options), **talking))


class CopiedScope:
    """A middleware that hands a copy of the scope inward, as some routers and wrappers do."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


def serve(response: Response) -> Any:
    """Give an endpoint that returns ``response``."""

    async def endpoint(request: object) -> Response:
        return response

    return endpoint


def throw(exc: BaseException) -> Any:
    """Give an endpoint that raises ``exc``."""

    async def endpoint(request: object) -> Response:
        raise exc

    return endpoint
