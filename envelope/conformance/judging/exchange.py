"""Judge one exchange: all that a response shows by itself."""

from __future__ import annotations

from collections.abc import Iterator

from envelope.conformance.contracts.contract import Contract, Operation
from envelope.conformance.exchanges import Exchange
from envelope.conformance.findings import RULES, Finding
from envelope.conformance.judging import bodies
from envelope.conformance.judging.departures import Departure
from envelope.conformance.judging.failures import is_page, judge_failure
from envelope.conformance.judging.fields import judge_fields
from envelope.conformance.judging.promises import find_response, judge_promises
from envelope.conformance.judging.successes import judge_success

#: Methods whose responses are not the service's (RFC 9110, 9.3.6 and 9.3.8).
_OF_THE_LINE = frozenset({"CONNECT", "TRACE"})


def judge(exchange: Exchange, contract: Contract) -> list[Finding]:
    """Find the departures that a response shows by itself (ENV001 to ENV022, ENV056 to ENV058).

    Returns:
        One finding for each departure; what follows from a departure is not told again.
    """
    request = exchange.request
    operation = contract.operation_for(request.method, request.path)
    name = contract.name_of(request.method, request.path)
    return [
        Finding(
            rule=RULES[departure.id],
            operation=name,
            expected=departure.expected,
            came=departure.came,
            exchange=exchange,
        )
        for departure in _find_departures(exchange, contract, operation)
    ]


def _find_departures(exchange: Exchange, contract: Contract, operation: Operation | None) -> list[Departure]:
    if exchange.request.method in _OF_THE_LINE or exchange.status < 200 or _is_refused_preflight(exchange):
        return []
    exempt = _is_exempt(exchange, contract)
    departures: list[Departure] = []
    if not exempt or _claims_failure(exchange, contract):
        departures = [*_judge_form(exchange, contract, operation), *judge_fields(exchange)]
    is_judged = exchange.status < 300 or (exchange.status >= 400 and not is_page(exchange))
    if operation is not None and is_judged:
        told = {departure.id for departure in departures}
        departures += judge_promises(exchange, contract, operation, told, exempt=exempt)
    return departures


def _judge_form(exchange: Exchange, contract: Contract, operation: Operation | None) -> Iterator[Departure]:
    if exchange.status < 300:
        response = operation and find_response(operation, exchange.status, contract)
        yield from judge_success(exchange, contract, response.media_types if response else ())
    elif exchange.status >= 400:
        yield from judge_failure(exchange, contract.shape)


def _is_exempt(exchange: Exchange, contract: Contract) -> bool:
    request = exchange.request
    return contract.is_exempt(request.method, request.path) or (
        bodies.is_json_type(exchange)
        and b'"openapi"' in exchange.body
        and bodies.is_openapi(bodies.read_json(exchange))
    )


def _claims_failure(exchange: Exchange, contract: Contract) -> bool:
    return exchange.status >= 400 and bodies.claims_failure(bodies.peek_json(exchange), contract.shape)


def _is_refused_preflight(exchange: Exchange) -> bool:
    """Tell whether a browser asked for CORS headers; it reads nothing else of the answer (Fetch, 4.8)."""
    names = {name.lower() for name, _ in exchange.request.headers}
    return exchange.request.method == "OPTIONS" and "access-control-request-method" in names
