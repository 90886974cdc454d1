"""The name of the route that was chosen."""

from __future__ import annotations

from typing import NamedTuple

from starlette.routing import Router
from starlette.types import Scope

from envelope.routing.choice import Level
from envelope.routing.keys import HTTP_METHODS, WEBSOCKET, bare
from envelope.routing.places import Place, read_places

_DIRECTORY = "__envelope_directory__"


def template_of(scope: Scope) -> str:
    """Name the route that was chosen: ``"/api/v1/users/{id}"``, with the prefixes of mounts and included routers.

    For use after routing. Below a mounted application whose routes cannot be read, it is the mount's prefix and
    what that application says of its route. Without a route it is the name of the endpoint, never the path of
    the request: that is the client's choice.
    """
    endpoint, router = scope.get("endpoint"), scope.get("router")
    name = None
    if isinstance(router, Router):  # the outermost; mounts have moved its root path
        start = {**scope, "root_path": scope.get("app_root_path", scope.get("root_path", ""))}
        name = _directory(router).find(start)
        if name is None or name.endpoint is not endpoint:
            name = _directory(router, missing=endpoint).find(start)
    if name is not None and name.endpoint is endpoint:
        return name.template
    own: str | None = getattr(scope.get("route"), "path_format", None)
    return (name.prefix if name else "") + (
        own or str(getattr(endpoint, "__qualname__", type(endpoint).__qualname__))
    )


class _Name(NamedTuple):
    template: str
    prefix: str
    endpoint: object


def _directory(router: Router, *, missing: object = None) -> Level[_Name]:
    # Kept on the router, which the routes that it refers to refer to. Read again once for each endpoint that
    # it does not know, because that was added late or is in an application whose routes cannot be read.
    known: tuple[Level[_Name], frozenset[int]] | None = getattr(router, _DIRECTORY, None)
    if known is not None and (missing is None or id(missing) in known[1]):
        return known[0]
    level = Level(read_places(router.routes), HTTP_METHODS | {WEBSOCKET}, _name_of)
    setattr(router, _DIRECTORY, (level, (known[1] if known else frozenset()) | {id(missing)}))
    return level


def _name_of(place: Place, _method: str) -> _Name | None:
    return _Name(bare(place.template), place.prefix, place.endpoint) if place.template else None
