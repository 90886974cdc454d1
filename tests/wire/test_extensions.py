"""Extensions of ASGI, other scope types, and layers in layers (wire cases 32 to 40)."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Scope

from envelope import EnvelopeMiddleware, NotFoundError, Shape, install
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

PATHSEND = {"type": "http.response.pathsend", "path": "/srv/data.json"}
HINT = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}
PUSH = {"type": "http.response.push", "path": "/style.css", "headers": []}
DEBUG = {"type": "http.response.debug", "info": {"template": "a.html"}}


def zerocopy(*, more: bool = False) -> Message:
    """Build a message that lets the server send from a file."""
    return {"type": "http.response.zerocopysend", "file": 7, "offset": 0, "count": 5, "more_body": more}


def trailers(*headers: tuple[bytes, bytes], more: bool = False) -> Message:
    """Build a message of trailer fields."""
    return {"type": "http.response.trailers", "headers": list(headers), "more_trailers": more}


# --- cases 32 and 33: the server reads the file -----------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 404])
@pytest.mark.parametrize("headers", [[JSON, length(120), (b"repr-digest", b"x")], []])
def test_pathsend_releases_the_start_unwrapped(status: int, headers: list[tuple[bytes, bytes]]):
    """Bytes that we never see are never wrapped, nor their length or status changed (case 32)."""
    sent = [start(status, *headers), copy.copy(PATHSEND)]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_pathsend_of_starlette_passes(tmp_path):
    """A JSON file is the same on servers with pathsend and without (case 32)."""
    (tmp_path / "data.json").write_bytes(b"[1]")
    app = FileResponse(tmp_path / "data.json")
    layer = EnvelopeMiddleware(app)

    bytes_sent = run(layer, http_scope())
    path_sent = run(layer, http_scope(extensions={"http.response.pathsend": {}}))

    assert body_of(bytes_sent) == b"[1]"
    assert [m["type"] for m in path_sent] == ["http.response.start", "http.response.pathsend"]
    assert head_of(path_sent) == head_of(bytes_sent)


def test_zerocopysend_releases_the_start_unwrapped():
    """The first body message is the server's to read, so the response passes to its end (case 33)."""
    sent = [start(201, JSON, length(11)), zerocopy(more=True), body(b"[1]", more=True), zerocopy()]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_zerocopysend_after_an_empty_chunk_passes():
    """An empty chunk before it is no byte: the response still passes, in order (case 33)."""
    sent = [start(200, JSON), body(b"", more=True), zerocopy()]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_zerocopysend_in_a_wrapped_body_does_not_end_the_envelope():
    """A zero-copy message behind the first bytes may be the last one: the envelope is still closed (case 33)."""
    app = sending(start(200, JSON), body(b"[", more=True), zerocopy())

    messages = run(EnvelopeMiddleware(app))

    assert messages[1:3] == [body(b'{"status":"success","content":[', more=True), zerocopy(more=True)]
    assert body_of(messages[3:]) == b"}"
    assert not messages[-1].get("more_body", False)


def test_zerocopysend_between_chunks_of_a_wrapped_body_stays_there():
    """A zero-copy message between chunks keeps its place (case 33)."""
    app = sending(start(200, JSON, length(7)), body(b"[", more=True), zerocopy(more=True), body(b"]"))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [
        start(200, JSON, length(7 + ADDED)),
        body(b'{"status":"success","content":[', more=True),
        zerocopy(more=True),
        body(b"]}"),
    ]


# --- case 34: trailers ------------------------------------------------------------------------------


def test_trailers_follow_the_end_of_the_envelope():
    """The envelope ends in the last body message; trailers come after it (case 34)."""
    app = sending(start(200, JSON, trailers=True), body(b"[", more=True), body(b"]"), trailers((b"x-rows", b"0")))

    messages = run(EnvelopeMiddleware(app))

    assert messages == [
        start(200, JSON, trailers=True),
        body(b'{"status":"success","content":[', more=True),
        body(b"]}"),
        trailers((b"x-rows", b"0")),
    ]


