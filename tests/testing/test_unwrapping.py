"""Unwrapping in process: what comes back is what the application would have answered alone, field by field."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import (
    ConflictError,
    EnvelopeMiddleware,
    ErrorMap,
    InternalServerError,
    NotFoundError,
    RateLimiter,
    Shape,
    install,
    raw_response,
)
from envelope.testing import Unwrapping, UnwrappingClient
from tests.wire.apps import exchange
from tests.wire.asgi import JSON, body, enveloped, length, sending, start

#: Method and path of every kind of answer below.
REQUESTS = [
    ("GET", "/object"),
    ("HEAD", "/object"),
    ("GET", "/null"),
    ("GET", "/nothing"),
    ("GET", "/text"),
    ("GET", "/created"),
    ("GET", "/deleted"),
    ("GET", "/reset"),
    ("GET", "/not-modified"),
    ("GET", "/multi-status"),
    ("GET", "/mislabelled"),
    ("GET", "/marked"),
    ("GET", "/undeclared"),
    ("GET", "/stream"),
    ("GET", "/stream-of-length"),
    ("GET", "/lines"),
    ("GET", "/long"),
    ("GET", "/long-stream"),
    ("GET", "/raised"),
    ("HEAD", "/raised"),
    ("GET", "/raised-without-body"),
    ("GET", "/returned"),
    ("HEAD", "/returned"),
    ("GET", "/returned-envelope"),
    ("GET", "/returned-text"),
    ("GET", "/returned-nothing"),
    ("GET", "/returned-list"),
    ("GET", "/digest"),
    ("GET", "/crash"),
    ("GET", "/like-an-envelope"),
    ("GET", "/mounted/raised"),
    ("GET", "/mounted/crash"),
    ("GET", "/nowhere"),
    ("POST", "/object"),
]


def endpoints() -> list[Route]:
    """Make a route for every kind of answer."""

    async def raised(request: Request) -> Response:
        raise HTTPException(409, "taken", {"X-Kind": "raised", "ETag": '"1"'})

    async def raised_without_body(request: Request) -> Response:
        raise HTTPException(304, None, {"X-Kind": "raised"})

    async def crash(request: Request) -> Response:
        raise ZeroDivisionError

    answers: dict[str, Any] = {
        "/object": lambda: JSONResponse({"a": 1.0}, headers={"X-Kind": "object"}),
        "/null": lambda: JSONResponse(None),
        "/nothing": Response,
        "/text": lambda: PlainTextResponse("text"),
        "/created": lambda: JSONResponse({"id": 1}, 201, {"Location": "/1"}),
        "/deleted": lambda: Response(status_code=204, headers={"X-Kind": "deleted"}),
        "/reset": lambda: Response(status_code=205),
        "/not-modified": lambda: Response(status_code=304, headers={"ETag": '"1"'}),
        "/multi-status": lambda: JSONResponse([], 207),
        "/mislabelled": lambda: Response("{", media_type="application/json"),
        "/marked": lambda: Response(b"  [1]", media_type="application/json"),
        "/undeclared": lambda: Response(b"[1]"),
        "/stream": lambda: StreamingResponse(
            iter(["[", '{"a":{}}', ",", "{}", "]"]), media_type="application/json"
        ),
        "/stream-of-length": lambda: StreamingResponse(
            iter(["[1", "]"]), 203, {"Content-Length": "3"}, media_type="application/json"
        ),
        "/lines": lambda: StreamingResponse(iter(["{}\n", "{}\n"]), media_type="application/x-ndjson"),
        "/long": lambda: JSONResponse(["long"] * 1000, 201),
        "/long-stream": lambda: StreamingResponse(
            iter(["[", ",".join(["1"] * 5000), "]"]), media_type="application/json"
        ),
        "/returned": lambda: JSONResponse(
            {"detail": "no", "why": 1.0}, 422, {"ETag": '"1"', "X-Kind": "returned"}
        ),
        "/returned-envelope": lambda: JSONResponse({"code": 409, "message": "m", "status": "failure"}, 409),
        "/returned-text": lambda: PlainTextResponse("no", 503),
        "/returned-nothing": lambda: Response(status_code=401),
        "/returned-list": lambda: JSONResponse(["no"], 400),
        "/digest": lambda: JSONResponse({}, headers={"Digest": "sha-256=x"}),
        "/like-an-envelope": lambda: JSONResponse({"status": "success", "content": 1}, 202),
    }

    def answering(make: Any) -> Any:
        async def answer(request: Request) -> Response:
            response: Response = make()
            return response

        return answer

    inner = Starlette(routes=[Route("/raised", raised), Route("/crash", crash)])
    return [
        *(Route(path, answering(make)) for path, make in answers.items()),
        Route("/raised", raised),
        Route("/raised-without-body", raised_without_body),
        Route("/crash", crash),
        Mount("/mounted", inner),  # type: ignore[list-item]
    ]


def starlette_app() -> Starlette:
    return Starlette(routes=endpoints())


def fastapi_app() -> FastAPI:
    return FastAPI(routes=endpoints())  # type: ignore[arg-type]


def compressing_app() -> Starlette:
    return Starlette(routes=endpoints(), middleware=[Middleware(GZipMiddleware)])


def all_of(response: Any) -> tuple[Any, ...]:
    """Give everything that a test can see of a response."""
    return response.status_code, sorted(response.headers.items()), response.content


@pytest.mark.parametrize("options", [{}, {"success_status": "keep"}, {"shape": Shape(content="data", code="n")}])
@pytest.mark.parametrize("make", [starlette_app, fastapi_app, compressing_app])
def test_every_answer_is_that_of_the_bare_application(make: Any, options: dict[str, Any]) -> None:
    """Status, header fields and body of each kind of answer, with each kind of envelope."""
    bare = TestClient(make(), raise_server_exceptions=False)
    installed = make()
    install(installed, **options)
    client = UnwrappingClient(installed, raise_server_exceptions=False)

    answers = {
        f"{method} {path}": (all_of(client.request(method, path)), all_of(bare.request(method, path)))
        for method, path in REQUESTS
    }

    assert {request: pair for request, pair in answers.items() if pair[0] != pair[1]} == {}


def test_wire_differs_from_nearly_every_answer() -> None:
    """The comparison above would notice an unwrapping that does nothing, and an install that does nothing."""
    bare, installed = TestClient(starlette_app(), raise_server_exceptions=False), starlette_app()
    install(installed)
    wire = TestClient(installed, raise_server_exceptions=False)

    differ = [each for each in REQUESTS if all_of(bare.request(*each)) != all_of(wire.request(*each))]

    assert len(differ) >= 24


class NoSuchUser(Exception):
    """Of a domain."""


def test_errors_of_ours_have_their_message_as_detail() -> None:
    """What the framework alone would not know: ApiError, ErrorMap, with their status and fields."""
    app = FastAPI()
    install(app, errors=ErrorMap({NoSuchUser: NotFoundError}))

    @app.get("/conflict")
    async def conflict() -> None:
        raise ConflictError("frozen", error_code="entity_frozen", headers={"X-Until": "noon"})

    @app.get("/mapped")
    async def mapped() -> None:
        raise NoSuchUser

    @app.get("/sorry")
    async def sorry() -> None:
        raise InternalServerError("Internal Server Error")

    client = UnwrappingClient(app)
    response = client.get("/conflict")

    assert response.status_code == 409
    assert response.json() == {"detail": {"error_code": "entity_frozen", "message": "frozen"}}
    assert response.headers["x-until"] == "noon"
    assert client.get("/mapped").json() == {"detail": NotFoundError.message}
    assert client.get("/sorry").json() == {"detail": "Internal Server Error"}


def test_refusal_of_a_guard_has_its_message_as_detail() -> None:
    """A 429 was made by no exception of the application; Retry-After and the limits stay."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter("1/day"))
    client = UnwrappingClient(app)
    client.get("/")

    response = client.get("/")

    assert response.status_code == 429
    assert set(response.json()) == {"detail"}
    assert {"retry-after", "x-ratelimit-limit"} <= set(response.headers)


