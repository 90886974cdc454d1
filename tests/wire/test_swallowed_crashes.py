"""Middleware that catches a crash: its answer is on the way already, but has not left."""

import contextlib
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from envelope import install
from tests.wire.apps import CRASH, exchange, failure, strict_json, success, throw


class Catching:
    """Answers a crash with what it was given: a response, or an exception to raise."""

    def __init__(self, app: ASGIApp, instead: Response | Exception) -> None:
        self.app = app
        self.instead = instead

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except ZeroDivisionError as crash:
            if isinstance(self.instead, Exception):
                raise self.instead from crash
            await self.instead(scope, receive, send)


def crashing(instead: Response | Exception, *, debug: bool = False) -> Starlette:
    app = Starlette(
        routes=[Route("/", throw(ZeroDivisionError("secret")))],
        middleware=[Middleware(Catching, instead=instead)],
        debug=debug,
    )
    install(app)
    return app


@pytest.mark.parametrize("debug", [False, True])
def test_response_of_the_middleware_takes_the_place_of_the_crash(debug: bool) -> None:
    """Case 16: one response; a success of a middleware passes, as everywhere (case 47)."""
    done = exchange(crashing(JSONResponse({"fallback": 1}), debug=debug))

    assert done.types() == ["http.response.start", "http.response.body"]
    assert (done.status, done.body) == (200, b'{"fallback":1}')
    assert done.raised is None


@pytest.mark.parametrize("debug", [False, True])
def test_failure_of_the_middleware_takes_the_place_of_the_crash(debug: bool) -> None:
    """Case 48: and is converted like any other."""
    done = exchange(crashing(JSONResponse({"detail": "try later"}, 503), debug=debug))

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(503, "try later")
    assert done.raised is None


@pytest.mark.parametrize("debug", [False, True])
def test_answer_raised_by_the_middleware_takes_the_place_of_the_crash(debug: bool) -> None:
    """Case 47: an HTTPException is an answer wherever it is raised, and is not raised again."""
    done = exchange(crashing(HTTPException(503, "try later"), debug=debug))

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(503, "try later")
    assert done.raised is None


def test_crash_raised_by_the_middleware_leaves_the_first_answer() -> None:
    """Case 46: one 500 is like another; what the server sees is what was raised."""
    done = exchange(crashing(LookupError("another secret")))

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, LookupError)


def test_stream_after_a_retry_is_not_kept_back() -> None:
    """Case 25: an endless stream after a crash leaves item by item."""
    sent_between: list[int] = []

    async def items() -> Any:
        for _ in range(3):
            yield b"data: 1\n\n"
            sent_between.append(len(seen))

    seen: list[Any] = []
    app = crashing(StreamingResponse(items(), media_type="text/event-stream"))

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Any) -> None:
            seen.append(message)
            await send(message)

        await app(scope, receive, record)

    exchange(recording)

    assert sent_between == [2, 3, 4]


def test_own_handler_for_crashes_is_called_once_when_its_stream_fails() -> None:
    """DESIGN: one for ``Exception`` is called once, by us."""
    calls: list[Exception] = []

    async def handler(request: Request, exc: Exception) -> Response:
        calls.append(exc)

        async def broken() -> Any:
            yield b'{"a":'
            raise KeyError("in the handler's stream")

        return StreamingResponse(broken(), 500, media_type="application/json")

    app = Starlette(routes=[Route("/", throw(ZeroDivisionError()))], exception_handlers={Exception: handler})
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert len(calls) == 1


@pytest.mark.parametrize("crashes", [1, 2, 3])
def test_success_after_crashes_were_swallowed_is_wrapped_in_a_retry(crashes: int) -> None:
    """Case 65: the last attempt is a request like the first, and the only one that answers."""
    attempts: list[int] = []

    async def endpoint(request: Request) -> Response:
        attempts.append(1)
        if len(attempts) <= crashes:
            raise ZeroDivisionError
        return JSONResponse([1])

    class Retrying:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            for _ in range(crashes):
                with contextlib.suppress(ZeroDivisionError):
                    await self.app(scope, receive, send)
            await self.app(scope, receive, send)

    app = Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(Retrying)])
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == success([1])


def test_failing_page_in_the_place_of_a_crash_leaves_piece_by_piece() -> None:
    """Case 49: only the answer to the crash is kept back, not the page that replaces it."""
    seen: list[Any] = []
    seen_between: list[int] = []

    async def page() -> Any:
        for _ in range(3):
            yield b"<p>sorry</p>"
            seen_between.append(len(seen))

    app = crashing(StreamingResponse(page(), 503, media_type="text/html"))

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Any) -> None:
            seen.append(message)
            await send(message)

        await app(scope, receive, record)

    exchange(recording)

    assert seen_between == [2, 3, 4]


def test_context_of_what_a_handler_raises_is_not_replaced() -> None:
    """Case 46: the traceback that the server prints tells the whole story."""

    class Refusing:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise ZeroDivisionError

    async def handler(request: Request, exc: Exception) -> Response:
        try:
            raise LookupError("the first thing that failed in the handler")
        except LookupError:
            raise KeyError("the second")  # noqa: B904

    app = Starlette(middleware=[Middleware(Refusing)], exception_handlers={ZeroDivisionError: handler})
    install(app)

    done = exchange(app)

    assert isinstance(done.raised, KeyError)
    assert isinstance(done.raised.__context__, LookupError)
