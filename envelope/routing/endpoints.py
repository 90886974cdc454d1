"""What decorators of endpoints have in common: what they can stand at, how it is run, and where they must not
stand.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from envelope.errors.tree import ConfigurationError
from envelope.routing.places import endpoints_of

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def runner(
    endpoint: Callable[..., Any], *, decorator: str, classes: str, generators: str
) -> tuple[Callable[..., Awaitable[Any]], bool]:
    """Give what runs an endpoint as the framework would, a sync one in the thread pool, and whether it is async.

    Args:
        endpoint: A function of either framework.
        decorator: How a message calls what stands above it: ``"limited()"``.
        classes: What to do instead at a class.
        generators: What to do instead at a generator.

    Raises:
        ConfigurationError: The endpoint is no function, or a generator.
    """
    if not (inspect.isfunction(endpoint) or inspect.ismethod(endpoint)):
        raise ConfigurationError(f"{decorator} stands at {endpoint!r}, which is no function; {classes}")
    innermost = inspect.unwrap(endpoint)
    if inspect.isgeneratorfunction(innermost) or inspect.isasyncgenfunction(innermost):
        raise ConfigurationError(f"{decorator} stands at the generator {endpoint.__qualname__}; {generators}")
    if inspect.iscoroutinefunction(endpoint):
        return endpoint, True

    async def run_async(*args: Any, **kwargs: Any) -> Any:
        # A plain decorator in between hands the coroutine on.
        result = endpoint(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def run_sync(*args: Any, **kwargs: Any) -> Any:
        return await run_in_threadpool(endpoint, *args, **kwargs)

    is_async = inspect.iscoroutinefunction(innermost)
    return (run_async if is_async else run_sync), is_async


def signature_of(endpoint: Callable[..., Any]) -> inspect.Signature:
    """Give an endpoint's signature, also if its annotations name what only type checkers see."""
    if sys.version_info >= (3, 14):  # pragma: no cover
        from annotationlib import Format  # noqa: PLC0415

        return inspect.signature(endpoint, annotation_format=Format.FORWARDREF)
    return inspect.signature(endpoint)


def check_decorated(
    decorated: Collection[object], routes: Sequence[BaseRoute], *, decorator: str, does: str, example: str
) -> None:
    """Refuse an application in which a decorator stands above a route decorator, or has no brackets.

    Args:
        decorated: Functions that the decorator was put above, and what its call made.
        routes: Of the application.
        decorator: How the message calls it: ``"limited()"``.
        does: What it does in the right place: ``"limits"``.
        example: How it is written there: ``"@limiter.limited('5/minute')"``.

    Raises:
        ConfigurationError: A route has a function as its endpoint that was to be decorated, and no route has
            what the decorator made of it.
    """
    if not decorated:
        return
    endpoints = list(endpoints_of(routes))
    wrapped = [getattr(endpoint, "__wrapped__", None) for endpoint in endpoints]
    for endpoint in endpoints:
        if inspect.isfunction(endpoint) and endpoint in decorated and endpoint not in wrapped:
            raise ConfigurationError(
                f"{decorator} stands above the route decorator of {endpoint.__qualname__}, where it {does}"
                f" nothing, or has no brackets; put {example} below the route decorator"
            )
