"""Crashes: the opaque 500, sent inside the user's middleware, and the exception that goes on to the server."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import fastapi
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import ConflictError, ErrorMap, InternalServerError, NotFoundError, install
from tests.wire.apps import CRASH, client_of, exchange, failure, scope_of, serve, strict_json, success, talk, throw


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_crash_is_the_opaque_500_and_is_raised(framework: type[Starlette]) -> None:
    """Case 46: the client learns nothing, the server gets the very exception."""
    crash = ValueError("password=hunter2")
    app = framework(routes=[Route("/", throw(crash))])
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert done.body == b'{"code":500,"message":"Internal Server Error","status":"failure"}'
    assert done.status == 500
    assert done.raised is crash


def test_crash_in_a_fastapi_endpoint_reaches_the_test_client() -> None:
    """Case 46: a test client that raises server exceptions raises this one."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise ValueError("visible to tests")

    with pytest.raises(ValueError, match="visible to tests"):
        TestClient(app).get("/")


def test_crash_keeps_its_traceback() -> None:
    """Case 46: what the server logs leads to the line that failed."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise ValueError("here")

    done = exchange(app)

    assert done.raised is not None
    names = []
    traceback = done.raised.__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "root"


def test_crash_is_not_logged_twice(caplog: pytest.LogCaptureFixture) -> None:
    """Case 46: the server logs what is raised to it; a second record would be noise."""
    app = Starlette(routes=[Route("/", throw(ValueError("x")))])
    install(app)

    exchange(app)

    assert [
        record for record in caplog.records if record.levelno >= logging.WARNING and record.name != "asyncio"
    ] == []


def test_cause_of_a_crash_is_kept() -> None:
    """Case 46: the chain of exceptions is for whoever reads the log."""
    app = fastapi.FastAPI()
    install(app)
    cause = KeyError("k")

    @app.get("/")
    async def root() -> None:
        raise ValueError("x") from cause

    done = exchange(app)

    assert done.raised is not None
    assert done.raised.__cause__ is cause


class _Item(BaseModel):
    size: int


@pytest.mark.parametrize("returned", [{"size": "many"}, {}, None], ids=repr)
def test_invalid_response_is_an_opaque_500(returned: object) -> None:
    """Case 44: what an endpoint returns wrongly is the service's fault, and nobody else's to read."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/", response_model=_Item)
    async def root() -> object:
        return returned

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, fastapi.exceptions.ResponseValidationError)


@pytest.mark.parametrize("content", [float("nan"), {"x": float("inf")}, "\ud800", object()], ids=repr)
def test_unserializable_json_is_an_opaque_500(content: object) -> None:
    """Case 44: NaN, surrogates and objects that JSON cannot hold are crashes of the endpoint."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(content)

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, (ValueError, TypeError))


def test_unserializable_model_is_an_opaque_500() -> None:
    """Case 44: pydantic's own serialization error is a crash."""

    class Model(BaseModel):
        text: str

    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> Model:
        return Model.model_construct(text="\ud800")

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is not None


