"""OpenTelemetry's FastAPI instrumentation, before and after install: it replaces the building of the stack, too."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import fastapi
import pytest
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import StreamingResponse

from envelope import ConflictError, install
from tests.wire.apps import CRASH, exchange, failure, strict_json, success

ORDERS = ["instrumented first", "installed first"]


class Telemetry:
    """A tracer provider of its own for each test."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def server_span(self) -> ReadableSpan:
        """Give the only span of a request."""
        (span,) = (span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.SERVER)
        return span

    def server_spans(self) -> int:
        """Count the spans of requests."""
        return len([span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.SERVER])


@contextmanager
def _instrumented(order: str) -> Iterator[tuple[fastapi.FastAPI, Telemetry]]:
    app, telemetry = fastapi.FastAPI(), Telemetry()
    if order == "installed first":
        install(app)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=telemetry.provider)
    if order == "instrumented first":
        install(app)
    try:
        yield app, telemetry
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


def _status(span: ReadableSpan) -> object:
    attributes = span.attributes or {}
    return attributes.get("http.response.status_code", attributes.get("http.status_code"))


@pytest.mark.parametrize("order", ORDERS)
def test_success_is_wrapped_and_traced(order: str) -> None:
    """The span names the route and has the status that the client got."""
    with _instrumented(order) as (app, telemetry):

        @app.post("/items/{item_id}", status_code=201)
        async def item(item_id: int) -> int:
            return item_id

        done = exchange(app, "/items/7", method="POST")

    assert strict_json(done.body) == success(7)
    assert done.status == _status(telemetry.server_span()) == 200
    assert "/items/{item_id}" in telemetry.server_span().name


@pytest.mark.parametrize("order", ORDERS)
def test_failure_is_converted_and_traced(order: str) -> None:
    """An answer is an answer for the span, too."""
    with _instrumented(order) as (app, telemetry):

        @app.get("/")
        async def root() -> None:
            raise ConflictError("no")

        done = exchange(app)

    assert strict_json(done.body) == failure(409, "no")
    assert done.raised is None
    assert _status(telemetry.server_span()) == 409
    assert telemetry.server_span().status.status_code is not StatusCode.ERROR


@pytest.mark.parametrize("order", ORDERS)
def test_crash_is_opaque_raised_and_traced(order: str) -> None:
    """The span sees the status and the exception, the server the exception, the client the envelope."""
    crash = ZeroDivisionError("secret")
    with _instrumented(order) as (app, telemetry):

        @app.get("/")
        async def root() -> None:
            raise crash

        done = exchange(app)

    span = telemetry.server_span()
    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == CRASH
    assert done.raised is crash
    assert _status(span) == 500
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("order", ["bare", *ORDERS])
def test_crash_is_recorded_in_its_span(order: str) -> None:
    """A tracker that works without us works with us: the span has the exception that happened."""
    with _instrumented(order) as (app, telemetry):

        @app.get("/")
        async def root() -> None:
            raise ZeroDivisionError("seen by the tracker")

        exchange(app)

    recorded = [event.attributes["exception.type"] for event in telemetry.server_span().events if event.attributes]
    assert recorded == ["ZeroDivisionError"]


@pytest.mark.parametrize("order", ORDERS)
def test_crash_in_middleware_is_an_envelope_and_traced(order: str) -> None:
    """What fails outside the inner layer has its status in the span."""
    crash = ZeroDivisionError("secret")

    class Broken:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            raise crash

    with _instrumented(order) as (app, telemetry):
        app.add_middleware(Broken)
        done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash
    assert _status(telemetry.server_span()) == 500


@pytest.mark.parametrize("order", ORDERS)
def test_refused_host_is_an_envelope_and_traced(order: str) -> None:
    """What middleware answers has its status in the span."""
    with _instrumented(order) as (app, telemetry):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["x"])
        done = exchange(app)

    assert strict_json(done.body) == failure(400, "Invalid host header")
    assert _status(telemetry.server_span()) == 400


@pytest.mark.parametrize("order", ORDERS)
def test_unknown_path_and_invalid_input_are_envelopes_and_traced(order: str) -> None:
    """The framework's own failures have the status of the wire in their spans."""
    with _instrumented(order) as (app, telemetry):

        @app.get("/items")
        async def items(n: int) -> int:
            return n

        unknown, invalid = exchange(app, "/nowhere"), exchange(app, "/items", query_string=b"n=x")

    assert strict_json(unknown.body) == failure(404, "Not Found")
    assert invalid.status == 400
    assert telemetry.server_spans() == 2


@pytest.mark.parametrize("order", ORDERS)
def test_stream_that_fails_first_has_its_status_in_the_span(order: str) -> None:
    """The span must not have seen a 200 that was never sent."""

    async def stream() -> AsyncIterator[bytes]:
        raise ConflictError("busy")
        yield b""

    with _instrumented(order) as (app, telemetry):

        @app.get("/")
        async def root() -> fastapi.Response:
            return StreamingResponse(stream(), media_type="application/json")

        done = exchange(app)

    assert strict_json(done.body) == failure(409, "busy")
    assert _status(telemetry.server_span()) == 409


@pytest.mark.parametrize("order", ORDERS)
def test_cors_headers_are_on_a_traced_crash(order: str) -> None:
    """Instrumentation changes nothing about who may read the 500."""
    with _instrumented(order) as (app, _):
        app.add_middleware(CORSMiddleware, allow_origins=["*"])

        @app.get("/")
        async def root() -> None:
            raise ZeroDivisionError

        done = exchange(app, headers={"Origin": "https://x.test"})

    assert strict_json(done.body) == CRASH
    assert (b"access-control-allow-origin", b"*") in done.headers


@pytest.mark.parametrize("started", [True, False])
def test_uninstrumented_application_is_still_enveloped(started: bool) -> None:
    """Taking the instrumentation out leaves the envelope that was there before it, and no more spans."""
    app, telemetry = fastapi.FastAPI(), Telemetry()

    @app.get("/")
    async def root() -> int:
        return 1

    @app.get("/no")
    async def no() -> None:
        raise ZeroDivisionError

    # The other way round, uninstrument_app puts back the method that it found: the one without us.
    install(app)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=telemetry.provider)
    if started:
        exchange(app)
    before = telemetry.server_spans()

    FastAPIInstrumentor.uninstrument_app(app)
    ok, crash = exchange(app), exchange(app, "/no")

    assert strict_json(ok.body) == success(1)
    assert strict_json(crash.body) == CRASH
    assert isinstance(crash.raised, ZeroDivisionError)
    assert telemetry.server_spans() == before == int(started)


def test_application_can_be_instrumented_again() -> None:
    """Out and in again."""
    with _instrumented("installed first") as (app, _):
        pass
    telemetry = Telemetry()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=telemetry.provider)
    app.middleware_stack = app.build_middleware_stack()

    @app.get("/")
    async def root() -> int:
        return 1

    done = exchange(app)
    FastAPIInstrumentor.uninstrument_app(app)

    assert strict_json(done.body) == success(1)
    assert telemetry.server_spans() == 1
