"""The end of a response: the message with which the client has everything."""

from __future__ import annotations

import pytest
from starlette.types import Message

from envelope.wire.ending import Ending
from tests.rate_limit.asking import websocket_scope
from tests.wire.asgi import body, http_scope, length, start

TEXT = (b"content-type", b"text/plain")
PATH: Message = {"type": "http.response.pathsend", "path": "/a"}
COPY: Message = {"type": "http.response.zerocopysend", "file": 1, "count": 3}
PUSH: Message = {"type": "http.response.push", "path": "/a", "headers": []}
HINT: Message = {"type": "http.response.early_hint", "links": []}
DEBUG: Message = {"type": "http.response.debug", "info": {}}
TRAILERS: Message = {"type": "http.response.trailers", "headers": [], "more_trailers": False}

#: What is sent, and the number of the message with which the client has everything; None if it never has.
ANSWERS: list[tuple[str, list[Message], int | None]] = [
    ("GET", [start(200), body(b"a")], 1),
    ("GET", [start(200), body(b"a", more=True), body(b"b")], 2),
    ("GET", [start(200), body(b"a", more=True), body()], 2),
    ("GET", [start(200), body(b"", more=True), body(b"", more=True), body()], 3),
    ("GET", [start(200), {"type": "http.response.body"}], 1),
    ("GET", [start(200, length(1)), body(b"a")], 1),
    ("GET", [start(200, length(2)), body(b"a", more=True), body(b"b", more=True), body()], 2),
    ("GET", [start(200, length(2)), body(b"ab", more=True), body()], 1),
    ("GET", [start(200, length(2)), body(memoryview(b"ab"), more=True), body()], 1),
    ("GET", [start(200, length(2)), body(b"abc", more=True), body()], 1),
    ("GET", [start(200, length(2)), body(b"a")], 1),
    ("GET", [start(200, TEXT, (b"x", b"0"), length(2)), body(b"a", more=True), body(b"b")], 2),
    ("GET", [start(200, length(0)), body()], 0),
    ("GET", [start(500, length(0)), body()], 0),
    ("GET", [start(200, (b"content-length", b"x")), body(b"a", more=True), body()], 2),
    ("GET", [start(200, (b"content-length", b"")), body(b"a", more=True), body()], 2),
    ("GET", [start(200, (b"content-length", b"-1")), body(b"a", more=True), body()], 2),
    ("GET", [start(204), body()], 0),
    ("GET", [start(204), body(b"a")], 0),
    ("GET", [start(304, length(5)), body()], 0),
    ("HEAD", [start(200), body()], 0),
    ("HEAD", [start(200, length(5)), body(b"abcde")], 0),
    ("HEAD", [start(404, length(5)), body(b"abcde")], 0),
    ("GET", [start(103), start(200), body(b"a")], 2),
    ("HEAD", [start(103), start(200), body()], 1),
    ("GET", [start(100, length(0)), start(200, length(1)), body(b"a")], 2),
    ("GET", [PUSH, HINT, start(200), PUSH, body(b"a")], 4),
    ("GET", [start(200, length(9)), PATH], 1),
    ("GET", [start(200), PATH], 1),
    ("GET", [start(200), COPY], 1),
    ("GET", [start(200), {**COPY, "more_body": True}, body(b"a")], 2),
    ("GET", [start(200, trailers=True), body(b"a"), TRAILERS], 1),
    ("GET", [start(200, trailers=True), body(b"a", more=True), body(), TRAILERS], 2),
    ("GET", [start(200, (b"Content-Length", b"1")), body(b"a", more=True), body()], 1),
    ("GET", [start(200, (b"CONTENT-LENGTH", b"0")), body()], 0),
    ("GET", [start(200, (b"content-length", b"\xb2")), body(b"a", more=True), body()], 2),
    ("GET", [start(200), body(b"a", more=True), DEBUG, body()], 3),
    ("GET", [{"type": "http.response.start", "status": 204}, body()], 0),
    ("GET", [{"type": "http.response.start", "status": 200}, body()], 1),
    ("POST", [start(204, length(3)), body(b"abc")], 0),
    ("OPTIONS", [start(200, length(3)), body(b"abc")], 1),
    ("GET", [start(205, length(0)), body()], 0),
    ("GET", [start(206, length(2)), body(b"a", more=True), body(b"b", more=True), body()], 2),
    ("GET", [start(200)], None),
    ("GET", [start(200), body(b"a", more=True)], None),
    ("GET", [start(200, length(2)), body(b"a", more=True)], None),
]


@pytest.mark.parametrize(("method", "answer", "last"), ANSWERS)
def test_message_with_which_the_client_has_everything(
    method: str, answer: list[Message], last: int | None
) -> None:
    """The head of an answer without a body, the part that completes the length, else the last part."""
    ending = Ending(http_scope(method))

    reached = [ending.is_reached(message) for message in answer]

    assert (reached.index(True) if True in reached else None) == last


@pytest.mark.parametrize(("method", "answer", "last"), ANSWERS)
def test_messages_are_looked_at_only(method: str, answer: list[Message], last: int | None) -> None:
    """They go out as they came."""
    before = [{**message, "headers": [*message.get("headers", ())]} for message in answer]
    ending = Ending(http_scope(method))

    for message in answer:
        ending.is_reached(message)

    assert [{**message, "headers": [*message.get("headers", ())]} for message in answer] == before


def test_second_response_of_one_request_has_its_own_end() -> None:
    """A middleware may drop a response that was not sent, and try again."""
    ending = Ending(http_scope())
    assert not ending.is_reached(start(200, length(5)))
    assert not ending.is_reached(body(b"ab", more=True))

    assert not ending.is_reached(start(200, length(3)))
    assert not ending.is_reached(body(b"ab", more=True))
    assert ending.is_reached(body(b"c", more=True))


def test_messages_of_websockets_are_no_end() -> None:
    """A connection ends with its application's call."""
    ending = Ending(websocket_scope())

    for kind in ("accept", "send", "close", "http.response.start", "http.response.body"):
        assert not ending.is_reached({"type": f"websocket.{kind}", "status": 403, "body": b"", "headers": []})
