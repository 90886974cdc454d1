"""EnvelopeMiddleware alone: around an application that nobody installed into, or as its middleware."""

from collections.abc import AsyncIterator
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from envelope import ConflictError, EnvelopeMiddleware, ErrorMap, NotFoundError, Shape, install, raw_response
from tests.wire.apps import CRASH, client_of, exchange, failure, serve, strict_json, success, throw


class DomainError(Exception):
    """Knows nothing of HTTP."""


PLACES = [
    pytest.param(
        lambda routes, **options: EnvelopeMiddleware(Starlette(routes=routes), **options), id="around Starlette"
    ),
    pytest.param(
        lambda routes, **options: EnvelopeMiddleware(fastapi.FastAPI(routes=routes), **options),
        id="around FastAPI",
    ),
    pytest.param(
        lambda routes, **options: Starlette(routes=routes, middleware=[Middleware(EnvelopeMiddleware, **options)]),
        id="in Starlette",
    ),
    pytest.param(
        lambda routes, **options: fastapi.FastAPI(
            routes=routes, middleware=[Middleware(EnvelopeMiddleware, **options)]
        ),
        id="in FastAPI",
    ),
]


@pytest.mark.parametrize("place", PLACES)
def test_success_is_wrapped(place) -> None:
    """The same splicing as after install."""
    app = place([Route("/", serve(JSONResponse([1], 201)))])

    done = exchange(app)

    assert done.body == b'{"status":"success","content":[1]}'
    assert done.status == 200


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("exc", "body"),
    [
        (HTTPException(404, "gone"), failure(404, "gone")),
        (ConflictError("busy"), failure(409, "busy")),
        (DomainError("secret"), failure(404, NotFoundError.message)),
        (ConflictError("planned", status_code=500), failure(500, "planned")),
    ],
    ids=["http", "ours", "mapped", "ours 500"],
)
def test_answer_is_sent_and_not_raised(place, exc: Exception, body: dict[str, object]) -> None:
    """Answers are answers, also where the application inside takes them for crashes."""
    app = place([Route("/", throw(exc))], errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == body
    assert done.raised is None


@pytest.mark.parametrize("place", PLACES)
def test_crash_is_opaque_and_raised(place) -> None:
    """One envelope, and the very exception."""
    crash = ZeroDivisionError("secret")

    done = exchange(place([Route("/", throw(crash))]))

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == CRASH
    assert done.raised is crash


@pytest.mark.parametrize("place", PLACES)
def test_options_are_those_of_install(place) -> None:
    """exempt, success_status and shape."""
    routes = [
        Route("/made", serve(JSONResponse([1], 201))),
        Route("/hook", serve(JSONResponse([2]))),
        Route("/raw", raw_response(serve(JSONResponse([3])))),
    ]
    app = place(routes, exempt=["/hook"], success_status="keep", shape=Shape(content="data"))

    made, hook, raw = (exchange(app, path) for path in ("/made", "/hook", "/raw"))

    assert (made.status, strict_json(made.body)) == (201, {"status": "success", "data": [1]})
    assert (hook.body, raw.body) == (b"[2]", b"[3]")


@pytest.mark.parametrize("place", PLACES)
def test_pages_pass(place) -> None:
    """What is no JSON and no text passes."""
    app = place([Route("/", serve(HTMLResponse("<p>", 404)))])

    assert exchange(app).body == b"<p>"


@pytest.mark.parametrize("place", PLACES)
def test_stream_that_fails_first_has_the_status_of_the_error(place) -> None:
    """Case 51: the start is held here, too."""

    async def stream() -> AsyncIterator[bytes]:
        raise ConflictError("busy")
        yield b""

    app = place([Route("/", serve(StreamingResponse(stream(), media_type="application/json")))])

    done = exchange(app)

    assert strict_json(done.body) == failure(409, "busy")
    assert done.raised is None


def test_invalid_input_of_a_fastapi_inside_is_a_400() -> None:
    """Case 43: the list of problems comes as a response."""
    inner = fastapi.FastAPI()

    @inner.get("/")
    async def root(n: int) -> int:
        return n

    client = client_of(EnvelopeMiddleware(inner))

    assert client.get("/?n=1").json() == success(1)
    assert client.get("/?n=x").json()["message"]["error_code"] == "invalid_input"
    assert client.get("/openapi.json").json()["openapi"]


def test_two_middlewares_wrap_once() -> None:
    """Case 73: the inner one owns the answer."""
    app = EnvelopeMiddleware(
        EnvelopeMiddleware(Starlette(routes=[Route("/", serve(JSONResponse([1])))]), shape=Shape(content="data"))
    )

    assert strict_json(exchange(app).body) == {"status": "success", "data": [1]}


def test_application_that_raises_before_anything_is_answered() -> None:
    """An ASGI callable without a framework."""

    async def app(scope, receive, send):
        raise HTTPException(418, "tea", headers={"X-One": "1"})

    done = exchange(EnvelopeMiddleware(app))

    assert strict_json(done.body) == failure(418, "tea")
    assert (b"x-one", b"1") in done.headers
    assert done.raised is None


def test_own_handler_of_the_application_inside_answers() -> None:
    """What it returns is converted."""

    async def handler(request: object, exc: Exception) -> Response:
        return PlainTextResponse("mine", 410)

    inner = Starlette(routes=[Route("/", throw(DomainError()))], exception_handlers={DomainError: handler})

    assert client_of(EnvelopeMiddleware(inner)).get("/").json() == failure(410, "mine")


def test_response_of_a_proxied_application_is_like_any_other() -> None:
    """Case 70: whoever made the bytes, JSON is wrapped and the rest passes, in a mount as well."""

    def proxied(content_type: bytes, content: bytes) -> Any:
        async def forward(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"content-type", content_type), (b"via", b"1.1 backend")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content})

        return forward

    app = Starlette(
        routes=[Mount("/json", proxied(b"application/json", b"[1]")), Mount("/csv", proxied(b"text/csv", b"a,b"))]
    )
    install(app)

    assert strict_json(exchange(app, "/json/x").body) == success([1])
    assert exchange(app, "/csv/x").body == b"a,b"
