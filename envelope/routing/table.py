"""Which route the router is going to serve, told before routing.

``RouteTable`` makes the router's own choice (the first route that fits in path and method; what a mount takes it
keeps), but asks only the routes that have an entry and those that could be chosen in their stead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic

from starlette.routing import BaseRoute
from starlette.types import Scope

from envelope.errors.tree import ConfigurationError
from envelope.routing.choice import Entry, Level
from envelope.routing.keys import RouteKey, bare, parse_key, spell
from envelope.routing.places import Place, read_places, walk


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
        places = read_places(routes) if entries else []
        named = _resolve(entries, places)

        def entry_of(place: Place, method: str) -> Entry | None:
            key = place.key(method)
            if key not in named or any(key in inner.keys for inner in walk(place.inner)):
                return None  # if a mount and a route in it read the same, the route is meant
            return named[key]

        methods = {key.method for key in named}
        self._level = Level(places, methods | ({"HEAD"} if "GET" in methods else set()), entry_of)

    def find(self, scope: Scope) -> Entry | None:
        """Give the entry of the route that will be served; None if it has none, or nothing will be served."""
        return self._level.find(scope)


def _resolve(entries: Mapping[str, Entry], places: list[Place]) -> dict[RouteKey, Entry]:
    """Put the routes' own names in the place of the keys."""
    full = {key: None for place in walk(places) for key in place.keys}  # a set in order
    by_bare: dict[RouteKey, list[RouteKey]] = {}
    for key in full:
        by_bare.setdefault(RouteKey(key.method, bare(key.template)), []).append(key)
    named: dict[RouteKey, Entry] = {}
    owners: dict[RouteKey, str] = {}
    for text, entry in entries.items():
        method, template = parse_key(text)
        key = RouteKey(method, spell(template))
        meant = [key] if key in full else by_bare.get(key)
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
