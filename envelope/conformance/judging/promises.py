"""What the document says of a response: ENV056 to ENV058.

What ``judge_document`` says of the document itself is not told again of every response: where the document
shows a bare success, what is in the envelope is compared; where it shows 201 or FastAPI's 422, that stands
for the 200 and the 400 of the convention.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from envelope.conformance.contracts.contract import Contract, Operation, Response
from envelope.conformance.exchanges import Exchange
from envelope.conformance.judging import bodies
from envelope.conformance.judging.departures import Departure
from envelope.conformance.judging.successes import PASSED
from envelope.wire.bodies import Shape

#: What a server, router or proxy answers by itself, so that no document has it: too long, too slow, not reached;
#: HEAD refused where there is GET; the part of a file that was asked for, or that there is none
#: (Starlette's FileResponse).
_OF_SERVERS = frozenset({206, 405, 408, 413, 414, 416, 421, 431, 502, 504})

#: Departures of a form, with which type and body have been judged.
_OF_FORM = frozenset(
    {
        *("ENV001", "ENV003", "ENV004", "ENV005", "ENV006", "ENV007", "ENV008"),
        *("ENV010", "ENV011", "ENV012", "ENV013", "ENV014", "ENV016", "ENV017"),
    }
)


def judge_promises(
    exchange: Exchange, contract: Contract, operation: Operation, told: Collection[str], *, exempt: bool
) -> Iterator[Departure]:
    """Compare a response with what the document shows for it.

    Args:
        exchange: Not a redirect, which documents seldom show.
        contract: For the names of keys and words.
        operation: Which answered.
        told: The rules that the response has broken already.
        exempt: Only status and type are compared.
    """
    response = find_response(operation, exchange.status, contract)
    if response is None:
        # A success with another status than 200 has been told as such.
        if exchange.status not in _OF_SERVERS and "ENV002" not in told:
            yield Departure("ENV056", f"one of {', '.join(operation.responses) or 'none'}", str(exchange.status))
    elif exchange.media_type and not _OF_FORM.intersection(told):
        has_body = bool(exchange.body) or exchange.request.method == "HEAD"
        if has_body and not response.allows(exchange.media_type):
            yield Departure("ENV057", " or ".join(response.media_types), exchange.media_type)
        elif exchange.body and not exempt and bodies.is_json_type(exchange):
            yield from _judge_body(exchange, response, contract.shape)


def find_response(operation: Operation, status: int, contract: Contract) -> Response | None:
    """Find what the document shows for a status, by that of the convention or by the one that it replaces."""
    response = operation.response_for(status)
    if status == 200 and not operation.is_exempt and contract.success_status != "keep":
        others = [each for key, each in operation.responses.items() if _is_other_success(key)]
        return next(iter(others), response) if "200" not in operation.responses else response
    if status == 400 and "400" not in operation.responses and "422" in operation.responses:
        return operation.responses["422"]
    return response


def _is_other_success(key: str) -> bool:
    return key.isdigit() and 201 <= int(key) <= 299 and int(key) not in PASSED


def _judge_body(exchange: Exchange, response: Response, shape: Shape) -> Iterator[Departure]:
    if response.json_schema.value is None:
        return
    value = bodies.read_json(exchange)
    mismatch = None
    if bodies.is_success(value, shape):
        mismatch = _explain(response, value)
        if mismatch and not response.shows_success:
            mismatch = _explain(response, value[shape.content])
    elif bodies.claims_failure(value, shape) and response.shows_failure:
        mismatch = _explain(response, value)
    if mismatch:
        yield Departure("ENV058", f"what the document shows for {response.key}", mismatch)


def _explain(response: Response, value: Any) -> str | None:
    return response.schemas.explain(response.json_schema, value)
