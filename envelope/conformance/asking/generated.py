"""Exercises an operation with input that schemathesis generates from the document, valid and invalid.

Beside it stands input of our own (``flaws``), because only that is held against a service that accepts it.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import hypothesis
import requests
import schemathesis
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import Unsatisfiable
from schemathesis.errors import SchemathesisError

from envelope.conformance.asking.edges import edges
from envelope.conformance.asking.flaws import Trial, flawed, read_json
from envelope.conformance.asking.objects import ShownObjects
from envelope.conformance.asking.sending import NoResponseError, Sender, is_field_value
from envelope.conformance.contracts.contract import Contract, Operation
from envelope.conformance.exchanges import Exchange, Request
from envelope.conformance.ledger import Ledger

#: Input for each object that is known already.
_EXAMPLES_AN_OBJECT = 5

#: An operation that leaves so many requests without a response is left alone: each lasts as long as the time-out.
_MOST_BROKEN = 2

#: Failures that may come before the input is looked at (RFC 9110, 15.5; RFC 6585).
_BEFORE_VALIDATION = frozenset({*range(401, 409), 410, 411, 413, 414, 415, 417, 421, 423, 426, 428, 429, 431, 451})

#: Failures that may come after, if the service takes for valid what the document does not.
_AFTER_VALIDATION = frozenset({409, 412, 424, 425})


class Note(NamedTuple):
    """What was not tested, or not to the end.

    Attributes:
        operation: Its name.
        reason: Why.
    """

    operation: str
    reason: str


class Outcome(NamedTuple):
    """What became of an operation.

    Attributes:
        sample: A response to valid input, the first success if there was one; None if nothing was answered.
        reason: Why it could not be tested, or not to the end; None if there is nothing to say.
        is_cut: It was not tested to the end.
    """

    sample: Exchange | None
    reason: str | None
    is_cut: bool = False


class Inputs:
    """Generates input for the operations of one document; the same for the same seed.

    Args:
        document: The OpenAPI document.
        base_url: Where its operations are.
        max_examples: For each operation, valid and again invalid.
        seed: Another one generates other input.

    Raises:
        SchemathesisError: The document cannot be read.
    """

    def __init__(
        self, document: Mapping[str, Any], base_url: str, *, max_examples: int = 50, seed: int = 0
    ) -> None:
        # A configuration of its own: no schemathesis.toml of the working directory is found.
        self._schema = schemathesis.openapi.from_dict(copy.deepcopy(dict(document)), config=schemathesis.Config())
        self._schema.config.generation.update(with_security_parameters=False)
        self._base_url = base_url
        self._max_examples = max_examples
        self._seed = seed

    def valid(
        self, operation: Operation, known: Iterable[dict[str, Any]] = ()
    ) -> Iterator[requests.PreparedRequest]:
        """Generate valid input: the document's examples, then some for each known object, then all kinds.

        Raises:
            NoInputError: There is none.
        """
        with _generating():
            generated = self._schema[operation.template][operation.method]
            strategies = [(each, 1) for each in generated.get_strategies_from_examples()]
            strategies += [(generated.as_strategy(path_parameters=each), _EXAMPLES_AN_OBJECT) for each in known]
            strategies.append((generated.as_strategy(), self._max_examples))
        for strategy, most in strategies:
            yield from self._draw(strategy, most)

    def invalid(self, operation: Operation) -> Iterator[requests.PreparedRequest]:
        """Generate input that the document does not allow.

        Raises:
            NoInputError: There is none.
        """
        mode = schemathesis.GenerationMode.NEGATIVE
        with _generating():
            strategy = self._schema[operation.template][operation.method].as_strategy(generation_mode=mode)
        yield from self._draw(strategy, self._max_examples)

    def _draw(self, strategy: Any, most: int) -> Iterator[requests.PreparedRequest]:
        cases: list[schemathesis.Case[Any]] = []

        @hypothesis.seed(self._seed)
        @hypothesis.settings(
            max_examples=most,
            database=None,
            deadline=None,
            phases=(hypothesis.Phase.generate,),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        @hypothesis.given(strategy)
        def collect(case: schemathesis.Case[Any]) -> None:
            cases.append(case)

        with _generating(), _nothing_left_behind():
            collect()
        # Sent later: what hypothesis calls must not fail, wait or be interrupted.
        for case in cases:
            prepared = _prepared(case, self._base_url)
            if prepared is not None:
                yield prepared


class NoInputError(Exception):
    """Nothing can be generated for an operation.

    Args:
        error: Of the libraries.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        #: There is no such input, as where any is valid.
        self.is_none = isinstance(error, Unsatisfiable)


