"""Applications inside applications: mounted ones, installed or not, and included routers."""

from collections.abc import AsyncIterator

import fastapi
import pytest
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Mount, Route

from envelope import (
    ApiError,
    ConflictError,
    EnvelopeMiddleware,
    ErrorMap,
    NotFoundError,
    ServiceUnavailableError,
    Shape,
    install,
    raw_response,
)
from tests.wire.apps import CRASH, CopiedScope, client_of, exchange, failure, serve, strict_json, success, throw


class DomainError(Exception):
    """Knows nothing of HTTP."""


async def _dispatch(request, call_next):
    return await call_next(request)


class _CopiedBaseHTTP(BaseHTTPMiddleware):
    def __init__(self, app):
        super().__init__(CopiedScope(app), dispatch=_dispatch)


BETWEEN = [
    pytest.param(lambda app: app, id="nothing"),
    pytest.param(CopiedScope, id="copied scope"),
    pytest.param(lambda app: BaseHTTPMiddleware(app, dispatch=_dispatch), id="BaseHTTPMiddleware"),
    pytest.param(_CopiedBaseHTTP, id="both"),
]


# Mounted applications that were not installed


@pytest.mark.parametrize("between", BETWEEN)
def test_success_of_a_mounted_application_is_wrapped_once(between) -> None:
    """Case 69: what a mounted application answers is the service's answer."""
    inner = fastapi.FastAPI()

    @inner.get("/x")
    async def x() -> list[int]:
        return [1]

    app = fastapi.FastAPI()
    app.mount("/sub", between(inner))
    install(app)

    assert exchange(app, "/sub/x").body == b'{"status":"success","content":[1]}'


@pytest.mark.parametrize("between", BETWEEN)
def test_json_failure_of_a_mounted_fastapi_is_converted(between) -> None:
    """Case 69: a mounted FastAPI answers with its own {"detail": ...}; the client sees one convention."""
    inner = fastapi.FastAPI()

    @inner.get("/x")
    async def x() -> None:
        raise fastapi.HTTPException(401, "no token", headers={"WWW-Authenticate": "Bearer"})

    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app)

    response = client_of(app).get("/sub/x")

    assert response.json() == failure(401, "no token")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("between", BETWEEN)
def test_text_failure_of_a_mounted_starlette_is_converted(between) -> None:
    """Case 69: a mounted Starlette answers with plain text."""
    inner = Starlette(routes=[Route("/x", throw(HTTPException(409, "no")))])
    app = fastapi.FastAPI()
    app.mount("/sub", between(inner))
    install(app)
    client = client_of(app)

    assert client.get("/sub/x").json() == failure(409, "no")
    assert client.get("/sub/nowhere").json() == failure(404, "Not Found")
    assert client.post("/sub/x").json() == failure(405, "Method Not Allowed")


def test_validation_failure_of_a_mounted_fastapi_is_invalid_input() -> None:
    """Case 69: its 422 list arrives as a response, and is our 400."""
    inner = fastapi.FastAPI()

    @inner.get("/x")
    async def x(n: int) -> int:
        return n

    app = fastapi.FastAPI()
    app.mount("/sub", inner)
    install(app)

    response = client_of(app).get("/sub/x?n=many")

    assert response.status_code == 400
    assert response.json()["message"]["error_code"] == "invalid_input"
    assert all(isinstance(text, str) for text in response.json()["message"]["message"])


@pytest.mark.parametrize("inner_kind", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("between", BETWEEN)
def test_crash_of_a_mounted_application_is_opaque_and_raised(inner_kind: type[Starlette], between) -> None:
    """Case 69: its ServerErrorMiddleware writes a text and raises; the client gets one envelope."""
    crash = ValueError("secret")
    inner = inner_kind(routes=[Route("/x", throw(crash))])
    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app)

    done = exchange(app, "/sub/x")

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == CRASH
    assert done.raised is crash


