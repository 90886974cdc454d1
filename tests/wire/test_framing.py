"""Framing and methods: Content-Length, chunks, HEAD, statuses without a body (wire cases 1 to 16)."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message

from envelope import EnvelopeMiddleware, NotFoundError
from envelope.wire.convention import SuccessStatus
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
    unused_receive,
)

GET = http_scope()
HEAD = http_scope("HEAD")


# --- case 1: Content-Length -------------------------------------------------------------------------


def test_success_with_content_length_is_spliced():
    """A JSON answer comes out as these very bytes, its length grown by what we added (case 1)."""
    app = sending(start(200, JSON, length(8)), body(b'{"id":1}'))

    messages = run(EnvelopeMiddleware(app))

    expected = b'{"status":"success","content":{"id":1}}'
    assert messages == [start(200, JSON, (b"content-length", b"39")), body(expected)]


@pytest.mark.parametrize("name", [b"Content-Length", b"CONTENT-LENGTH", b"content-Length"])
def test_content_length_in_any_case_is_one_header(name: bytes):
    """The name of Content-Length is found whatever its case, and stays one header (case 1)."""
    app = sending(start(200, JSON, (name, b"2")), body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"content-length") == [str(2 + ADDED).encode()]


def test_content_length_sent_twice_becomes_one_header():
    """Two equal Content-Lengths do not become a stale one and a right one (case 1)."""
    app = sending(start(200, length(2), JSON, length(2)), body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"content-length") == [str(2 + ADDED).encode()]


@pytest.mark.parametrize("stale", [b"0", b"1", b"9999", b"abc", b"-5"])
def test_content_length_that_is_stale_is_corrected(stale: bytes):
    """A Content-Length that is wrong for a body of one chunk is replaced by the truth (case 1)."""
    app = sending(start(200, JSON, (b"content-length", stale)), body(b"[1,2]"))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"content-length") == [str(5 + ADDED).encode()]
    assert body_of(messages) == enveloped(b"[1,2]")


def test_content_length_over_many_chunks_equals_the_bytes():
    """The length of a body in several messages is the sum of what is sent (case 1)."""
    app = sending(start(200, JSON, length(5)), body(b"[1", more=True), body(b",2", more=True), body(b"]"))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"content-length") == [str(len(body_of(messages))).encode()]
    assert body_of(messages) == enveloped(b"[1,2]")


# --- cases 2 and 3: streams of JSON -----------------------------------------------------------------


def test_stream_without_content_length_stays_without():
    """A streamed answer is spliced into its first and last chunk; no length appears (case 2)."""
    app = sending(start(200, JSON), body(b"[1", more=True), body(b",2", more=True), body(b"]"))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [
        start(200, JSON),
        body(b'{"status":"success","content":[1', more=True),
        body(b",2", more=True),
        body(b"]}"),
    ]


def test_single_chunk_without_content_length_stays_without():
    """A whole body without Content-Length gets none from us (case 2)."""
    app = sending(start(200, JSON), body(b"[]"))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [start(200, JSON), body(enveloped(b"[]"))]


def test_stream_is_never_buffered():
    """Each chunk has left before the application makes the next one (case 2)."""
    sent: list[Message] = []
    seen: list[bytes] = []

    async def app(scope, receive, send):
        await send(start(200, JSON))
        for chunk in (b"[1", b",2", b",3"):
            await send(body(chunk, more=True))
            seen.append(body_of(sent))
        await send(body(b"]"))

    run(EnvelopeMiddleware(app), sent=sent)

    prefix = b'{"status":"success","content":'
    assert seen == [prefix + b"[1", prefix + b"[1,2", prefix + b"[1,2,3"]


def test_transfer_encoding_is_never_added():
    """Chunking is the server's: a Transfer-Encoding of the application's is not doubled (case 2)."""
    chunked = (b"transfer-encoding", b"chunked")
    app = sending(start(200, JSON, chunked), body(b"[", more=True), body(b"]"))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"transfer-encoding") in ([], [b"chunked"])
    assert header(messages, b"content-length") == []
    assert body_of(messages) == enveloped(b"[]")


def test_suffix_is_on_the_final_message_if_that_is_empty():
    """A body that ends with an empty message has the end of the envelope there (case 3)."""
    app = sending(start(200, JSON), body(b"[1]", more=True), body(b""))

    messages = run(EnvelopeMiddleware(app))

    assert messages[1:] == [body(b'{"status":"success","content":[1]', more=True), body(b"}")]


def test_suffix_is_sent_after_a_final_message_without_keys():
    """A final message with neither ``body`` nor ``more_body`` ends the envelope too (case 3)."""
    app = sending(start(200, JSON), body(b"[1]", more=True), {"type": "http.response.body"})

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert body_of(messages) == enveloped(b"[1]")


def test_starlette_stream_is_one_envelope():
    """Starlette's own StreamingResponse comes out as one legal envelope (cases 2 and 3)."""

    async def numbers() -> AsyncIterator[str]:
        for part in ("[", "", "1", ",2", "]"):
            yield part

    async def endpoint(request):
        return StreamingResponse(numbers(), media_type="application/json")

    messages = run(EnvelopeMiddleware(Starlette(routes=[Route("/", endpoint)])))

    assert_legal(messages)
    assert body_of(messages) == enveloped(b"[1,2]")


