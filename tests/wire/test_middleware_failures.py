"""Failures that are made outside the inner layer: by the framework's and by the user's own middleware."""

from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from envelope import ConflictError, ErrorMap, NotFoundError, Shape, install
from tests.wire.apps import CRASH, client_of, exchange, failure, scope_of, serve, strict_json, success, talk, throw

ORIGIN = {"Origin": "https://x.test"}
CORS = Middleware(CORSMiddleware, allow_origins=["https://x.test"])


class DomainError(Exception):
    """Knows nothing of HTTP."""


class Raising:
    """A pure ASGI middleware that fails before it calls the application."""

    def __init__(self, app, exc):
        self.app = app
        self.exc = exc

    async def __call__(self, scope, receive, send):
        raise self.exc


class Answering:
    """A pure ASGI middleware that answers itself."""

    def __init__(self, app, response):
        self.app = app
        self.response = response

    async def __call__(self, scope, receive, send):
        await self.response(scope, receive, send)


class RaisingBaseHTTP(BaseHTTPMiddleware):
    def __init__(self, app, exc):
        super().__init__(app)
        self.exc = exc

    async def dispatch(self, request, call_next):
        raise self.exc


class RaisingAfterBaseHTTP(RaisingBaseHTTP):
    async def dispatch(self, request, call_next):
        await call_next(request)
        raise self.exc


MIDDLEWARE = [Raising, RaisingBaseHTTP, RaisingAfterBaseHTTP]


# Exceptions


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("middleware", MIDDLEWARE)
@pytest.mark.parametrize(
    ("exc", "body"),
    [
        (HTTPException(401, "no token", headers={"WWW-Authenticate": "Bearer"}), failure(401, "no token")),
        (fastapi.HTTPException(403, {"why": "banned"}), failure(403, {"why": "banned"})),
        (ConflictError("busy"), failure(409, "busy")),
        (DomainError("secret"), failure(404, NotFoundError.message)),
    ],
    ids=["starlette", "fastapi", "ours", "mapped"],
)
def test_answer_raised_in_middleware_is_sent_and_not_raised(
    framework: type[Starlette], middleware: Any, exc: Exception, body: dict[str, object]
) -> None:
    """Case 47: an answer is an answer wherever it is raised."""
    app = framework(routes=[Route("/", serve(JSONResponse(1)))])
    app.add_middleware(middleware, exc=exc)
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == body
    assert done.status == body["code"]
    assert done.raised is None


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("middleware", MIDDLEWARE)
def test_crash_in_middleware_is_opaque_and_raised(framework: type[Starlette], middleware: Any) -> None:
    """Case 47: a crash in middleware is a crash like any other."""
    crash = ZeroDivisionError("secret")
    app = framework(routes=[Route("/", serve(JSONResponse(1)))])
    app.add_middleware(middleware, exc=crash)
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == CRASH
    assert done.raised is crash


@pytest.mark.parametrize("place", ["inside CORS", "outside CORS"])
@pytest.mark.parametrize(
    "exc", [ZeroDivisionError(), HTTPException(401, "x"), ConflictError()], ids=["crash", "http", "ours"]
)
def test_exception_in_middleware_has_the_cors_headers(place: str, exc: Exception) -> None:
    """Case 47: the exception left the CORS middleware behind, but a browser may read the answer all the same."""
    raising = Middleware(Raising, exc=exc)
    app = Starlette(middleware=[CORS, raising] if place == "inside CORS" else [raising, CORS])
    install(app)

    done = exchange(app, headers=ORIGIN)

    assert strict_json(done.body)["status"] == "failure"
    assert [value for name, value in done.headers if name == b"access-control-allow-origin"] == [b"https://x.test"]


def test_exception_in_middleware_has_no_cors_headers_for_a_stranger() -> None:
    """Case 47: the application's own rules decide whose browser may read."""
    app = Starlette(middleware=[CORS, Middleware(Raising, exc=ZeroDivisionError())])
    install(app)

    done = exchange(app, headers={"Origin": "https://evil.test"})

    assert strict_json(done.body) == CRASH
    assert b"access-control-allow-origin" not in dict(done.headers)


def test_exception_after_the_response_began_is_raised() -> None:
    """Case 50: what middleware raises too late cannot be answered."""
    crash = ZeroDivisionError()

    class RaisingLate:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            raise crash

    app = Starlette(routes=[Route("/", serve(JSONResponse(1)))], middleware=[Middleware(RaisingLate)])
    install(app)

    done = exchange(app)

    assert done.body == b'{"status":"success","content":1}'
    assert done.types() == ["http.response.start", "http.response.body"]
    assert done.raised is crash


