"""Services for the tests of ``envelope check``: bytes on a socket, and small applications on a real server."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from envelope.conformance.asking.sending import Sender
from envelope.conformance.exchanges import Exchange
from envelope.conformance.targets.serving import served

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"

Answer = bytes | Callable[[socket.socket], None]


@contextmanager
def answering(*answers: Answer) -> Iterator[str]:
    """Answer the first request of each connection with the next of the answers, the last again and again."""
    left = list(answers)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_all, args=(listener, left))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer_all(listener: socket.socket, left: list[Answer]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            connection.recv(65536)
            answer = left.pop(0) if len(left) > 1 else left[0]
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(answer)


def hang_after(beginning: bytes) -> Callable[[socket.socket], None]:
    """Send a beginning and nothing more, until the client goes away."""

    def hang(connection: socket.socket) -> None:
        connection.sendall(beginning)
        connection.recv(1)

    return hang


def drip(beginning: bytes) -> Callable[[socket.socket], None]:
    """Send a byte of the body now and then, without end."""

    def send(connection: socket.socket) -> None:
        connection.sendall(beginning)
        connection.settimeout(0.02)
        while True:
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return
            connection.sendall(b"1\r\nx\r\n")

    return send


def reset(connection: socket.socket) -> None:
    """Break the connection off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def sender_to(app: Any, **options: Any) -> Iterator[tuple[Sender, list[Exchange]]]:
    """Serve an application; gives a sender, and what its witness saw."""
    seen: list[Exchange] = []
    with served(app, "test") as url:
        sender = Sender(url, witness=seen.append, **options)
        yield sender, seen
        sender.close()


def document(paths: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Make a document; operations are given without their responses."""
    for item in paths.values():
        for operation in item.values():
            operation.setdefault("responses", {"200": {"description": "Fine."}})
    return {"openapi": "3.1.0", "info": {"title": "Things", "version": "1"}, "paths": dict(paths), **more}


def parameter(where: str, name: str, required: bool | None = None, **schema: Any) -> dict[str, Any]:
    """Make a parameter object."""
    is_required = where == "path" if required is None else required
    return {"in": where, "name": name, "required": is_required, "schema": schema}


def json_body(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """Make a request body of JSON objects."""
    schema = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
