"""The applications that the subjects limit: routes that do nothing, in Starlette and in FastAPI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

#: The path that is requested; its route is the first, so that routing costs the same with any number of routes.
PATH = "/things-0/42"

_BODY = b'{"id":42,"name":"a name","tags":["x","y"],"ratio":0.25}'
_UNITS = {1: "second", 3600: "hour", 86400: "day"}


@dataclass(frozen=True)
class Limit:
    """An amount for each client in a window."""

    amount: int
    window_s: int

    @property
    def notation(self) -> str:
        """Give the notation of ``limits``, which most peers read."""
        unit = _UNITS.get(self.window_s)
        return f"{self.amount}/{unit}" if unit else f"{self.amount} per {self.window_s} seconds"


#: No run reaches these. The library takes amounts up to 2**53 for each millisecond of the window.
AMPLE = (Limit(10_000_000, 1), Limit(1_000_000_000, 3600), Limit(100_000_000, 86400))
#: How many requests the tight limits let pass.
ADMITTED = 3


def ample(count: int) -> tuple[Limit, ...]:
    """Give one or three limits that admit every request."""
    return AMPLE if count == 3 else AMPLE[1:2]


def tight(count: int) -> tuple[Limit, ...]:
    """Give the same limits, the last of which soon refuses."""
    return (*ample(count)[:-1], Limit(ADMITTED, 3600 if count == 1 else 86400))


def path_of(number: int) -> str:
    """Give the template of one route."""
    return f"/things-{number}/{{thing_id}}"


def starlette_of(routes: int = 1) -> Starlette:
    """Make a Starlette application with so many routes."""

    async def endpoint(_request: Request) -> Response:
        return Response(_BODY, media_type="application/json")

    return Starlette(routes=[Route(path_of(number), endpoint) for number in range(routes)])


def fastapi_of(
    routes: int = 1,
    *,
    dependencies: Sequence[Any] = (),
    decorate: Callable[[Any], Any] = lambda endpoint: endpoint,
) -> FastAPI:
    """Make a FastAPI application with so many routes, each with these dependencies and this decorator."""
    app = FastAPI()
    for number in range(routes):

        async def endpoint(request: Request) -> Response:
            return Response(_BODY, media_type="application/json")

        # A peer that knows endpoints by their name shall see different ones.
        endpoint.__name__ = endpoint.__qualname__ = f"endpoint_{number}"
        app.get(path_of(number), dependencies=list(dependencies))(decorate(endpoint))
    return app