def test_group_raised_in_middleware_is_the_answer_of_its_leaf() -> None:
    """Case 58: BaseHTTPMiddleware and task groups wrap what was raised inside."""
    app = Starlette(middleware=[Middleware(Raising, exc=ExceptionGroup("g", [HTTPException(418, "tea")]))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(418, "tea")
    assert done.raised is None


def test_middleware_that_translates_exceptions_still_works() -> None:
    """Case 47: middleware sees crashes, as without us, and may answer them itself."""

    async def dispatch(request, call_next):
        try:
            return await call_next(request)
        except ZeroDivisionError:
            return PlainTextResponse("no dividing", 422)

    app = Starlette(
        routes=[Route("/", throw(ZeroDivisionError()))],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    install(app)

    done = exchange(app)

    assert done.types().count("http.response.start") == 1
    assert strict_json(done.body)["status"] == "failure"


def test_crash_passes_base_http_middleware_unchanged() -> None:
    """Case 58: the very exception reaches the server through the framework's own middleware."""
    crash = ZeroDivisionError()

    async def dispatch(request, call_next):
        response = await call_next(request)
        response.headers["X-Seen"] = str(response.status_code)
        return response

    app = fastapi.FastAPI()
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    install(app)

    @app.get("/")
    async def root() -> None:
        raise crash

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert (b"x-seen", b"500") in done.headers
    assert done.raised is crash


# Answers of the framework's middleware


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_refused_host_is_an_envelope(framework: type[Starlette], when: str) -> None:
    """Case 48: TrustedHostMiddleware answers with plain text."""
    app = framework()
    if when == "after":
        install(app)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["api.test"])
    if when == "before":
        install(app)

    response = client_of(app).get("/")

    assert response.status_code == 400
    assert response.json() == failure(400, "Invalid host header")
    assert response.headers["content-type"] == "application/json"


def test_redirect_of_middleware_passes() -> None:
    """Case 11: HTTPSRedirectMiddleware answers with a Location."""
    app = Starlette(middleware=[Middleware(HTTPSRedirectMiddleware)])
    install(app)

    response = client_of(app).get("/x")

    assert response.status_code == 307
    assert response.headers["location"] == "https://testserver/x"
    assert response.content == b""


def test_refused_authentication_is_an_envelope() -> None:
    """Case 48: AuthenticationMiddleware answers with plain text."""
    from starlette.authentication import AuthenticationBackend, AuthenticationError

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn):
            raise AuthenticationError("bad token")

    app = Starlette(middleware=[Middleware(AuthenticationMiddleware, backend=Backend())])
    install(app)

    assert client_of(app).get("/").json() == failure(400, "bad token")


def test_session_cookie_is_set_on_wrapped_answers_and_failures() -> None:
    """Case 67: SessionMiddleware edits the headers at start time."""

    async def endpoint(request: Request) -> Response:
        request.session["n"] = 1
        if request.query_params:
            raise ConflictError("no")
        return JSONResponse(1)

    app = Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(SessionMiddleware, secret_key="k")])
    install(app)

    for query, body in ((b"", success(1)), (b"x=1", failure(409, "no"))):
        done = exchange(app, query_string=query)
        assert strict_json(done.body) == body
        assert [name for name, _ in done.headers].count(b"set-cookie") == 1


@pytest.mark.parametrize("place", ["inside the net only", "outside another"])
def test_text_failure_of_own_middleware_is_converted(place: str) -> None:
    """Case 48: a limiter, a firewall or a health check that answers with text."""
    answer = Middleware(Answering, response=PlainTextResponse("slow down", 429, {"X-Limit": "5"}))
    app = Starlette(middleware=[answer] if place == "inside the net only" else [CORS, answer])
    install(app)

    response = client_of(app).get("/", headers=ORIGIN)

    assert response.status_code == 429
    assert response.json() == failure(429, "slow down")
    assert response.headers["x-limit"] == "5"
    assert int(response.headers["retry-after"]) >= 1
    if place == "outside another":
        assert response.headers["access-control-allow-origin"] == "https://x.test"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": "why"}, "why"),
        ({"error": "x"}, {"error": "x"}),
        ({"error": "Rate limit exceeded: 5"}, {"error": "Rate limit exceeded: 5"}),
    ],
    ids=repr,
)
def test_json_failure_of_own_middleware_is_converted(body: object, message: object) -> None:
    """Case 48: slowapi and others answer with JSON of their own."""
    app = Starlette(middleware=[Middleware(Answering, response=JSONResponse(body, 403))])
    install(app)

    assert client_of(app).get("/").json() == failure(403, message)


