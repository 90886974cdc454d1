"""A request leaves nothing for the cycle collector: not its scope, not its body, not its exception."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import ErrorMap, NotFoundError, install
from tests.wire.apps import scope_of, serve


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    if message["type"] == "http.response.body" and message.get("body") == b'{"status":"success","content":"gone"}':
        raise OSError("gone")


def fresh(make: Callable[[], Exception]) -> Callable[[Request], object]:
    """Give an endpoint that raises a new exception each time: one that is shared is never garbage."""

    async def endpoint(request: Request) -> Response:
        raise make()

    return endpoint


async def broken_stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"[1"
        raise ZeroDivisionError

    return StreamingResponse(parts(), media_type="application/json")


async def broken_task(request: Request) -> Response:
    async def task() -> None:
        raise ZeroDivisionError

    return JSONResponse(1, background=BackgroundTask(task))


class Crashing:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/middleware":
            raise ZeroDivisionError
        await self.app(scope, receive, send)


@pytest.mark.parametrize(
    "path",
    [
        "/ok",
        "/nowhere",
        "/mapped",
        "/crash",
        "/group",
        "/stream",
        "/task",
        "/gone",
        "/middleware",
        "/plain/crash",
        "/installed/crash",
    ],
)
def test_request_leaves_no_cycle(path: str) -> None:
    """Case 76: what a request held is free when it ends."""
    plain = Starlette(routes=[Route("/crash", fresh(ZeroDivisionError))])
    inner = Starlette(routes=[Route("/crash", fresh(ZeroDivisionError))])
    install(inner)
    app = Starlette(
        routes=[
            Route("/ok", serve(JSONResponse(1))),
            Route("/gone", serve(JSONResponse("gone"))),
            Route("/mapped", fresh(LookupError)),
            Route("/crash", fresh(ZeroDivisionError)),
            Route("/group", fresh(lambda: ExceptionGroup("g", [ZeroDivisionError()]))),
            Route("/stream", broken_stream),
            Route("/task", broken_task),
            Mount("/plain", plain),
            Mount("/installed", inner),
        ],
        middleware=[Middleware(Crashing)],
    )
    install(app, errors=ErrorMap({LookupError: NotFoundError}))

    async def ask(times: int) -> int:
        for _ in range(times):
            await asyncio.gather(app(scope_of(path), receive, send), return_exceptions=True)
        return gc.collect()

    async def count() -> int:
        await ask(3)
        while gc.collect():  # what earlier tests have left goes in several steps
            pass
        gc.disable()
        try:
            return await ask(20)
        finally:
            gc.enable()

    # A few objects belong to the loop and to gather; a request in a cycle is dozens of them each time.
    assert asyncio.run(count()) < 200
