"""The application's own exception handlers: they win, and what they return is converted like any failure."""

import contextvars
import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from envelope import ApiError, ConfigurationError, ConflictError, ErrorMap, ForbiddenError, NotFoundError, install
from tests.wire.apps import CRASH, client_of, exchange, failure, serve, strict_json, success, throw

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


def _answering(response: Response, calls: list[Exception] | None = None) -> Handler:
    async def handler(request: Request, exc: Exception) -> Response:
        if calls is not None:
            calls.append(exc)
        return response

    return handler


class DomainError(Exception):
    """Knows nothing of HTTP."""


class SpecialDomainError(DomainError):
    """More specific."""


# For crashes


@pytest.mark.parametrize("key", [Exception, 500], ids=["Exception", "500"])
@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("when", ["before", "after"])
def test_handler_for_crashes_is_called_once_and_the_crash_is_raised(
    key: type[Exception] | int, framework: type[Starlette], when: str
) -> None:
    """A handler for Exception or 500 reports; its response is converted, and the exception still reaches the server."""
    calls: list[Exception] = []
    crash = ZeroDivisionError("x")
    app = framework(routes=[Route("/", throw(crash))])
    if when == "after":
        install(app)
    app.add_exception_handler(key, _answering(JSONResponse({"detail": "reported"}, 500), calls))
    if when == "before":
        install(app)

    done = exchange(app)

    assert calls == [crash]
    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(500, "reported")
    assert done.raised is crash


def test_handler_for_crashes_may_choose_another_status() -> None:
    """The handler's own status is kept."""
    app = Starlette(
        routes=[Route("/", throw(ZeroDivisionError()))],
        exception_handlers={Exception: _answering(PlainTextResponse("try later", 503))},
    )
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(503, "try later")
    assert isinstance(done.raised, ZeroDivisionError)


def test_handler_for_crashes_may_return_a_page() -> None:
    """HTML passes, whoever made it."""
    app = Starlette(
        routes=[Route("/", throw(ZeroDivisionError()))],
        exception_handlers={500: _answering(HTMLResponse("<h1>sorry</h1>", 500))},
    )
    install(app)

    done = exchange(app)

    assert done.body == b"<h1>sorry</h1>"
    assert done.status == 500


def test_handler_for_crashes_answers_inside_the_middleware_of_the_application() -> None:
    """Case 47: what the handler returns has CORS headers like everything else."""
    calls: list[Exception] = []
    app = Starlette(
        routes=[Route("/", throw(ZeroDivisionError()))],
        middleware=[Middleware(CORSMiddleware, allow_origins=["*"])],
        exception_handlers={Exception: _answering(JSONResponse({"detail": "x"}, 500), calls)},
    )
    install(app)

    done = exchange(app, headers={"Origin": "https://x.test"})

    assert (b"access-control-allow-origin", b"*") in done.headers
    assert len(calls) == 1


def test_handler_for_crashes_hears_of_a_crash_in_middleware_once() -> None:
    """Case 47: a crash outside the inner layer is reported like any other, once."""
    calls: list[Exception] = []
    crash = ZeroDivisionError()

    class Broken:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            raise crash

    app = Starlette(
        middleware=[Middleware(Broken)],
        exception_handlers={Exception: _answering(JSONResponse({"detail": "reported"}, 500), calls)},
    )
    install(app)

    done = exchange(app)

    assert calls == [crash]
    assert strict_json(done.body) == failure(500, "reported")
    assert done.raised is crash


def test_handler_for_crashes_hears_of_a_broken_stream_once() -> None:
    """Case 50: what can no longer be answered is still reported."""
    calls: list[Exception] = []
    crash = ZeroDivisionError()

    async def stream() -> AsyncIterator[bytes]:
        yield b"[1"
        raise crash

    app = Starlette(
        routes=[Route("/", serve(StreamingResponse(stream(), media_type="application/json")))],
        exception_handlers={Exception: _answering(JSONResponse({}, 500), calls)},
    )
    install(app)

    done = exchange(app)

    assert calls == [crash]
    assert not done.is_complete
    assert done.raised is crash