@pytest.mark.parametrize(
    ("exc", "body"),
    [
        (ConflictError("busy"), failure(409, "busy")),
        (ServiceUnavailableError(), failure(503, ServiceUnavailableError.message)),
        (DomainError("secret"), failure(404, NotFoundError.message)),
        (ApiError("planned", status_code=500), failure(500, "planned")),
    ],
    ids=["ours", "ours 503", "mapped", "ours 500"],
)
@pytest.mark.parametrize("inner_kind", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("between", BETWEEN)
def test_answer_raised_in_a_mounted_application_is_its_answer(
    exc: Exception, body: dict[str, object], inner_kind: type[Starlette], between
) -> None:
    """Case 69: the mounted application sees a crash where we know an answer; the answer wins and is not raised."""
    inner = inner_kind(routes=[Route("/x", throw(exc))])
    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app, "/sub/x")

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == body
    assert done.status == body["code"]
    assert done.raised is None


def test_answer_in_a_mounted_endpoint_of_fastapi_is_its_answer() -> None:
    """Case 69: the same through FastAPI's own routes and its exit stacks."""
    inner = fastapi.FastAPI()

    @inner.get("/x")
    async def x() -> None:
        raise ConflictError("busy", error_code="busy")

    app = fastapi.FastAPI()
    app.mount("/sub", inner)
    install(app)

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == failure(409, {"error_code": "busy", "message": "busy"})
    assert done.raised is None


def test_debug_text_of_a_mounted_application_does_not_leak_its_traceback() -> None:
    """Case 61: a mounted application in debug writes its traceback as text; what is raised replaces it."""
    inner = Starlette(debug=True, routes=[Route("/x", throw(ValueError("secret")))])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(app, "/sub/x")

    assert done.status == 500
    assert b"secret" not in done.body
    assert isinstance(done.raised, ValueError)


def test_own_text_500_of_a_mounted_application_is_converted() -> None:
    """Case 48: a text 500 that nobody raised after is just a failure."""
    app = Starlette(routes=[Mount("/sub", Starlette(routes=[Route("/x", serve(PlainTextResponse("full", 500)))]))])
    install(app)

    done = exchange(app, "/sub/x")

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(500, "full")
    assert done.raised is None


def test_handlers_of_a_mounted_application_answer_first() -> None:
    """A mounted application's own handlers are nearer; what they return is converted."""

    async def handler(request, exc) -> Response:
        return JSONResponse({"detail": "inner handler"}, 418)

    inner = Starlette(routes=[Route("/x", throw(DomainError()))], exception_handlers={DomainError: handler})
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    assert client_of(app).get("/sub/x").json() == failure(418, "inner handler")


def test_stream_of_a_mounted_application_that_fails_first_has_the_status_of_the_error() -> None:
    """Case 51: the mounted application believes that its response has started; nothing was sent."""

    async def stream() -> AsyncIterator[bytes]:
        raise ConflictError("busy")
        yield b""

    inner = Starlette(routes=[Route("/x", serve(StreamingResponse(stream(), media_type="application/json")))])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == failure(409, "busy")
    assert done.raised is None


def test_http_exception_before_the_first_byte_of_a_mounted_stream_is_the_response() -> None:
    """Case 51: Starlette hides it behind its RuntimeError twice."""

    async def stream() -> AsyncIterator[bytes]:
        raise HTTPException(404, "gone")
        yield b""

    inner = fastapi.FastAPI(
        routes=[Route("/x", serve(StreamingResponse(stream(), media_type="application/json")))]
    )
    app = fastapi.FastAPI()
    app.mount("/sub", inner)
    install(app)

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == failure(404, "gone")
    assert done.raised is None


@pytest.mark.parametrize("path", ["/sub/openapi.json", "/sub/docs", "/sub/redoc"])
def test_documentation_of_a_mounted_fastapi_is_not_wrapped(path: str) -> None:
    """Case 69: documents are recognised by the function that serves them, wherever it is mounted."""
    inner = fastapi.FastAPI()
    app = fastapi.FastAPI()
    app.mount("/sub", inner)
    install(app)

    response = client_of(app).get(path)

    assert response.status_code == 200
    assert not response.text.startswith('{"status"')


