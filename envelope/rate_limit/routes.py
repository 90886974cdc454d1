"""Which route the router is going to serve: told before routing, and named after it.

``RouteTable`` makes the router's own choice (the first route that fits in path and method; what a mount takes it
keeps), but asks only the routes that have an entry and those that could be chosen in their stead. ``template_of``
names the route that was chosen. Nothing is counted or limited here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from http import HTTPMethod
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from starlette.convertors import FloatConvertor, IntegerConvertor, StringConvertor, UUIDConvertor
from starlette.routing import PARAM_REGEX, BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import Scope

from envelope.errors.tree import ConfigurationError
from envelope.wire.paths import route_path

Entry = TypeVar("Entry")

_WEBSOCKET = "WEBSOCKET"
_HTTP = frozenset({*HTTPMethod.__members__, "QUERY"})
_KEY = re.compile(r"([A-Z]+) (/[^\s?#]*)")
#: Parameters that cannot hold a "/", as far as can be told without reading regular expressions.
_WITHIN_SEGMENT = {kind.regex for kind in (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)}
_FRAMEWORKS = {"starlette.routing", "fastapi.routing"}
_DIRECTORY = "__envelope_directory__"


class RouteKey(NamedTuple):
    """The name of a route.

    Attributes:
        method: In capitals; ``GET`` also for HEAD, ``WEBSOCKET`` for websockets.
        template: The path below the root path, with the prefixes of mounts and included routers.
    """

    method: str
    template: str

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


def parse_key(key: str) -> RouteKey:
    """Read ``"POST /entities/{entity_id}/verify"``.

    Raises:
        ConfigurationError: It is not of that form.
    """
    match = _KEY.fullmatch(str(key))
    if match is None:
        raise ConfigurationError(
            f"routes holds {key!r}; write the method in capitals, a space and the route's path without a query: "
            "'GET /users/{id}', 'WEBSOCKET /feed'"
        )
    method, template = match.groups()
    if method == "HEAD":
        raise ConfigurationError(f"routes holds {key!r}; HEAD counts as GET: write 'GET {template}'")
    if method not in _HTTP and method != _WEBSOCKET:
        raise ConfigurationError(
            f"routes holds {key!r}; {method} is none of {', '.join(sorted(_HTTP))}, {_WEBSOCKET}"
        )
    return RouteKey(method, template)


class RouteTable(Generic[Entry]):
    """The entries of the routes that have one, found for a request before it is routed.

    Args:
        entries: By the route's name: its path as it was registered, behind the prefixes of its mounts and
            included routers; ``:int`` and the like may be left out. ``"GET /static/{path:path}"`` names a mount,
            and holds for whatever in it has no entry of its own.
        routes: All routes of the application. What is added later is not seen.

    Raises:
        ConfigurationError: A key is no name, names no route, or names the same route as another key.
    """

    def __init__(self, entries: Mapping[str, Entry], routes: Sequence[BaseRoute]) -> None:
        places = _places(routes) if entries else []
        named = _resolve(entries, places)

        def entry_of(place: _Place, method: str) -> Entry | None:
            key = place.key(method)
            if key not in named or any(key in inner.keys for inner in _walk(place.inner)):
                return None  # if a mount and a route in it read the same, the route is meant
            return named[key]

        methods = {key.method for key in named}
        self._level = _Level(places, methods | ({"HEAD"} if "GET" in methods else set()), entry_of)

    def find(self, scope: Scope) -> Entry | None:
        """Give the entry of the route that will be served; None if it has none, or nothing will be served."""
        return _find(self._level, scope)


def endpoints_of(routes: Sequence[BaseRoute]) -> Iterator[object]:
    """Give the endpoints of all routes, as they were registered."""
    return (place.endpoint for place in _walk(_places(routes)))


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
        name = _find(_directory(router), start)
        if name is None or name.endpoint is not endpoint:
            name = _find(_directory(router, missing=endpoint), start)
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


def _directory(router: Router, *, missing: object = None) -> _Level[_Name]:
    # Kept on the router, which the routes that it refers to refer to. Read again once for each endpoint that
    # it does not know, because that was added late or is in an application whose routes cannot be read.
    known: tuple[_Level[_Name], frozenset[int]] | None = getattr(router, _DIRECTORY, None)
    if known is not None and (missing is None or id(missing) in known[1]):
        return known[0]
    level = _Level(_places(router.routes), _HTTP | {_WEBSOCKET}, lambda place, _: place.name)
    setattr(router, _DIRECTORY, (level, (known[1] if known else frozenset()) | {id(missing)}))
    return level


def _find(level: _Level[Entry], scope: Scope) -> Entry | None:
    kind = scope["type"]
    if kind == "http":
        method = scope["method"].upper()  # as the client spelled it, which applications behind mounts may forgive
        if method == _WEBSOCKET:
            return None
    elif kind == "websocket":
        method = _WEBSOCKET
    else:
        return None
    try:
        return level.find(scope, method)
    except Exception:  # noqa: BLE001 - a convertor's; the router meets it too, and serves nothing
        return None


class _Place:
    """A route in its place in a router.

    Attributes:
        methods: Those that it serves.
        template: Its full path, "" if it has none, like a host and foreign kinds of routes.
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
        self.inner: list[_Place] = []
        self._prefix, self.endpoint = prefix, getattr(route, "endpoint", None)
        self._matches: Callable[[Scope], tuple[Match, Scope]] = route.matches
        self._regex: re.Pattern[str] | None = None
        self._inner_root_path = ""
        if isinstance(original, Mount | Host):
            self._prefix, self.endpoint = prefix + (getattr(route, "path", None) or ""), route.app
            self.inner = _places(_readable(route.routes), self._prefix)
            # FastAPI puts its own root path, if it has one, in the place of the mount's.
            self._inner_root_path = getattr(route.app, "root_path", "")
        if isinstance(original, Route | WebSocketRoute | Mount):
            path = f"{route.path}/{{path:path}}" if isinstance(original, Mount) else route.path
            self.template = _spell(prefix + path)
            # Somebody's own matches() or flags may fit any path, and are asked each time.
            is_known = type(original).matches.__module__ in _FRAMEWORKS
            if is_known and route.path_regex.flags == re.UNICODE:
                self.segments, self.is_open = _split(path, route.param_convertors)
            if is_known and not isinstance(original, Mount):
                self._regex = route.path_regex

    @property
    def name(self) -> _Name | None:
        return _Name(_bare(self.template), self._prefix, self.endpoint) if self.template else None

    @property
    def keys(self) -> list[RouteKey]:
        return [self.key(method) for method in sorted(self.methods)] if self.template else []

    def key(self, method: str) -> RouteKey:
        return RouteKey("GET" if method == "HEAD" else method, self.template)

    def may_meet(self, other: _Place) -> bool:
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


