"""Judge the OpenAPI document: what it shows is what the convention puts on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from envelope.conformance.contracts.contract import Contract, Operation, Response
from envelope.conformance.findings import RULES, Finding
from envelope.conformance.judging.departures import Departure
from envelope.conformance.judging.structure import find_flaws
from envelope.conformance.judging.successes import PASSED
from envelope.wire.bodies import Shape

#: How many flaws of a document are told; a broken one has one behind every line.
_MOST_FLAWS = 20

#: The failures that an operation can have whatever it does, by what makes them possible.
_POSSIBLE: Mapping[int, Callable[[Operation], bool]] = {
    400: lambda operation: operation.has_parameters or operation.has_body,
    401: lambda operation: operation.is_secured,
    404: lambda operation: operation.has_path_parameters,
    500: lambda _: True,
}


def judge_document(
    document: Mapping[str, Any], *, exempt: Sequence[str] = (), shape: Shape | None = None
) -> list[Finding]:
    """Find the departures of an OpenAPI document (ENV050 to ENV055).

    Args:
        document: As it was read.
        exempt: As for ``Contract``.
        shape: As for ``Contract``.

    Returns:
        One finding for each operation and rule; for ENV050 one for each flaw, whose ``operation`` is the place
        in the document. ``exchange`` is None.
    """
    flaws = find_flaws(document)
    findings = [_find(Departure("ENV050", flaw.expected, flaw.came), flaw.place) for flaw in flaws[:_MOST_FLAWS]]
    contract = Contract(document, exempt=exempt, shape=shape)
    for operation in contract.operations:
        findings += judge_operation(operation, contract)
    return findings


def judge_operation(operation: Operation, contract: Contract) -> list[Finding]:
    """Find the departures of what a document says of one of its operations (ENV051 to ENV055)."""
    return [_find(departure, operation.name) for departure in _judge_operation(operation, contract)]


def _find(departure: Departure, place: str) -> Finding:
    return Finding(rule=RULES[departure.id], operation=place, expected=departure.expected, came=departure.came)


def _judge_operation(operation: Operation, contract: Contract) -> Iterator[Departure]:
    validation = [key for key, response in operation.responses.items() if _is_fastapi_validation(response)]
    if validation:
        yield Departure("ENV053", "400, as a failure of the convention", f"{_list(validation)} with detail")
    if operation.is_exempt:
        return
    yield from _judge_successes(operation, contract)
    yield from _judge_failures(operation, set(validation))


def _judge_successes(operation: Operation, contract: Contract) -> Iterator[Departure]:
    successes = {key: each for key, each in operation.responses.items() if _is_success(key)}
    bare = [key for key, each in successes.items() if _has_json(each) and not each.shows_success]
    if bare:
        keys = f"{contract.shape.status!r} and {contract.shape.content!r}"
        yield Departure("ENV051", f"a schema of {keys}", f"another schema for {_list(bare)}")
    others = [key for key, each in successes.items() if key.isdigit() and key != "200" and _is_ours(each)]
    if others and contract.success_status != "keep":
        yield Departure("ENV052", "200", _list(others))


def _judge_failures(operation: Operation, told: set[str]) -> Iterator[Departure]:
    missing = [
        str(status)
        for status, is_possible in _POSSIBLE.items()
        # FastAPI's 422 has been told; it is where the 400 belongs.
        if is_possible(operation) and not operation.declares(status) and not (status == 400 and told)
    ]
    if missing:
        yield Departure("ENV054", _list(missing), f"only {_list(list(operation.responses))}")
    others = [
        key
        for key, response in operation.responses.items()
        if _is_failure(key, operation) and key not in told and not _may_be_ours(response)
    ]
    if others:
        yield Departure("ENV055", "the convention's failure", f"another form for {_list(others)}")


def _is_success(key: str) -> bool:
    return key[:1] == "2" and key not in map(str, PASSED)


def _is_failure(key: str, operation: Operation) -> bool:
    """Tell whether a response is that of a failure; ``default`` is, where a success stands beside it."""
    return key[:1] in ("4", "5") or (key == "default" and any(each[:1] == "2" for each in operation.responses))


def _has_json(response: Response) -> bool:
    return response.json_content.value is not None


def _is_ours(response: Response) -> bool:
    """Tell whether a success is one that is sent as 200: JSON, or nothing."""
    return _has_json(response) or not response.media_types


def _may_be_ours(response: Response) -> bool:
    if not response.media_types:
        return True  # nothing is said of the body
    return _has_json(response) and response.shows_failure


def _is_fastapi_validation(response: Response) -> bool:
    """Tell whether a response is FastAPI's list of problems, by whatever name."""
    schema = response.schemas.resolve(response.json_schema)
    detail = response.schemas.resolve(schema.child("properties", "detail"))
    return response.key == "422" and detail.mapping().get("type") == "array"


def _list(keys: Sequence[str]) -> str:
    return ", ".join(keys) or "none"