def test_start_is_held_until_the_first_byte():
    """Nothing is sent for a start and an empty chunk; the first byte releases both (case 2)."""
    sent: list[Message] = []
    counts: list[int] = []

    async def app(scope, receive, send):
        for message in (start(200, JSON), body(b"", more=True), body(b"1", more=True), body(b"2")):
            await send(message)
            counts.append(len(sent))

    run(EnvelopeMiddleware(app), sent=sent)

    assert counts[:2] == [0, 0]
    assert counts[2] >= 2
    assert_legal(sent)
    assert body_of(sent) == enveloped(b"12")


# --- cases 4 to 6: HEAD -----------------------------------------------------------------------------


def test_head_with_the_whole_body_is_wrapped_like_get():
    """A framework that leaves stripping to the server gets the same messages as for GET (case 4)."""
    app = EnvelopeMiddleware(sending(start(200, JSON, length(7)), body(b'{"a":1}')))

    assert run(app, HEAD) == run(app, GET)
    assert header(run(app, HEAD), b"content-length") == [str(7 + ADDED).encode()]


def test_head_of_a_starlette_route_has_the_headers_of_get():
    """A route of Starlette's answers HEAD with exactly the head of GET (case 4)."""

    async def endpoint(request):
        return JSONResponse({"id": 1}, 201, headers={"location": "/1"})

    app = EnvelopeMiddleware(Starlette(routes=[Route("/", endpoint)]))

    assert head_of(run(app, HEAD)) == head_of(run(app, GET))


def test_head_without_a_body_counts_the_envelope():
    """Content-Length of a bodyless HEAD is what GET would have sent, with no byte sent (case 5)."""
    app = sending(start(200, JSON, length(120)), body())

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert messages == [start(200, JSON, length(120 + ADDED)), body()]


def test_head_without_a_body_in_two_messages_counts_the_envelope():
    """An empty chunk before the end changes nothing of a bodyless HEAD (case 5)."""
    app = sending(start(200, JSON, length(120)), body(more=True), body())

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert_legal(messages)
    assert header(messages, b"content-length") == [str(120 + ADDED).encode()]
    assert body_of(messages) == b""


def test_head_without_a_length_gets_none():
    """A bodyless HEAD that states no length is not given one (case 5)."""
    app = sending(start(200, JSON), body())

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert messages == [start(200, JSON), body()]


@pytest.mark.parametrize("status", [200, 201, 202, 203, 207])
def test_head_without_a_length_gets_none_whatever_the_success(status: int):
    """A bodyless HEAD of any 2xx without a length claims no length that GET would not have (case 5)."""
    app = sending(start(status, JSON), body())

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert messages == [start(200, JSON), body()]