def test_mounted_asgi_callable_that_crashes_is_opaque() -> None:
    """Case 69: anything can be mounted."""
    crash = ValueError("secret")

    async def callable_(scope, receive, send):
        raise crash

    app = Starlette(routes=[Mount("/sub", callable_)])
    install(app)

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == CRASH
    assert done.raised is crash


def test_application_on_a_host_is_converted() -> None:
    """Case 69: Host routes are mounts, too."""
    inner = Starlette(routes=[Route("/x", throw(HTTPException(409, "no"))), Route("/ok", serve(JSONResponse(1)))])
    app = Starlette(routes=[Host("api.test", inner)])
    install(app)
    client = client_of(app, base_url="http://api.test")

    assert client.get("/x").json() == failure(409, "no")
    assert client.get("/ok").json() == success(1)


@pytest.mark.parametrize(
    ("exc", "is_crash"),
    [(ZeroDivisionError("secret"), True), (ConflictError("busy"), False)],
    ids=["crash", "ours"],
)
def test_handler_for_crashes_of_a_mounted_application_is_converted(exc: Exception, is_crash: bool) -> None:
    """Case 69: a mounted application's own handler for Exception answers; an answer is still not raised."""

    async def handler(request, exc) -> Response:
        return JSONResponse({"detail": "reported"}, 500)

    inner = Starlette(routes=[Route("/x", throw(exc))], exception_handlers={Exception: handler})
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(app, "/sub/x")

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) in (failure(500, "reported"), failure(409, "busy"))
    assert done.raised is (exc if is_crash else None)


def test_page_of_a_mounted_application_in_debug_is_for_browsers() -> None:
    """Case 61: a mounted application in debug writes a page for a browser; HTML passes."""
    inner = Starlette(debug=True, routes=[Route("/x", throw(ZeroDivisionError("seen")))])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(app, "/sub/x", headers={"Accept": "text/html"})

    assert done.status == 500
    assert b"seen" in done.body
    assert isinstance(done.raised, ZeroDivisionError)


def test_groups_in_a_mounted_application_are_answers_of_their_leaf() -> None:
    """Cases 58 and 69: the mounted application takes the group for a crash."""
    inner = fastapi.FastAPI(routes=[Route("/x", throw(ExceptionGroup("g", [ConflictError("busy")])))])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == failure(409, "busy")
    assert done.raised is None


def test_background_task_that_fails_in_a_mounted_application_leaves_the_response_alone() -> None:
    """Cases 52 and 69: the mounted application does not answer twice, and neither do we."""
    crash = ZeroDivisionError()

    async def task() -> None:
        raise crash

    inner = Starlette(routes=[Route("/x", serve(JSONResponse([1], background=BackgroundTask(task))))])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(app, "/sub/x")

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == success([1])
    assert done.raised is crash


def test_text_500_of_a_mounted_application_is_sent_before_its_background_task() -> None:
    """Case 52: a client does not wait for the background task of a failure."""
    seen: list[bool] = []
    sent: list[object] = []

    async def task() -> None:
        seen.append(bool(sent))

    async def recording(scope, receive, send):
        async def record(message):
            sent.append(message)
            await send(message)

        await app(scope, receive, record)

    inner = Starlette(routes=[Route("/x", serve(PlainTextResponse("full", 500, background=BackgroundTask(task))))])
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(recording, "/sub/x")

    assert strict_json(done.body) == failure(500, "full")
    assert seen == [True]


# Mounted applications that were installed themselves


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("inner_kind", [Starlette, fastapi.FastAPI])
def test_success_of_an_installed_mount_is_wrapped_once(inner_kind: type[Starlette], between) -> None:
    """Case 40: the inner application owns its answer; the outer one stands down."""
    inner = inner_kind(routes=[Route("/x", serve(JSONResponse([1])))])
    install(inner)
    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app)

    assert exchange(app, "/sub/x").body == b'{"status":"success","content":[1]}'


