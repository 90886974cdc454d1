"""The token endpoints that a FastAPI application's OAuth2 security schemes name.

RFC 6749 fixes their bodies, so they are never wrapped. Only relative URLs can name an endpoint of the
application itself; an absolute one belongs to another server.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakKeyDictionary

from starlette.types import Scope

from envelope.wire.paths import route_path


class TokenUrls:
    """Remembers the token URLs of each FastAPI application, and looks again when it grows."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, _Scan] = WeakKeyDictionary()

    def cover(self, scope: Scope, endpoint: object) -> bool:
        """Tell whether a security scheme of the FastAPI application that answers names this path."""
        app = scope.get("app")
        if not is_fastapi(app):
            return False
        scan = self._known.get(app)
        if scan is None or scan.is_outdated(app, endpoint):
            scan = self._known[app] = _Scan(app, endpoint, scan)
        return bool(scan.urls) and names(scan.urls, scope)


class _Scan:
    """The token URLs as one walk over the application's routes found them."""

    __slots__ = ("endpoints", "routes", "urls")

    def __init__(self, app: Any, endpoint: object, before: _Scan | None) -> None:
        # Walking a thousand routes takes milliseconds: once for every endpoint that answers a POST,
        # so that one which was added late, in whatever router, is seen.
        self.endpoints: set[int] = {id(endpoint)} | (before.endpoints if before else set())
        self.routes = len(app.routes)
        self.urls = declared_urls(app)

    def is_outdated(self, app: Any, endpoint: object) -> bool:
        return id(endpoint) not in self.endpoints or len(app.routes) != self.routes


def is_fastapi(app: object) -> bool:
    """Tell whether an application is FastAPI's, and so has a document."""
    # Looked up, not imported: an application that is FastAPI's has imported it.
    module = sys.modules.get("fastapi.applications")
    return module is not None and isinstance(app, module.FastAPI)


def declared_urls(app: Any) -> frozenset[str]:
    """Give the relative token URLs that the security schemes of a FastAPI application name."""
    return frozenset(_urls_in(app))


def _urls_in(app: Any) -> Iterator[str]:
    from fastapi.routing import iter_route_contexts  # noqa: PLC0415 - FastAPI is optional

    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        if dependant is not None:
            yield from _urls_of(dependant)


def _urls_of(dependant: Any) -> Iterator[str]:
    flows = getattr(getattr(dependant.call, "model", None), "flows", None)
    for name in ("password", "clientCredentials", "authorizationCode"):
        url = getattr(getattr(flows, name, None), "tokenUrl", None)
        if url and not urlsplit(url).netloc:
            yield url
    for dependency in dependant.dependencies:
        yield from _urls_of(dependency)


def names(urls: frozenset[str], scope: Scope) -> bool:
    """Tell whether one of the URLs is that of the request."""
    # A relative URL is relative to the application that shows it (FastAPI's own reading), an absolute
    # path to the host; a mount or a proxy's prefix is in the root path.
    root: str = scope.get("root_path", "")
    full = root + route_path(scope)
    return any(full == urljoin(f"{root}/", url) or full == root + url for url in urls)
