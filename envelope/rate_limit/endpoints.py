"""Limits that stand at an endpoint, below the route decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.requests import HTTPConnection

from envelope.errors.tree import ConfigurationError
from envelope.routing.endpoints import Endpoint, runner, signature_of
from envelope.routing.refusals import mark_refusals, refusals_at

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
    run, _ = runner(
        endpoint,
        decorator="limited()",
        classes="limit the methods of a class, or use routes=",
        generators="use Depends(limiter.limit(...)) there",
    )
    signature = signature_of(endpoint)
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
        return await run(*args, **kwargs)

    limited.__signature__ = signature if is_limited else _with_connection(signature)  # type: ignore[attr-defined]
    mark_refusals(limited, lambda method: refusals_at(charge, method))
    return cast(Endpoint, limited)


def _with_connection(signature: inspect.Signature) -> inspect.Signature:
    parameter = inspect.Parameter(_CONNECTION, inspect.Parameter.KEYWORD_ONLY, annotation=HTTPConnection)
    parameters = list(signature.parameters.values())
    has_rest = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    parameters.insert(len(parameters) - has_rest, parameter)
    return signature.replace(parameters=parameters)
