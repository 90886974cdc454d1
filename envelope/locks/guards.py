"""Guards: locks that stand at an endpoint, with keys of the request's validated values."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, cast
from weakref import WeakKeyDictionary, WeakSet

from starlette.requests import HTTPConnection, Request

from envelope.errors.tree import ConfigurationError
from envelope.locks.holdings import RequestLeases, current_request, name_of, name_of_endpoint
from envelope.locks.keys import KeyTemplate, check_keys, make_keys
from envelope.locks.lease import Lease
from envelope.routing.endpoints import Endpoint, runner

#: What a request with a method that changes nothing meets at a busy object (RFC 9110, 9.2.1).
Reads = Literal["pass", "refuse"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})

#: Functions that ``guarded`` was put above, in whatever application.
decorated: WeakSet[Callable[..., Any]] = WeakSet()


class Guard(NamedTuple):
    """What a guard does with keys.

    Attributes:
        lock: Takes them for the request.
        look: Refuses if one of them is busy, and takes nothing; None lets reads pass.
        unguarded: What stands for a lease where nothing is taken.
    """

    lock: Callable[[RequestLeases, tuple[str, ...], str], Awaitable[Lease]]
    look: Callable[[tuple[str, ...]], Awaitable[None]] | None
    unguarded: Lease

    def stand(self, request: RequestLeases, keys: tuple[str, ...], name: str) -> Awaitable[Lease]:
        """Do what the request's method asks for.

        Args:
            request: Is at work.
            keys: What is guarded.
            name: Of the endpoint.
        """
        if request.scope.get("method") in _SAFE:
            return self._read(keys)
        return self.lock(request, keys, name)

    async def _read(self, keys: tuple[str, ...]) -> Lease:
        if self.look is not None:
            await self.look(keys)
        return self.unguarded


def guard_endpoint(endpoint: Endpoint, guard: Guard, templates: Sequence[KeyTemplate]) -> Endpoint:
    """Make an endpoint that runs while its objects are locked.

    Args:
        endpoint: A function of either framework; a sync one still runs in the thread pool. A parameter that is
            annotated ``Lease`` gets the lease.
        guard: What is done with the keys.
        templates: Of the keys; their names are parameters of the endpoint, or path parameters in Starlette.

    Raises:
        ConfigurationError: The endpoint is a class, or a generator.
    """
    run = runner(
        endpoint,
        decorator="guarded()",
        classes="guard the methods of a class",
        generators="it would be unlocked before it runs: use locks.hold(...) inside of it",
    )
    signature = inspect.signature(endpoint)
    _check_names(endpoint, signature, templates)
    wants_lease = _lease_parameters(endpoint, signature)
    name = name_of_endpoint(endpoint)

    @functools.wraps(endpoint)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        request = _request_of(endpoint)
        values = kwargs if not args else _named(signature, args, kwargs)
        try:
            keys = make_keys(templates, values)
        except KeyError as error:
            raise ConfigurationError(_missing(endpoint, error.args[0], values)) from None
        lease = await guard.stand(request, keys, name)
        for parameter in wants_lease:
            kwargs[parameter] = lease
        return await run(*args, **kwargs)

    others = [it for name, it in signature.parameters.items() if name not in wants_lease]
    guarded.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    guarded.__envelope_guard__ = tuple(templates)  # type: ignore[attr-defined]
    return cast(Endpoint, guarded)


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
            request = _request_of(keys[0])
            if key is None:
                return guard.unguarded
            given = check_keys((key,) if isinstance(key, str) else tuple(key))
            return await guard.stand(request, given, name_of(connection.scope))

        return guard_given

    templates = cast("Sequence[KeyTemplate]", keys)
    names = {name for template in templates for name in template.names}
    fields_of: WeakKeyDictionary[Any, Mapping[str, Any]] = WeakKeyDictionary()

    async def guard_path(connection: HTTPConnection) -> Lease:
        endpoint = connection.scope["endpoint"]
        request = _request_of(endpoint)
        fields = fields_of.get(endpoint)
        if fields is None:
            fields = fields_of[endpoint] = _path_fields(connection, names)
        values = {}
        for name in names:
            values[name], errors = fields[name].validate(connection.path_params[name], {}, loc=("path", name))
            if errors:
                return guard.unguarded  # the framework answers it
        given = make_keys(templates, values)
        return await guard.stand(request, given, name_of(connection.scope))

    return guard_path


def _request_of(guarded: object) -> RequestLeases:
    request = current_request()
    if request is None:
        raise ConfigurationError(
            f"a lock guards {getattr(guarded, '__qualname__', guarded)}, but no request is at work that it"
            " could belong to: call install(app, locks=...) for the application, or use locks.hold(...) outside"
            " of requests"
        )
    return request


def _named(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name the arguments of a call that was not FastAPI's."""
    for arg in args:
        # The question by class first, because HTTPConnection is an ABC, and slow to ask.
        if type(arg) is Request or isinstance(arg, HTTPConnection):  # Starlette's convertors have validated them
            return arg.path_params
    return signature.bind_partial(*args, **kwargs).arguments


def _lease_parameters(endpoint: Callable[..., Any], signature: inspect.Signature) -> list[str]:
    with suppress(Exception):  # a name that is not there yet, or only for type checkers
        signature = inspect.signature(endpoint, eval_str=True)
    return [name for name, it in signature.parameters.items() if it.annotation in (Lease, "Lease")]


def _check_names(
    endpoint: Callable[..., Any], signature: inspect.Signature, templates: Sequence[KeyTemplate]
) -> None:
    parameters = signature.parameters.values()
    if any(it.kind is it.VAR_KEYWORD or _may_be_request(it.annotation) for it in parameters):
        return  # the values may be found in there
    for template in templates:
        for name in template.names:
            if name not in signature.parameters:
                raise ConfigurationError(_missing(endpoint, name, signature.parameters))


def _may_be_request(annotation: object) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, HTTPConnection) or annotation is inspect.Parameter.empty
    return isinstance(annotation, str)  # which is read when all names are known


def _missing(endpoint: Callable[..., Any], name: str, names: Iterable[str]) -> str:
    return (
        f"the key of {endpoint.__qualname__} names {name!r}, which is not among its parameters"
        f" ({', '.join(names) or 'none'}); declare it there, so that its value is a validated one"
    )


def _path_fields(connection: HTTPConnection, names: Iterable[str]) -> Mapping[str, Any]:
    """Give the fields by which a FastAPI route reads its path parameters."""
    scope = connection.scope
    # Looked up, not imported: it is at work.
    contexts = sys.modules["fastapi.routing"].iter_route_contexts(scope["app"].routes)
    fields: dict[str, Any] = {}
    for context in contexts:
        if context.endpoint is scope["endpoint"] and getattr(context, "dependant", None) is not None:
            _collect(context.dependant, fields)
    for name in names:
        if name not in fields:
            raise ConfigurationError(
                f"the key of {scope['endpoint'].__qualname__} names {name!r}, which is no path parameter"
                f" that the route declares ({', '.join(fields) or 'none'}); declare it, or"
                " give guard() a dependency"
            )
    return fields


def _collect(dependant: Any, fields: dict[str, Any]) -> None:
    for field in dependant.path_params:
        fields.setdefault(field.alias, field)
    for inner in dependant.dependencies:
        _collect(inner, fields)
