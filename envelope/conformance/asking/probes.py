"""Probes: requests that no document tells of, whose answers the convention fixes all the same.

Each is a row: what it asks, and what an answer must be. They change nothing on a service that keeps the
convention; those that could on another are only sent to operations that may be exercised.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from envelope.conformance.asking.flaws import is_json, json_schema, read_json, request_content
from envelope.conformance.asking.generated import Note, report_broken
from envelope.conformance.asking.sending import NoResponseError, Sender, is_limited
from envelope.conformance.contracts.contract import Contract, Operation
from envelope.conformance.contracts.schemas import Node
from envelope.conformance.exchanges import Exchange, Fields, Request
from envelope.conformance.ledger import Ledger

#: No service has it.
_UNKNOWN_PATH = "/envelope-check-knows-no-such-path"

_NO_JSON = b'{"'


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What probes are about.

    Attributes:
        contract: Of the service.
        sender: To the service.
        burst: How many requests may be sent to meet a rate limit; 0 for none.
        samples: A response to valid input for each operation that was exercised, by its name.
        operation: The one that is probed; None if it is the service as a whole.
    """

    contract: Contract
    sender: Sender
    burst: int = 0
    samples: Mapping[str, Exchange]
    operation: Operation | None = None


class Question(NamedTuple):
    """One thing to ask.

    Attributes:
        operation: What it is called in a report.
        requests: One answer that is right is enough.
        also: Statuses that are right here beside those of the probe.
    """

    operation: str
    requests: Sequence[Request]
    also: frozenset[int] = frozenset()


#: The answer that is wrong, and what is wrong with it; a text says why that cannot be known; None if all is well.
Verdict = tuple[Exchange, str] | str | None


class Probe(NamedTuple):
    """A row of the table.

    Attributes:
        rule_id: What a wrong answer is.
        expected: The right one, in words.
        ask: Gives the questions for a subject.
        look: Asks one and looks at the answer.
        follows: The rule of which this one is a case: where that is broken, it is not told again.
    """

    rule_id: str
    expected: str
    ask: Callable[[Subject], Iterator[Question]]
    look: Callable[[Question, Subject], Verdict]
    follows: str = ""


def probe(probes: Sequence[Probe], subject: Subject, ledger: Ledger) -> list[Note]:
    """Ask all questions of some probes.

    Returns:
        What could not be asked, and why.

    Raises:
        UnreachableError, TimeIsUpError: As ``Sender.send`` does.
    """
    notes = []
    for each in probes:
        for question in each.ask(subject):
            if ledger.has(each.follows, question.operation):
                continue
            try:
                verdict = each.look(question, subject)
            except NoResponseError as error:
                report_broken(error, question.operation, ledger)
                continue
            if verdict is None:
                continue
            if not isinstance(verdict, str) and is_limited(verdict[0]):
                verdict = str(verdict[0].status)
            if isinstance(verdict, str):
                notes.append(Note(question.operation, f"{each.rule_id} not tested because of {verdict}"))
                continue
            exchange, came = verdict
            ledger.found(each.rule_id, question.operation, expected=each.expected, came=came, exchange=exchange)
    return notes


# What is asked


def _unknown_path(subject: Subject) -> Iterator[Question]:
    if subject.contract.operation_for("GET", _UNKNOWN_PATH) is None:
        yield Question(f"GET {_UNKNOWN_PATH}", [subject.sender.request("GET", _UNKNOWN_PATH)])


def _wrong_methods(subject: Subject) -> Iterator[Question]:
    contract = subject.contract
    for template in dict.fromkeys(each.template for each in contract.operations if not each.is_exempt):
        of_template = [each for each in contract.operations if each.template == template]
        samples = [subject.samples[each.name] for each in of_template if each.name in subject.samples]
        path = samples[0].request.path if samples else _filled(of_template[0])
        # Both are safe (RFC 9110, 9.2.1; RFC 4918, 9.1). Two, because a route may serve GET without being shown.
        methods = [each for each in ("GET", "PROPFIND") if contract.operation_for(each, path) is None]
        requests = [subject.sender.request(method, path) for method in methods]
        # An id that was made up may have a form that no route takes.
        also = frozenset() if samples or path == template else frozenset({404})
        yield Question(f"{methods[0]} {template}", requests, also)


def _filled(operation: Operation) -> str:
    """Put something in the place of each parameter of a path."""
    kinds = {each.get("name"): each.get("schema") for each in operation.parameters if each.get("in") == "path"}

    def fill(match: re.Match[str]) -> str:
        schema = kinds.get(match[1])
        is_uuid = isinstance(schema, Mapping) and schema.get("format") == "uuid"
        return "00000000-0000-4000-8000-000000000000" if is_uuid else "1"

    return re.sub(r"\{([^{}]+)\}", fill, operation.template)


def _malformed(subject: Subject) -> Iterator[Question]:
    for sample in _json_samples(subject):
        yield _question(subject, replace(sample.request, body=_NO_JSON))


def _nan(subject: Subject) -> Iterator[Question]:
    for sample in _json_samples(subject):
        assert subject.operation is not None
        schema = json_schema(subject.operation, subject.contract.schemas)
        body = _with_nan(read_json(sample.request.body or b""), schema, subject.contract)
        yield _question(subject, replace(sample.request, body=json.dumps(body).encode()))


def _with_nan(body: Any, schema: Node, contract: Contract) -> Any:
    """Put NaN where numbers may be, so that only the JSON is wrong; else where something is, or alone.

    Not where the document knows nothing: what is not read may be parsed as it likes.
    """
    if isinstance(body, list):
        return [math.nan]
    properties = schema.child("properties").children()
    if not (isinstance(body, dict) and properties):
        return math.nan
    numbers = [name for name, node in properties if contract.schemas.admits(node, 1)]
    return {**body, **dict.fromkeys(numbers or [properties[0][0]], math.nan)}


