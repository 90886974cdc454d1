"""Representation metadata: types, validators, digests, signatures, headers (wire cases 17 to 31)."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message

from envelope import EnvelopeMiddleware
from tests.wire.asgi import (
    ADDED,
    JSON,
    NULL,
    assert_legal,
    body,
    body_of,
    enveloped,
    failure,
    head_of,
    header,
    http_scope,
    length,
    run,
    sending,
    start,
)

STREAM_TYPES = [
    b"text/event-stream",
    b"text/event-stream; charset=utf-8",
    b"Text/Event-Stream",
    b"application/jsonl",
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/json-seq",
    b"multipart/x-mixed-replace; boundary=frame",
    b"application/grpc",
    b"application/grpc+proto",
    b"application/grpc-web+json",
]


def typed(content_type: bytes) -> tuple[bytes, bytes]:
    """Build a Content-Type header."""
    return (b"content-type", content_type)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the wire layer warned of."""
    return [r.getMessage() for r in caplog.records if r.name == "envelope.wire" and r.levelno == logging.WARNING]


# --- cases 17 and 18: validators and variants -------------------------------------------------------


@pytest.mark.parametrize("etag", [b'"v1"', b'W/"v1"', b'""'])
def test_etag_is_kept_as_it_is(etag: bytes):
    """The envelope is a constant around the body, so a tag of one is a tag of the other (case 17)."""
    validators = [(b"etag", etag), (b"last-modified", b"Tue, 15 Nov 1994 12:45:26 GMT")]
    app = sending(start(200, *validators, JSON, length(2)), body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [start(200, *validators, JSON, length(2 + ADDED)), body(enveloped(b"{}"))]


def test_vary_is_neither_added_nor_changed():
    """There is no bare variant to negotiate, so Vary stays the application's (case 18)."""
    layer = EnvelopeMiddleware(sending(start(200, JSON, (b"vary", b"accept-language")), body(b"1")))
    bare = EnvelopeMiddleware(sending(start(200, JSON), body(b"1")))
    asked = [(b"accept", b"text/html;q=0.9, application/vnd.bare+json")]

    assert header(run(layer, http_scope(headers=asked)), b"vary") == [b"accept-language"]
    assert header(run(bare, http_scope(headers=asked)), b"vary") == []
    assert body_of(run(bare, http_scope(headers=asked))) == enveloped(b"1")


# --- cases 19 and 20: digests and signatures --------------------------------------------------------


@pytest.mark.parametrize("name", [b"content-digest", b"repr-digest", b"digest", b"content-md5", b"Content-MD5"])
@pytest.mark.parametrize("content", [b"[1]", b""])
def test_digest_of_a_body_that_changed_is_removed(name: bytes, content: bytes):
    """What was computed over the bare body is no header of the envelope (case 19)."""
    app = sending(start(200, JSON, (name, b"sha-256=:AA==:"), (b"x-kept", b"1")), body(content))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, name) == []
    assert header(messages, b"x-kept") == [b"1"]


def test_digest_of_a_stream_that_changed_is_removed():
    """Digests go also where the body comes in chunks (case 19)."""
    app = sending(start(200, JSON, (b"Repr-Digest", b"a"), (b"DIGEST", b"b")), body(b"[", more=True), body(b"]"))

    messages = run(EnvelopeMiddleware(app))

    assert head_of(messages) == start(200, JSON)