@pytest.mark.parametrize("between", BETWEEN)
def test_installed_mount_keeps_its_shape(between) -> None:
    """Case 40: the words of the inner application are not the outer one's."""
    inner = Starlette(routes=[Route("/x", serve(JSONResponse([1]))), Route("/no", throw(ConflictError("busy")))])
    install(inner, shape=Shape(content="data", failure="error"))
    app = Starlette(routes=[Mount("/sub", between(inner)), Route("/own", serve(JSONResponse([2])))])
    install(app)
    client = client_of(app)

    assert client.get("/sub/x").json() == {"status": "success", "data": [1]}
    assert client.get("/sub/no").json() == {"code": 409, "message": "busy", "status": "error"}
    assert client.get("/sub/nowhere").json() == {"code": 404, "message": "Not Found", "status": "error"}
    assert client.get("/own").json() == success([2])


@pytest.mark.parametrize("between", BETWEEN)
def test_installed_mount_keeps_its_map(between) -> None:
    """Case 40: the same exception may mean something else inside."""
    inner = Starlette(routes=[Route("/x", throw(DomainError()))])
    install(inner, errors=ErrorMap({DomainError: ConflictError}))
    app = Starlette(routes=[Mount("/sub", between(inner)), Route("/own", throw(DomainError()))])
    install(app, errors=ErrorMap({DomainError: NotFoundError}))
    client = client_of(app)

    assert client.get("/sub/x").json() == failure(409, ConflictError.message)
    assert client.get("/own").json() == failure(404, NotFoundError.message)


@pytest.mark.parametrize("between", BETWEEN)
def test_installed_mount_keeps_its_exemptions(between) -> None:
    """Case 40: what the inner application sends raw, the outer one does not wrap."""

    @raw_response
    async def raw(request) -> Response:
        return JSONResponse({"raw": True})

    inner = Starlette(
        routes=[
            Route("/hook", serve(JSONResponse({"jsonrpc": "2.0"}))),
            Route("/hook/failed", serve(JSONResponse({"error": "invalid_grant"}, 400))),
            Route("/raw", raw),
        ]
    )
    install(inner, exempt=["/hook", "/hook/*"])
    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app)
    client = client_of(app)

    assert client.get("/sub/hook").json() == {"jsonrpc": "2.0"}
    assert client.get("/sub/hook/failed").json() == {"error": "invalid_grant"}
    assert client.get("/sub/raw").json() == {"raw": True}


@pytest.mark.parametrize("between", BETWEEN)
def test_installed_mount_keeps_its_statuses(between) -> None:
    """Case 10: success_status is the inner application's own decision."""
    inner = Starlette(
        routes=[Route("/x", serve(JSONResponse([1], 201))), Route("/none", serve(Response(status_code=204)))]
    )
    install(inner, success_status="keep")
    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app)

    made, none = exchange(app, "/sub/x"), exchange(app, "/sub/none")

    assert (made.status, strict_json(made.body)) == (201, success([1]))
    assert (none.status, none.body) == (204, b"")


@pytest.mark.parametrize("between", BETWEEN)
def test_crash_of_an_installed_mount_is_its_own(between) -> None:
    """Case 40: one envelope, in the inner shape, and the very exception for the server."""
    crash = ValueError("secret")
    inner = Starlette(routes=[Route("/x", throw(crash))])
    install(inner, shape=Shape(failure="error"))
    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app)

    done = exchange(app, "/sub/x")

    assert done.types().count("http.response.start") == 1
    assert done.is_complete
    assert strict_json(done.body) == {**CRASH, "status": "error"}
    assert done.raised is crash


def test_crash_of_an_installed_mount_is_not_hidden_by_the_map_outside() -> None:
    """Case 40: the outer rule comes too late to answer, and must not replace the exception that is raised."""
    crash = ValueError("secret")
    inner = Starlette(routes=[Route("/x", throw(crash))])
    install(inner)
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app, errors=ErrorMap({ValueError: NotFoundError}))

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == CRASH
    assert done.raised is crash