def test_head_with_length_zero_counts_the_null_envelope():
    """Content-Length 0 means that GET is empty, which we send as ``content: null`` (cases 5 and 26)."""
    app = sending(start(200, JSON, length(0)), body())

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert_legal(messages)
    assert sorted(head_of(messages)["headers"]) == sorted([JSON, length(len(NULL))])
    assert body_of(messages) == b""


def test_head_of_an_empty_starlette_response_has_the_headers_of_get():
    """``Response()`` has no type: HEAD announces the null envelope that GET sends (cases 5 and 26)."""
    app = EnvelopeMiddleware(Response())

    get, head = run(app, GET), run(app, HEAD)

    assert sorted(head_of(head)["headers"]) == sorted(head_of(get)["headers"])
    assert header(head, b"content-length") == [str(len(NULL)).encode()]
    assert body_of(head) == b""


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"text/html"), length(120)],
        [JSON, length(120), (b"content-encoding", b"gzip")],
        [JSON, length(120), (b"accept-ranges", b"bytes")],
        [length(120)],
    ],
)
def test_head_of_what_passes_keeps_its_length(headers: list[tuple[bytes, bytes]]):
    """HEAD of a representation that GET sends unwrapped keeps its Content-Length (case 5)."""
    app = sending(start(200, *headers), body())

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert messages == [start(200, *headers), body()]


@pytest.mark.parametrize(("declared", "expected"), [([length(9)], [length(9 + ADDED)]), ([], [])])
def test_head_drops_digests_like_get(declared: list[tuple[bytes, bytes]], expected: list[tuple[bytes, bytes]]):
    """A digest of the bare body is not announced by HEAD either (cases 5 and 19)."""
    app = sending(start(200, JSON, *declared, (b"repr-digest", b"sha-256=:AA==:")), body())

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert messages == [start(200, JSON, *expected), body()]


def test_head_of_a_raised_failure_has_the_headers_of_get():
    """A failure of ours answers HEAD with the head of GET, its length included, and no byte (case 6)."""

    async def app(scope, receive, send):
        raise NotFoundError("no entity 42", headers={"x-kind": "entity"})

    get, head = run(EnvelopeMiddleware(app), GET), run(EnvelopeMiddleware(app), HEAD)

    assert body_of(get) == failure(404, "no entity 42")
    assert header(get, b"content-length") == [str(len(body_of(get))).encode()]
    assert head_of(head) == head_of(get)
    assert body_of(head) == b""
    assert_legal(head)


def test_head_of_a_converted_failure_has_the_headers_of_get():
    """A text failure that we replace answers HEAD with the head of GET and no byte (case 6)."""
    app = EnvelopeMiddleware(PlainTextResponse("nothing here", 404))

    get, head = run(app, GET), run(app, HEAD)

    assert body_of(get) == failure(404, "nothing here")
    assert head_of(head) == head_of(get)
    assert body_of(head) == b""
    assert_legal(head)


def test_head_of_a_failure_without_its_body_states_no_wrong_length():
    """Where the application keeps the body of a failure back, its length is GET's or untold (case 6)."""

    async def app(scope, receive, send):
        await send(start(404, (b"content-type", b"text/plain"), length(9)))
        await send(body(b"" if scope["method"] == "HEAD" else b"not there"))

    get, head = run(EnvelopeMiddleware(app), GET), run(EnvelopeMiddleware(app), HEAD)

    assert body_of(get) == failure(404, "not there")
    assert header(head, b"content-length") in ([], header(get, b"content-length"))
    assert body_of(head) == b""


def test_failure_has_no_header_of_our_own_invention():
    """No X-Error-Code: what a failure says is in its body (case 6)."""

    async def app(scope, receive, send):
        raise NotFoundError("gone astray", error_code="astray")

    messages = run(EnvelopeMiddleware(app), HEAD)

    assert {name.lower() for name, _ in head_of(messages)["headers"]} == {b"content-type", b"content-length"}


