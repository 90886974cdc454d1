"""What the listener exports: its instruments as the SDK sees them, and their names in Prometheus."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple, get_args

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, Histogram, InMemoryMetricReader, Metric, Sum

from envelope.signals import Answer, Decision, HandOff, LeaseEnd, LockOutcome, LossCause
from envelope.telemetry.blocked import Promise, Return
from envelope.telemetry.listener import OpenTelemetryListener


class Exported(NamedTuple):
    """A metric.

    Attributes:
        kind: ``"counter"``, ``"up-down counter"``, ``"gauge"`` or ``"histogram"``.
        values: Of its attributes that are one of few words, by the attribute; of the others nothing.
    """

    kind: str
    unit: str
    values: dict[str, set[Any]]


def exported() -> dict[str, Exported]:
    """Tell a listener everything that can be told, and give what it records, by name."""
    reader = InMemoryMetricReader()
    tell_everything(OpenTelemetryListener(MeterProvider([reader])))
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [metric for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics]
    return {metric.name: Exported(_kind(metric), metric.unit or "", _values(metric)) for metric in metrics}


def tell_everything(listener: OpenTelemetryListener) -> None:
    """Call each method with each word that it knows."""
    listener.failure(400, "invalid_input")
    for decision in get_args(Decision):
        listener.decision("20/second", decision, share_left=0.5, is_local=decision == "shadow")
    for outcome in get_args(LockOutcome):
        listener.refusal("entity:1", "update", age_s=1, retry_after_s=1)
        listener.lock("update", ["entity:1"], outcome, 0.001)
    for end in get_args(LeaseEnd):
        listener.lease_end("update", end, 0.1)
    for cause in get_args(LossCause):
        listener.loss("update", cause)
    for promise in get_args(Promise):
        listener._count_promise(Return(1, promise, "update"))
    for token in get_args(HandOff):
        listener.hand_off(token)
    for answer in get_args(Answer):
        listener.storage("rate_limit", "redis://localhost:6379", answer, 0.001)
    listener.breaker("rate_limit", "redis://localhost:6379", is_open=True)


def prometheus_names() -> dict[str, frozenset[str]]:
    """Give the labels of each metric, by the name that Python's exporter gives it in Prometheus.

    Source:
        OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
    """
    found: dict[str, frozenset[str]] = {}
    for name, (kind, unit, values) in exported().items():
        base = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
        labels = frozenset(attribute.replace(".", "_") for attribute in values)
        if kind == "histogram":
            found |= {f"{base}_bucket": labels | {"le"}, f"{base}_count": labels, f"{base}_sum": labels}
        else:
            found[base + ("_total" if kind == "counter" else "")] = labels
    return found


def _kind(metric: Metric) -> str:
    if isinstance(metric.data, Sum):
        return "counter" if metric.data.is_monotonic else "up-down counter"
    return {Gauge: "gauge", Histogram: "histogram"}[type(metric.data)]


def _values(metric: Metric) -> dict[str, set[Any]]:
    values: dict[str, set[Any]] = defaultdict(set)
    for point in metric.data.data_points:
        for attribute, value in (point.attributes or {}).items():
            values[attribute].add(value)
    return dict(values)