@pytest.mark.parametrize(
    "exc",
    [HTTPException(500, "planned"), ConflictError("planned"), DomainError("planned")],
    ids=["http", "ours", "mapped"],
)
def test_handler_for_crashes_does_not_hear_of_answers(exc: Exception) -> None:
    """Answers are no crashes, so a handler for Exception is not asked."""
    calls: list[Exception] = []
    app = Starlette(
        routes=[Route("/", throw(exc))], exception_handlers={Exception: _answering(JSONResponse({}, 500), calls)}
    )
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app)

    assert calls == []
    assert done.raised is None


def test_handler_for_crashes_that_crashes_leaves_the_opaque_500(caplog: pytest.LogCaptureFixture) -> None:
    """Case 59: the original exception is raised, the handler's own is logged."""
    crash = ZeroDivisionError("original")

    async def handler(request: Request, exc: Exception) -> Response:
        raise RuntimeError("the handler is broken")

    app = Starlette(routes=[Route("/", throw(crash))], exception_handlers={Exception: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash
    assert "the handler is broken" in caplog.text


def test_handler_for_crashes_can_be_sync() -> None:
    """Case 60: a sync handler runs in a thread, with the context of the request."""
    current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="none")
    seen: list[object] = []

    def handler(request: Request, exc: Exception) -> Response:
        seen.append((current.get(), threading.current_thread() is threading.main_thread()))
        return JSONResponse({"detail": "sync"}, 500)

    async def endpoint(request: Request) -> Response:
        current.set("request")
        raise ZeroDivisionError

    app = Starlette(routes=[Route("/", endpoint)], exception_handlers={Exception: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(500, "sync")
    assert seen == [("request", False)]


def test_handler_for_crashes_in_debug_leaves_a_browser_the_page() -> None:
    """Case 61: with debug a browser gets the framework's page, as without us."""
    app = Starlette(
        debug=True,
        routes=[Route("/", throw(ZeroDivisionError("seen")))],
        exception_handlers={Exception: _answering(JSONResponse({"detail": "x"}, 500))},
    )
    install(app)

    response = client_of(app).get("/", headers={"Accept": "text/html"})

    assert response.headers["content-type"].startswith("text/html")
    assert "seen" in response.text


# For statuses and classes


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_handler_for_404_answers_unknown_paths_and_exceptions(framework: type[Starlette]) -> None:
    """A handler by status is asked for the router's own 404 and for raised ones."""
    app = framework(routes=[Route("/raised", throw(HTTPException(404, "x")))])
    app.add_exception_handler(404, _answering(JSONResponse({"detail": "nothing here"}, 404)))
    install(app)
    client = client_of(app)

    unknown, raised = client.get("/nowhere"), client.get("/raised")

    assert unknown.json() == raised.json() == failure(404, "nothing here")


def test_handler_for_404_is_not_asked_for_our_errors() -> None:
    """Starlette asks handlers by status for HTTPExceptions only; ours is none."""
    app = Starlette(routes=[Route("/", throw(NotFoundError("ours")))])
    app.add_exception_handler(404, _answering(JSONResponse({"detail": "theirs"}, 404)))
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(404, "ours")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_handler_for_http_exceptions_wins(framework: type[Starlette], when: str) -> None:
    """An application that renders HTTPExceptions itself goes on doing it; we convert what it returns."""
    app = framework(routes=[Route("/", throw(HTTPException(409, "x", headers={"X-Lost": "1"})))])
    if when == "after":
        install(app)
    app.add_exception_handler(HTTPException, _answering(JSONResponse({"error": {"kind": "own"}}, 409)))
    if when == "before":
        install(app)

    response = client_of(app).get("/")

    assert response.status_code == 409
    assert response.json() == failure(409, {"error": {"kind": "own"}})


def test_handler_for_the_http_exceptions_of_fastapi_is_only_for_those() -> None:
    """FastAPI's HTTPException is a subclass: the router's own 404 is not one."""
    app = fastapi.FastAPI()
    app.add_exception_handler(fastapi.HTTPException, _answering(JSONResponse({"detail": "own"}, 409)))
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, "x")

    client = client_of(app)

    assert client.get("/").json() == failure(409, "own")
    assert client.get("/nowhere").json() == failure(404, "Not Found")


@pytest.mark.parametrize("when", ["before", "after"])
def test_handler_for_validation_errors_wins(when: str) -> None:
    """An application that renders validation errors itself goes on doing it."""
    app = fastapi.FastAPI()
    if when == "after":
        install(app)
    app.add_exception_handler(
        fastapi.exceptions.RequestValidationError, _answering(JSONResponse({"detail": "own words"}, 422))
    )
    if when == "before":
        install(app)

    @app.get("/")
    async def root(n: int) -> int:
        return n

    response = client_of(app).get("/?n=x")

    assert response.status_code == 422
    assert response.json() == failure(422, "own words")


def test_handler_that_calls_the_handler_of_fastapi_is_converted() -> None:
    """The documented way to add logging: call FastAPI's own handler. Its 422 list is our 400."""
    from fastapi.exception_handlers import request_validation_exception_handler

    async def handler(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, fastapi.exceptions.RequestValidationError)
        return await request_validation_exception_handler(request, exc)

    app = fastapi.FastAPI(exception_handlers={fastapi.exceptions.RequestValidationError: handler})
    install(app)

    @app.get("/")
    async def root(n: int) -> int:
        return n

    response = client_of(app).get("/?n=x")

    assert response.status_code == 400
    assert response.json()["message"]["error_code"] == "invalid_input"


def test_handler_wins_over_the_map_for_the_same_class() -> None:
    """What the application registered itself is the more deliberate choice."""
    app = Starlette(
        routes=[Route("/", throw(DomainError()))],
        exception_handlers={DomainError: _answering(JSONResponse({"detail": "handler"}, 418))},
    )
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app)

    assert strict_json(done.body) == failure(418, "handler")
    assert done.raised is None


def test_more_specific_rule_wins_over_a_handler() -> None:
    """Otherwise the most specific class wins: here the rule."""
    app = Starlette(
        routes=[Route("/", throw(SpecialDomainError())), Route("/base", throw(DomainError()))],
        exception_handlers={DomainError: _answering(JSONResponse({"detail": "handler"}, 418))},
    )
    install(app, errors=ErrorMap({SpecialDomainError: NotFoundError}))
    client = client_of(app)

    assert client.get("/").json() == failure(404, NotFoundError.message)
    assert client.get("/base").json() == failure(418, "handler")


def test_more_specific_handler_wins_over_a_rule() -> None:
    """Otherwise the most specific class wins: here the handler."""
    app = Starlette(
        routes=[Route("/", throw(SpecialDomainError())), Route("/base", throw(DomainError()))],
        exception_handlers={SpecialDomainError: _answering(JSONResponse({"detail": "handler"}, 418))},
    )
    install(app, errors=ErrorMap({DomainError: NotFoundError}))
    client = client_of(app)

    assert client.get("/").json() == failure(418, "handler")
    assert client.get("/base").json() == failure(404, NotFoundError.message)


@pytest.mark.parametrize("key", [ApiError, ConflictError], ids=lambda cls: cls.__name__)
def test_handler_for_our_errors_wins(key: type[ApiError]) -> None:
    """A handler for ApiError or one of its classes takes the place of ours."""
    app = Starlette(
        routes=[Route("/", throw(ConflictError("x")))],
        exception_handlers={key: _answering(JSONResponse({"detail": "own"}, 410))},
    )
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(410, "own")


def test_rule_for_exception_answers_crashes() -> None:
    """ErrorMap may map Exception; then nothing is a crash any more."""
    app = Starlette(routes=[Route("/", throw(ZeroDivisionError("secret")))])
    install(app, errors=ErrorMap({Exception: lambda exc: ApiError("sorry", status_code=502)}))

    done = exchange(app)

    assert strict_json(done.body) == failure(502, "sorry")
    assert done.raised is None


def test_rule_for_exception_leaves_the_answers_of_the_framework_alone() -> None:
    """Case 45: a broad rule changes neither HTTPException nor validation."""
    app = fastapi.FastAPI()
    install(app, errors=ErrorMap({Exception: NotFoundError}))

    @app.get("/")
    async def root(n: int) -> None:
        raise fastapi.HTTPException(418, "tea")

    client = client_of(app)

    assert client.get("/?n=1").json() == failure(418, "tea")
    assert client.get("/?n=x").status_code == 400
    assert client.get("/nowhere").json() == failure(404, "Not Found")


@pytest.mark.parametrize("key", [Exception, 500], ids=["Exception", "500"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_handler_and_rule_for_exception_are_refused(key: type[Exception] | int, when: str) -> None:
    """Nobody can say which of the two is meant."""
    app = Starlette(routes=[Route("/", serve(JSONResponse(1)))])
    handler = _answering(JSONResponse({}, 500))
    if when == "before":
        app.add_exception_handler(key, handler)

    install(app, errors=ErrorMap({Exception: NotFoundError}))
    app.add_exception_handler(key, handler)
    with pytest.raises(ConfigurationError, match="Exception"), TestClient(app):
        pass


# What handlers may do


@pytest.mark.parametrize("kind", ["sync", "partial", "object", "sync partial", "async object in partial"])
def test_handler_of_any_kind_is_called(kind: str) -> None:
    """Case 60: functions, partials and objects, sync and async, as Starlette takes them."""

    def plain(request: Request, exc: Exception, words: str = "plain") -> Response:
        return JSONResponse({"detail": words}, 409)

    async def coroutine(words: str, request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": words}, 409)

    class Callable_:
        async def __call__(self, request: Request, exc: Exception) -> Response:
            return JSONResponse({"detail": "object"}, 409)

    handlers: dict[str, Any] = {
        "sync": plain,
        "partial": functools.partial(coroutine, "bound"),
        "object": Callable_(),
        "sync partial": functools.partial(plain, words="bound"),
        "async object in partial": functools.partial(Callable_()),
    }
    app = Starlette(routes=[Route("/", throw(DomainError()))], exception_handlers={DomainError: handlers[kind]})
    install(app)

    done = exchange(app)

    assert strict_json(done.body)["code"] == 409
    assert done.raised is None


@pytest.mark.parametrize(
    ("translated", "body"),
    [(HTTPException(404, "gone"), failure(404, "gone")), (ForbiddenError("no"), failure(403, "no"))],
    ids=["http", "ours"],
)
def test_handler_may_translate_by_raising(translated: Exception, body: dict[str, object]) -> None:
    """A handler that raises an answer has answered."""

    async def handler(request: Request, exc: Exception) -> Response:
        raise translated from exc

    app = Starlette(routes=[Route("/", throw(DomainError()))], exception_handlers={DomainError: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == body
    assert done.raised is None


def test_handler_that_crashes_is_a_crash() -> None:
    """The handler's exception is the one that the server hears of."""
    crash = RuntimeError("the handler is broken")

    async def handler(request: Request, exc: Exception) -> Response:
        raise crash

    app = Starlette(routes=[Route("/", throw(DomainError()))], exception_handlers={DomainError: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash


def test_handler_that_raises_what_it_got_leaves_it_a_crash() -> None:
    """A handler that passes its exception on has not answered."""
    calls: list[Exception] = []
    crash = DomainError("x")

    async def handler(request: Request, exc: Exception) -> Response:
        calls.append(exc)
        raise exc

    bare = Starlette(routes=[Route("/", throw(crash))], exception_handlers={DomainError: handler})
    app = Starlette(routes=[Route("/", throw(crash))], exception_handlers={DomainError: handler})
    install(app)
    exchange(bare)
    calls_without_us, calls[:] = len(calls), []

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash
    assert len(calls) == calls_without_us


def test_handler_that_returns_a_success_is_wrapped() -> None:
    """A handler may turn an exception into an empty list."""
    app = Starlette(
        routes=[Route("/", throw(DomainError()))],
        exception_handlers={DomainError: _answering(JSONResponse([], 200))},
    )
    install(app)

    response = client_of(app).get("/")

    assert response.json() == success([])


def test_handler_that_redirects_passes() -> None:
    """A redirect is neither a success nor a failure."""
    app = Starlette(
        routes=[Route("/", throw(DomainError()))],
        exception_handlers={DomainError: _answering(Response(status_code=303, headers={"Location": "/login"}))},
    )
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 303
    assert response.headers["location"] == "/login"


def test_handler_that_returns_our_body_is_left_alone() -> None:
    """Case 73: an application that wrote the convention by hand keeps its bytes."""
    body = b'{"status":"failure","code":409,"message":"by hand"}'
    app = Starlette(
        routes=[Route("/", throw(DomainError()))],
        exception_handlers={DomainError: _answering(Response(body, 409, media_type="application/json"))},
    )
    install(app)

    assert client_of(app).get("/").content == body


def test_handlers_of_the_application_stay_as_they_were() -> None:
    """The application's own attributes are not changed by the start."""
    handler = _answering(JSONResponse({}, 409))
    app = fastapi.FastAPI(exception_handlers={DomainError: handler})
    install(app)
    handlers, middleware = dict(app.exception_handlers), list(app.user_middleware)

    client_of(app).get("/")

    assert app.exception_handlers == handlers
    assert app.exception_handlers[DomainError] is handler
    assert app.user_middleware == middleware


def test_handler_sees_a_request_whose_body_can_be_read() -> None:
    """Handlers log bodies; what was read already is still there."""
    seen: list[bytes] = []

    async def endpoint(request: Request) -> Response:
        await request.body()
        raise DomainError

    async def handler(request: Request, exc: Exception) -> Response:
        seen.append(await request.body())
        return JSONResponse({"detail": "x"}, 409)

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])], exception_handlers={DomainError: handler})
    install(app)
    bare = Starlette(routes=[Route("/", endpoint, methods=["POST"])], exception_handlers={DomainError: handler})

    for one in (app, bare):
        client_of(one).post("/", content=b"payload")

    assert seen == [b"payload", b"payload"]


def test_handler_and_middleware_see_the_same_exception_once() -> None:
    """A handled exception does not surface in the middleware outside."""
    seen: list[Exception] = []

    async def dispatch(request, call_next):
        try:
            return await call_next(request)
        except Exception as exc:
            seen.append(exc)
            raise

    app = Starlette(
        routes=[Route("/", throw(DomainError()))], middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
    )
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    response = client_of(app).get("/")

    assert response.json() == failure(404, NotFoundError.message)
    assert seen == []


def test_rule_for_groups_answers_groups() -> None:
    """Case 58: a group of several is an exception like any other, and can be mapped."""
    app = Starlette(routes=[Route("/", throw(ExceptionGroup("g", [ValueError(), KeyError()])))])
    install(app, errors=ErrorMap({ExceptionGroup: ForbiddenError}))

    done = exchange(app)

    assert strict_json(done.body) == failure(403, ForbiddenError.message)
    assert done.raised is None


def test_handler_for_groups_answers_groups() -> None:
    """Case 58: an application's own handler for groups hears of them."""
    app = Starlette(
        routes=[Route("/", throw(ExceptionGroup("g", [ValueError(), KeyError()])))],
        exception_handlers={ExceptionGroup: _answering(JSONResponse({"detail": "several"}, 502))},
    )
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(502, "several")
    assert done.raised is None


def test_rule_for_groups_leaves_a_single_leaf_to_its_own_answer() -> None:
    """Case 58: a group with one leaf stands for its leaf."""
    app = Starlette(routes=[Route("/", throw(ExceptionGroup("g", [ConflictError("busy")])))])
    install(app, errors=ErrorMap({ExceptionGroup: ForbiddenError}))

    assert client_of(app).get("/").json() == failure(409, "busy")


def test_handlers_that_raise_each_others_exceptions_end() -> None:
    """Case 59: no recursion, and one response."""

    class Other(Exception):
        pass

    async def to_other(request: Request, exc: Exception) -> Response:
        raise Other

    async def to_domain(request: Request, exc: Exception) -> Response:
        raise DomainError

    app = Starlette(
        routes=[Route("/", throw(DomainError()))], exception_handlers={DomainError: to_other, Other: to_domain}
    )
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, (Other, DomainError))


def test_own_handler_that_raises_http_exception_from_middleware_failure_is_an_answer() -> None:
    """Case 47: a handler may translate what middleware raised."""

    class Broken:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            raise DomainError

    async def handler(request: Request, exc: Exception) -> Response:
        raise HTTPException(418, "translated")

    app = Starlette(middleware=[Middleware(Broken)], exception_handlers={DomainError: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(418, "translated")
    assert done.raised is None


def test_handler_for_one_of_our_errors_hears_of_mapped_ones_or_not_at_all() -> None:
    """A rule gives a failure, which is sent; it is not raised a second time for handlers to see."""
    calls: list[Exception] = []
    app = Starlette(
        routes=[Route("/", throw(DomainError()))],
        exception_handlers={NotFoundError: _answering(JSONResponse({"detail": "own"}, 410), calls)},
    )
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    response = client_of(app).get("/")

    assert response.json() in (failure(404, NotFoundError.message), failure(410, "own"))
    assert len(calls) <= 1


# ErrorMap on the wire


def test_mapped_class_gets_the_public_text() -> None:
    """Case 45: never str(exc), which may hold anything."""
    app = Starlette(routes=[Route("/", throw(DomainError("SELECT * FROM secrets")))])
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app)

    assert strict_json(done.body) == failure(404, NotFoundError.message)
    assert b"secrets" not in done.body
    assert done.raised is None


def test_mapped_class_is_found_by_its_ancestors() -> None:
    """Case 45: a rule counts for subclasses, and the nearest one counts."""
    app = Starlette(routes=[Route("/key", throw(KeyError("k"))), Route("/index", throw(IndexError("i")))])
    install(app, errors=ErrorMap({LookupError: NotFoundError, KeyError: lambda exc: ConflictError(f"key {exc}")}))
    client = client_of(app)

    assert client.get("/key").json() == failure(409, "key 'k'")
    assert client.get("/index").json() == failure(404, NotFoundError.message)


@pytest.mark.parametrize(
    "rule",
    [
        lambda exc: ConflictError(exc.no_such_attribute),
        lambda exc: "not an error",
        lambda exc: None,
        lambda exc: HTTPException(404),
        lambda: None,
    ],
    ids=["raises", "returns text", "returns None", "returns HTTPException", "takes nothing"],
)
def test_rule_that_fails_is_a_crash_with_the_original_exception(rule, caplog: pytest.LogCaptureFixture) -> None:
    """Case 59: the client gets the opaque 500, the log the rule's failure, the server the original."""
    crash = DomainError("original")
    app = Starlette(routes=[Route("/", throw(crash))])
    install(app, errors=ErrorMap({DomainError: rule}))

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash
    assert [record for record in caplog.records if record.name.startswith("envelope")]


def test_rule_that_fails_is_applied_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Cases 44 and 59: one request that fails is one record, and a rule with side effects has them once."""
    calls: list[Exception] = []

    def rule(exc: Exception) -> ApiError:
        calls.append(exc)
        raise ZeroDivisionError

    app = Starlette(routes=[Route("/", throw(DomainError("original")))])
    install(app, errors=ErrorMap({DomainError: rule}))

    exchange(app)

    assert len([record for record in caplog.records if record.name.startswith("envelope")]) == 1
    assert len(calls) == 1


def test_rule_is_applied_once() -> None:
    """A rule that counts or reports does it once for one request."""
    calls: list[Exception] = []

    def rule(exc: Exception) -> ApiError:
        calls.append(exc)
        return ConflictError("no")

    app = fastapi.FastAPI(routes=[Route("/", throw(DomainError("original")))])
    install(app, errors=ErrorMap({DomainError: rule}))

    exchange(app)

    assert len(calls) == 1


def test_rule_that_fails_hands_the_crash_to_the_handler_for_exception() -> None:
    """Case 59: what a broken rule leaves is a crash like any other."""
    calls: list[Exception] = []
    crash = DomainError("original")
    app = Starlette(
        routes=[Route("/", throw(crash))],
        exception_handlers={Exception: _answering(JSONResponse({"detail": "reported"}, 500), calls)},
    )
    install(app, errors=ErrorMap({DomainError: lambda exc: ConflictError(exc.nothing)}))

    done = exchange(app)

    assert strict_json(done.body) == failure(500, "reported")
    assert calls == [crash]
    assert done.raised is crash


def test_rule_that_raises_an_api_error_is_logged_or_answered() -> None:
    """A rule that raises its failure instead of returning it gives an envelope all the same."""

    def rule(exc: Exception) -> ApiError:
        raise ConflictError("raised")

    app = Starlette(routes=[Route("/", throw(DomainError()))])
    install(app, errors=ErrorMap({DomainError: rule}))

    body = strict_json(exchange(app).body)

    assert body in (failure(409, "raised"), CRASH)


def test_rule_that_gives_the_same_instance_every_time_is_fine() -> None:
    """Case 64: a rule may return a module-level instance."""
    shared = ConflictError("shared", headers={"X-One": "1"})
    app = Starlette(routes=[Route("/", throw(DomainError()))])
    install(app, errors=ErrorMap({DomainError: lambda exc: shared}))
    client = client_of(app)

    first, second = client.get("/"), client.get("/")

    assert first.json() == second.json() == failure(409, "shared")
    assert first.headers == second.headers


def test_status_handler_answers_what_middleware_raises() -> None:
    """Case 47: the application's own 404 is its 404 everywhere."""

    async def not_found(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("nowhere", 404)

    class Refusing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise HTTPException(404)

    app = Starlette(middleware=[Middleware(Refusing)], exception_handlers={404: not_found})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(404, "nowhere")
    assert done.raised is None


def test_own_handler_makes_an_answer_of_what_a_mount_answered_itself() -> None:
    """Case 69: the mount's own handler for Exception answers; the outer one only says that it is no crash."""

    async def answer(request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": "by the mount"}, 500)

    inner = Starlette(routes=[Route("/x", throw(DomainError()))], exception_handlers={Exception: answer})
    app = Starlette(routes=[Mount("/sub", inner)], exception_handlers={DomainError: answer})
    install(app)

    done = exchange(app, "/sub/x")

    assert strict_json(done.body) == failure(500, "by the mount")
    assert done.raised is None


def test_handlers_work_where_fastapi_was_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette alone has no FastAPI defaults to stand in for."""
    monkeypatch.delitem(sys.modules, "fastapi.exception_handlers")
    app = Starlette()
    install(app)

    assert strict_json(exchange(app, "/nowhere").body) == failure(404, "Not Found")


class Raising:
    """Middleware that fails before the inner layer."""

    def __init__(self, app: Any, exc: Exception) -> None:
        self.app = app
        self.exc = exc

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise self.exc


def test_handler_that_passes_on_what_middleware_raised_leaves_it_a_crash() -> None:
    """Case 47: a handler may look and not answer, there as well."""
    crash = DomainError()

    async def handler(request: Request, exc: Exception) -> Response:
        raise exc

    app = Starlette(middleware=[Middleware(Raising, exc=crash)], exception_handlers={DomainError: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash


def test_handler_that_crashes_over_what_middleware_raised_is_what_is_raised() -> None:
    """Case 59: the newer exception tells what is wrong now, and has the older one as its context."""

    async def handler(request: Request, exc: Exception) -> Response:
        raise KeyError("in the handler")

    app = Starlette(middleware=[Middleware(Raising, exc=DomainError())], exception_handlers={DomainError: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, KeyError)
    assert isinstance(done.raised.__context__, DomainError)


def test_redirect_raised_by_middleware_is_the_frameworks() -> None:
    """Case 42: an HTTPException below 400 is no failure."""
    app = Starlette(middleware=[Middleware(Raising, exc=HTTPException(307, headers={"location": "/login"}))])
    install(app)

    done = exchange(app)

    assert done.status == 307
    assert (b"location", b"/login") in done.headers
    assert done.raised is None
