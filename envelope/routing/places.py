"""The routes of an application in their places: what each serves, where, and what is inside of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from starlette.convertors import FloatConvertor, IntegerConvertor, StringConvertor, UUIDConvertor
from starlette.routing import PARAM_REGEX, BaseRoute, Host, Match, Mount, Route, WebSocketRoute
from starlette.types import Scope

from envelope.routing.keys import HTTP_METHODS, WEBSOCKET, RouteKey, spell

#: Parameters that cannot hold a "/", as far as can be told without reading regular expressions.
_WITHIN_SEGMENT = {kind.regex for kind in (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)}
_FRAMEWORKS = {"starlette.routing", "fastapi.routing"}


class Place:
    """A route in its place in a router.

    Attributes:
        methods: Those that it serves.
        template: Its full path, "" if it has none, like a host and foreign kinds of routes.
        prefix: Of the mounts and included routers that it is in; with its own path if it is a mount.
        segments: The parts of its own path, up to the first that may hold a "/"; None stands for a parameter.
        is_open: Whether the last of them may hold a "/".
        inner: What a mount or a host holds, as far as it tells.
        endpoint: What was registered.
    """

    def __init__(self, original: BaseRoute, route: Any, prefix: str) -> None:
        self.methods = _methods_of(original, route)
        self.template = ""
        self.segments: tuple[str | None, ...] = (None,)
        self.is_open = True
        self.inner: list[Place] = []
        self.prefix, self.endpoint = prefix, getattr(route, "endpoint", None)
        self._matches: Callable[[Scope], tuple[Match, Scope]] = route.matches
        self._regex: re.Pattern[str] | None = None
        self._inner_root_path = ""
        if isinstance(original, Mount | Host):
            self.prefix, self.endpoint = prefix + (getattr(route, "path", None) or ""), route.app
            self.inner = read_places(_readable(route.routes), self.prefix)
            # FastAPI puts its own root path, if it has one, in the place of the mount's.
            self._inner_root_path = getattr(route.app, "root_path", "")
        if isinstance(original, Route | WebSocketRoute | Mount):
            path = f"{route.path}/{{path:path}}" if isinstance(original, Mount) else route.path
            self.template = spell(prefix + path)
            # Somebody's own matches() or flags may fit any path, and are asked each time.
            is_known = type(original).matches.__module__ in _FRAMEWORKS
            if is_known and route.path_regex.flags == re.UNICODE:
                self.segments, self.is_open = _split(path, route.param_convertors)
            if is_known and not isinstance(original, Mount):
                self._regex = route.path_regex

    @property
    def keys(self) -> list[RouteKey]:
        return [self.key(method) for method in sorted(self.methods)] if self.template else []

    def key(self, method: str) -> RouteKey:
        return RouteKey("GET" if method == "HEAD" else method, self.template)

    def may_meet(self, other: Place) -> bool:
        """Tell whether there may be a path that fits both."""
        size, other_size = len(self.segments), len(other.segments)
        if (size > other_size and not other.is_open) or (other_size > size and not self.is_open):
            return False
        return all(a is None or b is None or a == b for a, b in zip(self.segments, other.segments, strict=False))

    def enter(self, scope: Scope, path: str) -> Scope | None:
        """Give the scope behind this route if it takes the request, whose method it serves."""
        if self._regex is not None:
            return scope if self._regex.match(path) else None
        match, child_scope = self._matches(scope)
        if match is not Match.FULL:
            return None
        inside = {**scope, **child_scope}
        if self._inner_root_path:
            inside["root_path"] = self._inner_root_path
        return inside


def read_places(routes: Sequence[BaseRoute], prefix: str = "") -> list[Place]:
    """Put the routes of a router into their places."""
    # Looked up, not imported: an application that is FastAPI's has imported it.
    fastapi = sys.modules.get("fastapi.routing")
    if fastapi is None:
        return [Place(route, route, prefix) for route in routes]
    contexts = fastapi.iter_route_contexts(routes)
    return [Place(it.original_route, getattr(it, "starlette_route", None) or it, prefix) for it in contexts]


def walk(places: Iterable[Place]) -> Iterator[Place]:
    """Give places, and those inside of them."""
    for place in places:
        yield place
        yield from walk(place.inner)


def endpoints_of(routes: Sequence[BaseRoute]) -> Iterator[object]:
    """Give the endpoints of all routes, as they were registered."""
    return (place.endpoint for place in walk(read_places(routes)))


def _methods_of(original: BaseRoute, route: Any) -> Collection[str]:
    if isinstance(original, WebSocketRoute):
        return (WEBSOCKET,)
    if isinstance(original, Route):
        return route.methods or HTTP_METHODS
    return HTTP_METHODS | {WEBSOCKET}


def _readable(routes: object) -> Sequence[BaseRoute]:
    # Other frameworks' applications have routes of other kinds.
    if isinstance(routes, Sequence) and all(isinstance(route, BaseRoute) for route in routes):
        return routes
    return ()


def _split(path: str, convertors: Mapping[str, Any]) -> tuple[tuple[str | None, ...], bool]:
    segments: list[str | None] = []
    for segment in path.split("/"):
        parameters = [name for name, _ in PARAM_REGEX.findall(segment)]
        segments.append(None if parameters else segment)
        if any(convertors[name].regex not in _WITHIN_SEGMENT for name in parameters):
            return tuple(segments), True
    return tuple(segments), False