@pytest.mark.parametrize("content", [b"[1]", b""])
def test_digest_trailers_of_a_wrapped_body_are_dropped(content: bytes):
    """A digest in the trailers is as wrong as one in the head; the promised trailers still come (case 34)."""
    digests = [(b"Repr-Digest", b"x"), (b"content-digest", b"y"), (b"digest", b"z"), (b"Content-MD5", b"a")]
    app = sending(
        start(200, JSON, trailers=True), body(content), trailers(*digests, more=True), trailers(*digests)
    )

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)
    assert messages[-2:] == [trailers(more=True), trailers()]


def test_trailers_of_a_body_that_passes_are_kept():
    """What passes keeps its trailers, digests included (case 34)."""
    sent = [
        start(200, (b"content-type", b"text/csv"), trailers=True),
        body(b"a"),
        trailers((b"repr-digest", b"x")),
    ]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize("status", [204, 404, 503])
def test_trailers_of_a_replaced_body_are_promised_or_not_sent(status: int):
    """A response that we wrote has trailers only if its start says so: a server refuses others (case 34)."""
    app = sending(
        start(status, (b"content-type", b"text/plain"), trailers=True),
        body(b"" if status == 204 else b"why"),
        trailers((b"x-rows", b"0")),
    )

    messages = run(EnvelopeMiddleware(app))

    assert_legal(messages)


def test_trailers_of_a_generator_are_kept():
    """Trailer fields may be any iterable, and may be missing (cases 31 and 34)."""
    once = {"type": "http.response.trailers", "headers": iter([(b"x-rows", b"1")]), "more_trailers": True}
    app = sending(start(200, JSON, trailers=True), body(b"1"), once, {"type": "http.response.trailers"})

    messages = run(EnvelopeMiddleware(app))

    assert list(messages[-2]["headers"]) == [(b"x-rows", b"1")]
    assert list(messages[-1].get("headers", [])) == []
    assert_legal(messages)


# --- case 35: push, early hints, debug --------------------------------------------------------------


@pytest.mark.parametrize("beside", [HINT, PUSH, DEBUG])
def test_message_beside_the_response_is_sent_at_once(beside: Message):
    """Hints overtake a start that is held, and the response is wrapped as without them (case 35)."""
    sent: list[Message] = []
    counts: list[int] = []

    async def app(scope, receive, send):
        for message in (
            beside,
            start(200, JSON),
            beside,
            body(b"", more=True),
            beside,
            body(b"[", more=True),
            beside,
        ):
            await send(message)
            counts.append(len(sent))
        await send(body(b"]"))

    run(EnvelopeMiddleware(app), sent=sent)

    assert counts[:5] == [1, 1, 2, 2, 3]
    assert_legal(sent)
    assert [m for m in sent if m["type"] == beside["type"]] == [beside] * 4
    assert body_of(sent) == enveloped(b"[]")


@pytest.mark.parametrize("beside", [HINT, PUSH, DEBUG])
def test_message_beside_the_response_does_not_count_as_its_start(beside: Message):
    """An application that fails after a hint still gets its failure answered (case 35)."""

    async def app(scope, receive, send):
        await send(beside)
        await send(start(200, JSON))
        await send(beside)
        raise NotFoundError("no entity 42")

    messages = run(EnvelopeMiddleware(app))

    assert messages[:2] == [beside, beside]
    assert_legal(messages)
    assert body_of(messages) == failure(404, "no entity 42")


@pytest.mark.parametrize("beside", [HINT, PUSH, DEBUG])
@pytest.mark.parametrize("status", [204, 304, 404])
def test_message_beside_a_response_without_its_body_is_sent(beside: Message, status: int):
    """Where a body is dropped or replaced, hints are not (case 35)."""
    app = sending(start(status, (b"content-type", b"text/plain")), beside, body(b"gone"))

    messages = run(EnvelopeMiddleware(app))

    assert messages[0] == beside
    assert_legal(messages)