# --- case 7: interim responses ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [100, 102, 103])
def test_interim_start_is_not_the_response(status: int):
    """A 1xx start goes out at once, and the real answer behind it is wrapped (case 7)."""
    link = (b"link", b"</style.css>; rel=preload")
    app = sending(start(status, link), start(200, JSON, length(2)), body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [start(status, link), start(200, JSON, length(2 + ADDED)), body(enveloped(b"{}"))]


def test_interim_start_is_forwarded_before_a_failure():
    """What fails after a 1xx still gets its failure, because nothing final was sent (case 7)."""

    async def app(scope, receive, send):
        await send(start(103))
        raise NotFoundError("no entity 42")

    messages = run(EnvelopeMiddleware(app))

    assert messages[0] == start(103)
    assert head_of(messages)["status"] == 404
    assert body_of(messages) == failure(404, "no entity 42")


# --- cases 8 and 9: statuses without a body ---------------------------------------------------------


@pytest.mark.parametrize("status", [204, 205])
@pytest.mark.parametrize("wrong", [b"", b"null", b'{"a":1}', b"<p>gone</p>"])
def test_no_content_becomes_null(status: int, wrong: bytes):
    """A 204 or 205 is sent as 200 with ``content: null``, whatever body it had (cases 8 and 9)."""
    app = sending(start(status, (b"x-kept", b"1")), body(wrong))

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert head_of(messages)["status"] == 200
    assert header(messages, b"content-type") == [b"application/json"]
    assert header(messages, b"x-kept") == [b"1"]
    assert body_of(messages) == NULL


@pytest.mark.parametrize(
    "headers", [[JSON, length(4)], [(b"content-type", b"text/plain"), length(4)], [length(0)]]
)
def test_no_content_with_headers_of_a_body_describes_the_null(headers: list[tuple[bytes, bytes]]):
    """The type and length of a body that a 204 must not have make place for those of the null (case 8)."""
    app = sending(start(204, *headers), body(b"null", more=True), body(b""))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"content-type") == [b"application/json"]
    assert header(messages, b"content-length") == [str(len(NULL)).encode()]
    assert body_of(messages) == NULL
    assert_legal(messages)


def test_no_content_for_head_is_the_null_without_its_bytes():
    """HEAD of a 204 has the head of GET (case 8)."""
    app = EnvelopeMiddleware(sending(start(204), body()))

    get, head = run(app, GET), run(app, HEAD)

    assert head_of(head)["status"] == 200
    assert header(head, b"content-type") == header(get, b"content-type") == [b"application/json"]
    assert header(head, b"content-length") in ([], [str(len(NULL)).encode()])
    assert body_of(head) == b""
    assert_legal(head)


@pytest.mark.parametrize("status", [204, 205])
def test_no_content_with_a_coding_is_not_sent_as_compressed(status: int):
    """The null that we write is not compressed, so it must not say that it is (cases 8, 9 and 21)."""
    app = sending(start(status, (b"content-encoding", b"gzip")), body())

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"content-encoding") == [] or body_of(messages) == b""


@pytest.mark.parametrize("status", [204, 205])
def test_no_content_for_head_does_not_count_a_dropped_body(status: int):
    """A length that a 204 must not have is no part of what HEAD announces: GET sends the null (case 8)."""
    app = EnvelopeMiddleware(sending(start(status, JSON, length(9)), body()))

    get, head = run(app, GET), run(app, HEAD)

    assert header(get, b"content-length") == [str(len(NULL)).encode()]
    assert header(head, b"content-length") == header(get, b"content-length")


