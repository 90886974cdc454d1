"""Every failure that is sent is counted once, by its status and error code."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from envelope import BadRequestError, ConflictError, EnvelopeMiddleware, ErrorMap, NotFoundError, install
from envelope.signals import listen
from tests.telemetry.conftest import Metrics


async def ask(app: Any, *paths: str, host: str = "here", method: str = "GET") -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        for path in paths:
            await client.request(method, path, headers={"origin": "http://there"})


def counted(metrics: Metrics) -> dict[Any, int]:
    return metrics.read("failures", "status_code", "error_code")


def throw(error: Exception) -> Any:
    async def endpoint(_: Request) -> Response:
        raise error

    return endpoint


@pytest.mark.anyio
async def test_failures_are_counted_by_status_and_error_code(metrics: Metrics):
    """Raised, mapped, of the router, of validation, and returned; successes are not counted."""
    app = FastAPI()
    install(app, errors=ErrorMap({LookupError: NotFoundError}))

    @app.get("/items/{item}")
    async def read(item: int) -> int:
        if item == 1:
            raise ConflictError("no", error_code="frozen")
        if item == 2:
            raise LookupError
        if item == 3:
            raise HTTPException(418)
        if item == 4:
            raise BadRequestError(["a", "b"])
        if item == 5:
            return JSONResponse({"detail": "own"}, 402)  # type: ignore[return-value]
        return item

    await ask(app, *(f"/items/{item}" for item in ("0", "1", "1", "2", "3", "4", "5", "x")), "/nowhere")

    assert counted(metrics) == {
        (409, "frozen"): 2,
        (404, None): 2,
        (418, None): 1,
        (400, "invalid_input"): 2,
        (402, None): 1,
    }


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_crash_is_counted_once(metrics: Metrics, method: str):
    """Its answer is sent by the framework, outside of our layers; a handler of the application has its own status."""
    handled = Starlette(
        routes=[Route("/", throw(KeyError()))],
        exception_handlers={Exception: lambda *_: JSONResponse({"detail": "mine"}, 502)},
    )
    crashing = Starlette(routes=[Route("/", throw(KeyError()))], middleware=[Middleware(CORSMiddleware)])
    for app in (handled, crashing):
        install(app)
        await ask(app, "/", method=method)

    assert counted(metrics) == {(502, None): 1, (500, None): 1}


@pytest.mark.anyio
async def test_failures_of_middleware_are_counted(metrics: Metrics):
    """Made further out than the inner layer, in whatever form."""

    class Gate:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/html":
                await HTMLResponse("<p>no", 403)(scope, receive, send)
            elif scope["path"] == "/raises":
                raise ConflictError(error_code="gate")
            else:
                await self.app(scope, receive, send)

    app = Starlette(middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["here"]), Middleware(Gate)])
    install(app)
    await ask(app, "/html", "/raises")
    await ask(app, "/", host="elsewhere")

    assert counted(metrics) == {(403, None): 1, (409, "gate"): 1, (400, None): 1}


@pytest.mark.anyio
async def test_failure_that_middleware_replaces_has_not_our_error_code(metrics: Metrics):
    """What is sent is counted, not what was written first."""

    class Replacing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def drop(_: Any) -> None:
                pass

            await self.app(scope, receive, drop)
            await HTMLResponse("<p>no", 404)(scope, receive, send)

    app = Starlette(
        routes=[Route("/", throw(ConflictError(error_code="inner")))], middleware=[Middleware(Replacing)]
    )
    install(app)
    await ask(app, "/")

    assert counted(metrics) == {(404, None): 1}


@pytest.mark.anyio
async def test_mounted_applications_are_counted_once(metrics: Metrics):
    """Installed itself or not; the error code is that of whoever wrote the failure."""
    owned = Starlette(
        routes=[Route("/", throw(ConflictError(error_code="owned"))), Route("/x", throw(KeyError()))]
    )
    install(owned)
    foreign = Starlette(routes=[Route("/", throw(ConflictError(error_code="foreign")))])
    alone = EnvelopeMiddleware(Starlette(routes=[Route("/", throw(ConflictError(error_code="alone")))]))
    app = Starlette(routes=[Mount("/owned", owned), Mount("/foreign", foreign), Mount("/alone", alone)])
    install(app)
    await ask(app, "/owned/", "/owned/x", "/foreign/", "/alone/")

    assert counted(metrics) == {
        (409, "owned"): 1,
        (409, "foreign"): 1,
        (409, "alone"): 1,
        (500, None): 1,
    }


@pytest.mark.anyio
async def test_other_frameworks_are_counted(metrics: Metrics):
    """Around any ASGI application, without install()."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/crash":
            raise KeyError
        await PlainTextResponse("no", 409)(scope, receive, send)

    await ask(EnvelopeMiddleware(inner), "/", "/crash")

    assert counted(metrics) == {(409, None): 1, (500, None): 1}


@pytest.mark.anyio
async def test_applications_that_run_already_are_heard(metrics: Metrics):
    """instrument() may come at any time, and another listener in the place of the first."""
    listen(None)
    app = Starlette()
    install(app)
    await ask(app, "/")
    assert counted(metrics) == {}

    second = Metrics()
    from envelope.telemetry import instrument

    instrument(meter_provider=second.provider)
    await ask(app, "/")
    second_counts = counted(second)
    second.provider.shutdown()

    assert second_counts == {(404, None): 1}
    assert counted(metrics) == {}
