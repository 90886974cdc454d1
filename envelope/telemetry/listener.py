"""The listener that records what it hears with the API of OpenTelemetry.

The names follow its semantic conventions: a dot for each level, units beside the name, seconds as floats.
Attributes are few and bounded: statuses, error codes, limits, operations, outcomes. Nothing that tells clients or
objects apart is one.

Source:
    OpenTelemetry specification, "Metrics API"; semantic conventions, "Metrics semantic conventions".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
from opentelemetry.trace import INVALID_SPAN, Span, get_current_span
from opentelemetry.util.types import AttributeValue

from envelope.locks.storages.redis.heart import count_offers
from envelope.signals import Answer, Decision, HandOff, LeaseEnd, LockOutcome, LossCause
from envelope.telemetry.blocked import BlockedObjects, Return

#: Of an answer of a storage on the same network, up to the longest deadline.
_ANSWERS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)

#: Of work that an object is locked for, up to the usual ``max_hold_s``.
_HOLDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

#: Of what is left of a quota.
_SHARES = (0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)

#: The span of the request that is at work: the server's, if the server or framework is instrumented.
_request_span: ContextVar[Span] = ContextVar("envelope.telemetry", default=INVALID_SPAN)


class OpenTelemetryListener:
    """Records metrics, and attributes of the span that the request has.

    Args:
        meter_provider: Where the metrics go; None means the global one.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        self.meter_provider = meter_provider
        meter = get_meter("envelope", version("asgi-envelope"), meter_provider)
        self._failures = meter.create_counter(
            "envelope.failures", "{failure}", "Failures sent, by status and error code"
        )
        self._decisions = meter.create_counter(
            "envelope.rate_limit.decisions", "{decision}", "Decisions of each rate limit, by outcome"
        )
        self._remaining = meter.create_histogram(
            "envelope.rate_limit.remaining",
            "1",
            "What is left of a client's quota after a decision, from 0 to 1",
            explicit_bucket_boundaries_advisory=_SHARES,
        )
        self._acquisitions = meter.create_histogram(
            "envelope.lock.acquire.duration",
            "s",
            "How long an attempt to take objects takes, by outcome",
            explicit_bucket_boundaries_advisory=_ANSWERS_S,
        )
        self._holds = meter.create_histogram(
            "envelope.lock.hold.duration",
            "s",
            "How long objects are held",
            explicit_bucket_boundaries_advisory=_HOLDS_S,
        )
        self._blocks = meter.create_histogram(
            "envelope.lock.blocked.duration",
            "s",
            "From the first refusal of an object until somebody has it",
            explicit_bucket_boundaries_advisory=_HOLDS_S,
        )
        self._losses = meter.create_counter("envelope.lock.lost", "{lease}", "Leases lost, by cause")
        self._hand_offs = meter.create_counter("envelope.lock.hand_offs", "{token}", "What became of tokens")
        meter.create_observable_up_down_counter(
            "envelope.lock.hand_offs.pending",
            [lambda _: [Observation(count_offers())]],
            "{token}",
            "Tokens of this process that wait to be claimed",
        )
        self._promises = meter.create_counter(
            "envelope.lock.retry_after", "{promise}", "Whether an object was free when Retry-After had said so"
        )
        self._answers = meter.create_histogram(
            "envelope.storage.duration",
            "s",
            "How long a storage takes to answer",
            explicit_bucket_boundaries_advisory=_ANSWERS_S,
        )
        meter.create_observable_gauge(
            "envelope.storage.breaker.open",
            [self._observe_breakers],
            "{guard}",
            "Guards of this process that do not ask a storage, because it does not answer",
        )
        #: Several guards of a kind may share a storage.
        self._open: dict[tuple[str, str], int] = {}
        self._blocked = BlockedObjects()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Stand around a request: the span that is current now is its own."""
        before = _request_span.set(get_current_span())
        try:
            yield
        finally:
            _request_span.reset(before)

    def failure(self, status: int, error_code: str | None) -> None:
        """Count a failure that is sent."""
        attributes: dict[str, AttributeValue] = {"http.response.status_code": status}
        if error_code is not None:
            attributes["envelope.error_code"] = error_code
            _annotate({"envelope.error_code": error_code})
        self._failures.add(1, attributes)

    def decision(self, policy: str, outcome: Decision, *, share_left: float | None, is_local: bool) -> None:
        """Count a decision of a rate limit."""
        attributes: dict[str, AttributeValue] = {
            "envelope.rate_limit.policy": policy,
            "envelope.rate_limit.outcome": outcome,
            "envelope.rate_limit.local": is_local,
        }
        self._decisions.add(1, attributes)
        if share_left is not None:
            self._remaining.record(share_left, {"envelope.rate_limit.policy": policy})
        if outcome != "admitted":
            _annotate(attributes)

    def lock(self, operation: str, keys: Sequence[str], outcome: LockOutcome, seconds: float) -> None:
        """Record how an attempt to take objects ended."""
        attributes: dict[str, AttributeValue] = {
            "envelope.lock.operation": operation,
            "envelope.lock.outcome": outcome,
        }
        self._acquisitions.record(seconds, attributes)
        _annotate({**attributes, "envelope.lock.acquire.duration": seconds})
        for key in keys if outcome == "granted" else ():
            came_back = self._blocked.grant(key)
            if came_back is not None:
                self._blocks.record(came_back.blocked_s, {"envelope.lock.operation": operation})
                self._count_promise(came_back)

    def refusal(self, key: str, held_for: str, *, age_s: float, retry_after_s: int) -> None:
        """Note which operation somebody was refused for."""
        _annotate({"envelope.lock.held_for": held_for})
        came_back = self._blocked.refuse(key, held_for, age_s, retry_after_s)
        if came_back is not None:
            self._count_promise(came_back)

    def lease_end(self, operation: str, end: LeaseEnd, seconds: float) -> None:
        """Record how long objects were held."""
        self._holds.record(seconds, {"envelope.lock.operation": operation, "envelope.lock.end": end})

    def loss(self, operation: str, cause: LossCause) -> None:
        """Count a lease that was lost."""
        attributes = {"envelope.lock.operation": operation, "envelope.lock.cause": cause}
        self._losses.add(1, attributes)
        _annotate(attributes)

    def hand_off(self, outcome: HandOff) -> None:
        """Count what became of a token."""
        self._hand_offs.add(1, {"envelope.lock.outcome": outcome})

    def storage(self, guard: str, name: str, answer: Answer, seconds: float) -> None:
        """Record how long a storage took."""
        self._answers.record(
            seconds, {"envelope.guard": guard, "envelope.storage": name, "envelope.storage.outcome": answer}
        )
        if answer == "answered" and (guard, name) not in self._open:
            self._open[guard, name] = 0

    def breaker(self, guard: str, name: str, *, is_open: bool) -> None:
        """Record whether a storage is asked."""
        # Never below 0: it may have opened before anybody listened.
        self._open[guard, name] = max(0, self._open.get((guard, name), 0) + (1 if is_open else -1))

    def _observe_breakers(self, _: CallbackOptions) -> list[Observation]:
        return [
            Observation(number, {"envelope.guard": guard, "envelope.storage": name})
            for (guard, name), number in list(self._open.items())
        ]

    def _count_promise(self, came_back: Return) -> None:
        # By the operation that had the object: its holds are what was estimated.
        if came_back.promise is not None:
            self._promises.add(
                1,
                {
                    "envelope.lock.held_for": came_back.held_for,
                    "envelope.lock.retry_after.outcome": came_back.promise,
                },
            )


def _annotate(attributes: Mapping[str, AttributeValue]) -> None:
    """Set attributes of the request's span; outside of requests, of the span that is current."""
    span = _request_span.get()
    if span is INVALID_SPAN:
        span = get_current_span()
    if span.is_recording():
        span.set_attributes(attributes)
