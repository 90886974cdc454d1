"""The page about telemetry says what the listener records."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import get_args

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from envelope.signals import Answer, Decision, HandOff, LeaseEnd, LockOutcome, LossCause
from envelope.telemetry.blocked import Promise
from envelope.telemetry.listener import OpenTelemetryListener
from tests.dashboard.exported import exported, prometheus_names, tell_everything

PAGE = Path(__file__).parents[2] / "docs/reference/telemetry.md"


def table(*heads: str) -> list[list[str]]:
    """Give the rows of the table with this head."""
    lines = PAGE.read_text().splitlines()
    begin = lines.index(f"| {' | '.join(heads)} |")
    rows = takewhile(lambda line: line.startswith("|"), lines[begin + 2 :])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_metric_has_a_row():
    """Name, kind, unit and attributes are those that the SDK sees."""
    rows = {
        words(name)[0]: (kind, words(unit)[0], set(words(attributes)))
        for name, kind, unit, attributes in table("metric", "kind", "unit", "attributes")
    }

    assert rows == {name: (kind, unit, set(values)) for name, (kind, unit, values) in exported().items()}


def test_every_metric_is_explained():
    """The second table has the same metrics in the same order."""
    first = [row[0] for row in table("metric", "kind", "unit", "attributes")]

    assert [row[0] for row in table("metric", "what it tells", "alert when")] == first


def test_every_attribute_has_a_row():
    """Those of all metrics, and no others."""
    used = {attribute for metric in exported().values() for attribute in metric.values}

    assert {words(row[0])[0] for row in table("attribute", "values")} == used


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("envelope.rate_limit.outcome", get_args(Decision)),
        ("envelope.lock.outcome", get_args(LockOutcome) + get_args(HandOff)),
        ("envelope.lock.end", get_args(LeaseEnd)),
        ("envelope.lock.cause", get_args(LossCause)),
        ("envelope.lock.retry_after.outcome", get_args(Promise)),
        ("envelope.storage.outcome", get_args(Answer)),
    ],
)
def test_every_value_is_explained(attribute: str, values: tuple[str, ...]):
    """An attribute with a few words names each of them."""
    rows = {words(name)[0]: words(explained) for name, explained in table("attribute", "values")}

    assert set(values) - set(rows[attribute]) == set()
    assert set(rows[attribute]) - set(values) <= {"max_hold_s", "break_lock"}


def test_names_in_prometheus():
    """The third table has what the exporter makes of the names."""
    rows = {words(name)[0]: words(there)[0] for name, there in table("metric", "in Prometheus")}
    known = {re.sub(r"_(bucket|count|sum)$", "", name) for name in prometheus_names()}

    assert rows.keys() == exported().keys()
    assert set(rows.values()) == known


def test_buckets():
    """The boundaries on the page are those that the listener advises."""
    reader = InMemoryMetricReader()
    tell_everything(OpenTelemetryListener(MeterProvider([reader])))
    data = reader.get_metrics_data()
    assert data is not None
    rows = {
        name: [float(number) for number in numbers.rpartition(":")[2].split(",")]
        for names, numbers in table("metric", "boundaries")
        for name in words(names)
    }

    metrics = [metric for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics]
    points = {metric.name: metric.data.data_points[0] for metric in metrics}

    assert rows == {
        name: list(point.explicit_bounds)
        for name, point in points.items()
        if isinstance(point, HistogramDataPoint)
    }