def _places(routes: Sequence[BaseRoute], prefix: str = "") -> list[_Place]:
    # Looked up, not imported: an application that is FastAPI's has imported it.
    fastapi = sys.modules.get("fastapi.routing")
    if fastapi is None:
        return [_Place(route, route, prefix) for route in routes]
    contexts = fastapi.iter_route_contexts(routes)
    return [_Place(it.original_route, getattr(it, "starlette_route", None) or it, prefix) for it in contexts]


def _walk(places: Iterable[_Place]) -> Iterator[_Place]:
    for place in places:
        yield place
        yield from _walk(place.inner)


def _methods_of(original: BaseRoute, route: Any) -> Collection[str]:
    if isinstance(original, WebSocketRoute):
        return (_WEBSOCKET,)
    if isinstance(original, Route):
        return route.methods or _HTTP
    return _HTTP | {_WEBSOCKET}


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


def _spell(template: str) -> str:
    return template.replace(":str}", "}")


def _bare(template: str) -> str:
    return PARAM_REGEX.sub(r"{\1}", template)


def _resolve(entries: Mapping[str, Entry], places: list[_Place]) -> dict[RouteKey, Entry]:
    """Put the routes' own names in the place of the keys."""
    full = {key: None for place in _walk(places) for key in place.keys}  # a set in order
    bare: dict[RouteKey, list[RouteKey]] = {}
    for key in full:
        bare.setdefault(RouteKey(key.method, _bare(key.template)), []).append(key)
    named: dict[RouteKey, Entry] = {}
    owners: dict[RouteKey, str] = {}
    for text, entry in entries.items():
        method, template = parse_key(text)
        key = RouteKey(method, _spell(template))
        meant = [key] if key in full else bare.get(key)
        if not meant:
            from difflib import get_close_matches  # noqa: PLC0415 - for advice only

            nearest = get_close_matches(text, map(str, full), n=1, cutoff=0)
            advice = f"the nearest is {nearest[0]!r}" if nearest else "it has none yet; register them before"
            raise ConfigurationError(f"routes names {text!r}, which is no route of the application; {advice}")
        for name in meant:
            if name in named:
                raise ConfigurationError(
                    f"routes names {str(name)!r} twice, as {owners[name]!r} and {text!r}; keep one"
                )
            named[name], owners[name] = entry, text
    return named


