"""The wire on a real uvicorn: what a server makes of our framing (wire cases 2, 4, 6, 8, 9 and 50)."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from envelope import EnvelopeMiddleware, NotFoundError
from envelope.wire.convention import SuccessStatus
from tests.wire.asgi import ADDED, JSON, NULL, body, enveloped, exchange, failure, length, sending, served, start


class Connection(http.client.HTTPConnection):
    """One kept-alive connection; a response that is framed wrongly breaks the next one on it."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(*address, timeout=10)

    def ask(self, method: str, path: str = "/") -> tuple[int, dict[str, str], bytes]:
        """Send a request and return status, headers and body."""
        self.request(method, path)
        response = self.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Keep the server's report of a crash that the test wants out of the output."""
    with caplog.at_level(logging.CRITICAL + 1, logger="uvicorn.error"):
        yield


def test_head_and_get_alternate_on_one_connection():
    """HEAD has the length of GET and no byte, so the connection goes on (case 4)."""

    async def endpoint(request):
        return JSONResponse({"id": 1})

    app = EnvelopeMiddleware(Starlette(routes=[Route("/", endpoint)]))

    with served(app) as address:
        connection = Connection(address)
        head, get, again = connection.ask("HEAD"), connection.ask("GET"), connection.ask("HEAD")
        connection.close()

    assert get[::2] == (200, enveloped(b'{"id":1}'))
    assert head[::2] == again[::2] == (200, b"")
    assert head[1]["content-length"] == get[1]["content-length"] == str(8 + ADDED)


def test_head_of_a_failure_leaves_the_connection_usable():
    """A failure that we write for HEAD has GET's length and no byte, so the connection goes on (case 6)."""

    async def app(scope, receive, send):
        raise NotFoundError("no entity 42")

    with served(EnvelopeMiddleware(app)) as address:
        connection = Connection(address)
        head, get = connection.ask("HEAD"), connection.ask("GET")
        connection.close()

    assert head[::2] == (404, b"")
    assert get[::2] == (404, failure(404, "no entity 42"))
    assert head[1]["content-length"] == get[1]["content-length"] == str(len(get[2]))


@pytest.mark.parametrize("success_status", ["always-200", "keep"])
def test_no_content_leaves_the_connection_usable(success_status: SuccessStatus):
    """A 204 is a 200 with the null or really empty, and the next answer is read from its beginning (case 8)."""

    async def nothing(request):
        return JSONResponse(None, 204)

    async def something(request):
        return JSONResponse(1)

    app = Starlette(routes=[Route("/nothing", nothing), Route("/", something)])

    with served(EnvelopeMiddleware(app, success_status=success_status)) as address:
        connection = Connection(address)
        none, some = connection.ask("GET", "/nothing"), connection.ask("GET")
        connection.close()

    assert none[::2] == ((200, NULL) if success_status == "always-200" else (204, b""))
    assert none[1].get("content-length") == (str(len(NULL)) if success_status == "always-200" else None)
    assert some[::2] == (200, enveloped(b"1"))


def test_reset_content_that_is_kept_is_framed_as_empty():
    """A 205 may have no content, and HTTP/1.1 must be told where it ends (case 9)."""
    app = EnvelopeMiddleware(sending(start(205, JSON), body(b"null")), success_status="keep")

    with served(app) as address:
        answer = exchange(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")

    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 205 ")
    assert b"content-length: 0" in head.lower().split(b"\r\n")
    assert rest == b""


def test_empty_response_of_starlette_is_the_null_envelope():
    """``Response()`` reaches the client as JSON of a true length (case 26)."""
    with served(EnvelopeMiddleware(Response())) as address:
        connection = Connection(address)
        get, head = connection.ask("GET"), connection.ask("HEAD")
        connection.close()

    assert get[::2] == (200, NULL)
    assert head[::2] == (200, b"")
    assert get[1]["content-type"] == head[1]["content-type"] == "application/json"
    assert get[1]["content-length"] == head[1]["content-length"] == str(len(NULL))


def test_stream_is_chunked_and_whole():
    """A streamed answer is chunked by the server and ends as it should (cases 2 and 3)."""

    async def endpoint(request):
        return StreamingResponse(iter(["[", "", "1", ",2]"]), media_type="application/json")

    with served(EnvelopeMiddleware(Starlette(routes=[Route("/", endpoint)]))) as address:
        connection = Connection(address)
        answers = [connection.ask("GET"), connection.ask("GET")]
        connection.close()

    for status, headers, content in answers:
        assert (status, content) == (200, enveloped(b"[1,2]"))
        assert headers["transfer-encoding"] == "chunked"
        assert "content-length" not in headers


def test_length_that_was_stale_is_true_on_the_wire():
    """A stale Content-Length, which would break the connection, does not reach the server (case 1)."""
    app = EnvelopeMiddleware(sending(start(200, JSON, length(1)), body(b"[1,2]")))

    with served(app) as address:
        connection = Connection(address)
        answers = [connection.ask("GET"), connection.ask("GET")]
        connection.close()

    assert [(status, content) for status, _, content in answers] == [(200, enveloped(b"[1,2]"))] * 2


@pytest.mark.usefixtures("quiet")
def test_chunked_body_that_breaks_off_has_no_end():
    """A crash in the middle of a chunked body cuts the connection without the last chunk (case 50)."""

    async def app(scope, receive, send):
        await send(start(200, JSON))
        await send(body(b"[1,", more=True))
        raise ZeroDivisionError

    with served(EnvelopeMiddleware(app)) as address:
        answer = exchange(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'{"status":"success","content":[1,' in answer
    assert not answer.endswith(b"0\r\n\r\n")
    assert b"failure" not in answer


@pytest.mark.usefixtures("quiet")
def test_body_with_a_length_that_breaks_off_is_short():
    """A crash before the declared length is reached leaves the client with too few bytes (case 50)."""

    async def app(scope, receive, send):
        await send(start(200, JSON, length(9)))
        await send(body(b"[1,", more=True))
        raise ZeroDivisionError

    with served(EnvelopeMiddleware(app)) as address:
        connection = Connection(address)
        with pytest.raises(http.client.IncompleteRead) as caught:
            connection.ask("GET")
        connection.close()

    assert caught.value.partial == b'{"status":"success","content":[1,'


@pytest.mark.usefixtures("quiet")
def test_crash_behind_a_held_start_is_a_whole_failure():
    """A crash before the first byte reaches the client as a 500 that ends as it should (cases 16 and 49)."""

    async def app(scope, receive, send):
        await send(start(200, JSON, length(9)))
        raise ZeroDivisionError

    with served(EnvelopeMiddleware(app)) as address:
        connection = Connection(address)
        status, _, content = connection.ask("GET")
        connection.close()

    assert (status, content) == (500, failure(500, "Internal Server Error"))


def test_client_of_http_1_0_gets_the_same_body():
    """Without chunked coding and keep-alive the envelope is the same (case 75)."""
    app = EnvelopeMiddleware(sending(start(200, JSON, length(3)), body(b"[1]")))

    with served(app) as address:
        response = exchange(address, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")

    head, _, content = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert content == enveloped(b"[1]")
