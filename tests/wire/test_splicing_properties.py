"""Property tests of splicing: whatever the schedule of messages, the response is legal and nothing is lost."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from envelope import EnvelopeMiddleware
from tests.wire.asgi import (
    JSON,
    NULL,
    PREFIX,
    SUFFIX,
    assert_legal,
    body,
    body_of,
    enveloped,
    head_of,
    header,
    http_scope,
    length,
    run,
    sending,
    start,
)

# A run is some microseconds of ours and an event loop's construction; a deadline would time the loop.
wire = settings(deadline=None, max_examples=100)

BOM = b"\xef\xbb\xbf"
JSON_TYPES = [b"application/json", b"Application/JSON", b"application/json; charset=utf-8"]
OTHER_TYPES = [
    b"text/html",
    b"text/csv",
    b"application/hal+json",
    b"application/json; charset=latin-1",
    b"image/png",
]
STREAM_TYPES = [b"text/event-stream", b"application/jsonl", b"multipart/x-mixed-replace; boundary=x"]
EXTRA = [(b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"vary", b"accept"), (b"ETag", b'"v1"'), (b"x-e", b"")]
DIGESTS = {b"content-digest", b"repr-digest", b"digest", b"content-md5"}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a JSON text, written in some way."""
    ensure_ascii = draw(st.booleans())
    text = json.dumps(draw(values), ensure_ascii=ensure_ascii, indent=draw(st.sampled_from([None, 1])))
    space = st.sampled_from(["", " ", "\r\n\t"])
    return (draw(space) + text + draw(space)).encode(errors="replace")


@st.composite
def schedules(draw: st.DrawFn, content: bytes) -> list[Message]:
    """Draw a way to send ``content``: any chunks, empty ones among them, keys left out, any kind of buffer."""
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=5)))
    chunks = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    if draw(st.booleans()):
        chunks.append(b"")
    messages: list[Message] = []
    for index, chunk in enumerate(chunks):
        message: Message = {"type": "http.response.body"}
        if chunk or draw(st.booleans()):
            message["body"] = draw(st.sampled_from([bytes, memoryview, bytearray]))(chunk)
        if index < len(chunks) - 1:
            message["more_body"] = True
        elif draw(st.booleans()):
            message["more_body"] = False
        messages.append(message)
    return messages


@st.composite
def heads(draw: st.DrawFn, status: int, content_type: bytes | None, size: int) -> Message:
    """Draw a start message: any order and case of names; Content-Length true or missing."""
    pairs = draw(st.lists(st.sampled_from(EXTRA), max_size=4))
    declared = b"%d" % size if draw(st.booleans()) else None
    for name, value in ((b"content-type", content_type), (b"content-length", declared)):
        if value is not None:
            spelled = draw(st.sampled_from([name, name.title(), name.upper()]))
            pairs.insert(draw(st.integers(0, len(pairs))), (spelled, value))
    return {"type": "http.response.start", "status": status, "headers": pairs}


@st.composite
def responses(
    draw: st.DrawFn,
    contents: st.SearchStrategy[bytes],
    types: Sequence[bytes | None],
    statuses: st.SearchStrategy[int],
) -> list[Message]:
    """Draw all messages of a response."""
    content = draw(contents)
    head = draw(heads(draw(statuses), draw(st.sampled_from(types)), len(content)))
    return [head, *draw(schedules(content))]


options = st.fixed_dictionaries({"success_status": st.sampled_from(["always-200", "keep"])})
successes = st.sampled_from([200, 201, 202, 203, 207, 299])


def plain(messages: list[Message]) -> list[Message]:
    """Return the messages with every optional key, buffer and iterable in one form, to be compared."""
    return [
        {**m, "body": bytes(m.get("body", b"")), "more_body": m.get("more_body", False)}
        if m["type"] == "http.response.body"
        else {**m, "headers": [tuple(pair) for pair in m.get("headers", ())]}
        for m in messages
    ]


def assert_length_is_true(messages: list[Message]) -> None:
    """Fail if Content-Length is there and is not the number of bytes sent."""
    assert header(messages, b"content-length") in ([], [b"%d" % len(body_of(messages))])