class _Candidate(NamedTuple, Generic[Entry]):
    position: int
    place: _Place
    entry: Entry | None
    inner: _Level[Entry] | None
    rivals: list[_Place]


class _Level(Generic[Entry]):
    """One router, as far as its places have entries or hold places that have."""

    def __init__(
        self, places: list[_Place], methods: Collection[str], entry_of: Callable[[_Place, str], Entry | None]
    ) -> None:
        self.indexes: dict[str, _Index[Entry]] = {}
        inners = [_Level(place.inner, methods, entry_of) if place.inner else None for place in places]
        for method in methods:
            candidates: list[_Candidate[Entry]] = []
            others: list[_Place] = []
            for position, (place, inner) in enumerate(zip(places, inners, strict=True)):
                if method not in place.methods:
                    continue
                entry = entry_of(place, method)
                if entry is None and (inner is None or method not in inner.indexes):
                    others.append(place)
                    continue
                rivals = [other for other in others if other.may_meet(place)]
                candidates.append(_Candidate(position, place, entry, inner, rivals))
            if candidates:
                self.indexes[method] = _Index(candidates)

    def find(self, scope: Scope, method: str) -> Entry | None:
        index = self.indexes.get(method)
        if index is None:
            return None
        path = route_path(scope)
        for _, place, entry, inner, rivals in index.look_up(path):
            inside = place.enter(scope, path)
            if inside is None:
                continue
            for rival in rivals:  # earlier in the router, and without entries
                if rival.enter(scope, path) is not None:
                    return None
            found = None if inner is None else inner.find(inside, method)
            return entry if found is None else found
        return None


class _Index(Generic[Entry]):
    """Finds places by the number of segments of a path and by those that are fixed."""

    def __init__(self, candidates: Sequence[_Candidate[Entry]]) -> None:
        self._largest = max(len(candidate.place.segments) for candidate in candidates)
        tables: dict[tuple[int, bool, tuple[int, ...]], dict[object, list[_Candidate[Entry]]]] = {}
        for candidate in candidates:
            segments, is_open = candidate.place.segments, candidate.place.is_open
            fixed = tuple(position for position, segment in enumerate(segments) if segment)
            table = tables.setdefault((len(segments), is_open, fixed), {})
            table.setdefault(_reader(fixed)(segments), []).append(candidate)
        self._tables = [
            [
                (_reader(fixed), table)
                for (size, is_open, fixed), table in tables.items()
                if count == size or (is_open and count > size)
            ]
            for count in range(self._largest + 2)
        ]

    def look_up(self, path: str) -> list[_Candidate[Entry]]:
        """Give those that the path may fit, in the router's order."""
        # The "$" of a regular expression also stands before a newline at the end.
        segments = path.rstrip("\n").split("/", self._largest)
        found: list[_Candidate[Entry]] = []
        for read, table in self._tables[len(segments)]:
            found += table.get(read(segments), ())
        if len(found) > 1:
            found.sort(key=itemgetter(0))
        return found


def _reader(positions: tuple[int, ...]) -> Callable[[Sequence[str | None]], object]:
    return itemgetter(*positions) if positions else lambda _: None
