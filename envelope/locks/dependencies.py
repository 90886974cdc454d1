"""Guards that stand among the dependencies of FastAPI."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

from starlette.requests import HTTPConnection
from starlette.types import Scope

from envelope.errors.tree import ConfigurationError
from envelope.locks.guards import Guard, request_of
from envelope.locks.holdings import name_of
from envelope.locks.keys import KeyTemplate, check_keys, make_keys
from envelope.locks.lease import Lease
from envelope.routing.refusals import mark_refusals
from envelope.wire.paths import route_path


def make_dependency(
    guard: Guard, keys: Sequence[KeyTemplate | Callable[..., Any]]
) -> Callable[..., Awaitable[Lease]]:
    """Make a dependency for FastAPI that locks objects where it stands.

    Args:
        guard: What is done with the keys.
        keys: Templates of path parameters, or one function: a dependency that gives a key, several, or None.
    """
    if len(keys) == 1 and not isinstance(keys[0], KeyTemplate):
        from fastapi import Depends  # noqa: PLC0415 - FastAPI is optional, and whoever calls this has it

        async def guard_given(connection: HTTPConnection, key: Any = Depends(keys[0])) -> Lease:  # noqa: B008
            request = request_of(keys[0])
            name = name_of(connection.scope)
            given = tuple(key) if isinstance(key, list | tuple | set | frozenset) else (key,)
            if key is None:
                return guard.unguarded((), name)
            return await guard.stand(request, check_keys(given), name)

        mark_refusals(guard_given, guard.refusals)
        return guard_given

    templates = cast("Sequence[KeyTemplate]", keys)
    names = {name for template in templates for name in template.names}

    async def guard_path(connection: HTTPConnection) -> Lease:
        scope = connection.scope
        request = request_of(scope["endpoint"])
        fields = _path_fields(scope, names)
        values = {}
        for name in names:
            values[name], errors = fields[name].validate(scope["path_params"][name], {}, loc=("path", name))
            if errors:
                return guard.unguarded((), name_of(scope))  # the framework answers it
        return await guard.stand(request, make_keys(templates, values), name_of(scope))

    mark_refusals(guard_path, guard.refusals)
    return guard_path


def _path_fields(scope: Scope, names: Iterable[str]) -> Mapping[str, Any]:
    """Give the fields by which the FastAPI route that is at work reads its path parameters."""
    route = scope["route"]
    # By the endpoint, because routes cannot be keys; an endpoint may stand at several.
    by_route = _fields.setdefault(scope["endpoint"], {})
    if id(route) not in by_route:
        # Looked up, not imported: it is at work. A router that was included twice has one route in two contexts.
        contexts = sys.modules["fastapi.routing"].iter_route_contexts(scope["app"].routes)
        mine = [context for context in contexts if context.original_route is route]
        by_route[id(route)] = route, [(it.path_regex, dict(_collected(it.dependant))) for it in mine]
    _, known = by_route[id(route)]
    fields = known[0][1] if len(known) == 1 else _chosen(known, scope)
    for name in names:
        if name not in fields:
            raise ConfigurationError(
                f"the key of {name_of(scope)} names {name!r}, which is no path parameter that the route declares"
                f" ({', '.join(fields) or 'none'}); declare it, or give guard() a dependency"
            )
    return fields


_Fields = Sequence[tuple[re.Pattern[str], Mapping[str, Any]]]
_fields: WeakKeyDictionary[Any, dict[int, tuple[object, _Fields]]] = WeakKeyDictionary()


def _chosen(known: _Fields, scope: Scope) -> Mapping[str, Any]:
    path = route_path(scope)
    return next((fields for regex, fields in known if regex.match(path)), {})


def _collected(dependant: Any) -> Iterator[tuple[str, Any]]:
    # The endpoint's own last: they win.
    for inner in dependant.dependencies:
        yield from _collected(inner)
    for field in dependant.path_params:
        yield field.alias, field
