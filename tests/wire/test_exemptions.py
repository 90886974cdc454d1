"""Exemptions: what an endpoint returns is left alone; what is raised there, or made by the framework, is an envelope."""

import functools
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from envelope import ConfigurationError, ConflictError, ErrorMap, NotFoundError, install, raw_response
from envelope.wire.paths import PathPatterns
from tests.wire.apps import CRASH, client_of, exchange, failure, serve, strict_json, success, throw


def _returned() -> list[Response]:
    return [
        JSONResponse({"access_token": "x"}),
        JSONResponse({"error": "invalid_grant"}, 400),
        JSONResponse([1], 201),
        PlainTextResponse("not now", 503),
        PlainTextResponse("no", 404),
        Response(status_code=204),
        Response(status_code=404),
        JSONResponse({"detail": "x"}, 409),
    ]


def _same(done, response: Response) -> bool:
    return (done.status, done.body) == (response.status_code, response.body) and sorted(done.headers) == sorted(
        response.raw_headers
    )


# Paths


@pytest.mark.parametrize("response", _returned(), ids=lambda response: f"{response.status_code} {response.body!r}")
def test_exempt_path_is_untouched(response: Response) -> None:
    """Case 71: success or failure, body, status and headers are the endpoint's own."""
    app = Starlette(routes=[Route("/token", serve(response))])
    install(app, exempt=["/token"])

    done = exchange(app, "/token")

    assert _same(done, response)


def test_exempt_path_is_exact() -> None:
    """A path without a star is that path only."""
    app = Starlette(
        routes=[
            Route(path, serve(JSONResponse(1))) for path in ("/hook", "/hook/", "/hook/a", "/hooks", "/a/hook")
        ]
    )
    install(app, exempt=["/hook"])

    bodies = {path: exchange(app, path).body for path in ("/hook", "/hook/", "/hook/a", "/hooks", "/a/hook")}

    assert bodies.pop("/hook") == b"1"
    assert set(bodies.values()) == {b'{"status":"success","content":1}'}


def test_exempt_pattern_covers_everything_below() -> None:
    """A star at the end is everything below, and nothing that only begins with the same letters."""
    app = Starlette(
        routes=[
            Route(path, serve(JSONResponse(1))) for path in ("/hooks/a", "/hooks/a/b", "/hookshop", "/api/hooks/a")
        ]
    )
    install(app, exempt=["/hooks/*"])

    assert exchange(app, "/hooks/a").body == b"1"
    assert exchange(app, "/hooks/a/b").body == b"1"
    assert strict_json(exchange(app, "/hookshop").body) == success(1)
    assert strict_json(exchange(app, "/api/hooks/a").body) == success(1)


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("/users/{id}", "or all below: '/users/*'"),
        ("/users/u{id}/a", "or all below: '/users/*'"),
        ("/a}", "or all below: '/*'"),
        ("/a%20b/*", "as they are decoded: '/a b/*'"),
        ("/a%2Fb", "as they are decoded: '/a/b'"),
    ],
)
def test_pattern_that_could_never_match_is_refused(pattern: str, advice: str) -> None:
    """The message says what to write."""
    with pytest.raises(ConfigurationError) as raised:
        install(Starlette(), exempt=[pattern])

    assert repr(pattern) in str(raised.value)
    assert str(raised.value).endswith(advice)


@pytest.mark.parametrize(
    ("path", "is_covered"),
    [
        ("/hooks/a", True),
        ("/hooks/.well-known/a", True),
        ("/hooks/a..b", True),
        ("/hooks/100%", True),
        ("/hooks/../orders/1", False),
        ("/hooks/a/..", False),
        ("/hooks/./a", False),
        ("/hooks/..", False),
    ],
)
def test_exempt_pattern_covers_no_path_that_leads_out_of_it(path: str, is_covered: bool) -> None:
    """A catch-all route behind it may hand the path to somebody who resolves it."""
    assert PathPatterns(["/hooks/*", "/100%"]).cover(path) is is_covered


def test_exempt_path_is_relative_to_the_root_path() -> None:
    """Behind a proxy that keeps its prefix or strips it, patterns are the application's own paths."""
    app = fastapi.FastAPI()
    install(app, exempt=["/hook"])

    @app.get("/hook")
    async def hook() -> int:
        return 1

    full = exchange(app, "/api/v1/hook", root_path="/api/v1")
    stripped = exchange(app, "/hook", root_path="/api/v1")

    assert full.body == stripped.body == b"1"


def test_exempt_path_of_a_mounted_installed_application_is_relative_to_its_mount() -> None:
    """A pattern belongs to the application that it was given to."""
    inner = Starlette(routes=[Route("/hook", serve(JSONResponse(1))), Route("/sub/hook", serve(JSONResponse(2)))])
    install(inner, exempt=["/hook"])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    assert exchange(app, "/sub/hook").body == b"1"
    assert strict_json(exchange(app, "/sub/sub/hook").body) == success(2)