def test_raised_internal_server_error_is_an_answer() -> None:
    """An ApiError of 500 was raised on purpose: its text is sent and nothing is raised."""
    app = Starlette(routes=[Route("/", throw(InternalServerError("the printer is on fire")))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(500, "the printer is on fire")
    assert done.raised is None


def test_http_exception_of_500_is_an_answer() -> None:
    """An HTTPException of 500 was raised on purpose: its text is sent and nothing is raised."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(500, "planned")

    done = exchange(app)

    assert strict_json(done.body) == failure(500, "planned")
    assert done.raised is None


# Inside the user's middleware


def test_crash_has_the_cors_headers_of_the_application() -> None:
    """Case 47: a browser may read the 500."""
    app = fastapi.FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["https://x.test"], allow_credentials=True)
    install(app)

    @app.get("/")
    async def root() -> None:
        raise ValueError

    done = exchange(app, headers={"Origin": "https://x.test"})

    assert strict_json(done.body) == CRASH
    assert (b"access-control-allow-origin", b"https://x.test") in done.headers
    assert [name for name, _ in done.headers].count(b"access-control-allow-origin") == 1


def test_crash_passes_through_compression() -> None:
    """Case 66: GZip is outside and sees the finished envelope."""
    app = Starlette(
        routes=[Route("/", throw(ValueError())), Route("/ok", serve(JSONResponse("x" * 100)))],
        middleware=[Middleware(GZipMiddleware, minimum_size=10)],
    )
    install(app)
    client = client_of(app)

    crash, ok = (
        client.get("/", headers={"Accept-Encoding": "gzip"}),
        client.get("/ok", headers={"Accept-Encoding": "gzip"}),
    )

    assert crash.headers["content-encoding"] == ok.headers["content-encoding"] == "gzip"
    assert crash.json() == CRASH
    assert ok.json() == success("x" * 100)


def test_crash_of_a_custom_middleware_stack_is_answered_once() -> None:
    """Case 47: with several layers of middleware the client gets one start and one body."""

    class Plain:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    crash = ValueError("x")
    app = Starlette(routes=[Route("/", throw(crash))], middleware=[Middleware(Plain), Middleware(Plain)])
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert done.raised is crash


# debug


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_crash_in_debug_shows_a_browser_the_page_of_the_framework(framework: type[Starlette]) -> None:
    """Case 61: with debug a client that accepts HTML gets the traceback page."""
    app = framework(debug=True, routes=[Route("/", throw(ValueError("visible")))])
    install(app)

    response = client_of(app).get("/", headers={"Accept": "text/html,*/*"})

    assert response.status_code == 500
    assert response.headers["content-type"].startswith("text/html")
    assert "visible" in response.text


@pytest.mark.parametrize("accept", ["application/json", "*/*", ""])
def test_crash_in_debug_is_opaque_for_other_clients(accept: str) -> None:
    """Case 61: with debug a client that did not ask for HTML gets the envelope, without the traceback."""
    app = Starlette(debug=True, routes=[Route("/", throw(ValueError("hidden")))])
    install(app)

    done = exchange(app, headers={"Accept": accept})

    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, ValueError)


def test_browser_gets_an_envelope_without_debug() -> None:
    """Case 61: outside debug, what a client accepts changes nothing."""
    app = Starlette(routes=[Route("/", throw(ValueError("hidden")))])
    install(app)

    response = client_of(app).get("/", headers={"Accept": "text/html"})

    assert response.json() == CRASH


def test_answer_in_debug_is_an_envelope_for_a_browser() -> None:
    """Case 61: the page is for crashes; an expected failure is an envelope also in debug."""
    app = Starlette(debug=True, routes=[Route("/", throw(HTTPException(409, "no")))])
    install(app)

    response = client_of(app).get("/", headers={"Accept": "text/html"})

    assert response.json() == failure(409, "no")


# After the response


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_background_task_that_fails_leaves_the_response_alone(framework: type[Starlette]) -> None:
    """Case 52: the response was complete; the exception is the server's, and nothing more is sent."""
    crash = ValueError("later")

    async def task() -> None:
        raise crash

    app = framework(routes=[Route("/", serve(JSONResponse([1], background=BackgroundTask(task))))])
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == success([1])
    assert done.raised is crash


def test_background_task_runs_after_the_last_message() -> None:
    """Case 52: a client does not wait for what runs in the background."""
    seen: list[int] = []

    async def run() -> None:
        sent: list[str] = []

        async def task() -> None:
            seen.append(len(sent))

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(str(message["type"]))

        app = Starlette(routes=[Route("/", serve(JSONResponse([1], background=BackgroundTask(task))))])
        install(app)
        await app(scope_of(), receive, send)

    asyncio.run(run())

    assert seen == [2]


@pytest.mark.parametrize("status", [204, 404])
def test_background_task_of_other_responses_runs_after_the_last_message(status: int) -> None:
    """Case 52: an empty success and a converted failure are sent before their background task, too."""
    seen: list[list[str]] = []

    async def run() -> None:
        sent: list[str] = []

        async def task() -> None:
            seen.append(list(sent))

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(str(message["type"]))

        app = Starlette(routes=[Route("/", serve(Response(status_code=status, background=BackgroundTask(task))))])
        install(app)
        await app(scope_of(), receive, send)

    asyncio.run(run())

    assert seen == [["http.response.start", "http.response.body"]]


@pytest.mark.parametrize("exc", [HTTPException(409, "late"), ConflictError("late")], ids=["http", "ours"])
def test_answer_raised_in_a_background_task_sends_nothing_more(exc: Exception) -> None:
    """Case 52: after a complete response there is nothing left to answer."""

    async def task() -> None:
        raise exc

    app = Starlette(routes=[Route("/", serve(JSONResponse([1], background=BackgroundTask(task))))])
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == success([1])


def test_teardown_of_a_dependency_that_fails_leaves_the_response_alone() -> None:
    """Case 53: FastAPI ends a dependency with yield after the response; its failure is the server's."""
    crash = ValueError("teardown")
    app = fastapi.FastAPI()
    install(app)

    async def connection() -> AsyncIterator[int]:
        yield 1
        raise crash

    @app.get("/")
    async def root(value: int = fastapi.Depends(connection)) -> int:
        return value

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == success(1)
    assert done.raised is crash


def test_teardown_of_a_function_dependency_that_fails_is_a_500() -> None:
    """Case 53: a dependency that ends before the response is sent can still fail the request."""
    crash = ValueError("commit failed")
    app = fastapi.FastAPI()
    install(app)

    async def transaction() -> AsyncIterator[int]:
        yield 1
        raise crash

    @app.get("/")
    async def root(value: int = fastapi.Depends(transaction, scope="function")) -> int:
        return value

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash


# Exception groups


def test_group_with_one_leaf_is_the_answer_of_its_leaf() -> None:
    """Case 58: a task group wraps what its only failing task raised."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(throw(fastapi.HTTPException(404, "gone")), None)

    done = exchange(app)

    assert strict_json(done.body) == failure(404, "gone")
    assert done.raised is None


@pytest.mark.parametrize(
    ("leaf", "body"),
    [
        (ConflictError("busy"), failure(409, "busy")),
        (LookupError("secret"), failure(404, NotFoundError.message)),
        (HTTPException(418, "tea"), failure(418, "tea")),
    ],
    ids=["ours", "mapped", "http"],
)
def test_nested_group_with_one_leaf_is_the_answer_of_its_leaf(leaf: Exception, body: dict[str, object]) -> None:
    """Case 58: groups in groups are unwrapped as long as there is one leaf."""
    app = Starlette(routes=[Route("/", throw(ExceptionGroup("outer", [ExceptionGroup("inner", [leaf])])))])
    install(app, errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app)

    assert strict_json(done.body) == body
    assert done.raised is None


def test_group_with_one_crash_is_raised_as_the_group() -> None:
    """Case 58: the original group goes to the server, not its leaf."""
    group = ExceptionGroup("tasks", [ValueError("x")])
    app = Starlette(routes=[Route("/", throw(group))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is group


@pytest.mark.parametrize(
    "leaves",
    [[ValueError(), KeyError()], [ConflictError(), NotFoundError()], [HTTPException(404), ValueError()]],
    ids=str,
)
def test_group_with_several_leaves_is_a_crash(leaves: list[Exception]) -> None:
    """Case 58: nobody can say which of several failures is the answer."""
    group = ExceptionGroup("tasks", leaves)
    app = Starlette(routes=[Route("/", throw(group))])
    install(app, errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is group


def test_group_has_the_handler_of_its_leaf() -> None:
    """Case 58: an application's own handler for the leaf's class answers the group."""

    async def handler(request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": f"handled {exc}"}, 418)

    app = Starlette(
        routes=[Route("/", throw(ExceptionGroup("g", [LookupError("x")])))],
        exception_handlers={LookupError: handler},
    )
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(418, "handled x")
    assert done.raised is None


# What is never caught


def test_cancellation_is_never_caught() -> None:
    """Case 56: a cancelled request is neither answered nor swallowed."""

    async def run() -> list[str]:
        begun = asyncio.Event()

        async def endpoint(request: Request) -> Response:
            begun.set()
            await anyio.sleep_forever()
            raise AssertionError

        app = Starlette(routes=[Route("/", endpoint)])
        install(app, errors=ErrorMap({Exception: NotFoundError}))
        sent: list[str] = []

        async def send(message: Message) -> None:
            sent.append(str(message["type"]))

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        task = asyncio.ensure_future(app(scope_of(), receive, send))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return sent

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(
    "exc", [KeyboardInterrupt("x"), SystemExit(3), GeneratorExit("x")], ids=lambda e: type(e).__name__
)
def test_base_exception_is_never_caught(exc: BaseException) -> None:
    """Case 56: shutdown is nobody's failure. (Driven by hand: an event loop treats these specially.)"""
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(str(message["type"]))

    async def receive() -> Message:
        raise AssertionError

    async def app(scope, receive, send):
        raise exc

    outer = Starlette()
    outer.mount("/", app)
    install(outer, errors=ErrorMap({Exception: NotFoundError}))

    coroutine = outer(scope_of(), receive, send)
    with pytest.raises(type(exc)) as caught:
        coroutine.send(None)

    assert caught.value is exc
    assert sent == []


def test_base_exception_group_is_never_caught() -> None:
    """Case 56: a group that holds a shutdown is a BaseException itself."""
    group = BaseExceptionGroup("shutdown", [KeyboardInterrupt()])
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(str(message["type"]))

    async def receive() -> Message:
        raise AssertionError

    async def app(scope, receive, send):
        raise group

    outer = Starlette()
    outer.mount("/", app)
    install(outer)

    with pytest.raises(BaseExceptionGroup) as caught:
        outer(scope_of(), receive, send).send(None)

    assert caught.value is group
    assert sent == []


def test_requests_in_flight_do_not_share_their_failures() -> None:
    """Case 64: a hundred failures at once are a hundred different answers."""

    async def endpoint(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        raise NotFoundError(f"no {request.path_params['key']}")

    app = Starlette(routes=[Route("/{key}", endpoint)])
    install(app)

    async def run() -> list[bytes]:
        done = await asyncio.gather(*(talk(app, scope_of(f"/{key}")) for key in range(100)))
        return [one.body for one in done]

    bodies = asyncio.run(run())

    assert [strict_json(body)["message"] for body in bodies] == [f"no {key}" for key in range(100)]


def test_crash_that_a_middleware_swallows_is_still_answered() -> None:
    """Case 46: the answer goes out, although nobody raises the exception any more."""

    class Swallowing:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            with contextlib.suppress(ZeroDivisionError):
                await self.app(scope, receive, send)

    app = Starlette(routes=[Route("/", throw(ZeroDivisionError()))], middleware=[Middleware(Swallowing)])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is None


def test_crash_between_the_framework_and_the_net_is_an_envelope() -> None:
    """Case 47: instrumentation that stands outside the net can fail, too."""
    app = Starlette()
    install(app)
    stack: Any = app.build_middleware_stack()

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("secret")

    stack.app = broken
    done = exchange(stack)

    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, ZeroDivisionError)


def test_crash_without_server_error_middleware_is_sent_by_the_net() -> None:
    """Case 46: an application may build a stack without the framework's outer layer."""

    class Bare(Starlette):
        def build_middleware_stack(self) -> ASGIApp:
            handlers = {key: value for key, value in self.exception_handlers.items() if key is not Exception}
            app: ASGIApp = ExceptionMiddleware(self.router, handlers=handlers)
            for middleware in reversed(self.user_middleware):
                app = middleware.cls(app, *middleware.args, **middleware.kwargs)
            return app

    app = Bare(routes=[Route("/", throw(ZeroDivisionError("secret")))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, ZeroDivisionError)


def test_text_that_reads_like_a_crash_is_sent_when_nothing_is_raised() -> None:
    """Case 48: the words of the framework's 500, returned on purpose."""
    app = Starlette(routes=[Route("/", serve(PlainTextResponse("Internal Server Error", 500)))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is None


@pytest.mark.parametrize(
    "exc", [ExceptionGroup("g", [ValueError(), KeyError()]), LookupError()], ids=["group", "mapped"]
)
def test_exception_after_the_response_keeps_its_type(exc: Exception) -> None:
    """Case 52: that we have a handler for it is no reason to hide it behind a RuntimeError."""

    async def task() -> None:
        raise exc

    app = Starlette(routes=[Route("/", serve(JSONResponse(1, background=BackgroundTask(task))))])
    install(app, errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app)

    assert strict_json(done.body) == success(1)
    assert done.raised is exc


def test_exception_after_a_converted_failure_is_raised() -> None:
    """Case 52: also one that would have been an answer, had it come in time."""
    late = LookupError()

    async def task() -> None:
        raise late

    app = Starlette(
        routes=[Route("/", serve(JSONResponse({"detail": "no"}, 404, background=BackgroundTask(task))))]
    )
    install(app, errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app)

    assert strict_json(done.body) == failure(404, "no")
    assert done.raised is late


@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
@pytest.mark.parametrize("times", [1, 1000])
def test_traceback_of_any_length_stays_secret(content_type: str, times: int) -> None:
    """Case 61: what a mounted application in debug mode, or one of another framework, writes about itself."""
    trace = "Traceback (most recent call last):\n" + "  password=hunter2\n" * times

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": 500, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": trace.encode()[:6000], "more_body": True})
        await send({"type": "http.response.body", "body": trace.encode()[6000:]})
        await send({"type": "http.response.trailers", "headers": []})

    app = Starlette(routes=[Mount("/sub", mounted)])
    install(app)

    assert strict_json(exchange(app, "/sub/x").body) == CRASH


def test_crash_in_a_stack_whose_outer_layer_has_no_handler_is_sent() -> None:
    """Case 46: an application may end its stack with a ServerErrorMiddleware of its own."""

    class Own(Starlette):
        def build_middleware_stack(self) -> ASGIApp:
            stack: Any = super().build_middleware_stack()
            return ServerErrorMiddleware(stack.app)

    app = Own(
        routes=[Route("/", throw(ZeroDivisionError("secret")))],
        middleware=[Middleware(CORSMiddleware, allow_origins=["*"])],
    )
    install(app)

    done = exchange(app, headers={"Origin": "https://x.test"})

    assert strict_json(done.body) == CRASH
    assert (b"access-control-allow-origin", b"*") in done.headers
    assert isinstance(done.raised, ZeroDivisionError)
