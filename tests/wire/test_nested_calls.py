"""Applications that call applications: who owns the answer, with one scope or with copies of it."""

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import install
from tests.wire.apps import exchange, failure, serve, strict_json, success

ORIGIN = {"Origin": "https://x.test"}


async def capture(message: Message) -> None:
    """Take a message of an inner call; nobody sees it."""


def installed(*routes: Any, middleware: Any = ()) -> Starlette:
    app = Starlette(routes=list(routes), middleware=list(middleware))
    install(app)
    return app


def test_inner_call_that_is_still_at_work_leaves_the_answer_alone() -> None:
    """Case 40: an installed application that was called with a copy of the scope owns only what it sends."""
    release = asyncio.Event

    async def endpoint(request: Request) -> Response:
        gate = release()

        async def slow(inner_request: Request) -> Response:
            await gate.wait()
            return JSONResponse(1)

        inner = installed(Route("/", slow))
        task = asyncio.create_task(inner({**request.scope, "path": "/"}, request.receive, capture))
        await asyncio.sleep(0)
        gate.set()
        response = JSONResponse({"pending": 1})
        await asyncio.wait([task])
        return response

    assert strict_json(exchange(installed(Route("/", endpoint))).body) == success({"pending": 1})


def test_answer_sent_while_an_inner_call_waits_is_wrapped() -> None:
    """Case 40: the inner call is in the middle of its own response."""

    async def endpoint(request: Request) -> Response:
        async def never(inner_request: Request) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

        inner = installed(Route("/", never))
        task = asyncio.create_task(inner({**request.scope, "path": "/"}, request.receive, capture))
        await asyncio.sleep(0)
        task.cancel()
        return JSONResponse({"pending": 1})

    assert strict_json(exchange(installed(Route("/", endpoint))).body) == success({"pending": 1})


def test_internal_redirect_with_a_copied_scope_wraps_once() -> None:
    """Case 73: the same application answers twice in a row, and once on the wire."""

    class Redirect:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await scope["app"]({**scope, "path": "/ok"}, receive, send)

    app = installed(Route("/", Redirect()), Route("/ok", serve(JSONResponse({"a": 1}))))

    assert strict_json(exchange(app).body) == success({"a": 1})


class Falling:
    """Replaces the answer of what it wraps by its own."""

    def __init__(self, app: ASGIApp, own: Response) -> None:
        self.app = app
        self.own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, capture)
        await self.own(scope, receive, send)


def test_success_in_the_place_of_a_mounts_answer_is_wrapped() -> None:
    """Case 69: the mount has finished, so the response is the outer application's."""
    app = installed(Mount("/sub", Falling(installed(), JSONResponse({"fallback": 1}))))

    assert strict_json(exchange(app, "/sub/x").body) == success({"fallback": 1})


def test_failure_in_the_place_of_a_mounts_answer_is_converted() -> None:
    """Case 69: a failure as well."""
    app = installed(Mount("/sub", Falling(installed(), JSONResponse({"detail": "no"}, 403))))

    assert strict_json(exchange(app, "/sub/x").body) == failure(403, "no")


def test_crash_after_a_mount_answered_keeps_handler_and_cors() -> None:
    """Case 47: the mount's state is not mistaken for the application's."""

    class Post:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, capture)
            raise ZeroDivisionError

    async def handler(request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": "own words"}, 500)

    inner = installed(Route("/x", serve(JSONResponse(1))))
    app = Starlette(
        routes=[Mount("/sub", inner)],
        middleware=[Middleware(CORSMiddleware, allow_origins=["*"]), Middleware(Post)],
        exception_handlers={Exception: handler},
    )
    install(app)

    done = exchange(app, "/sub/x", headers=ORIGIN)

    assert strict_json(done.body) == failure(500, "own words")
    assert (b"access-control-allow-origin", b"*") in done.headers
    assert isinstance(done.raised, ZeroDivisionError)


def test_answer_sent_while_an_inner_call_sends_is_wrapped() -> None:
    """Case 40: shadow traffic whose own send waits for a slow reader says nothing about this answer."""

    async def endpoint(request: Request) -> Response:
        sending, read = asyncio.Event(), asyncio.Event()

        async def slow_reader(message: Message) -> None:
            sending.set()
            await read.wait()

        inner = installed(Route("/", serve(JSONResponse("shadow"))))
        task = asyncio.create_task(inner({**request.scope, "path": "/"}, request.receive, slow_reader))
        await sending.wait()

        class Last(JSONResponse):
            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await super().__call__(scope, receive, send)
                read.set()
                await task

        return Last({"a": 1})

    assert strict_json(exchange(installed(Route("/", endpoint))).body) == success({"a": 1})


def test_mount_behind_a_middleware_that_rebuilds_every_message_is_wrapped_once() -> None:
    """Case 40: nothing of the head is the same object, but the mount is still at work in the same scope."""

    class Rebuilding:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def rebuilt(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [(name, value) for name, value in message["headers"]]}
                await send(message)

            await self.app(scope, receive, rebuilt)

    inner = installed(Route("/x", serve(JSONResponse(1))))
    app = installed(Mount("/sub", Rebuilding(inner)))

    assert strict_json(exchange(app, "/sub/x").body) == success(1)
