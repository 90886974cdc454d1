"""The span of the server says what the guards did with the request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from envelope import ConflictError, ObjectLocks, RateLimiter, RouteLimit, install
from tests.telemetry.conftest import Metrics


class Spans:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def ours(self, name: str) -> dict[str, Any]:
        """Give the attributes of ours on a span."""
        (span,) = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return {
            key.removeprefix("envelope."): value
            for key, value in (span.attributes or {}).items()
            if key.startswith("envelope.")
        }


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


def serve(spans: Spans, locks: ObjectLocks) -> TestClient:
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(RouteLimit("1/hour", shadow=True), "3/hour"), locks=locks)
    tracer = spans.provider.get_tracer("app")

    @app.post("/{item}")
    @locks.guarded("item:{item}")
    async def change(item: int) -> int:
        with tracer.start_as_current_span("own"):
            if item == 2:
                raise ConflictError(error_code="frozen")
        return item

    FastAPIInstrumentor.instrument_app(app, tracer_provider=spans.provider, exclude_spans=["send", "receive"])
    return TestClient(app)


@pytest.mark.usefixtures("metrics")
def test_lock_of_a_success_stands_on_the_servers_span(spans: Spans):
    """And on none that the application has opened itself."""
    serve(spans, ObjectLocks()).post("/1")
    attributes = spans.ours("POST /{item}")
    assert attributes.pop("lock.acquire.duration") < 1
    assert attributes == {"lock.operation": "serve.<locals>.change".rpartition(".")[2], "lock.outcome": "granted"}
    assert spans.ours("own") == {}


@pytest.mark.usefixtures("metrics")
def test_failure_raised_in_an_inner_span_stands_on_the_servers_span(spans: Spans):
    """Wherever it was raised."""
    serve(spans, ObjectLocks()).post("/2")
    assert spans.ours("POST /{item}")["error_code"] == "frozen"
    assert spans.ours("own") == {}


@pytest.mark.anyio
@pytest.mark.usefixtures("metrics")
async def test_refusals_say_why(spans: Spans):
    """Which limit, or whose hold; the key of the object is not told."""
    locks = ObjectLocks()
    await locks.acquire("item:1", operation="import")
    client = serve(spans, locks)
    client.post("/1")
    attributes = spans.ours("POST /{item}")
    assert attributes["lock.outcome"] == "refused"
    assert attributes["lock.held_for"] == "import"
    assert "item:1" not in str(attributes)

    spans.exporter.clear()
    client.post("/3")
    assert spans.ours("POST /{item}")["rate_limit.outcome"] == "shadow"
    spans.exporter.clear()
    client.post("/3")
    spans.exporter.clear()
    client.post("/3")
    (span,) = spans.exporter.get_finished_spans()
    assert dict(span.attributes or {})["envelope.rate_limit.outcome"] == "refused"
    assert dict(span.attributes or {})["envelope.rate_limit.policy"] == "3/hour"


@pytest.mark.anyio
@pytest.mark.usefixtures("metrics")
async def test_outside_of_requests_the_current_span_is_told(spans: Spans):
    """In a worker, that of the job; without a span nothing is said."""
    locks = ObjectLocks()
    with spans.provider.get_tracer("worker").start_as_current_span("job"):
        async with locks.hold("a", operation="work"):
            pass
    async with locks.hold("a", operation="work"):
        pass
    assert spans.ours("job")["lock.operation"] == "work"


def test_span_of_a_request_is_not_that_of_the_next(spans: Spans, metrics: Metrics):
    """Each has its own, also where one task serves several."""
    client = serve(spans, ObjectLocks())
    client.post("/2")
    client.post("/1")
    first, second = [span for span in spans.exporter.get_finished_spans() if span.name == "POST /{item}"]
    assert "envelope.error_code" in (first.attributes or {})
    assert "envelope.error_code" not in (second.attributes or {})
    assert metrics.read("failures", "status_code") == {409: 1}