@contextmanager
def _generating() -> Iterator[None]:
    """Say in one way what fails in the libraries: on a document that is not valid, they raise anything."""
    try:
        yield
    except Exception as error:
        raise NoInputError(error) from error


@contextmanager
def _nothing_left_behind() -> Iterator[None]:
    """Keep hypothesis from making a folder where the user works."""
    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)


def _prepared(case: schemathesis.Case[Any], base_url: str) -> requests.PreparedRequest | None:
    try:
        prepared = requests.Request(**case.as_transport_kwargs(base_url=base_url)).prepare()
    except (requests.RequestException, SchemathesisError, ValueError, TypeError):
        return None  # HTTP cannot carry every value that a schema allows
    return prepared if all(map(is_field_value, prepared.headers.values())) else None


def exercise(
    operation: Operation,
    inputs: Inputs,
    *,
    contract: Contract,
    sender: Sender,
    ledger: Ledger,
    objects: ShownObjects,
) -> Outcome:
    """Send an operation all kinds of input, and hold what comes against the convention.

    Raises:
        UnreachableError, TimeIsUpError: As ``Sender.send`` does.
    """
    course = _Course(operation, contract, ledger, objects)
    known = objects.parameters_for(operation.template, oldest=operation.method == "DELETE")
    try:
        valid = inputs.valid(operation, known)
        _run(course, sender, (Trial(sender.from_prepared(each), "valid") for each in valid))
    except NoInputError as error:
        return Outcome(course.sample, f"no input could be generated ({error})")
    if course.sample is not None and not course.is_over:
        _run(course, sender, edges(course.sample.request, operation, contract))
    if course.sample is not None and not course.is_over:
        _run(course, sender, flawed(course.sample.request, operation, contract))
    if (operation.has_parameters or operation.has_body) and not course.is_over:
        try:
            invalid = inputs.invalid(operation)
            _run(course, sender, (Trial(sender.from_prepared(each), "invalid") for each in invalid))
        except NoInputError as error:
            reason = None if error.is_none else f"no invalid input could be generated ({error})"
            return Outcome(course.sample, course.reason or reason)
    return Outcome(course.sample, course.reason, course.is_over)


def _run(course: _Course, sender: Sender, trials: Iterable[Trial]) -> None:
    for trial in trials:
        if not course.is_new(trial.request):
            continue
        try:
            course.answered(trial, sender.send(trial.request))
        except NoResponseError as error:
            course.broken(error)
        if course.is_over:
            return