def test_crash_of_an_installed_mount_is_reported_to_its_handler_once() -> None:
    """Case 40: the inner handler for Exception is called once by the inner application."""
    calls: list[str] = []

    def reporting(name: str):
        async def handler(request, exc) -> Response:
            calls.append(name)
            return JSONResponse({"detail": name}, 500)

        return handler

    inner = Starlette(
        routes=[Route("/x", throw(ValueError()))], exception_handlers={Exception: reporting("inner")}
    )
    install(inner)
    app = Starlette(routes=[Mount("/sub", inner)], exception_handlers={Exception: reporting("outer")})
    install(app)

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == failure(500, "inner")
    assert calls.count("inner") == 1
    assert calls.count("outer") <= 1


@pytest.mark.parametrize("between", BETWEEN)
def test_large_failure_of_an_installed_mount_stays_as_it_is(between) -> None:
    """Case 76: what the inner application let pass, the outer one lets pass."""
    inner = Starlette(
        routes=[
            Route("/page", serve(HTMLResponse("<h1>x</h1>", 404))),
            Route("/text", serve(PlainTextResponse("x" * 5000, 418))),
        ]
    )
    install(inner)
    app = Starlette(routes=[Mount("/sub", between(inner))])
    install(app)

    assert exchange(app, "/sub/page").body == b"<h1>x</h1>"
    assert exchange(app, "/sub/text").body == b"x" * 5000


def test_failure_in_the_middleware_of_an_installed_mount_has_its_shape() -> None:
    """Case 47: the inner application's net is inside the outer one's."""

    class Refuse:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await PlainTextResponse("refused", 403)(scope, receive, send)

    inner = Starlette(middleware=[Middleware(Refuse)])
    install(inner, shape=Shape(failure="error"))
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    assert client_of(app).get("/sub/x").json() == {"code": 403, "message": "refused", "status": "error"}


def test_three_applications_in_each_other_wrap_once() -> None:
    """Case 40: the innermost installed application owns the answer."""
    innermost = Starlette(
        routes=[Route("/x", serve(JSONResponse([1]))), Route("/no", throw(ConflictError("busy")))]
    )
    install(innermost, shape=Shape(content="third", failure="third"))
    inner = Starlette(routes=[Mount("/b", innermost), Route("/x", serve(JSONResponse([2])))])
    install(inner, shape=Shape(content="second"))
    app = Starlette(routes=[Mount("/a", inner)])
    install(app)
    client = client_of(app)

    assert client.get("/a/b/x").json() == {"status": "success", "third": [1]}
    assert client.get("/a/b/no").json()["status"] == "third"
    assert client.get("/a/x").json() == {"status": "success", "second": [2]}


def test_plain_application_between_two_installed_ones_changes_nothing() -> None:
    """Case 40: the mark travels through an application that knows nothing of it."""
    innermost = Starlette(routes=[Route("/x", serve(JSONResponse([1]))), Route("/no", throw(ValueError()))])
    install(innermost, shape=Shape(content="data", failure="error"))
    plain = fastapi.FastAPI()
    plain.mount("/b", innermost)
    app = Starlette(routes=[Mount("/a", plain)])
    install(app)

    assert strict_json(exchange(app, "/a/b/x").body) == {"status": "success", "data": [1]}
    assert strict_json(exchange(app, "/a/b/no").body) == {**CRASH, "status": "error"}
    assert strict_json(exchange(app, "/a/nowhere").body) == failure(404, "Not Found")


def test_same_installed_application_mounted_twice_works_at_both_places() -> None:
    """Case 40: nothing about a mount is remembered between requests."""
    inner = Starlette(routes=[Route("/x", serve(JSONResponse([1])))])
    install(inner)
    app = Starlette(routes=[Mount("/a", inner), Mount("/b", inner)])
    install(app)
    client = client_of(app)

    assert [client.get(path).json() for path in ("/a/x", "/b/x", "/a/x")] == [success([1])] * 3


