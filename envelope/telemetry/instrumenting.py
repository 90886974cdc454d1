"""instrument(): measures what the parts of this library do, in the whole process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envelope import signals
from envelope.errors.tree import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider


def instrument(*, meter_provider: MeterProvider | None = None) -> None:
    """Measure failures, rate limits, locks and storages with OpenTelemetry, in this process.

    Call it once when a process begins, in services and in workers; it does not matter whether applications and
    guards are made before or after it. A second call with the same provider changes nothing; one with another
    provider takes its place. What is measured stands in ``docs/reference/telemetry.md``.

    Args:
        meter_provider: Where the metrics go; None means the global one, also if it is set later.

    Raises:
        ConfigurationError: ``opentelemetry-api`` is not installed.
    """
    try:
        from envelope.telemetry.listener import OpenTelemetryListener  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise ConfigurationError(
            "instrument() needs opentelemetry-api; install it: pip install 'asgi-envelope[otel]'"
        ) from error
    known = signals.listener
    if not isinstance(known, OpenTelemetryListener) or known.meter_provider is not meter_provider:
        signals.listen(OpenTelemetryListener(meter_provider))


def uninstrument() -> None:
    """Measure nothing any more."""
    signals.listen(None)