def test_exempt_pattern_reaches_into_a_plain_mount() -> None:
    """Patterns are relative to the installed application, also for what it mounts."""
    inner = Starlette(
        routes=[Route("/hook", serve(JSONResponse(1))), Route("/no", serve(PlainTextResponse("no", 404)))]
    )
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app, exempt=["/sub/*"])

    assert exchange(app, "/sub/hook").body == b"1"
    assert exchange(app, "/sub/no").body == b"no"


@pytest.mark.parametrize(
    ("exc", "body", "is_crash"),
    [
        (HTTPException(409, "no"), failure(409, "no"), False),
        (ConflictError("no"), failure(409, "no"), False),
        (LookupError("secret"), failure(404, NotFoundError.message), False),
        (ZeroDivisionError("secret"), CRASH, True),
    ],
    ids=["http", "ours", "mapped", "crash"],
)
@pytest.mark.parametrize("way", ["path", "raw_response"])
def test_raised_failure_of_an_exempt_endpoint_is_an_envelope(
    exc: Exception, body: dict[str, object], is_crash: bool, way: str
) -> None:
    """Case 71: what is raised was not written for the other specification."""
    endpoint = throw(exc)
    app = Starlette(routes=[Route("/token", raw_response(endpoint) if way == "raw_response" else endpoint)])
    install(app, exempt=["/token"] if way == "path" else [], errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app, "/token")

    assert strict_json(done.body) == body
    assert done.raised is (exc if is_crash else None)


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_failure_of_the_framework_below_an_exempt_path_is_an_envelope(framework: type[Starlette]) -> None:
    """Case 71: the router's own 404 and 405 are not what an endpoint returned."""
    app = framework(routes=[Route("/hooks/a", serve(JSONResponse(1)))])
    install(app, exempt=["/hooks/*"])
    client = client_of(app)

    assert client.get("/hooks/none").json() == failure(404, "Not Found")
    assert client.post("/hooks/a").json() == failure(405, "Method Not Allowed")


def test_validation_failure_of_an_exempt_endpoint_is_an_envelope() -> None:
    """Case 71: FastAPI raises it before the endpoint is called."""
    app = fastapi.FastAPI()
    install(app, exempt=["/hook"])

    @app.get("/hook")
    async def hook(n: int) -> int:
        return n

    client = client_of(app)

    assert client.get("/hook?n=1").json() == 1
    assert client.get("/hook?n=x").json()["message"]["error_code"] == "invalid_input"