def test_validation_in_a_group_and_in_a_dependency_has_its_list() -> None:
    """What FastAPI raises is answered by FastAPI's handler, also for a body."""

    class Item(BaseModel):
        size: int

    def check(q: int) -> int:
        return q

    def make() -> FastAPI:
        app = FastAPI(dependencies=[Depends(check)])

        @app.post("/")
        async def create(item: Item) -> Item:
            return item

        return app

    installed = make()
    install(installed)
    told = [
        client.post("/?q=x", json={"size": "y"}) for client in (TestClient(make()), UnwrappingClient(installed))
    ]

    assert told[0].status_code == 422
    assert all_of(told[0]) == all_of(told[1])


def test_application_that_is_not_installed_passes_untouched() -> None:
    """Nobody wrapped it, so nobody unwraps, whatever it looks like."""
    app = Starlette(routes=[Route("/", lambda _: JSONResponse({"status": "success", "content": 1}))])

    assert UnwrappingClient(app).get("/").json() == {"status": "success", "content": 1}


def test_raw_endpoint_that_looks_like_an_envelope_passes_untouched() -> None:
    """An exempt endpoint of an installed application sends what it says; success and failure."""
    app = FastAPI()
    install(app, exempt=["/failing", "/failing-silently"])

    @app.get("/raw")
    @raw_response
    async def raw() -> dict[str, Any]:
        return {"status": "success", "content": 1}

    @app.get("/failing")
    async def failing() -> JSONResponse:
        return JSONResponse({"code": 400, "message": "m", "status": "failure"}, 400)

    @app.get("/failing-silently")
    async def failing_silently() -> Response:
        return Response(status_code=400)

    client = UnwrappingClient(app)

    assert client.get("/raw").json() == {"status": "success", "content": 1}
    assert client.get("/failing-silently").content == b""
    assert client.get("/failing").json() == {"code": 400, "message": "m", "status": "failure"}