@pytest.mark.parametrize(
    "response",
    [
        JSONResponse({"status": "success", "content": 1}),
        JSONResponse([1], 201),
        PlainTextResponse("OK"),
        HTMLResponse("<h1>down</h1>", 503),
        Response(status_code=304, headers={"ETag": '"1"'}),
    ],
    ids=lambda response: f"{response.status_code} {response.body!r}",
)
def test_other_answer_of_own_middleware_passes(response: Response) -> None:
    """A success of the user's own middleware may be a cached envelope; pages and conditionals pass."""
    app = Starlette(middleware=[Middleware(Answering, response=response)])
    install(app)

    done = exchange(app)

    assert (done.status, done.body) == (response.status_code, response.body)
    assert sorted(done.headers) == sorted(response.raw_headers)


def test_cached_envelope_passes_and_a_miss_is_wrapped() -> None:
    """A cache outside the inner layer stores envelopes and replays them."""
    cache: dict[str, Response] = {}

    async def dispatch(request, call_next):
        if request.url.path not in cache:
            response = await call_next(request)
            body = b"".join([chunk async for chunk in response.body_iterator])
            cache[request.url.path] = Response(body, response.status_code, dict(response.headers))
        return cache[request.url.path]

    app = Starlette(routes=[Route("/", serve(JSONResponse(1))), Route("/no", throw(ConflictError("no")))])
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    install(app)

    assert [exchange(app).body for _ in range(2)] == [b'{"status":"success","content":1}'] * 2
    assert [strict_json(exchange(app, "/no").body) for _ in range(2)] == [failure(409, "no")] * 2


def test_middleware_that_replaces_an_answer_is_converted() -> None:
    """Case 48: a failure that middleware makes out of a success is still a failure of ours."""

    async def dispatch(request, call_next):
        await call_next(request)
        return PlainTextResponse("changed my mind", 409)

    app = Starlette(
        routes=[Route("/", serve(JSONResponse(1)))], middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
    )
    install(app)

    assert client_of(app).get("/").json() == failure(409, "changed my mind")


def test_middleware_that_replaces_a_failure_by_another_of_the_same_status_is_converted() -> None:
    """Case 48: that the inner layer made a failure of this status says nothing about another body."""

    async def dispatch(request, call_next):
        await call_next(request)
        return JSONResponse({"detail": "hidden"}, 404)

    app = Starlette(routes=[], middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)])
    install(app)

    assert client_of(app).get("/nowhere").json() == failure(404, "hidden")


def test_middleware_that_adds_headers_to_a_failure_keeps_them() -> None:
    """Case 67: headers that are added on the way out survive."""

    async def dispatch(request, call_next):
        response = await call_next(request)
        response.headers["X-Time"] = "1"
        return response

    app = Starlette(middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)])
    install(app)

    response = client_of(app).get("/nowhere")

    assert response.json() == failure(404, "Not Found")
    assert response.headers["x-time"] == "1"


def test_shape_counts_in_the_net() -> None:
    """Both layers of an installation use the same words."""
    app = Starlette(middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["x"])])
    install(app, shape=Shape(failure="error", message="detail"))

    assert client_of(app).get("/").json() == {"code": 400, "detail": "Invalid host header", "status": "error"}


def test_exemption_does_not_count_in_the_net() -> None:
    """Case 71: exemptions are about what endpoints return; a refused host was made by the framework."""
    app = Starlette(
        routes=[Route("/hook", serve(JSONResponse(1)))],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["x"])],
    )
    install(app, exempt=["/hook"])

    assert client_of(app).get("/hook").json() == failure(400, "Invalid host header")


def test_middleware_that_tries_another_path_is_converted() -> None:
    """Case 48: a failure of the first attempt says nothing about the answer of the second one."""

    class Fallback:
        """Asks again without its prefix if nothing was found."""

        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            seen: list[dict[str, object]] = []

            async def keep(message):
                seen.append(message)

            await self.app(dict(scope), receive, keep)
            assert seen[0]["status"] == 404
            await self.app({**scope, "path": "/item"}, receive, send)

    app = Starlette(
        routes=[Route("/item", serve(JSONResponse({"detail": "no such item"}, 404)))],
        middleware=[Middleware(Fallback)],
    )
    install(app)

    assert client_of(app).get("/de/item").json() == failure(404, "no such item")


