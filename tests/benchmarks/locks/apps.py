"""The application whose endpoint is locked in memory: bare, by us, by hand, and as people assemble it today."""

from __future__ import annotations

import asyncio
import importlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from envelope import ObjectLocks, RateLimiter, install
from tests.benchmarks.peers import ParseAndDump
from tests.benchmarks.subjects import BARE, FLOOR, Bar, Work

CONTENT = {"id": 42, "name": "a name", "tags": ["x", "y"], "ratio": 0.25}
_BODY = b'{"id":42,"name":"a name","tags":["x","y"],"ratio":0.25}'
#: No run reaches it.
_AMPLE = "1000000000/hour"

#: All of ours; the first has no locks, and the last has everything.
INSTALLED, LIMITED, LOCKED, GUARDED, EVERYTHING = (
    "install()",
    "install(rate_limiter=)",
    "install(locks=), no guard",
    "install(locks=), guarded",
    "everything on",
)
OURS = (INSTALLED, LIMITED, LOCKED, GUARDED, EVERYTHING)
PEERS = "peers: wrapper, slowapi, asyncio.Lock"

Endpoint = Callable[[Request], Awaitable[Response]]


def answers(subject: str) -> Work:
    """Give the request, and what a subject has to answer: the content in the convention's envelope, or bare."""
    return Work(
        name=subject,
        build=Starlette,
        dresses={},
        bar=Bar(ratio=1, over=BARE),
        content=CONTENT,
        path="/things/42",
        method="PATCH",
    )


def is_wrapped(subject: str) -> bool:
    """Tell whether a subject answers in the convention's envelope."""
    return subject in OURS or subject == PEERS


def build(subject: str, stack: AsyncExitStack) -> Starlette:
    """Make the application of a subject; what is to be closed goes to the stack.

    Raises:
        ImportError: A peer is not installed.
    """
    return BUILDS[subject](stack)


async def _update(_request: Request) -> Response:
    return Response(_BODY, media_type="application/json")


def _app(endpoint: Endpoint) -> Starlette:
    return Starlette(routes=[Route("/things/{thing_id}", endpoint, methods=["PATCH"])])


def _bare(_stack: AsyncExitStack) -> Starlette:
    return _app(_update)


def _by_hand(_stack: AsyncExitStack) -> Starlette:
    """Lock with a set of names; knows neither a lease's end nor re-entry, and answers a refusal bare."""
    held: set[str] = set()

    async def update(request: Request) -> Response:
        key = f"thing:{request.path_params['thing_id']}"
        if key in held:
            return Response(status_code=423, headers={"retry-after": "1"})
        held.add(key)
        try:
            return await _update(request)
        finally:
            held.discard(key)

    return _app(update)


def _peers(_stack: AsyncExitStack) -> Starlette:
    """Wrap, limit and lock as people do it today; the locks are never forgotten."""
    slowapi = importlib.import_module("slowapi")
    middleware = importlib.import_module("slowapi.middleware")
    locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def update(request: Request) -> Response:
        lock = locks[f"thing:{request.path_params['thing_id']}"]
        if lock.locked():
            return Response(status_code=423, headers={"retry-after": "1"})
        async with lock:
            return await _update(request)

    app = _app(update)
    app.state.limiter = slowapi.Limiter(
        key_func=importlib.import_module("slowapi.util").get_remote_address,
        application_limits=[_AMPLE],
        headers_enabled=True,
    )
    app.state.limiter.logger.disabled = True
    app.add_middleware(middleware.SlowAPIASGIMiddleware)
    app.add_middleware(ParseAndDump)
    return app


def _ours(
    *, limits: bool = False, locks: bool = False, guards: bool = False
) -> Callable[[AsyncExitStack], Starlette]:
    def build(stack: AsyncExitStack) -> Starlette:
        options: dict[str, Any] = {}
        endpoint: Endpoint = _update
        if limits:
            options["rate_limiter"] = RateLimiter(_AMPLE)
            stack.push_async_callback(options["rate_limiter"].aclose)
        if locks:
            options["locks"] = ObjectLocks()
        if guards:
            endpoint = options["locks"].guarded("thing:{thing_id}")(endpoint)
        app = _app(endpoint)
        install(app, **options)
        return app

    return build


BUILDS: Mapping[str, Callable[[AsyncExitStack], Starlette]] = {
    BARE: _bare,
    FLOOR: _by_hand,
    INSTALLED: _ours(),
    LIMITED: _ours(limits=True),
    LOCKED: _ours(locks=True),
    GUARDED: _ours(locks=True, guards=True),
    EVERYTHING: _ours(limits=True, locks=True, guards=True),
    PEERS: _peers,
}