def possible_bodies(content: bytes) -> list[bytes]:
    """Return what bytes that are called JSON may be sent as: whole, whole in an envelope, or null for no value."""
    rest = content.removeprefix(BOM)
    return [content, enveloped(rest or b"null"), *([] if rest.strip(b" \t\r\n") else [NULL])]


# --- what is wrapped --------------------------------------------------------------------------------


@wire
@given(responses(documents(), JSON_TYPES, successes), options)
def test_json_of_any_schedule_is_one_true_envelope(sent: list[Message], chosen: dict[str, Any]):
    """Any schedule of a JSON text comes out legal, with its own bytes inside and a true length (cases 1 to 3, 31)."""
    before = copy.deepcopy(plain(sent))

    messages = run(EnvelopeMiddleware(sending(*sent), **chosen))

    assert_legal(messages)
    assert_length_is_true(messages)
    assert body_of(messages) == enveloped(body_of(sent))
    assert json.loads(body_of(messages))["content"] == json.loads(body_of(sent))
    assert bool(header(messages, b"content-length")) == bool(header(sent, b"content-length"))
    assert plain(sent) == before


@wire
@given(responses(documents(), JSON_TYPES, successes))
def test_headers_of_any_json_are_kept_but_for_the_length(sent: list[Message]):
    """Every header but Content-Length stays, with its number, order and spelling (cases 17 and 29)."""
    messages = run(EnvelopeMiddleware(sending(*sent)))

    def others(given_messages: list[Message]) -> list[tuple[bytes, bytes]]:
        return [(n, v) for n, v in head_of(given_messages)["headers"] if n.lower() != b"content-length"]

    assert others(messages) == others(sent)


@wire
@given(
    responses(documents(), JSON_TYPES, successes), st.sampled_from([tuple, iter, lambda pairs: (p for p in pairs)])
)
def test_headers_of_any_iterable_make_the_same_response(sent: list[Message], iterable: Any):
    """A list, a tuple and a generator of the same headers are the same response (case 31)."""
    head, *rest = sent
    other = {**head, "headers": iterable(head["headers"])}

    assert plain(run(EnvelopeMiddleware(sending(other, *rest)))) == plain(run(EnvelopeMiddleware(sending(*sent))))


@wire
@given(responses(documents(), JSON_TYPES, successes))
def test_bytes_are_never_kept_back(sent: list[Message]):
    """After each message of the application everything that it sent so far has left (case 2)."""
    given_so_far = left_so_far = b""
    out: list[Message] = []

    async def app(scope, receive, send):
        nonlocal given_so_far, left_so_far
        for message in sent:
            await send(message)
            given_so_far += bytes(message.get("body", b""))
            left_so_far = body_of(out).removeprefix(PREFIX)
            assert left_so_far[: len(given_so_far)] == given_so_far

    run(EnvelopeMiddleware(app), sent=out)

    assert left_so_far == given_so_far + SUFFIX


@wire
@given(responses(documents(), JSON_TYPES, successes), options)
def test_head_of_any_schedule_is_get(sent: list[Message], chosen: dict[str, Any]):
    """An application that leaves stripping to the server gets the same messages for HEAD (case 4)."""
    layer = EnvelopeMiddleware(sending(*sent), **chosen)

    assert run(layer, http_scope("HEAD")) == run(layer, http_scope("GET"))


@wire
@given(st.integers(1, 10**12), st.sampled_from(JSON_TYPES), successes, schedules(b""))
def test_head_without_bytes_announces_what_get_would_send(
    size: int, content_type: bytes, status: int, chunks: Any
):
    """Whatever length a bodyless HEAD states, ours is longer by the envelope, and no byte is sent (case 5)."""
    app = sending(start(status, (b"content-type", content_type), length(size)), *chunks)

    messages = run(EnvelopeMiddleware(app), http_scope("HEAD"))

    assert_legal(messages)
    assert header(messages, b"content-length") == [b"%d" % (size + len(PREFIX) + len(SUFFIX))]
    assert body_of(messages) == b""