@pytest.mark.parametrize(
    "chunks",
    [[body()], [body(b"null")], [body(b"nu", more=True), body(b"ll")], [body(b"null", more=True), body()]],
)
def test_no_content_that_is_kept_is_empty(chunks: list[Message]):
    """With ``keep`` a 204 has no byte and no Content-Length, also where the app sends them (case 8)."""
    app = sending(start(204, JSON, length(4), (b"x-kept", b"1")), *chunks)

    messages = run(EnvelopeMiddleware(app, success_status="keep"))

    assert_legal(messages)
    assert head_of(messages)["status"] == 204
    assert header(messages, b"content-length") == []
    assert header(messages, b"x-kept") == [b"1"]
    assert body_of(messages) == b""


@pytest.mark.parametrize("chunks", [[body()], [body(b"null")], [body(b"n", more=True), body(b"ull")]])
@pytest.mark.parametrize("headers", [[], [JSON, length(4)]])
def test_reset_content_that_is_kept_has_length_zero(chunks: list[Message], headers: list[tuple[bytes, bytes]]):
    """With ``keep`` a 205 has no byte and says so with Content-Length 0 (case 9)."""
    app = sending(start(205, *headers), *chunks)

    messages = run(EnvelopeMiddleware(app, success_status="keep"))

    assert_legal(messages)
    assert head_of(messages)["status"] == 205
    assert header(messages, b"content-length") == [b"0"]
    assert body_of(messages) == b""


@pytest.mark.parametrize("success_status", ["always-200", "keep"])
def test_not_modified_keeps_its_headers_and_loses_its_body(success_status: SuccessStatus):
    """A 304 stays what it is, without the body that an application wrongly sends (case 8)."""
    headers = [(b"etag", b'"v1"'), (b"vary", b"accept"), (b"cache-control", b"max-age=5"), (b"date", b"now")]
    app = sending(start(304, *headers), body(b"{", more=True), body(b"}"))

    messages = run(EnvelopeMiddleware(app, success_status=success_status))

    assert_legal(messages)
    assert head_of(messages) == start(304, *headers)
    assert body_of(messages) == b""


@pytest.mark.parametrize("status", [204, 205])
def test_no_content_is_null_while_chunks_are_dropped_at_once(status: int):
    """The first byte of a body that is dropped does not leak before the end (cases 8 and 9)."""
    app = sending(
        start(status, JSON), body(b"", more=True), body(b"[1,", more=True), body(b"2]", more=True), body()
    )

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert body_of(messages) == NULL


# --- case 10: the other successes -------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 203, 207, 208, 299])
@pytest.mark.parametrize("success_status", ["always-200", "keep"])
def test_success_status_is_200_or_kept(status: int, success_status: SuccessStatus):
    """Any other 2xx is wrapped; its status is 200 or its own, its headers stay (case 10)."""
    headers = [(b"location", b"/jobs/7"), (b"retry-after", b"3"), (b"content-location", b"/7"), JSON]
    app = sending(start(status, *headers), body(b'{"job":7}'))

    messages = run(EnvelopeMiddleware(app, success_status=success_status))

    expected = 200 if success_status == "always-200" else status
    assert messages == [start(expected, *headers), body(enveloped(b'{"job":7}'))]


@pytest.mark.parametrize("headers", [[(b"content-type", b"text/html")], []])
@pytest.mark.parametrize("content", [b"<p>made</p>", b"fine", b"[1]"])
def test_success_that_passes_keeps_its_status(headers: list[tuple[bytes, bytes]], content: bytes):
    """``always-200`` changes the status of envelopes only: what is not JSON stays 201 (case 10)."""
    sent = [start(201, *headers, length(len(content))), body(content)]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_created_without_a_body_is_null_with_its_location():
    """A 201 that says everything in Location keeps it beside ``content: null`` (cases 10 and 26)."""
    app = sending(start(201, (b"location", b"/entities/42"), length(0)), body())

    messages = run(EnvelopeMiddleware(app))

    assert head_of(messages)["status"] == 200
    assert header(messages, b"location") == [b"/entities/42"]
    assert header(messages, b"content-length") == [str(len(NULL)).encode()]
    assert body_of(messages) == NULL


