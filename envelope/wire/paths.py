"""Paths as the router sees them, and the patterns of ``exempt=``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from starlette.types import Scope

from envelope.errors.tree import ConfigurationError


def route_path(scope: Scope) -> str:
    """Give the path below the root path, as the router sees it (Starlette's own rule)."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and (path == root_path or path.startswith(root_path + "/")):
        return path[len(root_path) :]
    return path


class PathPatterns:
    """Some paths of an application.

    Args:
        patterns: Paths relative to the application's root path: ``"/oauth/token"`` is that path,
            ``"/hooks/*"`` everything below ``/hooks/``, but no path with a segment ``.`` or ``..``.

    Raises:
        ConfigurationError: A pattern is not of that form.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        _check_patterns(patterns)
        self._paths = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def cover(self, path: str) -> bool:
        """Tell whether a path, or all the paths of a template, are among them; see ``route_path``."""
        return path in self._paths or (path.startswith(self._prefixes) and not _climbs(path))


def _climbs(path: str) -> bool:
    # "/hooks/../x" is not below "/hooks/" for whoever resolves it later: another service, a file system.
    return "/." in path and not {".", ".."}.isdisjoint(path.split("/"))


def _check_patterns(patterns: object) -> None:
    if isinstance(patterns, str):
        raise ConfigurationError(f"exempt is {patterns!r}; give a list of paths: exempt=[{patterns!r}]")
    if not isinstance(patterns, Sequence):
        raise ConfigurationError(f"exempt is {patterns!r}; give a list of paths: exempt=['/hooks/*']")
    for pattern in patterns:
        _check_pattern(pattern)


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise ConfigurationError(f"exempt holds {pattern!r}; a pattern is a string such as '/oauth/token'")
    if not pattern.startswith("/"):
        raise ConfigurationError(f"exempt holds {pattern!r}; a path begins with '/': {'/' + pattern!r}")
    if "?" in pattern or "#" in pattern:
        raise ConfigurationError(f"exempt holds {pattern!r}; a path has no query and no fragment")
    if "{" in pattern or "}" in pattern:
        below = re.split("[{}]", pattern)[0].rpartition("/")[0] + "/*"
        raise ConfigurationError(
            f"exempt holds {pattern!r}; paths are compared, not templates: name each path, or all below: {below!r}"
        )
    if pattern != unquote(pattern):
        raise ConfigurationError(
            f"exempt holds {pattern!r}; paths are compared as they are decoded: {unquote(pattern)!r}"
        )
    if "*" in pattern and not (pattern.endswith("/*") and pattern.count("*") == 1):
        raise ConfigurationError(f"exempt holds {pattern!r}; '*' stands only at the end, after '/': '/hooks/*'")
