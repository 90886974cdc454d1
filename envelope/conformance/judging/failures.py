"""Rules for failures: ENV010 to ENV017, and ENV006 and ENV007 where they are meant to be JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from envelope.conformance.exchanges import Exchange
from envelope.conformance.judging import bodies
from envelope.conformance.judging.departures import Departure, describe, name_keys, quote
from envelope.conformance.judging.leaks import judge_leaks
from envelope.wire.bodies import Shape


def judge_failure(exchange: Exchange, shape: Shape) -> Iterator[Departure]:
    """Find what is wrong with the form of a 4xx or 5xx response that is not exempt."""
    if exchange.request.method == "HEAD" or is_page(exchange):
        return
    value = bodies.read_json(exchange) if bodies.is_json_type(exchange) else bodies.peek_json(exchange)
    if not exchange.body:
        yield Departure("ENV010", _whole(shape, exchange.status), "no body")
    elif value is bodies.NOT_JSON:
        yield from _judge_text(exchange, shape)
    elif not bodies.is_json_type(exchange):
        yield from _judge_type(exchange, value, shape)
        yield from judge_leaks(exchange, value)
    else:
        yield from _judge_value(exchange, value, shape)


def is_page(exchange: Exchange) -> bool:
    """Tell whether a failure is a page for a browser, which asked for one by name."""
    accepted = ",".join(value for name, value in exchange.request.headers if name.lower() == "accept")
    return exchange.media_type == "text/html" and "text/html" in accepted.lower()


def _judge_text(exchange: Exchange, shape: Shape) -> Iterator[Departure]:
    if bodies.is_json_type(exchange):
        yield Departure("ENV006", "JSON", f"{len(exchange.body)} bytes that are not JSON (RFC 8259)")
    else:
        came = exchange.media_type or "a body without Content-Type"
        yield Departure("ENV010", _whole(shape, exchange.status), came)
    yield from judge_leaks(exchange, exchange.body.decode("utf-8", "replace"))


def _judge_type(exchange: Exchange, value: Any, shape: Shape) -> Iterator[Departure]:
    came = exchange.media_type or "no Content-Type"
    if bodies.claims_failure(value, shape):
        yield Departure("ENV007", "Content-Type: application/json", came)
    else:
        yield Departure("ENV010", _whole(shape, exchange.status), f"{describe(value)}, as {came}")


def _judge_value(exchange: Exchange, value: Any, shape: Shape) -> Iterator[Departure]:
    if _tells_success(value, shape):
        came = f"{describe(value)} and status {exchange.status}"
        yield Departure("ENV017", "a success with status 200", came)
    elif not isinstance(value, Mapping) or not _is_near(value, shape):
        yield Departure("ENV010", _whole(shape, exchange.status), describe(value))
        yield from judge_leaks(exchange, value)
    else:
        yield from _judge_members(exchange.status, value, shape)
        # An error code is a name: it may be that of a class.
        yield from judge_leaks(exchange, _without_error_code(value.get(shape.message)))


def _judge_members(status: int, value: Mapping[str, Any], shape: Shape) -> Iterator[Departure]:
    keys = [shape.code, shape.message, shape.status]
    if value.keys() != set(keys):
        yield Departure("ENV014", f"the keys {name_keys(keys)} and no other", name_keys(value))
    if shape.code in value and not _is_number(value[shape.code], status):
        yield Departure("ENV011", f"{shape.code}: {status}", quote(value[shape.code]))
    if shape.status in value and value[shape.status] != shape.failure:
        yield Departure("ENV012", f"{shape.status}: {shape.failure!r}", quote(value[shape.status]))
    if shape.message in value and not _is_message(value[shape.message]):
        expected = 'a string, or {"error_code": string, "message": string or [string, ...]}'
        yield Departure("ENV013", expected, describe(value[shape.message]))


def _tells_success(value: Any, shape: Shape) -> bool:
    if not isinstance(value, Mapping) or shape.code in value or shape.message in value:
        return False
    return bool(value.get(shape.status) == shape.success)


def _is_near(value: Mapping[str, Any], shape: Shape) -> bool:
    """Tell whether a body was meant to be the convention's; others have a code and a message too."""
    found = value.keys() & {shape.code, shape.message, shape.status}
    if len(found) < 2:
        return False
    return len(found) == 3 or isinstance(value.get(shape.code), int) or value.get(shape.status) == shape.failure


def _is_number(value: Any, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


def _is_message(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return isinstance(value, str)
    if not isinstance(value.get("error_code"), str):
        return False
    problems = value.get("message")
    return isinstance(problems, str) or (
        isinstance(problems, list) and all(isinstance(problem, str) for problem in problems)
    )


def _without_error_code(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    return {key: value for key, value in message.items() if key != "error_code"}


def _whole(shape: Shape, status: int) -> str:
    return f'{{"{shape.code}": {status}, "{shape.message}": ..., "{shape.status}": "{shape.failure}"}}'