# --- case 36: what nobody knows ---------------------------------------------------------------------

UNKNOWN = {"type": "http.response.teleport", "to": b"moon"}


def test_unknown_message_releases_a_held_start_unwrapped():
    """What an unknown message means for the body is unknown, so the response passes (case 36)."""
    sent = [start(201, JSON, length(3), (b"repr-digest", b"x")), body(b"", more=True), UNKNOWN, body(b"[1]")]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/json", b"application/problem+json"])
def test_unknown_message_releases_a_held_failure_unconverted(content_type: bytes):
    """A failure whose body is being read passes as well, with what was read, in order (case 36)."""
    sent = [start(404, (b"content-type", content_type)), body(b'"go', more=True), UNKNOWN, body(b'ne"')]

    assert run(EnvelopeMiddleware(sending(*sent))) == sent


def test_unknown_message_is_forwarded_at_once():
    """Nothing waits behind an unknown message (case 36)."""
    sent: list[Message] = []
    counts: list[int] = []

    async def app(scope, receive, send):
        for message in (start(200, JSON), UNKNOWN, body(b"1", more=True), body(b"2")):
            await send(message)
            counts.append(len(sent))

    run(EnvelopeMiddleware(app), sent=sent)

    assert counts == [0, 2, 3, 4]


def test_unknown_message_in_a_wrapped_body_keeps_its_place():
    """Once the envelope has begun it is closed, whatever comes between (case 36)."""
    app = sending(start(200, JSON), body(b"[", more=True), UNKNOWN, body(b"]"), UNKNOWN)

    messages = run(EnvelopeMiddleware(app))

    assert messages == [
        start(200, JSON),
        body(b'{"status":"success","content":[', more=True),
        UNKNOWN,
        body(b"]}"),
        UNKNOWN,
    ]


def test_unknown_message_before_the_start_is_forwarded():
    """An unknown message may come first (case 36)."""
    messages = run(EnvelopeMiddleware(sending(UNKNOWN, start(200, JSON), body(b"1"))))

    assert messages[0] == UNKNOWN
    assert body_of(messages) in (b"1", enveloped(b"1"))


# --- cases 37 to 39: other scopes -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "telepathy"])
def test_other_scope_is_handed_on_as_it_is(kind: str):
    """The application gets the very scope, receive and send of the server, and the scope is not marked (case 39)."""
    seen: list[Any] = []

    async def app(*given):
        seen.extend(given)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": kind, "state": {}, "path": "/", "headers": []}
    before = copy.deepcopy(scope)
    asyncio.run(EnvelopeMiddleware(app)(scope, receive, send))

    assert [part is given for part, given in zip(seen, (scope, receive, send), strict=True)] == [True] * 3
    assert scope == before


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "telepathy"])
def test_other_scope_raises_what_its_application_raises(kind: str):
    """Also what would be an answer to a request goes through: there is no request (case 39)."""
    error = NotFoundError("no entity 42")

    async def app(scope, receive, send):
        raise error

    with pytest.raises(NotFoundError) as caught:
        run(EnvelopeMiddleware(app), {"type": kind, "path": "/", "headers": []})

    assert caught.value is error


def test_websocket_denial_passes():
    """A denial response is the application's, even where it looks like one of ours (case 37)."""
    sent: list[Message] = [
        {"type": "websocket.http.response.start", "status": 404, "headers": [JSON]},
        {"type": "websocket.http.response.body", "body": b'{"detail":"no room"}'},
    ]
    scope = {"type": "websocket", "path": "/", "headers": [], "extensions": {"websocket.http.response": {}}}

    assert run(EnvelopeMiddleware(sending(*sent)), scope) == sent


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
def test_websocket_of_an_installed_app_keeps_the_denial_of_the_framework(extensions: dict[str, Any]):
    """An HTTPException of a websocket is what it is without us: a denial, or a close (cases 37 and 38)."""

    async def endpoint(websocket):
        raise HTTPException(403, "no room")

    def build() -> Starlette:
        return Starlette(routes=[WebSocketRoute("/", endpoint)])

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "extensions": extensions}
    installed = build()
    install(installed)
    connect = [{"type": "websocket.connect"}]

    assert run(installed, scope, received=connect) == run(build(), scope, received=connect)