def _wrong_content_type(subject: Subject) -> Iterator[Question]:
    for sample in _json_samples(subject):
        headers = (*_without(sample.request.headers, "content-type"), ("Content-Type", "text/plain"))
        yield _question(subject, replace(sample.request, headers=headers))


def _json_samples(subject: Subject) -> Iterator[Exchange]:
    """Give the sample, if its operation reads JSON and nothing else."""
    operation = subject.operation
    assert operation is not None
    content = request_content(operation, subject.contract.schemas).mapping()
    if content and all(map(is_json, content)):
        yield subject.samples[operation.name]


def _anonymous(subject: Subject) -> Iterator[Question]:
    if subject.operation is not None and subject.operation.is_secured:
        yield _question(subject, subject.samples[subject.operation.name].request)


def _head(subject: Subject) -> Iterator[Question]:
    if subject.operation is not None and subject.operation.method == "GET":
        request = subject.samples[subject.operation.name].request
        # Compression is a matter of the body, which one of the two does not have.
        headers = (*_without(request.headers, "accept-encoding"), ("Accept-Encoding", "identity"))
        yield _question(subject, replace(request, method="HEAD", headers=headers))


def _limited(subject: Subject) -> Iterator[Question]:
    for operation in subject.contract.operations if subject.burst else ():
        is_read = operation.method in ("GET", "HEAD", "OPTIONS")
        if is_read and "429" in operation.responses and operation.name in subject.samples:
            yield Question(operation.name, [subject.samples[operation.name].request])


def _question(subject: Subject, request: Request) -> Question:
    assert subject.operation is not None
    return Question(subject.operation.name, [request])


def _without(fields: Fields, name: str) -> Fields:
    return tuple(field for field in fields if field[0].lower() != name)


# How an answer is looked at


def _is_one_of(
    statuses: frozenset[int], *, with_credentials: bool = True
) -> Callable[[Question, Subject], Verdict]:
    def look(question: Question, subject: Subject) -> Verdict:
        verdict = None
        for request in question.requests:
            exchange = subject.sender.send(request, with_credentials=with_credentials)
            if exchange.status in statuses | question.also and not is_limited(exchange):
                return None
            verdict = verdict or (exchange, str(exchange.status))
        return verdict

    return look


def _is_refused(question: Question, subject: Subject) -> Verdict:
    exchange = subject.sender.send(question.requests[0])
    # A conflict that valid input did not meet was found in what was read.
    is_read = exchange.status == 409 and subject.samples[question.operation].status < 300
    is_refused = 400 <= exchange.status < 500 and not is_limited(exchange) and not is_read
    return None if is_refused else (exchange, str(exchange.status))


def _is_like_get(question: Question, subject: Subject) -> Verdict:
    """Compare with a GET before and one after: what differs between those two is not HEAD's fault."""
    request = question.requests[0]
    before = subject.sender.send(replace(request, method="GET"))
    head = subject.sender.send(request)
    after = subject.sender.send(replace(request, method="GET"))
    limited = next(filter(is_limited, (before, head, after)), None)
    if limited is not None:
        return limited, str(limited.status)
    if head.status == 405 or before.status != after.status:
        return None
    if head.status != before.status:
        return head, f"{head.status}, but GET {before.status}"
    for name in ("content-type", "content-length"):
        values = {before.header(name), after.header(name)}
        value = head.header(name)
        if len(values) == 1 and value not in values | ({None} if name == "content-length" else set()):
            return head, f"{name}: {value}, but GET has {before.header(name)}"
    return None


def _meets_limit(question: Question, subject: Subject) -> Verdict:
    first, last = subject.sender.burst(question.requests[0], subject.burst)
    if last.status == 429:
        return None
    if _has_left(last) and (_left(last) != _left(first) or subject.burst == 1):
        return f"a limit above {subject.burst} requests; allow more with --burst"
    return last, f"{subject.burst} requests and no 429"


def _has_left(exchange: Exchange) -> bool:
    """Tell whether a response says that requests are left (draft-ietf-httpapi-ratelimit-headers, 4)."""
    return re.fullmatch(r"0*[1-9][0-9]*|.*;\s*r=0*[1-9].*", _left(exchange)) is not None


def _left(exchange: Exchange) -> str:
    return (exchange.header("x-ratelimit-remaining") or exchange.header("ratelimit") or "").strip()


#: Somebody who stands before the router may answer first.
_BEFORE_ROUTER = frozenset({401})

#: What may be found out before the body is read.
_BEFORE_PARSING = frozenset({401, 403, 404, 413})

PROBES_OF_AN_OPERATION = (
    Probe("ENV032", "400 for a body that is no JSON", _malformed, _is_one_of(_BEFORE_PARSING | {400})),
    Probe("ENV033", "400: NaN is no JSON (RFC 8259, 6)", _nan, _is_refused, "ENV032"),
    Probe("ENV036", "a failure for JSON that is sent as text/plain", _wrong_content_type, _is_refused),
    Probe("ENV037", "401 without credentials", _anonymous, _is_one_of(frozenset({401}), with_credentials=False)),
    Probe("ENV039", "405 with Allow, or the head of GET's response", _head, _is_like_get),
)

PROBES_OF_THE_SERVICE = (
    Probe("ENV034", "404 for a path that does not exist", _unknown_path, _is_one_of(_BEFORE_ROUTER | {404})),
    Probe("ENV035", "405 with Allow for another method", _wrong_methods, _is_one_of(_BEFORE_ROUTER | {405})),
    Probe("ENV040", "429 above the limit that the document declares", _limited, _meets_limit),
)
