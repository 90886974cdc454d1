"""Telemetry over OpenTelemetry: ``instrument()``. It needs the extra ``asgi-envelope[otel]``.

Without a call of ``instrument()`` nothing is measured, and nothing of OpenTelemetry is imported.
"""

from envelope.telemetry.instrumenting import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