def test_websocket_messages_pass():
    """Frames and close codes go through in both directions (case 38)."""

    async def app(scope, receive, send):
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message["text"]})
        await send({"type": "websocket.close", "code": message["code"], "reason": "bye"})

    received: list[Message] = [
        {"type": "websocket.receive", "text": '{"a":1}'},
        {"type": "websocket.disconnect", "code": 4000},
    ]

    messages = run(EnvelopeMiddleware(app), {"type": "websocket"}, received=received)

    assert messages == [
        {"type": "websocket.send", "text": '{"a":1}'},
        {"type": "websocket.close", "code": 4000, "reason": "bye"},
    ]


def test_lifespan_state_is_shared():
    """What an application puts into the state at start-up is what the server hands to requests (case 39)."""

    async def app(scope, receive, send):
        await receive()
        scope["state"]["pool"] = "open"
        await send({"type": "lifespan.startup.complete"})

    state: dict[str, str] = {}
    scope = {"type": "lifespan", "state": state}
    messages = run(EnvelopeMiddleware(app), scope, received=[{"type": "lifespan.startup"}])

    assert state == {"pool": "open"}
    assert messages == [{"type": "lifespan.startup.complete"}]


# --- case 40: scopes, and layers in layers ----------------------------------------------------------


def test_request_reaches_the_application_whole():
    """Everything in the scope, the state object itself, and every message of the request (case 40)."""
    seen: dict[str, Any] = {}
    state = {"pool": "open"}
    received: list[Message] = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b"},
    ]

    async def app(scope, receive, send):
        seen.update(scope)
        seen["received"] = [await receive(), await receive(), await receive()]
        await JSONResponse(1)(scope, receive, send)

    scope = http_scope("POST", "/x", state=state, extensions={"tls": {}})
    run(EnvelopeMiddleware(app), scope, received=received)

    assert {key: seen[key] for key in scope} == scope
    assert seen["state"] is state
    assert state == {"pool": "open"}
    assert seen["received"] == [*received, {"type": "http.disconnect"}]


def test_two_layers_wrap_once():
    """A layer in a layer stands down or makes the other stand down: one envelope comes out (case 40)."""
    app = sending(start(201, JSON, length(2)), body(b"{", more=True), body(b"}"))

    messages = run(EnvelopeMiddleware(EnvelopeMiddleware(app)))

    assert_legal(messages)
    assert head_of(messages) == start(200, JSON, length(2 + ADDED))
    assert body_of(messages) == enveloped(b"{}")


def test_inner_layer_owns_its_answer():
    """The shape of the innermost installation is the one on the wire, for success and failure (case 40)."""

    async def app(scope, receive, send):
        if scope["path"] == "/missing":
            raise NotFoundError("no entity 42")
        await JSONResponse([1])(scope, receive, send)

    layer = EnvelopeMiddleware(EnvelopeMiddleware(app, shape=Shape(content="data")))

    assert body_of(run(layer)) == b'{"status":"success","data":[1]}'
    assert body_of(run(layer, http_scope("GET", "/missing"))) == failure(404, "no entity 42")


def passing_on(app: ASGIApp) -> ASGIApp:
    """Do nothing between two layers."""
    return app


def copying_the_scope(app: ASGIApp) -> ASGIApp:
    """Hand on a copy of the scope, as mounts and many middlewares do."""

    async def middleware(scope: Scope, receive, send):
        await app({**scope, "path": "/copied"}, receive, send)

    return middleware


def buffering(app: ASGIApp) -> ASGIApp:
    """Send everything after the application has returned, as caches and ETag middlewares do."""

    async def middleware(scope: Scope, receive, send):
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await app(scope, receive, keep)
        for message in kept:
            await send(message)

    return middleware