def test_digest_of_a_body_that_passes_is_kept():
    """A body that was not changed keeps its digests (case 19)."""
    sent = [start(200, typed(b"text/csv"), (b"repr-digest", b"x"), (b"content-md5", b"y")), body(b"a,b")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_digest_of_a_failure_that_was_replaced_is_removed():
    """A failure's envelope has no digest of the text that it replaced (cases 19 and 30)."""
    app = PlainTextResponse("gone", 410, headers={"repr-digest": "x", "content-digest": "y", "digest": "z"})

    messages = run(EnvelopeMiddleware(app))

    assert body_of(messages) == failure(410, "gone")
    assert {name for name, _ in head_of(messages)["headers"]} == {b"content-type", b"content-length"}


def test_want_digest_is_ignored():
    """A preference for digests changes nothing, and Want- headers of a response stay (case 19)."""
    want = (b"want-repr-digest", b"sha-256=1")
    app = sending(start(200, JSON, want), body(b"1"))

    messages = run(EnvelopeMiddleware(app), http_scope(headers=[want]))

    assert messages == [start(200, JSON, want), body(enveloped(b"1"))]


@pytest.mark.parametrize("name", [b"signature", b"signature-input", b"Signature", b"Signature-Input"])
def test_signed_answer_passes(name: bytes):
    """We cannot sign again, so what is signed is not touched, its digest included (case 20)."""
    sent = [start(200, JSON, (name, b"sig1=:AA==:"), (b"content-digest", b"x"), length(2)), body(b"{}")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize("name", [b"signature", b"signature-input"])
def test_signed_failure_is_never_sent_with_another_body(name: bytes):
    """A failure that is signed either passes or loses its signature with its body (case 20)."""
    sent = [start(404, JSON, (name, b"sig1=:AA==:"), (b"content-digest", b"x")), body(b'{"detail":"gone"}')]

    messages = run(EnvelopeMiddleware(sending(*sent)))

    assert messages == sent or header(messages, name) == []


# --- cases 21 and 22: codings and no-transform ------------------------------------------------------


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"deflate, gzip"])
def test_compressed_json_passes_with_one_warning(coding: bytes, caplog: pytest.LogCaptureFixture):
    """Nothing is spliced into compressed bytes; the log says it once, however many come (case 21)."""
    sent = [start(200, JSON, (b"Content-Encoding", coding), length(3)), body(b"\x1f\x8b\x08")]
    layer = EnvelopeMiddleware(sending(*sent))

    assert [run(layer), run(layer), run(layer)] == [sent, sent, sent]

    (warning,) = warnings_in(caplog)
    assert "compress" in warning