# --- case 11: redirects -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_redirect_passes(status: int):
    """A redirect is its Location; even a JSON body of it passes (case 11)."""
    sent = [start(status, (b"location", b"/new"), JSON, length(2)), body(b"{}")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_redirect_of_the_framework_passes():
    """Starlette's own redirects, by response and by slash, come out as they are (case 11)."""

    async def endpoint(request):
        return RedirectResponse("/elsewhere")

    app = Starlette(routes=[Route("/a", endpoint), Route("/b/", endpoint)])

    for path in ("/a", "/b"):
        scope = http_scope("GET", path, headers=[(b"host", b"example.com")])
        assert run(EnvelopeMiddleware(app), copy.deepcopy(scope)) == run(app, scope)


# --- case 12: ranges and files ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [206, 226])
@pytest.mark.parametrize("content", [b"", b'{"a"', b"[1]"])
def test_part_of_a_representation_passes(status: int, content: bytes):
    """Parts and deltas are not whole documents, whatever their type says (case 12)."""
    sent = [start(status, JSON, (b"content-range", b"bytes 0-3/9"), length(len(content))), body(content)]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize("status", [206, 226])
def test_part_without_content_range_passes(status: int):
    """The status alone is enough: a 206 or 226 without Content-Range passes too (case 12)."""
    sent = [start(status, JSON), body(b"[1", more=True), body(b"]")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize(
    "mark",
    [
        (b"accept-ranges", b"bytes"),
        (b"Accept-Ranges", b"Bytes"),
        (b"content-disposition", b'attachment; filename="a.json"'),
        (b"Content-Disposition", b"inline"),
        (b"content-range", b"bytes 0-8/9"),
    ],
)
def test_file_passes(mark: tuple[bytes, bytes]):
    """The 200 of something that is served in ranges or as a file is never wrapped (case 12)."""
    sent = [start(200, JSON, mark, length(9)), body(b'{"a":[1]}')]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize("none", [b"none", b"None", b" none "])
def test_answer_without_ranges_is_no_file(none: bytes):
    """``Accept-Ranges: none`` says the opposite of a file: the answer is wrapped (case 12)."""
    app = sending(start(200, JSON, (b"accept-ranges", none)), body(b"{}"))

    messages = run(EnvelopeMiddleware(app))

    assert body_of(messages) == enveloped(b"{}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("wanted", [[], [(b"range", b"bytes=0-3")], [(b"range", b"bytes=90-")]])
def test_json_file_of_starlette_is_never_wrapped(method: str, wanted: list[tuple[bytes, bytes]], tmp_path):
    """A FileResponse is the same bytes whole, in part and by HEAD; a range out of reach is a 416 (case 12)."""
    (tmp_path / "data.json").write_bytes(b'{"a":[1,2,3]}')

    async def endpoint(request):
        return FileResponse(tmp_path / "data.json")

    app = Starlette(routes=[Route("/", endpoint)])
    bare = run(app, http_scope(method, headers=wanted))
    messages = run(EnvelopeMiddleware(app), http_scope(method, headers=wanted))

    assert head_of(messages)["status"] == head_of(bare)["status"]
    assert header(messages, b"content-range") == header(bare, b"content-range")
    if head_of(bare)["status"] != 416:
        assert messages == bare


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_json_file_of_static_files_is_never_wrapped(method: str, tmp_path):
    """A ``.json`` of StaticFiles is a file, by pathsend too (cases 12 and 32)."""
    (tmp_path / "data.json").write_bytes(b'{"a":[1,2,3]}')
    app = Starlette(routes=[Mount("/static", StaticFiles(directory=tmp_path))])

    for names in ([], ["http.response.pathsend"]):
        scope = http_scope(method, "/static/data.json", extensions={name: {} for name in names})
        assert run(EnvelopeMiddleware(app), copy.deepcopy(scope)) == run(app, scope)


def test_multipart_ranges_pass():
    """A multipart/byteranges answer passes by its type and by its status (case 12)."""
    sent = [
        start(206, (b"content-type", b"multipart/byteranges; boundary=x")),
        body(b"--x", more=True),
        body(b"--"),
    ]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


# --- cases 13 to 15: methods ------------------------------------------------------------------------


def test_connect_passes():
    """A 2xx of CONNECT begins a tunnel and has no content to wrap (case 13)."""
    for sent in ([start(200, JSON), body(b"{}")], [start(200), body()], [start(200, length(0)), body()]):
        assert run(EnvelopeMiddleware(sending(*sent)), http_scope("CONNECT")) == sent


def test_trace_passes():
    """TRACE answers with the request that arrived, as message/http (case 13)."""
    sent = [start(200, (b"content-type", b"message/http")), body(b"TRACE / HTTP/1.1\r\n\r\n")]

    assert run(EnvelopeMiddleware(sending(*sent)), http_scope("TRACE")) == sent


@pytest.mark.parametrize("origin", [b"https://ok.example", b"https://evil.example"])
def test_cors_preflight_passes(origin: bytes):
    """A preflight, granted or refused, is read in its headers and passes (case 14)."""
    app = CORSMiddleware(sending(start(200, JSON), body(b"{}")), allow_origins=["https://ok.example"])
    asked = [(b"origin", origin), (b"access-control-request-method", b"PUT"), (b"host", b"a.example")]

    messages = run(EnvelopeMiddleware(app), http_scope("OPTIONS", headers=asked))

    assert messages == run(app, http_scope("OPTIONS", headers=asked))
    assert body_of(messages).startswith((b"OK", b"Disallowed CORS"))


def test_options_that_is_no_preflight_is_wrapped():
    """OPTIONS without the headers of CORS is a method like any other (case 14)."""
    app = sending(start(200, JSON, (b"allow", b"GET")), body(b'{"methods":["GET"]}'))

    messages = run(EnvelopeMiddleware(app), http_scope("OPTIONS"))

    assert messages == [start(200, JSON, (b"allow", b"GET")), body(enveloped(b'{"methods":["GET"]}'))]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY", "PROPFIND", "BREW"])
def test_method_of_any_name_is_wrapped(method: str):
    """QUERY and methods that nobody knows are answered like GET (case 15)."""
    app = sending(start(200, JSON, length(2)), body(b"[]"))

    messages = run(EnvelopeMiddleware(app), http_scope(method))

    assert messages == [start(200, JSON, length(2 + ADDED)), body(enveloped(b"[]"))]


# --- case 16: order ---------------------------------------------------------------------------------


def test_failure_after_a_held_start_is_the_only_start():
    """A start that was held is forgotten if the application fails behind it (case 16)."""

    async def app(scope, receive, send):
        await send(start(200, JSON, (b"x-of-the-success", b"1")))
        await send(body(b"", more=True))
        raise NotFoundError("no entity 42")

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert head_of(messages)["status"] == 404
    assert header(messages, b"x-of-the-success") == []
    assert body_of(messages) == failure(404, "no entity 42")


def test_crash_in_the_middle_of_a_body_adds_nothing():
    """A body that breaks off has neither an end nor an envelope's end, and the crash goes on (cases 16, 50)."""
    sent: list[Message] = []

    async def app(scope, receive, send):
        await send(start(200, JSON))
        await send(body(b"[1,", more=True))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(EnvelopeMiddleware(app), sent=sent)

    assert sent == [start(200, JSON), body(b'{"status":"success","content":[1,', more=True)]


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/json"])
def test_failure_that_is_declared_too_large_is_not_held(content_type: bytes):
    """A failure whose length says that it cannot be a message leaves with its first byte (cases 16 and 76)."""
    sent: list[Message] = []
    counts: list[int] = []
    messages = [
        start(502, (b"content-type", content_type), length(70_000)),
        body(b"x", more=True),
        body(b"y" * 69_999),
    ]

    async def app(scope, receive, send):
        for message in messages:
            await send(message)
            counts.append(len(sent))

    run(EnvelopeMiddleware(app), sent=sent)

    assert sent == messages
    assert counts == [0, 2, 3]


def test_requests_that_overlap_do_not_mix():
    """Two responses that one instance serves at the same time keep their own state (case 16)."""
    met = {"/a": b"[1,2]", "/b": b'{"b":3}'}

    async def both() -> dict[str, list[Message]]:
        barrier = asyncio.Barrier(2)
        sent: dict[str, list[Message]] = {"/a": [], "/b": []}

        async def app(scope, receive, send):
            content = met[scope["path"]]
            for message in (start(200, JSON), body(content[:1], more=True), body(content[1:])):
                await barrier.wait()
                await send(message)

        async def request(path: str) -> None:
            async def send(message: Message) -> None:
                sent[path].append(message)

            await layer(http_scope("GET", path), unused_receive, send)

        layer = EnvelopeMiddleware(app)
        await asyncio.gather(request("/a"), request("/b"))
        return sent

    sent = asyncio.run(both())

    assert {path: body_of(messages) for path, messages in sent.items()} == {
        path: enveloped(content) for path, content in met.items()
    }


def test_concurrent_senders_keep_their_order():
    """What another task sends while the beginning waits for the client comes after it (case 16)."""
    sent: list[Message] = []

    async def app(scope, receive, send):
        await send(start(200, JSON))
        await asyncio.gather(send(body(b"[1", more=True)), send(body(b",2]", more=True)))
        await send(body())

    async def slow_send(message: Message) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    asyncio.run(EnvelopeMiddleware(app)(http_scope(), unused_receive, slow_send))

    assert body_of(sent) == enveloped(b"[1,2]")
    assert_legal(sent)


def test_message_that_the_application_uses_again_is_not_lost():
    """One dictionary for all messages is allowed: a held start is a copy (case 16)."""

    async def app(scope, receive, send):
        message = start(200, JSON, length(3))
        await send(message)
        message.clear()
        message.update(body(b"[1]"))
        await send(message)

    assert body_of(run(EnvelopeMiddleware(app))) == enveloped(b"[1]")


def test_empty_success_that_promised_chunks_has_a_length_only():
    """Two framings of one body are how requests are smuggled (case 1)."""
    app = sending(start(200, (b"transfer-encoding", b"chunked")), body())

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"transfer-encoding") == []
    assert header(messages, b"content-length") == [str(len(NULL)).encode()]


def test_length_of_five_thousand_digits_does_not_crash():
    """A number that Python refuses to read is no length (case 1)."""
    app = sending(start(200, JSON, (b"content-length", b"1" * 5000)), body(b"[1", more=True), body(b"]"))

    messages = run(EnvelopeMiddleware(app))

    assert header(messages, b"content-length") == []
    assert body_of(messages) == enveloped(b"[1]")


def test_cancelled_sender_does_not_lose_what_another_one_sends():
    """A task that waited for the first one sends its own message when that one is gone (case 56)."""
    sent: list[Message] = []

    async def app(scope, receive, send):
        await send(start(200, (b"content-type", b"text/csv")))
        first = asyncio.create_task(send(body(b"a", more=True)))
        await asyncio.sleep(0)
        second = asyncio.create_task(send(body(b"b")))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first, second])

    async def slow_send(message: Message) -> None:
        sent.append(message)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(EnvelopeMiddleware(app)(http_scope(), unused_receive, slow_send))

    assert sent[-1] == body(b"b")


def test_header_list_that_the_application_changes_later_is_its_own():
    """What was sent is what was meant, also while the start is held (case 31)."""

    async def app(scope, receive, send):
        message = start(200, JSON, length(3))
        await send(message)
        message["headers"].clear()
        await send(body(b"[1]"))

    messages = run(EnvelopeMiddleware(app))

    assert body_of(messages) == enveloped(b"[1]")
    assert header(messages, b"content-length") == [str(3 + ADDED).encode()]
