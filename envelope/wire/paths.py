"""Paths as the router sees them."""

from __future__ import annotations

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """Give the path below the root path, as the router sees it (Starlette's own rule)."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and (path == root_path or path.startswith(root_path + "/")):
        return path[len(root_path) :]
    return path