def test_installed_application_in_a_plain_one_is_enveloped_alone() -> None:
    """An installed application needs no installed parent."""
    inner = Starlette(routes=[Route("/x", serve(JSONResponse([1])))])
    install(inner)
    app = Starlette(routes=[Mount("/sub", inner), Route("/own", serve(JSONResponse([2])))])
    client = client_of(app)

    assert client.get("/sub/x").json() == success([1])
    assert client.get("/own").json() == [2]


def test_middleware_around_a_mounted_application_wraps_once() -> None:
    """Case 73: EnvelopeMiddleware around a mounted application, in an installed one."""
    inner = Starlette(routes=[Route("/x", serve(JSONResponse([1]))), Route("/no", throw(ConflictError("busy")))])
    app = Starlette(routes=[Mount("/sub", EnvelopeMiddleware(inner))])
    install(app)
    client = client_of(app)

    assert client.get("/sub/x").json() == success([1])
    assert client.get("/sub/no").json() == failure(409, "busy")


def test_middleware_around_an_installed_application_wraps_once() -> None:
    """Case 73: the installed application is the inner one and owns its answers."""
    inner = Starlette(routes=[Route("/x", serve(JSONResponse([1]))), Route("/no", throw(ConflictError("busy")))])
    install(inner, shape=Shape(content="data", failure="error"))
    client = client_of(EnvelopeMiddleware(inner))

    assert client.get("/x").json() == {"status": "success", "data": [1]}
    assert client.get("/no").json() == {"code": 409, "message": "busy", "status": "error"}


def test_answer_of_an_endpoint_that_already_says_success_is_wrapped_all_the_same() -> None:
    """Case 73: no content sniffing; an endpoint that looks like an envelope is content."""
    app = Starlette(routes=[Route("/", serve(JSONResponse(success([1]))))])
    install(app)

    assert client_of(app).get("/").json() == success(success([1]))


# Included routers


def test_included_router_is_wrapped_and_converted() -> None:
    """Case 69: routers of routers are the application's own routes, also when added late."""
    leaf, branch = fastapi.APIRouter(prefix="/leaf"), fastapi.APIRouter(prefix="/branch")

    @leaf.get("/x")
    async def x(n: int = 1) -> int:
        return n

    @leaf.get("/no")
    async def no() -> None:
        raise ConflictError("busy")

    app = fastapi.FastAPI()
    install(app)
    branch.include_router(leaf)
    app.include_router(branch, prefix="/v1")
    client = client_of(app)

    assert client.get("/v1/branch/leaf/x").json() == success(1)
    assert client.get("/v1/branch/leaf/no").json() == failure(409, "busy")
    assert client.get("/v1/branch/leaf/x?n=x").status_code == 400


def test_custom_route_class_and_response_class_are_left_alone() -> None:
    """Case 72: we act on the wire only."""

    class Pretty(JSONResponse):
        def render(self, content: object) -> bytes:
            return b"  " + super().render(content) + b"\n"

    class Stamped(fastapi.routing.APIRoute):
        def get_route_handler(self):
            original = super().get_route_handler()

            async def handler(request) -> Response:
                response = await original(request)
                response.headers["X-Stamp"] = "1"
                return response

            return handler

    app = fastapi.FastAPI(default_response_class=Pretty)
    app.router.route_class = Stamped
    install(app)

    @app.get("/")
    async def root() -> list[int]:
        return [1]

    response = client_of(app).get("/")

    assert response.content == b'{"status":"success","content":  [1]\n}'
    assert response.headers["x-stamp"] == "1"


def test_list_of_problems_of_any_length_does_not_quote_the_input() -> None:
    """Cases 69 and 76: a client cannot make its own secret come back by sending more."""

    class Login(BaseModel):
        password: str = Field(max_length=5)

    inner = fastapi.FastAPI()

    @inner.post("/login")
    async def login(credentials: Login) -> None: ...

    app = fastapi.FastAPI()
    install(app)
    app.mount("/sub", inner)

    response = client_of(app).post("/sub/login", json={"password": "hunter2" + "x" * 100_000})

    assert response.status_code == 400
    assert "hunter2" not in response.text
    assert response.json()["message"] == {"error_code": "invalid_input", "message": ["request is not valid"]}