@wire
@given(responses(st.just(b""), [*JSON_TYPES, None], st.sampled_from([200, 201, 202])), options)
def test_empty_answer_of_any_schedule_is_null(sent: list[Message], chosen: dict[str, Any]):
    """However nothing is sent, it is ``content: null``, and it is JSON (case 26)."""
    messages = run(EnvelopeMiddleware(sending(*sent), **chosen))

    assert_legal(messages)
    assert_length_is_true(messages)
    assert body_of(messages) == NULL
    (content_type,) = header(messages, b"content-type")
    assert content_type.lower().startswith(b"application/json")


@wire
@given(responses(st.binary(max_size=8), [*JSON_TYPES, *OTHER_TYPES, None], st.sampled_from([204, 205])))
def test_no_content_of_any_schedule_is_null(sent: list[Message]):
    """Whatever body a 204 or 205 wrongly has, it is sent as ``content: null`` (cases 8 and 9)."""
    messages = run(EnvelopeMiddleware(sending(*sent)))

    assert_legal(messages)
    assert_length_is_true(messages)
    assert head_of(messages)["status"] == 200
    assert header(messages, b"content-type") in [[t] for t in (*JSON_TYPES, b"application/json")]
    assert body_of(messages) == NULL


@wire
@given(responses(st.binary(max_size=8), [*JSON_TYPES, *OTHER_TYPES, None], st.sampled_from([204, 205, 304])))
def test_no_content_that_is_kept_has_no_byte(sent: list[Message]):
    """With ``keep`` a 204, 205 and 304 have no byte of any schedule, and their status (cases 8 and 9)."""
    messages = run(EnvelopeMiddleware(sending(*sent), success_status="keep"))

    status = head_of(sent)["status"]
    assert_legal(messages)
    assert head_of(messages)["status"] == status
    assert header(messages, b"content-length") == {204: [], 205: [b"0"]}.get(
        status, header(sent, b"content-length")
    )
    assert body_of(messages) == b""


# --- what passes ------------------------------------------------------------------------------------

passing_statuses = st.sampled_from([200, 201, 202, 206, 226, 299, 300, 301, 303, 307, 308])


@wire
@given(responses(st.binary(max_size=40), [*OTHER_TYPES, *STREAM_TYPES], passing_statuses), options)
def test_answer_of_another_type_passes_message_by_message(sent: list[Message], chosen: dict[str, Any]):
    """What is not JSON comes out as the very messages that went in, empty chunks included (cases 11, 24, 25, 26)."""
    assert run(EnvelopeMiddleware(sending(*sent), **chosen)) == sent


@wire
@given(
    responses(st.binary(max_size=40), [*JSON_TYPES, None], st.sampled_from([206, 226, 300, 302, 307, 308])),
    options,
)
def test_json_of_a_passing_status_passes_message_by_message(sent: list[Message], chosen: dict[str, Any]):
    """Parts and redirects pass, whatever their type (cases 11 and 12)."""
    assert run(EnvelopeMiddleware(sending(*sent), **chosen)) == sent


@wire
@given(responses(st.binary(min_size=1, max_size=40), [None], successes), options)
@example([start(201), body(b"[1]")], {"success_status": "always-200"})
@example([start(200, length(5)), body(BOM + b"{}")], {"success_status": "always-200"})
def test_bytes_without_a_type_pass_message_by_message(sent: list[Message], chosen: dict[str, Any]):
    """Bytes that do not say what they are pass, with their status (cases 26 and 27)."""
    assert run(EnvelopeMiddleware(sending(*sent), **chosen)) == sent


@wire
@given(
    responses(st.binary(max_size=40), JSON_TYPES, successes),
    st.sampled_from(
        [
            (b"Content-Encoding", b"br"),
            (b"accept-ranges", b"bytes"),
            (b"Content-Disposition", b"inline"),
            (b"content-range", b"bytes 0-1/2"),
            (b"Signature", b"s"),
            (b"signature-input", b"s"),
            (b"cache-control", b"private, no-transform"),
        ]
    ),
)
def test_marked_json_passes_message_by_message(sent: list[Message], mark: tuple[bytes, bytes]):
    """Files, signed, compressed and untransformable answers pass (cases 12, 20, 21, 22)."""
    # What follows says nothing against wrapping, and must not make the mark forgotten.
    harmless = [(b"cache-control", b"no-store"), (b"accept-ranges", b"none")]
    marked = [{**sent[0], "headers": [*sent[0]["headers"], mark, *harmless]}, *sent[1:]]

    assert run(EnvelopeMiddleware(sending(*marked))) == marked