class _Course:
    """What an operation has shown so far."""

    def __init__(self, operation: Operation, contract: Contract, ledger: Ledger, objects: ShownObjects) -> None:
        self.sample: Exchange | None = None
        self.is_over = False
        self._operation = operation
        self._contract = contract
        self._ledger = ledger
        self._objects = objects
        self._statuses: set[int] = set()
        self._sent: set[Request] = set()
        self._broken = 0

    def is_new(self, request: Request) -> bool:
        """Take up a request; false if it was sent before."""
        size = len(self._sent)
        self._sent.add(request)
        return len(self._sent) > size

    def answered(self, trial: Trial, exchange: Exchange) -> None:
        status = exchange.status
        self._statuses.add(status)
        self.is_over = status == 429
        if trial.kind == "valid":
            self._keep(exchange)
        if not self._operation.is_exempt:
            for departure in _DEPARTURES:
                came = departure.came(trial, exchange, self._contract)
                if came is not None:
                    self._ledger.found(
                        departure.rule_id,
                        self._operation.name,
                        expected=departure.expected,
                        came=came,
                        exchange=exchange,
                    )

    def broken(self, error: NoResponseError) -> None:
        self._broken += 1
        self.is_over = self._broken >= _MOST_BROKEN
        report_broken(error, self._operation.name, self._ledger)

    @property
    def reason(self) -> str | None:
        """Say what was not seen, and why."""
        if self.is_over:
            reason = "429" if self._broken < _MOST_BROKEN else "requests without a complete response"
            return f"not tested to the end because of {reason}"
        came = self._statuses
        if any(200 <= status < 300 for status in came):
            return None
        for statuses, note in _NOTES:
            if came and came <= statuses:
                return note
        return f"no success came, only {', '.join(map(str, sorted(came)))}" if came else "no response came"

    def _keep(self, exchange: Exchange) -> None:
        is_success = 200 <= exchange.status < 300
        had_success = self.sample is not None and 200 <= self.sample.status < 300
        if self.sample is None or (is_success and not had_success):
            self.sample = exchange
        if is_success:
            body = read_json(exchange.body)
            self._objects.add(exchange.request.path, body)


_NOTES = (
    (frozenset({401, 403}), "only 401 and 403 came; give credentials with --header"),
    (frozenset({423}), "only 423 came: its objects were busy"),
)


def report_broken(error: NoResponseError, operation: str, ledger: Ledger) -> None:
    """Count a request that has no complete response."""
    ledger.found(
        "ENV041",
        operation,
        expected="a complete response",
        came=error.reason,
        exchange=Exchange(error.request, 0, (), b""),
    )


# What is wrong with an answer


class _Departure(NamedTuple):
    rule_id: str
    expected: str
    came: Callable[[Trial, Exchange, Contract], str | None]


def _refused_otherwise(trial: Trial, exchange: Exchange, contract: Contract) -> str | None:
    status = exchange.status
    if trial.kind == "valid":
        return None
    if trial.kind == "flawed":
        is_wrong = 400 < status < 500 and status not in _BEFORE_VALIDATION
        is_accepted = 200 <= status < 300 and not _is_failure(exchange, contract)
        return f"{status}, although {trial.flaw}" if is_wrong or is_accepted else None
    is_wrong = 400 < status < 500 and status not in _BEFORE_VALIDATION | _AFTER_VALIDATION
    return str(status) if is_wrong else None


def _refused_without_problems(trial: Trial, exchange: Exchange, contract: Contract) -> str | None:
    if trial.kind != "flawed" or exchange.status != 400:
        return None
    body, key = read_json(exchange.body), contract.shape.message
    if not (isinstance(body, Mapping) and key in body):
        return None  # that is told already: it is no failure of the convention
    message = body[key]
    if not isinstance(message, Mapping):
        return f"the message is {_kind(message)}, although {trial.flaw}"
    missing = [
        name for name, kind in (("error_code", str), ("message", list)) if not isinstance(message.get(name), kind)
    ]
    return f"the message has no {' and no '.join(missing)}" if missing else None


def _failed(trial: Trial, exchange: Exchange, contract: Contract) -> str | None:  # noqa: ARG001 - one signature
    # 503 is not the input's fault; whether it says when to come back is judged elsewhere.
    return str(exchange.status) if exchange.status >= 500 and exchange.status != 503 else None


_DEPARTURES = (
    _Departure("ENV030", "400, as for every invalid input", _refused_otherwise),
    _Departure(
        "ENV031",
        'a message like {"error_code": "invalid_input", "message": ["..."]}',
        _refused_without_problems,
    ),
    _Departure("ENV038", "a success, or a failure that says what is wrong with the request", _failed),
)


def _is_failure(exchange: Exchange, contract: Contract) -> bool:
    body = read_json(exchange.body)
    return isinstance(body, Mapping) and body.get(contract.shape.status) == contract.shape.failure


def _kind(value: Any) -> str:
    return "a text" if isinstance(value, str) else f"a JSON {type(value).__name__}"