def test_what_a_middleware_changes_stays_changed() -> None:
    """Its fields, its status, and what it answers in the place of the endpoint."""

    class Changing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            if request.url.path == "/short":
                return JSONResponse({"status": "success", "content": "cut"}, 202)
            response = await call_next(request)
            if response.status_code == 404:
                return JSONResponse({"own": True}, 404)
            if request.url.path == "/changed":
                response.status_code = 203
                response.headers["content-type"] = "application/vnd.api+json"
            response.headers["x-by"] = "middleware"
            return response

    def make() -> FastAPI:
        app = FastAPI()
        app.add_middleware(Changing)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["testserver"])

        @app.get("/changed", status_code=201)
        async def changed() -> list[int]:
            return [1]

        @app.get("/refused")
        async def refused() -> None:
            raise HTTPException(403, "no")

        return app

    installed = make()
    install(installed)
    bare, client = TestClient(make()), UnwrappingClient(installed)

    for path in ("/short", "/changed", "/refused", "/nowhere"):
        assert all_of(client.get(path)) == all_of(bare.get(path)), path
    evil = {"Host": "evil"}
    assert all_of(client.get("/changed", headers=evil)) == all_of(bare.get("/changed", headers=evil))


def test_application_inside_an_application_is_unwrapped_once() -> None:
    """The inner one has another shape, and only it wraps what it answers."""

    def make(*, is_installed: bool) -> FastAPI:
        outer, inner = FastAPI(), FastAPI()

        @inner.get("/created", status_code=201)
        async def created() -> int:
            return 1

        @inner.get("/refused")
        async def refused() -> None:
            raise HTTPException(403, ["no"])

        outer.mount("/inner", inner)
        if is_installed:
            install(outer)
            install(inner, shape=Shape(content="data"))
        return outer

    bare, client = TestClient(make(is_installed=False)), UnwrappingClient(make(is_installed=True))

    for path in ("/inner/created", "/inner/refused", "/inner/nowhere"):
        assert all_of(client.get(path)) == all_of(bare.get(path)), path


def test_middleware_alone_is_unwrapped_too() -> None:
    """Around any ASGI application; one that says its length, and one that does not."""
    with_length = EnvelopeMiddleware(sending(start(201, JSON, length(2)), body(b"[1", more=True), body(b"]")))
    without = EnvelopeMiddleware(sending(start(201, JSON), body(b"{}", more=True), body(b"", more=True), body()))

    assert UnwrappingClient(with_length).get("/").json() == [1]
    response = UnwrappingClient(without).get("/")
    assert (response.status_code, response.content) == (201, b"{}")


def test_stream_comes_part_by_part() -> None:
    """Unwrapping waits for no more than the byte that may end the envelope; the parts stay as they were cut."""
    parts = [
        body(b'[{"a":1}', more=True),
        body(b",", more=True),
        body(b"{}", more=True),
        body(b"]", more=True),
        body(),
    ]
    app = Unwrapping(EnvelopeMiddleware(sending(start(200, JSON), *parts)))

    told = exchange(app)

    assert [message["body"] for message in told.sent[1:]] == [b'[{"a":1', b"},", b"{", b"}]", b""]


def test_failure_for_head_has_the_length_of_get_and_no_body() -> None:
    """Its own length, not the envelope's (RFC 9110, 9.3.2)."""
    app = Starlette()
    install(app)

    sent = exchange(Unwrapping(app), method="HEAD").sent

    assert (b"content-length", b"9") in sent[0]["headers"]
    assert sent[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]


