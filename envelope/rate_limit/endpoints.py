"""Limits that stand at an endpoint, below the route decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.routes import endpoints_of

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

#: The parameter through which FastAPI hands in the request; Starlette gives it as the first argument.
_CONNECTION = "envelope_connection"


def limit_endpoint(endpoint: Endpoint, charge: Callable[[HTTPConnection], Awaitable[object]]) -> Endpoint:
    """Make an endpoint that is charged before it runs.

    Args:
        endpoint: A function of either framework; a sync one still runs in the thread pool.
        charge: Raises what the client is to get instead.

    Raises:
        ConfigurationError: The endpoint is a class, or a generator.
    """
    if not (inspect.isfunction(endpoint) or inspect.ismethod(endpoint)):
        raise ConfigurationError(
            f"limited() stands at {endpoint!r}, which is no function; limit the methods of a class, or use routes="
        )
    innermost = inspect.unwrap(endpoint)
    if inspect.isgeneratorfunction(innermost) or inspect.isasyncgenfunction(innermost):
        raise ConfigurationError(
            f"limited() stands at the generator {endpoint.__qualname__}; use Depends(limiter.limit(...)) there"
        )
    # A plain decorator in between hands the coroutine on.
    is_async = inspect.iscoroutinefunction(endpoint) or inspect.iscoroutinefunction(innermost)
    signature = inspect.signature(endpoint)
    is_limited = _CONNECTION in signature.parameters

    @functools.wraps(endpoint)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        connection = kwargs.get(_CONNECTION) or next(
            (arg for arg in args if isinstance(arg, HTTPConnection)), None
        )
        if not is_limited:  # another limited() below wants it too
            kwargs.pop(_CONNECTION, None)
        if connection is None:
            raise ConfigurationError(
                f"{endpoint.__qualname__} was called without a request, so nobody can be charged;"
                " outside of a route, call limiter.check(...) instead"
            )
        await charge(connection)
        if is_async:
            result = endpoint(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result
        return await run_in_threadpool(endpoint, *args, **kwargs)

    limited.__signature__ = signature if is_limited else _with_connection(signature)  # type: ignore[attr-defined]
    return cast(Endpoint, limited)


def check_endpoints(limited: Collection[object], routes: Sequence[BaseRoute]) -> None:
    """Refuse an application in which ``limited`` stands above a route decorator.

    Args:
        limited: Functions that ``limited`` was put above.
        routes: Of the application.

    Raises:
        ConfigurationError: A route has a function as its endpoint that was to be limited, and no route has the
            limited one.
    """
    if not limited:
        return
    endpoints = list(endpoints_of(routes))
    wrapped = [getattr(endpoint, "__wrapped__", None) for endpoint in endpoints]
    for endpoint in endpoints:
        if inspect.isfunction(endpoint) and endpoint in limited and endpoint not in wrapped:
            raise ConfigurationError(
                f"limited() stands above the route decorator of {endpoint.__qualname__}, where it limits nothing,"
                " or has no brackets; put @limiter.limited('5/minute') below the route decorator"
            )


def _with_connection(signature: inspect.Signature) -> inspect.Signature:
    parameter = inspect.Parameter(_CONNECTION, inspect.Parameter.KEYWORD_ONLY, annotation=HTTPConnection)
    parameters = list(signature.parameters.values())
    has_rest = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    parameters.insert(len(parameters) - has_rest, parameter)
    return signature.replace(parameters=parameters)