def test_failure_of_a_handler_on_an_exempt_path_is_an_envelope() -> None:
    """Case 71: what the application's own handler returns answers an exception."""

    async def handler(request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": "handled"}, 409)

    app = Starlette(routes=[Route("/hook", throw(LookupError()))], exception_handlers={LookupError: handler})
    install(app, exempt=["/hook"])

    assert client_of(app).get("/hook").json() == failure(409, "handled")


def test_exempt_stream_that_fails_first_has_the_status_of_the_error() -> None:
    """Case 51: an exempt stream that was not begun is answered like any other."""

    async def stream() -> AsyncIterator[bytes]:
        raise ConflictError("busy")
        yield b""

    app = Starlette(routes=[Route("/hook", serve(StreamingResponse(stream(), media_type="application/json")))])
    install(app, exempt=["/hook"])

    done = exchange(app, "/hook")

    assert strict_json(done.body) == failure(409, "busy")
    assert done.raised is None


def test_exempt_stream_that_fails_in_the_middle_is_cut() -> None:
    """Case 50: an exempt stream that was begun cannot be answered any more."""
    crash = ZeroDivisionError()

    async def stream() -> AsyncIterator[bytes]:
        yield b"[1"
        raise crash

    app = Starlette(routes=[Route("/hook", serve(StreamingResponse(stream(), media_type="application/json")))])
    install(app, exempt=["/hook"])

    done = exchange(app, "/hook")

    assert done.body == b"[1"
    assert not done.is_complete
    assert done.raised is crash


def test_exempt_pattern_for_everything_leaves_only_raised_failures() -> None:
    """ "/*" is a way to convert raised failures only."""
    app = Starlette(
        routes=[
            Route("/", serve(JSONResponse(1))),
            Route("/a", serve(JSONResponse(1))),
            Route("/no", throw(ConflictError("no"))),
        ]
    )
    install(app, exempt=["/*"])

    assert exchange(app, "/a").body == b"1"
    assert strict_json(exchange(app, "/no").body) == failure(409, "no")


def test_several_exempt_patterns_are_all_honoured() -> None:
    """Any sequence of patterns will do."""
    app = Starlette(routes=[Route(path, serve(JSONResponse(1))) for path in ("/a", "/b/x", "/c")])
    install(app, exempt=("/a", "/b/*"))

    assert [exchange(app, path).body for path in ("/a", "/b/x")] == [b"1", b"1"]
    assert strict_json(exchange(app, "/c").body) == success(1)


# raw_response


@pytest.mark.parametrize("response", _returned(), ids=lambda response: f"{response.status_code} {response.body!r}")
def test_raw_endpoint_is_untouched(response: Response) -> None:
    """Case 71: a marked endpoint answers what it answers."""
    app = Starlette(routes=[Route("/", raw_response(serve(response)))])
    install(app)

    assert _same(exchange(app), response)


@pytest.mark.parametrize("order", ["above", "below"])
def test_raw_endpoint_of_fastapi_is_untouched(order: str) -> None:
    """The mark counts below the route decorator, for sync and async endpoints."""
    app = fastapi.FastAPI()
    install(app)

    if order == "below":

        @app.get("/sync")
        @raw_response
        def sync_endpoint(n: int = 1) -> int:
            return n

        @app.get("/async")
        @raw_response
        async def async_endpoint(n: int = 2) -> int:
            return n
    else:

        @raw_response
        @app.get("/sync")
        def sync_endpoint_above(n: int = 1) -> int:
            return n

        @raw_response
        @app.get("/async")
        async def async_endpoint_above(n: int = 2) -> int:
            return n

    client = client_of(app)

    assert client.get("/sync").json() == 1
    assert client.get("/async?n=3").json() == 3


def test_raw_response_gives_the_function_back() -> None:
    """The decorator marks; it does not wrap."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(1)

    marked = raw_response(endpoint)

    assert marked.__name__ == "endpoint"
    assert marked.__wrapped__ is endpoint if hasattr(marked, "__wrapped__") else marked is endpoint


def test_raw_mark_below_another_decorator_is_seen() -> None:
    """A decorator that uses functools.wraps keeps the mark."""

    def logged(endpoint: Any) -> Any:
        @functools.wraps(endpoint)
        async def logging(request: Request) -> Any:
            return await endpoint(request)

        return logging

    @logged
    @raw_response
    async def endpoint(request: Request) -> Response:
        return JSONResponse(1)

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    assert exchange(app).body == b"1"


def test_raw_endpoint_class_is_untouched() -> None:
    """Starlette's endpoint classes can be marked like functions."""

    @raw_response
    class Endpoint(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return JSONResponse(1)

    app = Starlette(routes=[Route("/", Endpoint)])
    install(app)

    assert exchange(app).body == b"1"


def test_raw_method_of_a_bound_object_is_untouched() -> None:
    """Endpoints are often methods."""

    class Service:
        @raw_response
        async def raw(self) -> int:
            return 1

        async def wrapped(self) -> int:
            return 2

    service = Service()
    app = fastapi.FastAPI()
    app.add_api_route("/raw", service.raw)
    app.add_api_route("/wrapped", service.wrapped)
    install(app)
    client = client_of(app)

    assert client.get("/raw").json() == 1
    assert client.get("/wrapped").json() == success(2)


def test_raw_endpoint_in_an_included_router_and_a_plain_mount_is_untouched() -> None:
    """The mark is on the function, wherever it is routed."""

    @raw_response
    async def raw() -> int:
        return 1

    router, inner = fastapi.APIRouter(prefix="/r"), fastapi.FastAPI()
    router.add_api_route("/raw", raw)
    inner.add_api_route("/raw", raw)
    app = fastapi.FastAPI()
    app.include_router(router)
    app.mount("/sub", inner)
    install(app)
    client = client_of(app)

    assert client.get("/r/raw").json() == 1
    assert client.get("/sub/raw").json() == 1


def test_raw_mark_of_one_endpoint_leaves_the_others() -> None:
    """Two functions are two endpoints."""

    @raw_response
    async def raw(request: Request) -> Response:
        return JSONResponse(1)

    async def other(request: Request) -> Response:
        return JSONResponse(2)

    app = Starlette(routes=[Route("/raw", raw), Route("/other", other)])
    install(app)

    assert exchange(app, "/raw").body == b"1"
    assert strict_json(exchange(app, "/other").body) == success(2)


@pytest.mark.parametrize("way", ["path", "raw_response"])
@pytest.mark.parametrize("inner_kind", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize(
    ("exc", "body", "is_crash"),
    [
        (ConflictError("no"), failure(409, "no"), False),
        (LookupError("secret"), failure(404, NotFoundError.message), False),
        (ZeroDivisionError("secret"), CRASH, True),
    ],
    ids=["ours", "mapped", "crash"],
)
def test_raised_failure_of_an_exempt_endpoint_in_a_plain_mount_is_an_envelope(
    exc: Exception, body: dict[str, object], is_crash: bool, inner_kind: type[Starlette], way: str
) -> None:
    """Cases 69 and 71: the mounted application writes its text 500 and raises; what was raised is the answer."""
    endpoint = throw(exc)
    inner = inner_kind(routes=[Route("/x", raw_response(endpoint) if way == "raw_response" else endpoint)])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app, exempt=["/sub/*"] if way == "path" else [], errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app, "/sub/x")

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == body
    assert done.raised is (exc if is_crash else None)


def test_handler_for_crashes_on_an_exempt_path_is_converted() -> None:
    """Case 71: what a handler for Exception returns answers an exception."""

    async def handler(request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": "reported"}, 500)

    app = Starlette(routes=[Route("/hook", throw(ZeroDivisionError()))], exception_handlers={Exception: handler})
    install(app, exempt=["/hook"])

    assert client_of(app).get("/hook").json() == failure(500, "reported")


def test_exempt_endpoint_is_still_exempt_after_a_retry() -> None:
    """Case 71: what an earlier attempt of the same request raised says nothing about this one."""
    attempts: list[int] = []

    class Retrying:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def drop(message):
                return None

            try:
                await self.app(scope, receive, drop)
            except ConnectionError:
                await self.app(scope, receive, send)

    async def endpoint(request: Request) -> Response:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError
        return JSONResponse({"access_token": "x"})

    app = Starlette(routes=[Route("/token", endpoint)], middleware=[Middleware(Retrying)])
    install(app, exempt=["/token"])

    done = exchange(app, "/token")

    assert done.body == b'{"access_token":"x"}'
    assert done.raised is None


def test_object_that_cannot_be_marked_is_refused() -> None:
    """The message says what to do instead."""
    with pytest.raises(ConfigurationError, match="exempt"):
        raw_response(len)


# Documentation


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect"])
def test_documentation_of_fastapi_is_not_wrapped(path: str) -> None:
    """Case 69: FastAPI's own documents are fixed by another specification."""
    app, bare = fastapi.FastAPI(), fastapi.FastAPI()
    install(app)

    response, expected = client_of(app).get(path), client_of(bare).get(path)

    assert response.status_code == 200
    assert response.headers["content-type"] == expected.headers["content-type"]
    assert not response.text.startswith('{"status"')


@pytest.mark.parametrize("path", ["/spec.json", "/reference"])
def test_documentation_is_recognised_at_another_path(path: str) -> None:
    """Case 69: documents are recognised by the function that serves them."""
    app = fastapi.FastAPI(openapi_url="/spec.json", docs_url="/reference")
    install(app)

    response = client_of(app).get(path)

    assert response.status_code == 200
    assert not response.text.startswith('{"status"')


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc"])
def test_own_route_at_a_documentation_path_is_wrapped(path: str) -> None:
    """Case 69: never by path; an application's own /docs is an answer like any other."""
    app = fastapi.FastAPI(docs_url=None, openapi_url=None, redoc_url=None)
    install(app)

    @app.get(path)
    async def openapi() -> dict[str, str]:
        return {"openapi": "not really"}

    assert client_of(app).get(path).json() == success({"openapi": "not really"})


def test_own_function_with_the_name_of_a_document_is_wrapped() -> None:
    """Case 69: a function that only has the qualified name of FastAPI's is the application's own."""

    async def openapi(request: Request) -> Response:
        return JSONResponse({"mine": True})

    openapi.__qualname__ = "FastAPI.setup.<locals>.openapi"
    app = Starlette(routes=[Route("/openapi.json", openapi)])
    install(app)

    assert client_of(app).get("/openapi.json").json() == success({"mine": True})


def test_crash_of_a_document_is_an_envelope() -> None:
    """Case 71: a document that cannot be made is a crash like any other."""
    app = fastapi.FastAPI()
    crash = ValueError("secret")

    def openapi() -> dict[str, object]:
        raise crash

    app.openapi = openapi  # type: ignore[method-assign]
    install(app)

    done = exchange(app, "/openapi.json")

    assert strict_json(done.body) == CRASH
    assert done.raised is crash


def test_endpoint_that_cannot_be_hashed_is_wrapped() -> None:
    """Case 71: marks are remembered by endpoint, but not every callable object can be a key."""

    class Endpoint:
        __hash__ = None  # type: ignore[assignment]

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await JSONResponse(1)(scope, receive, send)

    app = Starlette(routes=[Route("/", Endpoint())])
    install(app)

    assert strict_json(exchange(app).body) == success(1)
