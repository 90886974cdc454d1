"""The names of routes: how they are written in options, and how templates are spelled."""

from __future__ import annotations

import re
from http import HTTPMethod
from typing import NamedTuple

from starlette.routing import PARAM_REGEX

from envelope.errors.tree import ConfigurationError

#: The method of a websocket's route.
WEBSOCKET = "WEBSOCKET"

#: The methods that a request may have.
HTTP_METHODS = frozenset({*HTTPMethod.__members__, "QUERY"})

_KEY = re.compile(r"([A-Z]+) (/[^\s?#]*)")


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
    if method not in HTTP_METHODS and method != WEBSOCKET:
        raise ConfigurationError(
            f"routes holds {key!r}; {method} is none of {', '.join(sorted(HTTP_METHODS))}, {WEBSOCKET}"
        )
    return RouteKey(method, template)


def spell(template: str) -> str:
    """Write a template in one way, where Starlette knows two."""
    return template.replace(":str}", "}")


def bare(template: str) -> str:
    """Leave the convertors out of a template."""
    return PARAM_REGEX.sub(r"{\1}", template)
