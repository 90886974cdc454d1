"""Guards that stand at an endpoint, below the route decorator."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self, cast
from weakref import WeakSet

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute

from envelope.errors.tree import ConfigurationError
from envelope.locks.guards import Guard, request_of
from envelope.locks.holdings import name_of_endpoint
from envelope.locks.keys import KeyTemplate, make_keys
from envelope.locks.lease import Lease
from envelope.routing.endpoints import Endpoint, check_decorated, runner, signature_of
from envelope.routing.refusals import mark_refusals

#: Functions that ``guarded`` was put above, in whatever application.
_decorated: WeakSet[Callable[..., Any]] = WeakSet()


def guard_endpoint(endpoint: Endpoint, guard: Guard, templates: Sequence[KeyTemplate]) -> Endpoint:
    """Make an endpoint that runs while its objects are locked.

    Args:
        endpoint: A function of either framework; a sync one still runs in the thread pool. A parameter that is
            annotated ``Lease`` gets the lease.
        guard: What is done with the keys.
        templates: Of the keys; their names are parameters of the endpoint, or path parameters in Starlette.

    Raises:
        ConfigurationError: The endpoint is a class, or a generator, or has no such parameters.
    """
    run, is_async = runner(
        endpoint,
        decorator="guarded()",
        classes="guard the methods of a class",
        generators="it would be unlocked before it runs: use locks.hold(...) inside of it",
    )
    parameters = _Parameters(endpoint, templates)
    name = name_of_endpoint(endpoint)

    @functools.wraps(endpoint)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        request = request_of(endpoint)
        # FastAPI names everything, so that most calls need no second look.
        values = parameters.values(args, kwargs) if args else kwargs
        try:
            keys = make_keys(templates, values)
        except KeyError:
            keys = make_keys(templates, parameters.all_values(args, kwargs))
        lease = await guard.stand(request, keys, name)
        args, kwargs = parameters.with_lease(lease, args, kwargs)
        if is_async:
            return await run(*args, **kwargs)
        with _Thread(lease) as thread:
            return await run_in_threadpool(thread.run, endpoint, *args, **kwargs)

    guarded.__signature__ = parameters.visible  # type: ignore[attr-defined]
    mark_refusals(guarded, guard.refusals)
    _decorated.add(endpoint)
    return cast(Endpoint, guarded)


def check_guarded(routes: Sequence[BaseRoute]) -> None:
    """Refuse an application in which ``guarded`` stands above a route decorator.

    Raises:
        ConfigurationError: Where, and what to do.
    """
    check_decorated(
        _decorated,
        routes,
        decorator="guarded()",
        does="guards",
        example="@locks.guarded('entity:{entity_id}')",
    )


class _Parameters:
    """The parameters of an endpoint, by what a guard wants to know of them.

    Attributes:
        visible: Those that the framework is to see: all but what gets the lease.
    """

    def __init__(self, endpoint: Callable[..., Any], templates: Sequence[KeyTemplate]) -> None:
        self._endpoint = endpoint
        self._all = signature_of(endpoint)
        self._names = [name for template in templates for name in template.names]
        self._missing = [name for name in self._names if name not in self._all.parameters]
        self._leases = _lease_parameters(endpoint, self._all)
        others = [it for name, it in self._all.parameters.items() if name not in self._leases]
        self.visible = self._all.replace(parameters=others)
        if self._missing and not any(map(_may_hold_values, others)):
            raise self._complaint(self._missing[0])

    def values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give what a call says; what the endpoint does not declare is taken from Starlette's request."""
        declared: Mapping[str, Any] = {}
        if len(self._missing) < len(self._names):
            declared = self.visible.bind_partial(*args, **kwargs).arguments
        for arg in args if self._missing else ():
            # The question by class first, because HTTPConnection is an ABC, and slow to ask.
            if type(arg) is Request or isinstance(arg, HTTPConnection):
                return {**arg.path_params, **declared}  # its convertors have validated them
        return declared

    def all_values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give what a call says, and what it leaves to the defaults.

        Raises:
            ConfigurationError: A name of the keys is not among them.
        """
        bound = self.visible.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        values = {**self.values(args, kwargs), **bound.arguments}
        for name in self._names:
            if name not in values:
                raise self._complaint(name)
        return values

    def with_lease(
        self, lease: Lease, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give a call's arguments with the lease among them."""
        if not self._leases:
            return args, kwargs
        leases = dict.fromkeys(self._leases, lease)
        if not args:
            return args, {**kwargs, **leases}
        given = {**self.visible.bind(*args, **kwargs).arguments, **leases}
        in_order = {name: given[name] for name in self._all.parameters if name in given}
        bound = inspect.BoundArguments(self._all, in_order)
        return bound.args, bound.kwargs

    def _complaint(self, name: str) -> ConfigurationError:
        return ConfigurationError(
            f"the key of {self._endpoint.__qualname__} names {name!r}, which is not among its parameters"
            f" ({', '.join(self.visible.parameters) or 'none'}); declare it there, so that its value is validated"
        )


def _may_hold_values(parameter: inspect.Parameter) -> bool:
    """Tell whether what a key names may be found in this parameter: in a request, or among the rest."""
    annotation = parameter.annotation
    if isinstance(annotation, type):
        return issubclass(annotation, HTTPConnection) or annotation is inspect.Parameter.empty
    return parameter.kind is parameter.VAR_KEYWORD or isinstance(annotation, str)  # which may name a request


def _lease_parameters(endpoint: Callable[..., Any], signature: inspect.Signature) -> list[str]:
    with suppress(Exception):  # a name that is not there yet, or only for type checkers
        signature = inspect.signature(endpoint, eval_str=True)
    return [name for name, it in signature.parameters.items() if it.annotation in (Lease, "Lease", Lease | None)]


class _Thread:
    """Holds a lease as long as a function runs in a thread: no cancellation stops it.

    Entered around the wait for the thread. If the wait ends before the function has begun, it does not begin.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease.share()
        self._lock = threading.Lock()
        self._has_begun = self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            if self._has_begun:
                return
        self._lease.drop_without_waiting()

    def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            if self._is_over:
                return None
            self._has_begun = True
        try:
            return function(*args, **kwargs)
        finally:
            self._lease.drop_without_waiting()
