"""Runs ASGI applications by hand: what goes in is a scope, what comes out is the list of messages.

No test client stands between, so that what a client would repair or hide stays visible.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = (b"content-type", b"application/json")
PREFIX = b'{"status":"success","content":'
SUFFIX = b"}"
#: What an envelope adds to the length of a body, in bytes.
ADDED = len(PREFIX) + len(SUFFIX)
NULL = PREFIX + b"null" + SUFFIX

#: Messages that may come at any point of a response and are no part of it.
INTERIM = {"http.response.push", "http.response.early_hint", "http.response.debug"}


def http_scope(
    method: str = "GET", path: str = "/", *, headers: Iterable[tuple[bytes, bytes]] = (), **more: Any
) -> Scope:
    """Build the scope of an HTTP request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        **more,
    }


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> Message:
    """Build the message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(content: bytes | bytearray | memoryview = b"", *, more: bool = False) -> Message:
    """Build one message of a body."""
    return {"type": "http.response.body", "body": content, "more_body": more}


def length(count: int) -> tuple[bytes, bytes]:
    """Build a Content-Length header."""
    return (b"content-length", str(count).encode())


def enveloped(content: bytes) -> bytes:
    """Return the success body with this content."""
    return PREFIX + content + SUFFIX


def failure(code: int, message: str) -> bytes:
    """Return the failure body with this code and message."""
    return b'{"code":%d,"message":"%s","status":"failure"}' % (code, message.encode())


def sending(*messages: Mapping[str, Any]) -> ASGIApp:
    """Make an application that sends these messages and nothing else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(cast(Message, message))

    return app


def run(
    app: ASGIApp,
    scope: Scope | None = None,
    *,
    received: Iterable[Mapping[str, Any]] = ({"type": "http.request", "body": b"", "more_body": False},),
    sent: list[Message] | None = None,
) -> list[Message]:
    """Run one request and return the messages that came out.

    Args:
        app: The application.
        scope: The request, of which each run gets its own copy, as from a server; None means ``GET /``.
        received: What ``receive`` gives, in order; afterwards the client is gone.
        sent: The list to write to, for those who look into it during the run or after an exception.
    """
    sent = [] if sent is None else sent
    incoming = iter(received)

    async def receive() -> Message:
        return cast(Message, next(incoming, {"type": "http.disconnect"}))

    async def send(message: Message) -> None:
        sent.append(message)

    async def request() -> None:
        await app(http_scope() if scope is None else {**scope}, receive, send)

    asyncio.run(request())
    return sent


async def unused_receive() -> Message:
    """Stand in for ``receive`` where nobody reads the request."""
    raise AssertionError("nothing of the request was expected to be read")


def head_of(messages: Iterable[Message]) -> Message:
    """Return the one final start message (an interim 1xx is none)."""
    (only,) = [m for m in messages if m["type"] == "http.response.start" and m["status"] >= 200]
    return only


def header(messages: Iterable[Message], name: bytes) -> list[bytes]:
    """Return the values of a header of the response, in order."""
    return [value for key, value in head_of(messages).get("headers", ()) if key.lower() == name.lower()]


def body_of(messages: Iterable[Message]) -> bytes:
    """Return all bytes of the body."""
    return b"".join(bytes(m.get("body", b"")) for m in messages if m["type"] == "http.response.body")


def assert_legal(messages: list[Message]) -> None:
    """Fail unless these messages are one whole HTTP response by the rules of ASGI."""
    counted = [m for m in messages if m["type"] not in INTERIM and m.get("status", 200) >= 200]
    head, *rest = counted
    assert head["type"] == "http.response.start"
    assert all(type(name) is bytes and type(value) is bytes for name, value in head.get("headers", ()))
    bodies = [m for m in rest if m["type"] == "http.response.body"]
    trailers = [m for m in rest if m["type"] == "http.response.trailers"]
    assert rest == bodies + trailers
    assert [bool(m.get("more_body", False)) for m in bodies] == [True] * (len(bodies) - 1) + [False]
    promised = [True] * (len(trailers) - 1) + [False] if head.get("trailers", False) else []
    assert [bool(m.get("more_trailers", False)) for m in trailers] == promised
    declared = header(messages, b"content-length")
    assert len(declared) <= 1


@contextmanager
def served(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """Serve an application on a real uvicorn and give its address; the server ends with the block."""
    # The socket listens before the thread begins, so a client can connect at once: nothing waits for a start.
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive(), "uvicorn did not stop within 10 s"


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """Send raw bytes and return everything until the server closes the connection."""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))