# --- nothing is lost --------------------------------------------------------------------------------

almost_json = st.binary(max_size=12) | st.builds(
    lambda space, mark, rest: mark + space + rest,
    st.sampled_from([b"", b" ", b"\r\n\t"]),
    st.sampled_from([b"", BOM, BOM[:2], BOM + BOM]),
    st.sampled_from([b"", b"{}", b"<html>", b"[1,2]", b"nonsense", b"hello"]),
)


@wire
@given(responses(almost_json, JSON_TYPES, successes), options)
@example([start(200, JSON, length(9)), body(BOM, more=True), body(b"<html>")], {"success_status": "keep"})
@example([start(200, JSON), body(b" ", more=True), body(b"<html>")], {"success_status": "keep"})
def test_bytes_labelled_json_are_wrapped_or_pass(sent: list[Message], chosen: dict[str, Any]):
    """Whatever is called JSON is legal and whole: as it was, or in an envelope without its BOM (cases 23, 26, 27)."""
    messages = run(EnvelopeMiddleware(sending(*sent), **chosen))

    content = body_of(sent)
    assert_legal(messages)
    assert_length_is_true(messages)
    if body_of(messages) == content:
        assert plain(messages) == plain(sent)
    else:
        assert body_of(messages) in possible_bodies(content)


@wire
@given(responses(documents() | almost_json, JSON_TYPES, successes))
@example([start(200, JSON), body(b" ")])
def test_envelope_is_never_made_around_what_cannot_be_json(sent: list[Message]):
    """If the first byte that is no white space cannot begin JSON, no envelope is made around it (case 27)."""
    messages = run(EnvelopeMiddleware(sending(*sent)))

    # A first chunk of nothing but white space, with more to come, is not held: nobody can tell by it.
    first = next((m for m in sent[1:] if m.get("body")), {})
    assume(not first.get("more_body") or bytes(first["body"]).removeprefix(BOM).strip(b" \t\r\n"))
    if body_of(messages).startswith(PREFIX):
        inside = body_of(messages).removeprefix(PREFIX).lstrip(b" \t\r\n")
        assert inside[:1] in [bytes([code]) for code in b'{["-0123456789tfn']


@wire
@given(responses(documents(), JSON_TYPES, st.integers(400, 599)))
def test_json_failure_of_any_schedule_is_kept_whole(sent: list[Message]):
    """A failure in JSON becomes our failure with all of it as the message, and the status twice (cases 30 and 41)."""
    messages = run(EnvelopeMiddleware(sending(*sent)))

    status, value, out = head_of(sent)["status"], json.loads(body_of(sent)), json.loads(body_of(messages))
    assert_legal(messages)
    assert_length_is_true(messages)
    assert head_of(messages)["status"] == status
    assert out.keys() == {"code", "message", "status"}
    assert (out["code"], out["status"]) == (status, "failure")
    if isinstance(value, str) and value.strip():
        assert out["message"].strip() == value.strip()
    if isinstance(value, dict | list) and value and "detail" not in value:
        assert out["message"] == value


@wire
@given(st.text(max_size=40).filter(str.strip), st.integers(400, 599), st.data())
def test_text_failure_of_any_schedule_is_the_message(text: str, status: int, data: st.DataObject):
    """A failure in plain text becomes our failure with the text as its message (case 48)."""
    content = text.encode(errors="ignore") or b"?"
    sent = [start(status, (b"content-type", b"text/plain; charset=utf-8")), *data.draw(schedules(content))]

    messages = run(EnvelopeMiddleware(sending(*sent)))

    out = json.loads(body_of(messages))
    assert_legal(messages)
    assert_length_is_true(messages)
    assert out["message"].strip() == (content.decode().strip() or out["message"])
    assert (out["code"], out["status"]) == (status, "failure")


