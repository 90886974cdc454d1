"""What is sent, what is read, and what a response that does not come is called."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from envelope.conformance.asking.sending import (
    NoResponseError,
    Sender,
    TimeIsUpError,
    TooLargeError,
    UnreachableError,
    fetch,
    is_limited,
    new_session,
)
from envelope.conformance.exchanges import Exchange
from tests.conformance.services import OK, answering, drip, hang_after, reset, sender_to

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def echo(request: StarletteRequest) -> Response:
    return JSONResponse({"headers": dict(request.headers), "query": request.url.query})


def test_exchange_is_what_was_sent_and_what_came() -> None:
    """Method, body and header fields arrive; those that came twice come twice, and the witness sees all."""

    async def answer(request: StarletteRequest) -> Response:
        response = Response(await request.body(), 201, media_type="text/plain")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    with sender_to(Starlette(routes=[Route("/x", answer, methods=["PUT"])])) as (sender, seen):
        exchange = sender.send(sender.request("PUT", "/x?y=1", headers=(("X-Y", "z"),), body=b"hello"))

    assert (exchange.status, exchange.body) == (201, b"hello")
    assert (exchange.request.path, exchange.request.headers) == ("/x", (("X-Y", "z"),))
    assert len([name for name, _ in exchange.headers if name.lower() == "set-cookie"]) == 2
    assert seen == [exchange]
    assert sender.sent == 1


def test_body_is_given_without_its_compression() -> None:
    """A body that was compressed on its way is judged as it is read."""

    def answer(_: StarletteRequest) -> Response:
        return Response(gzip.compress(b"{}"), headers={"content-encoding": "gzip"})

    with sender_to(Starlette(routes=[Route("/", answer)])) as (sender, _):
        assert sender.send(sender.request("GET", "/")).body == b"{}"


def test_redirect_is_not_followed() -> None:
    """The redirect itself is the response."""

    def answer(_: StarletteRequest) -> Response:
        return Response(status_code=307, headers={"location": "/elsewhere"})

    with sender_to(Starlette(routes=[Route("/", answer)])) as (sender, _):
        assert sender.send(sender.request("GET", "/")).status == 307


def test_users_headers_are_sent_instead_of_generated_ones_and_masked() -> None:
    """They win over fields of the same name, and can be left out; their values stand in no curl line."""
    app = Starlette(routes=[Route("/", echo)])
    with sender_to(app, headers=(("X-Token", "s3cret"),)) as (sender, _):
        request = sender.request("GET", "/", headers=(("x-token", "generated"), ("A", "b")))
        sent = sender.send(request)
        anonymous = sender.send(sent.request, with_credentials=False)

    assert sent.json["headers"]["x-token"] == "s3cret"
    assert "s3cret" not in sent.request.as_curl()
    assert "x-token" not in anonymous.json["headers"]
    assert anonymous.json["headers"]["a"] == "b"


def test_stream_without_end_is_not_read() -> None:
    """Server-sent events have a head, which is judged, and no end."""

    events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n"
    with answering(hang_after(events)) as url:
        sender = Sender(url)
        exchange = sender.send(sender.request("GET", "/"))
        sender.close()

    assert (exchange.status, exchange.body) == (200, b"")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HEAD + b"Content-Length: 10\r\n\r\n{}", "the body is shorter than was announced"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "the body is shorter than was announced"),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
            "the body is shorter than was announced, or framed otherwise",
        ),
        (
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            "the body is not in its Content-Encoding",
        ),
        (b"", "the connection was closed without a response"),
        (reset, "the connection was reset"),
        (b"what?\r\n\r\n", "the response is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + 200 * b"A: b\r\n" + b"\r\n", "the response is not HTTP (ConnectionError)"),
        (hang_after(b""), "no complete response within 0.2 s"),
        (hang_after(HEAD + b"Content-Length: 10\r\n\r\n{}"), "no complete response within 0.2 s"),
        (drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n"), "no complete response within 0.2 s"),
    ],
)
def test_response_that_is_not_complete_is_named(answer, reason) -> None:
    """What is wrong is said in words that are the same in every run."""
    with answering(answer) as url:
        sender = Sender(url, timeout_s=0.2)
        with pytest.raises(NoResponseError) as raised:
            sender.send(sender.request("GET", "/"))
        sender.close()

    assert raised.value.reason.startswith(reason)
    assert raised.value.request.url == url + "/"


def test_connection_that_the_server_closed_is_tried_once_more() -> None:
    """A server may close a kept connection at any time; only a new one tells."""
    with answering(b"", OK) as url:
        sender = Sender(url)
        exchange = sender.send(sender.request("GET", "/"))
        sender.close()

    assert exchange.status == 200
    assert sender.sent == 2


def test_server_that_is_gone_is_unreachable() -> None:
    """Nobody listens: that is no finding of an operation."""
    with answering(OK) as url:
        pass
    sender = Sender(url)

    with pytest.raises(UnreachableError, match="nobody answers at http://127.0.0.1"):
        sender.send(sender.request("GET", "/"))
    sender.close()


def test_nothing_is_sent_after_the_time_is_up() -> None:
    """The limit for the whole run is seen before each request."""
    sender = Sender("http://127.0.0.1:9", max_time_s=-1)

    with pytest.raises(TimeIsUpError):
        sender.send(sender.request("GET", "/"))

    assert sender.sent == 0


def limited(retry_after: str | None, times: int = 1):
    """Make an application that answers 429 so many times."""
    left = [retry_after] * times

    def answer(_: StarletteRequest) -> Response:
        if not left:
            return Response("fine")
        value = left.pop()
        return Response(status_code=429, headers={"retry-after": value} if value else {})

    return Starlette(routes=[Route("/", answer)])


@pytest.mark.parametrize("retry_after", ["2", "0"])
def test_short_429_is_waited_for(retry_after) -> None:
    """The request is sent again after the time that was asked for; the witness saw both responses."""
    waits: list[float] = []
    with sender_to(limited(retry_after), sleep=waits.append) as (sender, seen):
        exchange = sender.send(sender.request("GET", "/"))

    assert exchange.status == 200
    assert waits == [float(retry_after)]
    assert [each.status for each in seen] == [429, 200]


def test_429_with_a_date_is_waited_for() -> None:
    """A date is a time to wait for as well; one that is over is none."""
    waits: list[float] = []
    with sender_to(limited(formatdate(time.time() - 60, usegmt=True)), sleep=waits.append) as (sender, _):
        assert sender.send(sender.request("GET", "/")).status == 200

    assert waits == [0]


@pytest.mark.parametrize("retry_after", ["6", "soon", None])
def test_429_that_is_long_or_unclear_is_not_waited_for(retry_after) -> None:
    """The check goes on with something else."""
    with sender_to(limited(retry_after), sleep=pytest.fail) as (sender, _):
        exchange = sender.send(sender.request("GET", "/"))

    assert exchange.status == 429
    assert is_limited(exchange)


def test_429_is_waited_for_once() -> None:
    """A service that is always limited does not hold up the check."""
    waits: list[float] = []
    with sender_to(limited("1", times=9), sleep=waits.append) as (sender, _):
        assert sender.send(sender.request("GET", "/")).status == 429

    assert waits == [1]


def test_burst_stops_at_the_first_429() -> None:
    """It sends no more than it needs, and does not wait."""
    count = iter(range(9))

    def answer(_: StarletteRequest) -> Response:
        return Response(status_code=429 if next(count) == 3 else 200)

    with sender_to(Starlette(routes=[Route("/", answer)]), sleep=pytest.fail) as (sender, _):
        first, last = sender.burst(sender.request("GET", "/"), 9)

    assert (first.status, last.status) == (200, 429)
    assert sender.sent == 4


def test_burst_gives_the_last_response_without_a_429() -> None:
    """So many requests and no more."""
    with sender_to(Starlette(routes=[Route("/", echo)])) as (sender, seen):
        first, last = sender.burst(sender.request("GET", "/"), 3)

    assert first is seen[0]
    assert last is seen[-1]
    assert sender.sent == 3


def test_prepared_request_is_taken_without_what_requests_adds() -> None:
    """The curl line of a finding has what was generated, and no more."""
    prepared = requests.Request(
        "POST",
        "http://host/api/x?y=1",
        data="text",
        headers={"X-Bytes": b"\xe9", "Accept": "*/*", "User-Agent": "u"},
    ).prepare()
    request = Sender("http://host/api").from_prepared(prepared)

    assert (request.method, request.path, request.body) == ("POST", "/x", b"text")
    assert request.url == "http://host/api/x?y=1"
    assert request.headers == (("X-Bytes", "\xe9"),)


@pytest.mark.parametrize(
    ("url", "trusts"), [("http://127.0.0.1:1", False), ("http://localhost", False), ("https://example.com", True)]
)
def test_proxies_of_the_environment_are_for_other_machines(url, trusts) -> None:
    """This machine itself is asked directly."""
    with new_session(url) as session:
        assert session.trust_env is trusts


def test_only_what_is_not_the_time_for_it_is_limited() -> None:
    """423, 429 and 503 say nothing of an operation; 404 does."""
    request = Sender("http://host").request("GET", "/")

    assert [is_limited(Exchange(request, status, (), b"")) for status in (423, 429, 503, 404)] == [True] * 3 + [
        False
    ]


@pytest.mark.parametrize(("method", "times"), [("POST", 1), ("PATCH", 1), ("GET", 2), ("PUT", 2)])
def test_only_what_can_be_repeated_is_sent_again(method: str, times: int) -> None:
    """A POST that was read and cut off may have done its work (RFC 9110, 9.2.2)."""
    received = []

    with answering(lambda _: received.append(method)) as url:
        sender = Sender(url)
        with pytest.raises(NoResponseError):
            sender.send(sender.request(method, "/"))
        sender.close()

    assert len(received) == times


def test_redirect_that_cannot_be_read_is_a_response_like_any() -> None:
    """Nobody follows it, so nobody has to understand it."""

    def moved(_: StarletteRequest) -> Response:
        return Response(status_code=302, headers={"Location": "http://[bad"})

    with sender_to(Starlette(routes=[Route("/", moved)])) as (sender, _):
        assert sender.send(sender.request("GET", "/")).status == 302


def test_body_without_an_end_is_not_read_on() -> None:
    """A service that sends for ever takes neither the memory nor the time of the one who checks it."""

    async def long() -> AsyncIterator[bytes]:
        # Not for ever: after the client has gone, a server's send does not wait, and the thread would spin.
        for _ in range(40):
            yield bytes(1024 * 1024)

    def answer(_: StarletteRequest) -> Response:
        return StreamingResponse(long(), media_type="text/plain")

    with (
        sender_to(Starlette(routes=[Route("/", answer)])) as (sender, _),
        pytest.raises(NoResponseError, match="longer than 16 MiB, and was not read on"),
    ):
        sender.send(sender.request("GET", "/"))


def test_retry_after_that_is_no_date_is_not_waited_for() -> None:
    """Whatever stands there, the check goes on."""

    def answer(_: StarletteRequest) -> Response:
        odd = "Mon, 01 Jan 2020 00:00:00 +99999999999999999999"
        return Response(status_code=429, headers={"Retry-After": odd})

    with sender_to(Starlette(routes=[Route("/", answer)]), sleep=pytest.fail) as (sender, _):
        assert sender.send(sender.request("GET", "/")).status == 429


def test_fetch_gives_no_more_than_was_asked_for() -> None:
    """It is how the document is read: by a connection of its own, as much as it may be."""
    with sender_to(Starlette(routes=[Route("/", echo)])) as (sender, _):
        status, fields, body = fetch(sender.base_url + "/", (("X-A", "b"),), 5, 10_000)
        with pytest.raises(TooLargeError):
            fetch(sender.base_url + "/", (), 5, 10)

    assert status == 200
    assert ("content-type", "application/json") in fields
    assert b'"x-a":"b"' in body


def test_fetch_of_what_breaks_off_says_so() -> None:
    """What the libraries raise is one error."""
    with (
        answering(HEAD + b"Content-Length: 9\r\n\r\nx") as url,
        pytest.raises(requests.ConnectionError, match="shorter"),
    ):
        fetch(url + "/", (), 5, 100)
