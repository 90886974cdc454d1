"""Rules for successes: ENV001 to ENV008 and ENV016."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Exchange
from envelope.conformance.judging import bodies
from envelope.conformance.judging.departures import Departure, describe, name_keys, quote
from envelope.wire.bodies import Shape

#: Statuses whose form HTTP and its extensions fix: ranges (RFC 9110, 15.3.7) and deltas (RFC 3229).
PASSED = frozenset({206, 226})

_EMPTY_STATUSES = frozenset({204, 205})

#: Fields of files, ranges and signed bodies, which others rely on byte for byte.
_UNTOUCHED = ("content-disposition", "content-range", "signature", "signature-input")

#: Types under which JSON is somebody's mistake and not a format of its own.
_LOOSE_TYPES = frozenset({"", "text/html", "text/plain"})

#: What other conventions call a failure.
_FAILURE_WORDS = ("error", "fail", "failed", "failure")

#: Streams of items; one item may look like anything.
_STREAMS = frozenset({"text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq"})


def judge_success(exchange: Exchange, contract: Contract, shown: tuple[str, ...]) -> Iterator[Departure]:
    """Find what is wrong with the form of a 2xx response.

    Args:
        exchange: It is not exempt.
        contract: For the names of keys and words, and the status of successes.
        shown: The media types that the document shows for it.
    """
    if exchange.status in PASSED:
        return
    if _is_ours(exchange) and exchange.status != 200 and contract.success_status != "keep":
        yield Departure("ENV002", "status 200", f"status {exchange.status}")
    is_kept = contract.success_status == "keep" and exchange.status in _EMPTY_STATUSES and not exchange.body
    if exchange.request.method != "HEAD" and not is_kept:
        yield from _judge_body(exchange, contract.shape, shown)


def _is_ours(exchange: Exchange) -> bool:
    """Tell whether a response is the service's JSON, or would be if it had a body."""
    if exchange.media_type:
        return bodies.is_json_type(exchange) and not _is_untouched(exchange)
    return not exchange.body


def _judge_body(exchange: Exchange, shape: Shape, shown: tuple[str, ...]) -> Iterator[Departure]:
    if not exchange.body:
        if _is_ours(exchange):
            yield Departure("ENV005", f"{{{_keys(shape)}: null}}", "no body")
    elif not bodies.is_json_type(exchange):
        yield from _judge_type(exchange, shape, shown)
    elif (value := bodies.read_json(exchange)) is bodies.NOT_JSON:
        yield Departure("ENV006", "JSON", f"{len(exchange.body)} bytes that are not JSON (RFC 8259)")
    elif not _is_untouched(exchange) or _is_near(value, shape):
        yield from _judge_value(value, shape, exchange.status)


def _judge_type(exchange: Exchange, shape: Shape, shown: tuple[str, ...]) -> Iterator[Departure]:
    if exchange.media_type in _STREAMS:
        return
    value = bodies.peek_json(exchange)
    is_loose = exchange.media_type in _LOOSE_TYPES and exchange.media_type not in shown
    if bodies.is_success(value, shape) or (
        is_loose and isinstance(value, dict | list) and not _is_untouched(exchange)
    ):
        came = f"JSON as {exchange.media_type}" if exchange.media_type else "JSON without Content-Type"
        yield Departure("ENV007", "Content-Type: application/json", came)


def _judge_value(value: Any, shape: Shape, status: int) -> Iterator[Departure]:
    keys = {shape.status, shape.content}
    if _tells_failure(value, shape):
        yield Departure(
            "ENV016", "a failure with its own status, 400 to 599", f"{describe(value)} and status {status}"
        )
    elif isinstance(value, Mapping) and value.keys() == {shape.status} and value[shape.status] == shape.success:
        yield Departure("ENV005", f"{{{_keys(shape)}: null}}", describe(value))
    elif not isinstance(value, Mapping) or not _is_near(value, shape):
        yield Departure("ENV001", f"an object with the keys {_keys(shape)}", describe(value))
    elif value.keys() != keys:
        yield Departure("ENV003", f"the keys {_keys(shape)} and no other", name_keys(value))
    elif value[shape.status] != shape.success:
        yield Departure("ENV004", f"{shape.status}: {shape.success!r}", quote(value[shape.status]))
    elif bodies.is_success(value[shape.content], shape):
        yield Departure(
            "ENV008", f"the envelope once, what was returned in {shape.content!r}", "an envelope in it"
        )


def _is_near(value: Any, shape: Shape) -> bool:
    """Tell whether a body was meant to be the envelope; models have a status and a content of their own."""
    if not isinstance(value, Mapping) or shape.status not in value:
        return False
    if value.keys() == {shape.status, shape.content}:
        return True
    return bool(value[shape.status] == shape.success) and (shape.content in value or len(value) <= 2)


def _tells_failure(value: Any, shape: Shape) -> bool:
    """Tell whether a body says that the request failed."""
    if bodies.is_success(value, shape):
        inner = value[shape.content]
        return bodies.claims_failure(inner, shape) and bool(inner[shape.status] == shape.failure)
    if not isinstance(value, Mapping):
        return False
    if value.get(shape.status) == shape.failure and value.keys() & {shape.code, shape.message}:
        return True
    if value.keys() == {shape.status, shape.content}:
        return bool(value[shape.status] == shape.failure)
    if value.keys() <= {shape.code, shape.message, shape.status} and value.get(shape.status) in _FAILURE_WORDS:
        return shape.message in value
    code = value.get(shape.code)
    is_failure_code = isinstance(code, int) and 400 <= code <= 599
    return is_failure_code and shape.message in value


def _is_untouched(exchange: Exchange) -> bool:
    """Tell whether other parties rely on the bytes: a file, a range, a signature, ``no-transform``."""
    if any(exchange.header(name) is not None for name in _UNTOUCHED):
        return True
    return (exchange.header("accept-ranges") or "none").strip().lower() != "none" or (
        "no-transform" in (exchange.header("cache-control") or "").lower()
    )


def _keys(shape: Shape) -> str:
    return f"{shape.status!r}, {shape.content!r}"