@wire
@given(responses(st.binary(max_size=40), [b"text/html", b"image/png", b"application/xml"], st.integers(400, 599)))
def test_failure_of_another_type_passes_message_by_message(sent: list[Message]):
    """A failure in HTML comes out as the very messages that went in (case 16)."""
    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@wire
@given(st.integers(1, 3000), st.sampled_from([b"application/json", b"application/problem+json", b"text/plain"]))
def test_large_failure_passes_whole(beyond: int, content_type: bytes):
    """A failure that is too large to be a message passes, however much of it was read (case 76)."""
    chunk = b'"' + b"x" * 16_383
    sent = [start(500, (b"content-type", content_type)), *[body(chunk, more=True)] * 4, body(b"y" * beyond)]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


# --- messages in between, crashes, layers -----------------------------------------------------------

BESIDE = [
    {"type": "http.response.early_hint", "links": [b"</a>"]},
    {"type": "http.response.push", "path": "/a", "headers": []},
    {"type": "http.response.debug", "info": {}},
    {"type": "http.response.teleport"},
    {"type": "http.response.start", "status": 103, "headers": []},
]


@wire
@given(
    responses(documents() | almost_json, [*JSON_TYPES, None, b"text/html"], st.sampled_from([200, 201, 206, 302])),
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from(BESIDE)), max_size=4),
)
@example([start(200), body(BOM + b"{}")], [(1, BESIDE[0])])
@example([start(200, JSON), body(more=True), body(b"[1]")], [(2, BESIDE[3])])
def test_messages_in_between_are_neither_lost_nor_reordered(
    sent: list[Message], between: list[tuple[int, Message]]
):
    """Hints, interim starts and unknown messages anywhere leave the response legal and whole (cases 7, 35, 36)."""
    for place, message in between:
        sent.insert(place, message)
    messages = run(EnvelopeMiddleware(sending(*sent)))

    def beside(of: list[Message]) -> list[Message]:
        return [m for m in of if m["type"] != "http.response.body" and m.get("status", 100) < 200]

    content = body_of(sent)
    assert beside(messages) == beside(sent)
    assert_legal([m for m in messages if m["type"] != "http.response.teleport"])
    assert_length_is_true(messages)
    assert body_of(messages) in possible_bodies(content)


@wire
@given(
    responses(
        documents(), [*JSON_TYPES, b"text/html", b"text/plain", None], st.sampled_from([200, 201, 204, 404, 500])
    ),
    st.integers(0, 8),
)
def test_crash_at_any_point_is_a_failure_or_a_broken_body(sent: list[Message], point: int):
    """A crash is raised again; what went out is a whole 500, or a whole answer, or one that never ends (cases 49, 50)."""
    out: list[Message] = []
    before, after = sent[:point], sent[point:]

    async def app(scope, receive, send):
        for message in before:
            await send(message)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(EnvelopeMiddleware(app), sent=out)

    ended = bool(out) and not out[-1].get("more_body", False)
    if not any(bytes(m.get("body", b"")) for m in before) and after:
        assert head_of(out)["status"] == 500
        assert body_of(out) == b'{"code":500,"message":"Internal Server Error","status":"failure"}'
    elif after and head_of(sent)["status"] in (200, 201):
        assert not ended
    if ended:
        assert_legal(out)
        assert_length_is_true(out)


@wire
@given(
    responses(
        documents() | almost_json, [*JSON_TYPES, *OTHER_TYPES, None], st.sampled_from([200, 204, 206, 302, 404])
    ),
    st.integers(2, 4),
    options,
)
def test_layers_in_layers_are_one_layer(sent: list[Message], depth: int, chosen: dict[str, Any]):
    """Any number of layers around an application do what one does (case 40)."""
    one = EnvelopeMiddleware(sending(*sent), **chosen)
    many: ASGIApp = one
    for _ in range(depth - 1):
        many = EnvelopeMiddleware(many, **chosen)

    assert run(many) == run(one)