def test_middleware_that_tries_again_gets_a_wrapped_success() -> None:
    """Case 48: the second attempt is a response like any other."""
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
        return JSONResponse([1])

    app = Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(Retrying)])
    install(app)

    done = exchange(app)

    assert done.body == b'{"status":"success","content":[1]}'
    assert done.raised is None


def test_endpoint_that_calls_its_own_application_gets_envelopes() -> None:
    """A batch endpoint asks its own application; each answer is wrapped once, and so is the batch."""

    async def batch(request: Request) -> Response:
        done = await talk(request.app, {**scope_of("/item"), "state": request.scope["state"]})
        copied = await talk(request.app, {**request.scope, "path": "/item"})
        return JSONResponse([strict_json(done.body), strict_json(copied.body)])

    app = Starlette(routes=[Route("/batch", batch), Route("/item", serve(JSONResponse(1)))])
    install(app)

    done = exchange(app, "/batch")

    assert strict_json(done.body) == success([success(1), success(1)])


def test_large_text_of_own_middleware_passes() -> None:
    """Case 76: the net does not buffer without end, either."""
    text = "x" * 5000
    app = Starlette(middleware=[Middleware(Answering, response=PlainTextResponse(text, 403))])
    install(app)

    done = exchange(app)

    assert (done.status, done.body) == (403, text.encode())


def test_failure_whose_status_middleware_changes_keeps_code_and_status_equal() -> None:
    """The code always equals the status, whoever changes it on the way out."""

    async def dispatch(request, call_next):
        response = await call_next(request)
        response.status_code = 403
        return response

    app = Starlette(middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)])
    install(app)

    response = client_of(app).get("/nowhere")

    assert response.status_code == response.json()["code"] == 403


def test_middleware_of_a_route_and_of_a_mount_is_inside() -> None:
    """Case 47: middleware further inside is the inner layer's business."""
    raising = [Middleware(Raising, exc=ConflictError("busy"))]
    answering = [Middleware(Answering, response=PlainTextResponse("no", 403))]
    app = Starlette(
        routes=[
            Route("/route", serve(JSONResponse(1)), middleware=raising),
            Mount("/mount", routes=[Route("/x", serve(JSONResponse(1)))], middleware=answering),
        ]
    )
    install(app)

    assert strict_json(exchange(app, "/route").body) == failure(409, "busy")
    assert strict_json(exchange(app, "/mount/x").body) == failure(403, "no")


def test_exception_of_middleware_on_an_options_request_has_cors_headers() -> None:
    """Case 47: OPTIONS without the preflight header is a request like any other."""
    app = Starlette(middleware=[CORS, Middleware(Raising, exc=ConflictError("busy"))])
    install(app)

    done = exchange(app, method="OPTIONS", headers=ORIGIN)

    assert strict_json(done.body) == failure(409, "busy")
    assert (b"access-control-allow-origin", b"https://x.test") in done.headers


def test_exception_of_middleware_with_credentials_has_the_rules_of_the_application() -> None:
    """Case 47: wildcards, credentials and exposed headers are the application's own options."""
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True, expose_headers=["X-Id"])
    app = Starlette(middleware=[cors, Middleware(Raising, exc=ZeroDivisionError())])
    install(app)

    done = exchange(app, headers={**ORIGIN, "Cookie": "a=1"})
    headers = dict(done.headers)

    assert headers[b"access-control-allow-origin"] == b"https://x.test"
    assert headers[b"access-control-allow-credentials"] == b"true"
    assert headers[b"access-control-expose-headers"] == b"X-Id"


def test_crash_of_middleware_in_debug_shows_a_browser_the_page() -> None:
    """Case 61: the page of the framework, for crashes further out as well."""
    app = Starlette(debug=True, middleware=[Middleware(Raising, exc=ZeroDivisionError("seen"))])
    install(app)
    client = client_of(app)

    page, other = client.get("/", headers={"Accept": "text/html"}), client.get("/", headers={"Accept": "*/*"})

    assert page.headers["content-type"].startswith("text/html")
    assert "seen" in page.text
    assert other.json() == CRASH


