"""What the tests of the telemetry share: metrics that are read as a service's exporter would read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from envelope.telemetry import instrument, uninstrument


class Metrics:
    """What was measured."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def points(self, name: str) -> list[Any]:
        """Give the points of a metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == f"envelope.{name}"
            for point in metric.data.data_points
        ]

    def read(self, name: str, *labels: str) -> dict[Any, Any]:
        """Give the values of a counter or gauge, or the counts of a histogram, by the last words of attributes."""
        values: dict[Any, Any] = {}
        for point in self.points(name):
            given = {key.rpartition(".")[2]: value for key, value in point.attributes.items()}
            label = tuple(given.get(each) for each in labels)
            values[label[0] if len(label) == 1 else label] = getattr(point, "value", None) or getattr(
                point, "count", 0
            )
        return values

    def sums(self, name: str) -> list[float]:
        """Give the sum of each histogram."""
        return [point.sum for point in self.points(name)]


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    measured = Metrics()
    instrument(meter_provider=measured.provider)
    yield measured
    uninstrument()
    measured.provider.shutdown()
