"""Which endpoints own their output: what they return is sent as it is, success or failure.

An endpoint is exempt by path (``exempt=``), by mark (``raw_response``), because the framework made it
(FastAPI's documentation), or because OAuth2 fixes its body (token URLs, RFC 6749, 5.1 and 5.2).
What is raised, or made by the framework or a guard, is an envelope even there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.types import Scope

from envelope.errors.tree import ConfigurationError
from envelope.wire.paths import PathPatterns, route_path
from envelope.wire.token_urls import TokenUrls, declared_urls, names

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_MARK = "__envelope_raw__"


def raw_response(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint whose output is never wrapped.

    Stands above or below the route decorator, on functions and on endpoint classes::

        @app.get("/.well-known/jwks.json")
        @raw_response
        async def jwks(): ...

    Raises:
        ConfigurationError: The object cannot be marked; exempt its path with ``install(exempt=...)``.
    """
    target = getattr(endpoint, "__func__", endpoint)
    try:
        setattr(target, _MARK, True)
    except AttributeError as error:
        raise ConfigurationError(
            f"raw_response cannot mark {endpoint!r}; exempt its path instead: install(app, exempt=['/its/path'])"
        ) from error
    return endpoint


class Exemptions:
    """The exempt endpoints of one installation.

    Args:
        patterns: Paths relative to the application's root path: ``"/oauth/token"`` is that path,
            ``"/hooks/*"`` everything below ``/hooks/``.

    Raises:
        ConfigurationError: A pattern is not of that form.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._paths = PathPatterns(patterns)
        #: Whether any path is exempt; without one nobody has to ask.
        self.have_paths = bool(patterns)
        self._marked: dict[object, bool] = {}
        self._token_urls = TokenUrls()

    def cover_path(self, scope: Scope) -> bool:
        """Tell whether the path is exempt; asked before routing, because mounts change the root path."""
        return self._paths.cover(route_path(scope))

    def cover_endpoint(self, scope: Scope) -> bool:
        """Tell whether the endpoint is exempt; asked after routing."""
        endpoint = scope.get("endpoint")
        try:
            marked = self._marked[endpoint]
        except KeyError:
            marked = self._marked[endpoint] = _is_marked(endpoint)
        except TypeError:  # not every callable object can be a key
            marked = _is_marked(endpoint)
        return marked or (scope["method"] == "POST" and self._token_urls.cover(scope, endpoint))

    def of_application(self, app: object, prefix: str, root_path: str) -> Callable[[str, str, object], bool]:
        """Give what tells whether an operation of an application is exempt, by method, path template and endpoint.

        Args:
            app: The one that was installed, or one that is mounted in it.
            prefix: Of the mounts that it is in.
            root_path: What stands before its paths.
        """
        urls = declared_urls(app)

        def is_exempt(method: str, template: str, endpoint: object) -> bool:
            if self._paths.cover(prefix + template) or _is_marked(endpoint):
                return True
            return method == "POST" and names(urls, {"path": root_path + template, "root_path": root_path})

        return is_exempt


def _is_marked(endpoint: object) -> bool:
    return getattr(endpoint, _MARK, False) is True or _is_documentation(endpoint)


def _is_documentation(endpoint: object) -> bool:
    # By identity, not by path: an application may serve its own "/docs".
    return getattr(endpoint, "__module__", None) == "fastapi.applications" and getattr(
        endpoint, "__qualname__", ""
    ).startswith("FastAPI.setup.<locals>.")