def test_sync_handler_answers_an_exception_of_middleware() -> None:
    """Cases 47 and 60: the application's own handlers count for middleware, too."""

    def handler(request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": "handled"}, 418)

    app = Starlette(middleware=[Middleware(Raising, exc=DomainError())], exception_handlers={DomainError: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(418, "handled")
    assert done.raised is None


@pytest.mark.parametrize(
    "exc", [ConflictError("busy"), HTTPException(409, "busy"), DomainError()], ids=["ours", "http", "mapped"]
)
def test_shared_exception_of_a_second_attempt_is_answered(exc: Exception) -> None:
    """Case 64: an exception that lives at module level is raised by both attempts of one request."""

    class Retrying:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def drop(message):
                return None

            await self.app(scope, receive, drop)
            await self.app(scope, receive, send)

    app = Starlette(routes=[Route("/", throw(exc))], middleware=[Middleware(Retrying)])
    install(app, errors=ErrorMap({DomainError: lambda exc: ConflictError("busy")}))

    done = exchange(app)

    assert strict_json(done.body) == failure(409, "busy")
    assert done.raised is None


def test_shared_exception_of_the_endpoint_and_of_middleware_is_answered() -> None:
    """Case 64: middleware raises the very exception that the endpoint's answer came from."""
    shared = ConflictError("busy")

    async def dispatch(request, call_next):
        await call_next(request)
        raise shared

    app = Starlette(
        routes=[Route("/", throw(shared))], middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
    )
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(409, "busy")
    assert done.raised is None


@pytest.mark.parametrize("exc", [ConflictError("busy"), HTTPException(409, "busy")], ids=["ours", "http"])
def test_answer_that_middleware_catches_inside_and_raises_again_is_an_answer(exc: Exception) -> None:
    """Case 47: middleware of a route that logs and raises again changes nothing."""
    seen: list[Exception] = []

    class Logging:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            try:
                await self.app(scope, receive, send)
            except Exception as error:
                seen.append(error)
                raise

    async def asgi(scope, receive, send):
        raise exc

    app = Starlette(routes=[Mount("/x", asgi, middleware=[Middleware(Logging)])])
    install(app)

    done = exchange(app, "/x/")

    assert strict_json(done.body) == failure(409, "busy")
    assert seen == [exc]
    assert done.raised is None


# CORS


def test_refused_preflight_passes() -> None:
    """Case 14: browsers never read it; the headers are the answer."""
    app, bare = Starlette(middleware=[CORS]), Starlette(middleware=[CORS])
    install(app)
    headers = {"Origin": "https://evil.test", "Access-Control-Request-Method": "GET"}

    done, expected = (
        exchange(app, method="OPTIONS", headers=headers),
        exchange(bare, method="OPTIONS", headers=headers),
    )

    assert done.status == 400
    assert done.body.startswith(b"Disallowed CORS")
    assert done.sent == expected.sent


def test_granted_preflight_passes() -> None:
    """Case 14: the framework's OK is text."""
    app = Starlette(middleware=[CORS])
    install(app)

    done = exchange(app, method="OPTIONS", headers={**ORIGIN, "Access-Control-Request-Method": "GET"})

    assert (done.status, done.body) == (200, b"OK")


def test_options_that_is_no_preflight_is_converted() -> None:
    """Case 14: OPTIONS without the preflight header is a request like any other."""
    app = Starlette(routes=[Route("/", serve(JSONResponse(1)))], middleware=[CORS])
    install(app)

    response = client_of(app).options("/", headers=ORIGIN)

    assert response.json() == failure(405, "Method Not Allowed")


def test_exception_during_a_preflight_is_a_failure() -> None:
    """Case 47: middleware that fails before the CORS middleware has failed, preflight or not."""
    app = Starlette(middleware=[Middleware(Raising, exc=ZeroDivisionError()), CORS])
    install(app)

    done = exchange(app, method="OPTIONS", headers={**ORIGIN, "Access-Control-Request-Method": "GET"})

    assert strict_json(done.body) == CRASH
    assert done.status == 500


# GZip


def test_compressed_answers_can_be_read() -> None:
    """Case 66: compression outside sees envelopes."""
    app = fastapi.FastAPI()
    install(app)
    app.add_middleware(GZipMiddleware, minimum_size=10)

    @app.get("/")
    async def root() -> list[int]:
        return list(range(100))

    @app.get("/no")
    async def no() -> None:
        raise ConflictError("x" * 100)

    client = client_of(app)
    headers = {"Accept-Encoding": "gzip"}
    ok, no_ = client.get("/", headers=headers), client.get("/no", headers=headers)

    assert ok.headers["content-encoding"] == no_.headers["content-encoding"] == "gzip"
    assert ok.json() == success(list(range(100)))
    assert no_.json() == failure(409, "x" * 100)


def test_failure_that_middleware_compressed_outside_the_inner_layer_is_not_touched() -> None:
    """Case 21: the net meets an envelope that is compressed already, and lets it pass."""
    app = Starlette(middleware=[Middleware(GZipMiddleware, minimum_size=1)])
    install(app)

    response = client_of(app).get("/nowhere", headers={"Accept-Encoding": "gzip"})

    assert response.headers["content-encoding"] == "gzip"
    assert response.json() == failure(404, "Not Found")


# Body limits


def _limited(place: str, *, reads: bool = True):
    async def endpoint(request: Request) -> Response:
        return JSONResponse(len(await request.body()) if reads else 0)

    route_limit, app_limit = (5, None) if place.endswith("route") else (None, 5)
    routes: list[Any] = [Route("/", endpoint, methods=["POST"], max_body_size=route_limit)]
    app = fastapi.FastAPI if place.startswith("FastAPI") else Starlette
    built = app(routes=routes, max_body_size=app_limit)
    install(built)
    return built


@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("place", ["Starlette", "FastAPI", "Starlette route", "FastAPI route"])
def test_body_above_its_limit_by_content_length_is_an_envelope(place: str, reads: bool) -> None:
    """Case 55: the limit answers by the length that was declared, read or not."""
    app = _limited(place, reads=reads)

    done = exchange(
        app,
        method="POST",
        headers={"Content-Length": "10"},
        incoming=[{"type": "http.request", "body": b"x" * 10, "more_body": False}],
    )

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(413, "Content Too Large")
    assert done.raised is None


@pytest.mark.parametrize("place", ["Starlette", "FastAPI", "Starlette route", "FastAPI route"])
def test_chunked_body_above_its_limit_is_an_envelope(place: str) -> None:
    """Case 55: the limit is met while the endpoint reads."""
    app = _limited(place)
    chunks = [{"type": "http.request", "body": b"xxx", "more_body": True} for _ in range(4)]

    done = exchange(app, method="POST", incoming=chunks)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(413, "Content Too Large")
    assert done.raised is None


@pytest.mark.parametrize("place", ["Starlette", "FastAPI", "Starlette route", "FastAPI route"])
def test_body_within_its_limit_is_wrapped(place: str) -> None:
    """Case 55: a limit that is kept changes nothing."""
    done = exchange(
        _limited(place),
        method="POST",
        headers={"Content-Length": "5"},
        incoming=[{"type": "http.request", "body": b"xxxxx", "more_body": False}],
    )

    assert strict_json(done.body) == success(5)


@pytest.mark.parametrize("chunked", [True, False])
def test_body_of_a_fastapi_model_above_its_limit_is_an_envelope(chunked: bool) -> None:
    """Case 55: FastAPI reads the body itself, before the endpoint."""
    app = fastapi.FastAPI(max_body_size=5)
    install(app)

    @app.post("/")
    async def create(item: dict[str, str]) -> dict[str, str]:
        return item

    body = b'{"name": "much too long"}'
    response = client_of(app).post(
        "/", content=iter([body]) if chunked else body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 413
    assert response.json() == failure(413, "Content Too Large")


def test_body_above_the_limit_of_a_mounted_application_is_an_envelope() -> None:
    """Case 55: the same from further inside."""
    inner = _limited("Starlette")
    plain = Starlette(routes=[Mount("/sub", inner)])
    install(plain)

    done = exchange(plain, "/sub/", method="POST", headers={"Content-Length": "10"})

    assert strict_json(done.body) == failure(413, "Content Too Large")
    assert done.raised is None


@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
def test_body_above_its_limit_has_the_cors_headers_of_inner_cors(reads: bool) -> None:
    """Case 55: whoever answers, one start is sent."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(len(await request.body()) if reads else 0)

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])], middleware=[CORS], max_body_size=5)
    install(app)

    done = exchange(
        app,
        method="POST",
        headers={"Content-Length": "10", **ORIGIN},
        incoming=[{"type": "http.request", "body": b"x" * 10, "more_body": False}],
    )

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(413, "Content Too Large")


def test_failure_that_a_middleware_never_finishes_is_released() -> None:
    """Case 57: what was held goes out as it came when the middleware returns."""
    sent: list[Any] = [
        {"type": "http.response.start", "status": 503, "headers": [(b"content-type", b"text/plain")]},
        {"type": "http.response.body", "body": b"half", "more_body": True},
    ]

    class Breaking:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            for message in sent:
                await send(message)

    app = Starlette(middleware=[Middleware(Breaking)])
    install(app)

    assert exchange(app).sent == sent