def buffering_with_a_copied_scope(app: ASGIApp) -> ASGIApp:
    """Both of these."""
    return buffering(copying_the_scope(app))


@pytest.mark.parametrize("between", [passing_on, copying_the_scope, buffering])
@pytest.mark.parametrize(
    "messages", [[start(200, JSON), body(b"[1]")], [start(204), body()], [start(201), body()]]
)
def test_layers_with_a_middleware_between_wrap_once(between, messages: list[Message]):
    """Whatever stands between two layers, the response is wrapped once, by the inner one (case 40)."""
    inner = EnvelopeMiddleware(sending(*messages), shape=Shape(content="data"))

    layered = run(EnvelopeMiddleware(between(inner)))

    assert layered == run(inner)


@pytest.mark.parametrize("between", [passing_on, copying_the_scope, buffering])
@pytest.mark.parametrize("status", [200, 404])
def test_exempt_answer_of_an_inner_layer_stays_exempt(between, status: int):
    """What the inner installation leaves alone is left alone by the outer one (case 40)."""
    sent = [start(status, JSON), body(b'{"detail":"as it is"}')]
    inner = EnvelopeMiddleware(sending(*sent), exempt=["/*"])

    assert run(EnvelopeMiddleware(between(inner))) == sent


def test_mounted_installation_owns_its_answers():
    """An installed app in an installed app wraps with its own shape; its neighbours have the outer one (case 40)."""

    async def endpoint(request):
        return JSONResponse([1])

    inside = Starlette(routes=[Route("/", endpoint)])
    install(inside, shape=Shape(content="data"))
    outside = Starlette(routes=[Mount("/inside", inside), Route("/", endpoint)])
    install(outside)

    assert body_of(run(outside, http_scope("GET", "/inside/"))) == b'{"status":"success","data":[1]}'
    assert body_of(run(outside)) == enveloped(b"[1]")


def test_mounted_app_that_was_not_installed_is_wrapped_once():
    """A plain mounted app is wrapped by the one outside, failures too (case 40)."""

    async def endpoint(request):
        return JSONResponse([1])

    app = Starlette(routes=[Mount("/inside", Starlette(routes=[Route("/", endpoint)]))])
    install(app)

    assert body_of(run(app, http_scope("GET", "/inside/"))) == enveloped(b"[1]")
    missing = run(app, http_scope("GET", "/inside/missing"))
    assert head_of(missing)["status"] == 404
    assert header(missing, b"content-type") == [b"application/json"]
    assert_legal(missing)


def test_body_that_looks_like_an_envelope_is_content():
    """Content is not sniffed: what an application returns is its content, envelope or not (case 40)."""
    app = sending(start(200, JSON), body(NULL))

    assert body_of(run(EnvelopeMiddleware(app))) == enveloped(NULL)


def test_layer_serves_many_requests_with_one_scope_object():
    """A server or test client that uses its scope again gets the same answer again (case 40)."""
    sent: list[Message] = []
    layer = EnvelopeMiddleware(
        EnvelopeMiddleware(sending(start(200, JSON), body(b"1")), shape=Shape(content="data"))
    )
    scope = http_scope()

    async def send(message: Message) -> None:
        sent.append(message)

    for _ in range(3):
        asyncio.run(layer(scope, unused_receive, send))

    assert [m["body"] for m in sent if m["type"] == "http.response.body"] == [b'{"status":"success","data":1}'] * 3


def test_hint_that_cannot_be_sent_is_nobodys_to_answer():
    """What send raises goes back as it is, before the response began, too (cases 35 and 54)."""
    gone = OSError("gone")

    async def send(message: Message) -> None:
        raise gone

    app = EnvelopeMiddleware(sending({"type": "http.response.early_hint", "links": []}, start(200), body()))
    with pytest.raises(OSError) as raised:
        asyncio.run(app(http_scope(), unused_receive, send))

    assert raised.value is gone