def test_compressed_html_passes_without_a_warning(caplog: pytest.LogCaptureFixture):
    """Compression of what would pass anyway is nobody's mistake (case 21)."""
    sent = [start(200, typed(b"text/html"), (b"content-encoding", b"gzip")), body(b"\x1f\x8b\x08")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent
    assert warnings_in(caplog) == []


def test_compressed_stream_of_json_passes_in_its_chunks():
    """Compressed JSON in chunks keeps each of them (case 21)."""
    sent = [
        start(200, JSON, (b"content-encoding", b"br")),
        body(b"\x1f", more=True),
        body(b"", more=True),
        body(b"{"),
    ]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize(
    "headers",
    [
        [(b"cache-control", b"no-transform")],
        [(b"Cache-Control", b"public, max-age=60,No-Transform")],
        [(b"cache-control", b"public"), (b"cache-control", b"no-transform")],
    ],
)
def test_no_transform_is_an_opt_out(headers: list[tuple[bytes, bytes]]):
    """``no-transform``, in whichever field and case, leaves the answer alone (case 22)."""
    sent = [start(200, JSON, *headers, length(2)), body(b"{}")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_no_store_is_no_opt_out():
    """Other directives of Cache-Control say nothing about the body (case 22)."""
    app = sending(start(200, JSON, (b"cache-control", b"no-store, no-cache")), body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [start(200, JSON, (b"cache-control", b"no-store, no-cache")), body(enveloped(b"{}"))]


# --- case 23: charsets and the byte order mark ------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"application/json;charset=utf-8",
        b"application/json; charset=UTF-8",
        b'application/json; charset="utf-8"',
        b"Application/JSON ; Charset=utf-8",
        b"application/json;",
    ],
)
def test_json_in_utf8_is_wrapped_and_keeps_its_type(content_type: bytes):
    """JSON is JSON with the charset that it must have, in any spelling; the header stays as it was (case 23)."""
    app = sending(start(200, typed(content_type)), body(b'"\xc3\xa4"'))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [start(200, typed(content_type)), body(enveloped(b'"\xc3\xa4"'))]


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json; charset=iso-8859-1",
        b"application/json; charset=utf-16",
        b'application/json; charset="utf-16"',
        b"application/json; profile=x",
        b"application/json; charset=utf-8; profile=x",
        b"application/jsonp",
        b"text/json",
        b"application/javascript",
        b"json",
        b"",
    ],
)
def test_type_that_is_not_plain_json_passes(content_type: bytes):
    """Another charset or another parameter is something that we do not understand (case 23)."""
    sent = [start(200, typed(content_type), length(2)), body(b"{}")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize("types", [[JSON, typed(b"text/html")], [typed(b"text/html"), JSON]])
def test_answer_with_two_types_passes(types: list[tuple[bytes, bytes]]):
    """Who cannot say what the body is has not said that it is JSON (case 23)."""
    sent = [start(200, *types), body(b"1")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize(
    "chunks",
    [
        [b"\xef\xbb\xbf[1]"],
        [b"\xef\xbb\xbf[", b"1]"],
        [b"\xef\xbb\xbf", b"[1]"],
        [b"", b"\xef\xbb\xbf", b"", b"[1]", b""],
    ],
)
@pytest.mark.parametrize("declared", [[length(6)], []])
def test_byte_order_mark_is_stripped(chunks: list[bytes], declared: list[tuple[bytes, bytes]]):
    """A BOM must not stand in the middle of the envelope, nor be counted (case 23)."""
    *most, last = chunks
    app = sending(start(200, JSON, *declared), *[body(chunk, more=True) for chunk in most], body(last))

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert body_of(messages) == enveloped(b"[1]")
    assert header(messages, b"content-length") == [str(3 + ADDED).encode()] * len(declared)


def test_byte_order_mark_in_two_chunks_is_not_spliced_in():
    """A BOM that is torn apart is stripped, or the answer passes whole: never half of either (case 23)."""
    sent = [start(200, JSON, length(6)), body(b"\xef", more=True), body(b"\xbb\xbf[1]")]

    messages = run(EnvelopeMiddleware(sending(*sent)))

    assert_legal(messages)
    assert body_of(messages) in (enveloped(b"[1]"), b"\xef\xbb\xbf[1]")
    assert header(messages, b"content-length") == [str(len(body_of(messages))).encode()]


@pytest.mark.parametrize("chunks", [[b"\xef\xbb\xbf"], [b"\xef\xbb\xbf", b""]])
def test_byte_order_mark_alone_is_an_empty_body(chunks: list[bytes]):
    """Nothing but a BOM is nothing: ``content: null`` (cases 23 and 26)."""
    *most, last = chunks
    app = sending(start(200, JSON, length(3)), *[body(chunk, more=True) for chunk in most], body(last))

    messages = run(EnvelopeMiddleware(app))

    assert body_of(messages) == NULL
    assert header(messages, b"content-length") == [str(len(NULL)).encode()]


def test_byte_order_mark_of_what_passes_is_kept():
    """A body without a type passes byte for byte, its BOM included (case 23)."""
    sent = [start(200, length(5)), body(b"\xef\xbb\xbf{}")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


# --- cases 24 and 25: types that name a schema, and streams -----------------------------------------


@pytest.mark.parametrize("status", [200, 201, 299])
@pytest.mark.parametrize(
    "subtype", ["problem", "hal", "vnd.api", "geo", "ld", "scim", "jwk-set", "graphql-response", "manifest"]
)
def test_json_with_a_schema_of_its_own_passes(subtype: str, status: int):
    """The type ``+json`` promises a schema that an envelope would break (case 24)."""
    sent = [start(status, typed(f"application/{subtype}+json".encode()), length(2)), body(b"{}")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_failure_with_a_schema_of_its_own_passes_unless_it_is_a_problem():
    """Of the ``+json`` failures ``problem+json`` alone is converted (case 24)."""
    sent = [start(404, typed(b"application/vnd.api+json")), body(b'{"errors":[]}')]
    problem = sending(start(404, typed(b"application/problem+json")), body(b'{"title":"no entity"}'))

    messages = run(EnvelopeMiddleware(problem))

    assert run(EnvelopeMiddleware(sending(*sent))) == sent
    assert header(messages, b"content-type") == [b"application/json"]
    assert json.loads(body_of(messages)) == {"code": 404, "message": {"title": "no entity"}, "status": "failure"}


@pytest.mark.parametrize("content_type", STREAM_TYPES)
@pytest.mark.parametrize("status", [200, 201, 500])
def test_stream_passes_and_its_start_is_not_held(content_type: bytes, status: int):
    """The client of a stream sees that it is open before anything happens on it (case 25)."""
    sent: list[Message] = []
    counts: list[int] = []
    stream = [start(status, typed(content_type)), body(b"", more=True), body(b"{}\n", more=True), body(b"")]

    async def app(scope, receive, send):
        for message in stream:
            await send(message)
            counts.append(len(sent))

    run(EnvelopeMiddleware(app), sent=sent)

    assert sent == stream
    assert counts == [1, 2, 3, 4]


@pytest.mark.parametrize("content_type", [b"text/html", b"text/csv", b"image/png"])
def test_start_of_any_other_answer_is_held(content_type: bytes):
    """What is no stream waits for its first byte, so that a failure before it has its status (case 25)."""
    sent: list[Message] = []
    counts: list[int] = []
    answer = [
        start(200, typed(content_type)),
        body(b"", more=True),
        body(b"<", more=True),
        body(b"", more=True),
        body(),
    ]

    async def app(scope, receive, send):
        for message in answer:
            await send(message)
            counts.append(len(sent))

    run(EnvelopeMiddleware(app), sent=sent)

    assert sent == answer
    assert counts == [0, 0, 3, 4, 5]


# --- cases 26 to 28: empty, mislabelled and scalar bodies -------------------------------------------


@pytest.mark.parametrize("chunks", [[body()], [body(more=True), body()], [{"type": "http.response.body"}]])
def test_empty_json_is_null(chunks: list[Message]):
    """A body of no byte that says it is JSON is sent as ``content: null`` (case 26)."""
    app = sending(start(200, JSON, length(0)), *chunks)

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert sorted(head_of(messages)["headers"]) == sorted([JSON, length(len(NULL))])
    assert body_of(messages) == NULL


def test_empty_body_without_a_type_is_null():
    """``Response()`` of Starlette's becomes ``content: null`` and is JSON from then on (case 26)."""
    messages = run(EnvelopeMiddleware(Response()))

    assert_legal(messages)
    assert header(messages, b"content-type") == [b"application/json"]
    assert header(messages, b"content-length") == [str(len(NULL)).encode()]
    assert body_of(messages) == NULL


@pytest.mark.parametrize("status", [200, 201, 202])
def test_empty_body_keeps_its_status_with_keep(status: int):
    """``keep`` says nothing about bodies: an empty 202 is a 202 with ``content: null`` (case 26)."""
    app = sending(start(status, length(0)), body())

    messages = run(EnvelopeMiddleware(app, success_status="keep"))

    assert head_of(messages)["status"] == status
    assert body_of(messages) == NULL


@pytest.mark.parametrize(
    "content_type", [b"text/html", b"text/plain", b"application/xml", b"application/hal+json"]
)
@pytest.mark.parametrize("chunks", [[body()], [body(more=True), body(more=True), body()]])
def test_empty_body_of_another_type_passes(content_type: bytes, chunks: list[Message]):
    """An empty page is an empty page (case 26)."""
    sent = [start(201, typed(content_type), length(0)), *chunks]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize("content", [b"<html></html>", b"hello", b"'a'", b"\x1f\x8b", b"}", b"None", b"+1"])
def test_body_that_cannot_be_json_passes_with_one_warning(content: bytes, caplog: pytest.LogCaptureFixture):
    """A mislabelled body is passed as it is, and the log tells whose mistake it is (case 27)."""
    sent = [start(201, JSON, length(len(content)), (b"repr-digest", b"x")), body(content)]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent
    assert len(warnings_in(caplog)) == 1


@pytest.mark.parametrize("content", [b"  <html></html>", b"\r\n\t<?xml?>", b" \n"])
def test_body_that_cannot_be_json_after_white_space_is_not_wrapped(content: bytes):
    """The first byte that counts is the first that is no white space: no invalid JSON is made (case 27)."""
    sent = [start(200, JSON, length(len(content))), body(content)]

    messages = run(EnvelopeMiddleware(sending(*sent)))

    assert messages == sent or body_of(messages) == NULL


def test_body_without_a_type_passes_without_a_warning(caplog: pytest.LogCaptureFixture):
    """A body that never said it was JSON is not mislabelled (case 27)."""
    sent = [start(200, length(6)), body(b"<html>")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent
    assert warnings_in(caplog) == []


@pytest.mark.parametrize(
    "content", [b'"x"', b"1", b"-0.5e3", b"0", b"null", b"true", b"false", b'"123"', b'""', b" [1] "]
)
def test_scalar_is_wrapped_as_it_stands(content: bytes):
    """Any JSON value is content: a string of digits stays a string (case 28)."""
    app = sending(start(200, JSON, length(len(content))), body(content))

    messages = run(EnvelopeMiddleware(app))

    assert body_of(messages) == enveloped(content)
    assert json.loads(body_of(messages))["content"] == json.loads(content)


def test_number_of_any_precision_is_not_parsed():
    """Digits that no float holds, and doubled keys, reach the client as they were written (case 28)."""
    content = b'{"n":12345678901234567890.123456789012345678901234567890,"n":1E400,"e":"\\u00e4\\/"}'
    app = sending(start(200, JSON), body(content))

    assert body_of(run(EnvelopeMiddleware(app))) == enveloped(content)


# --- cases 29 to 31: headers ------------------------------------------------------------------------

MANY = [
    (b"set-cookie", b"a=1; Path=/"),
    (b"Link", b"</2>; rel=next"),
    (b"set-cookie", b"b=2"),
    (b"vary", b"accept"),
    (b"Server-Timing", b"db;dur=53"),
    (b"vary", b"origin"),
    (b"Set-Cookie", b"a=1; Path=/"),
    (b"deprecation", b"@1688169599"),
    (b"x-latin", b"\xe4"),
    (b"x-empty", b""),
]


def test_headers_keep_number_order_and_spelling():
    """Cookies and every other repeated field are a list, not a dict (case 29)."""
    app = sending(start(200, *MANY[:4], JSON, *MANY[4:], length(2)), body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert head_of(messages)["headers"] == [*MANY[:4], JSON, *MANY[4:], length(2 + ADDED)]


def test_headers_of_null_keep_number_and_order():
    """A 204 that becomes an envelope keeps its cookies, in order (cases 8 and 29)."""
    app = sending(start(204, *MANY), body())

    messages = run(EnvelopeMiddleware(app))

    assert [pair for pair in head_of(messages)["headers"] if pair in MANY] == MANY


def test_headers_of_a_converted_failure_keep_number_and_order():
    """A failure that is converted keeps its cookies and links, in order (cases 29 and 30)."""
    app = sending(start(403, *MANY, JSON), body(b'{"detail":"no"}'))

    messages = run(EnvelopeMiddleware(app))

    assert body_of(messages) == failure(403, "no")
    assert [pair for pair in head_of(messages)["headers"] if pair in MANY] == MANY


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [
        (401, b"www-authenticate", b'Bearer realm="api"'),
        (405, b"allow", b"GET, HEAD"),
        (407, b"proxy-authenticate", b"Basic"),
        (413, b"retry-after", b"120"),
        (429, b"retry-after", b"7"),
        (503, b"retry-after", b"30"),
        (416, b"content-range", b"bytes */9"),
        (426, b"upgrade", b"h2c"),
        (403, b"access-control-allow-origin", b"*"),
        (500, b"x-request-id", b"r-1"),
    ],
)
@pytest.mark.parametrize("content_type", [b"text/plain; charset=utf-8", b"application/json"])
def test_header_of_the_protocol_survives_conversion(status: int, name: bytes, value: bytes, content_type: bytes):
    """What a status needs to be understood stays on the failure's envelope (case 30)."""
    app = sending(start(status, (name, value), typed(content_type)), body(b'"why"'))

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert header(messages, name) == [value]
    assert json.loads(body_of(messages))["code"] == status


@pytest.mark.parametrize(
    "replaced",
    [
        (b"etag", b'"v1"'),
        (b"Last-Modified", b"Tue, 15 Nov 1994 12:45:26 GMT"),
        (b"content-disposition", b"attachment"),
        (b"content-language", b"de"),
        (b"content-digest", b"x"),
    ],
)
def test_header_of_the_replaced_body_does_not_survive_conversion(replaced: tuple[bytes, bytes]):
    """What described the body that is gone goes with it (case 30)."""
    app = sending(start(404, replaced, JSON, length(17)), body(b'{"detail":"gone"}'))

    messages = run(EnvelopeMiddleware(app))

    assert body_of(messages) == failure(404, "gone")
    assert header(messages, replaced[0]) == []
    assert header(messages, b"content-length") == [str(len(body_of(messages))).encode()]
    assert header(messages, b"content-type") == [b"application/json"]


PAIRS = [(b"Content-Type", b"application/json"), (b"Content-Length", b"2"), (b"X-Kept", b"1")]


@pytest.mark.parametrize(
    "headers",
    [lambda: tuple(PAIRS), lambda: iter(PAIRS), lambda: (pair for pair in PAIRS), lambda: map(list, PAIRS)],
    ids=["tuple", "iterator", "generator", "lists"],
)
def test_headers_of_any_iterable_are_read_once(headers):
    """Headers may be any iterable of pairs; one that can be read once is not lost (case 31)."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers()})
        await send(body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert [tuple(pair) for pair in head_of(messages)["headers"]] == [
        PAIRS[0],
        (b"content-length", b"33"),
        PAIRS[2],
    ]
    assert body_of(messages) == enveloped(b"{}")


@pytest.mark.parametrize("status", [200, 206, 302, 304, 404, 500])
@pytest.mark.parametrize("content_type", [b"text/html", b"text/event-stream", b"application/hal+json"])
def test_headers_of_a_generator_survive_when_the_answer_passes(status: int, content_type: bytes):
    """A generator that we have read is replaced by what it gave, also where nothing is changed (case 31)."""
    pairs = [typed(content_type), (b"x-kept", b"1")]

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": (pair for pair in pairs)})
        await send(body(b"" if status == 304 else b"<p>"))

    messages = run(EnvelopeMiddleware(app))

    assert list(head_of(messages)["headers"]) == pairs
    assert body_of(messages) == (b"" if status == 304 else b"<p>")


def test_headers_of_a_generator_survive_an_interim_start():
    """A 1xx start whose headers are a generator reaches the client with them (cases 7 and 31)."""

    async def app(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 103, "headers": (pair for pair in [(b"link", b"</a>")])}
        )
        await send(start(200, JSON))
        await send(body(b"1"))

    messages = run(EnvelopeMiddleware(app))

    assert list(messages[0]["headers"]) == [(b"link", b"</a>")]


def test_start_without_headers_is_accepted():
    """``headers`` may be missing: an empty answer becomes JSON, any other passes (case 31)."""
    bare = {"type": "http.response.start", "status": 200}

    null = run(EnvelopeMiddleware(sending(bare, {"type": "http.response.body"})))
    other = run(EnvelopeMiddleware(sending(bare, body(b"abc"))))

    assert body_of(null) == NULL
    assert header(null, b"content-type") == [b"application/json"]
    assert head_of(other).get("headers", []) == []
    assert body_of(other) == b"abc"


@pytest.mark.parametrize("buffer", [memoryview, bytearray])
@pytest.mark.parametrize(
    "chunks", [[b"[1,2]"], [b"[1", b",2", b"]"], [b"", b"[1,2]", b""], [b"\xef\xbb\xbf[1,2", b"]"]]
)
def test_body_of_any_buffer_is_spliced(buffer, chunks: list[bytes]):
    """A body may be a memoryview or a bytearray (case 31)."""
    *most, last = [buffer(chunk) for chunk in chunks]
    app = sending(start(200, JSON), *[body(chunk, more=True) for chunk in most], body(last))

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert body_of(messages) == enveloped(b"[1,2]")


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/json", b"application/problem+json"])
def test_failure_of_any_buffer_is_converted(content_type: bytes):
    """A failure in memoryviews is read like any other (case 31)."""
    app = sending(start(404, typed(content_type)), body(memoryview(b'"go'), more=True), body(memoryview(b'ne"')))

    messages = run(EnvelopeMiddleware(app))

    assert json.loads(body_of(messages))["message"] == ('"gone"' if content_type == b"text/plain" else "gone")


@pytest.mark.parametrize("status", [103, 200, 201, 204, 205, 206, 302, 304, 404, 500])
@pytest.mark.parametrize("options", [{}, {"success_status": "keep"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_messages_of_the_application_are_not_mutated(status: int, options: dict[str, Any], method: str):
    """What an application sends may be a constant of its own: no message and no header list changes (case 31)."""
    digests = [(b"repr-digest", b"x"), (b"etag", b'"v1"')]
    head = start(status, JSON, length(2), *digests)
    sent = [head, body(b"{", more=True), body(b"}")] if status >= 200 else [head, start(200, JSON), body(b"1")]
    before = copy.deepcopy(sent)

    layer = EnvelopeMiddleware(sending(*sent), **options)
    first, second = run(layer, http_scope(method)), run(layer, http_scope(method))

    assert sent == before
    assert first == second