def test_prefix_in_pieces_is_taken_off() -> None:
    """A middleware may cut the body anew."""

    def cutting(app: ASGIApp) -> ASGIApp:
        async def cut(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_bytes(message: Message) -> None:
                content = message.get("body", b"")
                for byte in content[:-1]:
                    await send({**message, "body": bytes([byte]), "more_body": True})
                await send({**message, "body": content[-1:]} if content else message)

            await app(scope, receive, send_bytes)

        return cut

    app = Starlette(routes=[Route("/", lambda _: JSONResponse([1]))])
    install(app)

    assert UnwrappingClient(cutting(app)).get("/").json() == [1]


@pytest.mark.parametrize(
    "instead",
    [
        [start(200, JSON), body(b"[1]")],
        [start(200, JSON), body(b"[1", more=True), body(b"]")],
        [start(200, JSON), body(b"", more=True), {"type": "http.response.pathsend", "path": "/x"}],
        [start(200, JSON), body(b'{"status"', more=True), {"type": "http.response.pathsend", "path": "/x"}],
        [start(200, JSON, (b"content-encoding", b"gzip")), body(gzip.compress(b"[1]"))],
        [start(404, JSON), body(b'{"detail":"own"}')],
    ],
)
@pytest.mark.parametrize("inside", ["/", "/nowhere"])
def test_response_that_takes_the_place_of_an_envelope_passes_untouched(
    instead: list[Message], inside: str
) -> None:
    """Outside of everything, somebody asks the application and answers something else."""
    inner = Starlette(routes=[Route("/", lambda _: JSONResponse([1]))])
    install(inner)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def swallow(_: Message) -> None:
            pass

        await inner({**scope, "path": inside}, receive, swallow)
        for message in instead:
            await send(message)

    sent = exchange(Unwrapping(app)).sent

    # Parts without a byte are nothing that a client could see.
    assert [each for each in sent if each.get("body", True)] == [
        each for each in instead if each.get("body", True)
    ]


def test_encoding_that_cannot_be_written_comes_plain() -> None:
    """What the standard library does not compress, it does not pretend to have compressed."""

    def encoding_twice(app: ASGIApp) -> ASGIApp:
        async def encode(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_encoded(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = [*message["headers"], (b"content-encoding", b"gzip, gzip")]
                    message = {**message, "headers": headers}
                else:
                    message = {**message, "body": gzip.compress(gzip.compress(message["body"]))}
                await send(message)

            await app(scope, receive, send_encoded)

        return encode

    app = Starlette(routes=[Route("/", lambda _: JSONResponse([1], 201))])
    install(app)

    response = UnwrappingClient(encoding_twice(app)).get("/")

    assert (response.status_code, response.json()) == (201, [1])
    assert "content-encoding" not in response.headers
    assert response.headers["content-length"] == "3"


def test_background_task_fails_into_the_test() -> None:
    """A crash after the response is raised, as by a bare application; the response had been complete."""

    async def fail() -> None:
        raise ZeroDivisionError

    app = Starlette(routes=[Route("/", lambda _: JSONResponse([1], background=BackgroundTask(fail)))])
    install(app)

    with pytest.raises(ZeroDivisionError):
        UnwrappingClient(app).get("/")


def test_client_keeps_application_and_options() -> None:
    """What a suite gives to TestClient, it gives here: positions, names, lifespan, overrides."""
    app = FastAPI(lifespan=None)
    install(app)

    def setting() -> str:
        return "real"

    @app.get("/")
    async def read(value: str = Depends(setting)) -> str:
        return value

    client = UnwrappingClient(app, "https://service.example", headers={"X-A": "b"})
    client.app.dependency_overrides[setting] = lambda: "fake"  # type: ignore[attr-defined]

    with client:
        response = client.get("/")

    assert isinstance(client, TestClient)
    assert client.app is app
    assert response.json() == "fake"
    assert response.request.url == httpx2.URL("https://service.example/")
    assert response.request.headers["x-a"] == "b"


def test_envelope_is_read_off_the_wire() -> None:
    """What unwrapping gives is what was sent, not what the application had said to us."""

    def scribbling(app: ASGIApp) -> ASGIApp:
        async def scribble(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_other(message: Message) -> None:
                if "body" in message:
                    message = {**message, "body": message["body"].replace(b"1", b"2")}
                await send(message)

            await app(scope, receive, send_other)

        return scribble

    def numbers(_: Request) -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"[1,"
            yield b"1]"

        return StreamingResponse(parts(), media_type="application/json")

    app = Starlette(routes=[Route("/", numbers)])
    install(app)

    assert TestClient(scribbling(app)).get("/").content == enveloped(b"[2,2]")
    assert UnwrappingClient(scribbling(app)).get("/").json() == [2, 2]
