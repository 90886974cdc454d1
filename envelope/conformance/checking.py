"""The check: exercises every operation of a service and reports its departures from the convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from schemathesis.errors import SchemathesisError

from envelope.conformance.asking.generated import Inputs, Note, exercise
from envelope.conformance.asking.objects import ShownObjects
from envelope.conformance.asking.probes import PROBES_OF_AN_OPERATION, PROBES_OF_THE_SERVICE, Subject, probe
from envelope.conformance.asking.sending import Sender, TimeIsUpError, UnreachableError
from envelope.conformance.contracts.contract import Contract, Operation
from envelope.conformance.exchanges import Exchange, Fields
from envelope.conformance.judging import judge, judge_document
from envelope.conformance.ledger import Counted, Ledger
from envelope.conformance.targets.opening import Target, open_target

#: Is told how many steps are done, of how many, and what comes next.
Progress = Callable[[int, int, str], None]

#: The methods that change nothing (RFC 9110, 9.2.1).
_READS = frozenset({"GET", "HEAD", "OPTIONS"})

#: What makes objects comes before what needs them; what removes them comes at the end.
_ORDER = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH")

INTERRUPTED = "interrupted"

#: An operation that gives only these was not met: somebody stands before it, or it is not the time for it.
_SAYS_NOTHING = frozenset({401, 403, 423, 429, 503})


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a service is checked.

    Attributes:
        schema: File or URL of the OpenAPI document; None asks the service.
        exempt: Operations (``"GET /jwks"``) or paths (``"/hooks/*"``) whose output is sent as it is, beside those
            that the document names.
        headers: Sent with every request; their values stand in no report.
        writes: Whether operations are exercised that change something.
        burst: How many requests are sent to meet a declared rate limit; 0 for none.
        max_examples: Generated for each operation, valid input and again invalid.
        seed: Another one generates other input.
        timeout_s: For each response.
        max_time_s: For all requests together.
    """

    schema: str | None = None
    exempt: Sequence[str] = ()
    headers: Fields = ()
    writes: bool = False
    burst: int = 0
    max_examples: int = 50
    seed: int = 0
    timeout_s: float = 10
    max_time_s: float = 600


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a check.

    Attributes:
        target: As the user wrote it.
        title: Of the service, as its document says.
        version: The same.
        tested: Names of the operations that answered.
        left_out: What was not tested, or not to the end.
        stopped: Why the check ended early; ``INTERRUPTED`` by the user; None if it did not.
        requests_sent: Of all kinds.
        findings: By rule and operation.
    """

    target: str
    title: str
    version: str
    tested: tuple[str, ...]
    left_out: tuple[Note, ...]
    stopped: str | None
    requests_sent: int
    findings: tuple[Counted, ...]


def check(
    target: str,
    options: Options = Options(),
    progress: Progress = lambda *_: None,
) -> Report:
    """Check a service.

    Args:
        target: A URL, ``"module:app"`` or ``"module:factory"``.
        options: How.
        progress: Is told before each step.

    Raises:
        TargetError: There is nothing to check.
    """
    with open_target(
        target, schema=options.schema, headers=options.headers, timeout_s=options.timeout_s
    ) as opened:
        return _Check(opened, options, progress).run()


class _Check:
    def __init__(self, target: Target, options: Options, progress: Progress) -> None:
        self.target = target
        self.options = options
        self.progress = progress
        self.tested: list[str] = []
        self.left_out: list[Note] = []
        self.samples: dict[str, Exchange] = {}
        self.contract = Contract(target.document, exempt=options.exempt)
        self.ledger = Ledger(options.headers)
        self.objects = ShownObjects(self.contract.shape.content)
        self.inputs = _inputs(target, options)
        self.sender = Sender(
            target.base_url,
            headers=options.headers,
            timeout_s=options.timeout_s,
            max_time_s=options.max_time_s,
            witness=lambda exchange: self.ledger.add_all(judge(exchange, self.contract)),
        )

    def run(self) -> Report:
        self.ledger.add_all(judge_document(self.target.document, exempt=self.options.exempt))
        with closing(self.sender):
            stopped = self._run_until_stopped()
        return self._report(stopped)

    def _run_until_stopped(self) -> str | None:
        waiting = list(self._steps())
        steps = len(waiting) + 1
        try:
            while waiting:
                self.progress(steps - len(waiting) - 1, steps, waiting[0].name)
                self._test(waiting[0])
                waiting.pop(0)
            self.progress(steps - 1, steps, "the service as a whole")
            subject = Subject(
                contract=self.contract, sender=self.sender, burst=self.options.burst, samples=self.samples
            )
            self.left_out += probe(PROBES_OF_THE_SERVICE, subject, self.ledger)
        except KeyboardInterrupt:
            stopped = INTERRUPTED
        except TimeIsUpError:
            stopped = f"the {self.options.max_time_s:g} s of --max-time were over"
        except UnreachableError as error:
            stopped = str(error)
        else:
            self.progress(steps, steps, "")
            return None
        self.left_out += [Note(operation.name, "not tested to the end: " + stopped) for operation in waiting]
        return stopped

    def _steps(self) -> Iterator[Operation]:
        """Give the operations that may be exercised, and leave the others out."""
        for operation in sorted(self.contract.operations, key=_rank):
            if operation.is_exempt:
                self.left_out.append(Note(operation.name, "exempt: what it returns is not judged"))
            if self.options.writes or operation.method in _READS:
                yield operation
            else:
                self.left_out.append(Note(operation.name, "it may change something; allow it with --writes"))

    def _test(self, operation: Operation) -> None:
        if self.inputs is None:
            self.left_out.append(Note(operation.name, "no input could be generated: the document is not valid"))
            return
        outcome = exercise(
            operation,
            self.inputs,
            contract=self.contract,
            sender=self.sender,
            ledger=self.ledger,
            objects=self.objects,
        )
        if outcome.reason is not None:
            self.left_out.append(Note(operation.name, outcome.reason))
        if outcome.sample is not None:
            if outcome.sample.status not in _SAYS_NOTHING and not outcome.is_cut:
                self.tested.append(operation.name)
            self.samples[operation.name] = outcome.sample
            subject = Subject(
                contract=self.contract, sender=self.sender, samples=self.samples, operation=operation
            )
            self.left_out += probe(PROBES_OF_AN_OPERATION, subject, self.ledger)

    def _report(self, stopped: str | None) -> Report:
        info = self.target.document.get("info")
        about = info if isinstance(info, Mapping) else {}
        return Report(
            target=self.target.name,
            title=str(about.get("title", "")),
            version=str(about.get("version", "")),
            tested=tuple(self.tested),
            left_out=tuple(self.left_out),
            stopped=stopped,
            requests_sent=self.sender.sent,
            findings=self.ledger.findings,
        )


def _inputs(target: Target, options: Options) -> Inputs | None:
    try:
        return Inputs(target.document, target.base_url, max_examples=options.max_examples, seed=options.seed)
    except SchemathesisError:
        return None  # what is wrong with the document is among the findings


def _rank(operation: Operation) -> tuple[int, int, int]:
    parameters = operation.template.count("{")
    if operation.method == "DELETE":
        return 1, -parameters, 0
    # What is made in a collection is wanted at once; a workflow may leave its object busy, so it comes last.
    order = _ORDER if parameters == 0 else (*_ORDER[1:], _ORDER[0])
    return 0, parameters, order.index(operation.method) if operation.method in order else len(order)
