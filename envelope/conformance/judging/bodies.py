"""What the body of a response is taken for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envelope.conformance.exchanges import Exchange
from envelope.wire.bodies import Shape

#: What stands for a body that is no JSON; None is a JSON value.
NOT_JSON: Any = object()

#: A text that begins like this may be JSON, whatever its type says.
_BEGINS_JSON = (b"{", b"[")


def is_json_type(exchange: Exchange) -> bool:
    """Tell whether the body is said to be JSON of this service; ``+json`` types name schemas of their own."""
    return exchange.media_type == "application/json"


def read_json(exchange: Exchange) -> Any:
    """Read the body; ``NOT_JSON`` if it is none, or nested so deep that nobody reads it."""
    try:
        return exchange.json
    except ValueError:
        return NOT_JSON


def peek_json(exchange: Exchange) -> Any:
    """Read a body that is not said to be JSON, if it begins like an object or an array."""
    return read_json(exchange) if exchange.body.lstrip()[:1] in _BEGINS_JSON else NOT_JSON


def is_success(value: Any, shape: Shape) -> bool:
    """Tell whether a value is the envelope of a success, no more and no less."""
    return (
        isinstance(value, Mapping)
        and value.keys() == {shape.status, shape.content}
        and value[shape.status] == shape.success
    )


def claims_failure(value: Any, shape: Shape) -> bool:
    """Tell whether a value has the three keys of a failure."""
    return isinstance(value, Mapping) and value.keys() >= {shape.code, shape.message, shape.status}


def is_openapi(value: Any) -> bool:
    """Tell whether a value is an OpenAPI document, whose form another specification fixes."""
    return isinstance(value, Mapping) and isinstance(value.get("openapi"), str) and "info" in value
