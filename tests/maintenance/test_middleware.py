"""Requests on the wire: the 503, and everything that has to pass."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message
from starlette.websockets import WebSocket

from envelope import Maintenance, ObjectLocks, RateLimiter, Shape, install
from envelope.maintenance.middleware import MaintenanceMiddleware
from envelope.maintenance.readings import Reading
from envelope.wire.bodies import BodyWriter
from tests.maintenance.switches import Clock, Place, settle, shared
from tests.rate_limit.asking import ask, one, websocket_scope
from tests.wire.apps import CopiedScope, exchange, failure, strict_json, success
from tests.wire.asgi import assert_legal, http_scope, run

TEXT = "Service Unavailable -- We're temporarily offline for maintenance. Please try again later."
REFUSED = failure(503, TEXT)
CONNECT = ({"type": "websocket.connect"},)


def _on(**options: Any) -> Maintenance:
    maintenance = Maintenance(**options)
    maintenance.start()
    return maintenance


def _app(maintenance: Maintenance, *routes: BaseRoute, **options: Any) -> Starlette:
    methods = ["GET", "POST", "OPTIONS"]
    app = Starlette(routes=list(routes) or [Route("/", one, methods=methods), Route("/health", one)])
    install(app, maintenance=maintenance, **options)
    return app


# The refusal


def test_refusal_is_the_conventions_body_in_one_message():
    """Golden: all messages of a 503, to the byte."""
    done = exchange(_app(_on()))

    assert_legal(done.sent)
    start, body = done.sent
    assert start["status"] == 503
    assert body["body"] == (
        b'{"code":503,"message":"Service Unavailable -- We\'re temporarily offline for maintenance.'
        b' Please try again later.","status":"failure"}'
    )
    assert sorted(start["headers"]) == [
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body["body"])),
        (b"content-type", b"application/json"),
        (b"retry-after", b"60"),
    ]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(failure="error"), {**REFUSED, "status": "error"}),
        (Shape(code="status_code", message="error"), {"status_code": 503, "error": TEXT, "status": "failure"}),
    ],
)
def test_refusal_has_the_shape_of_the_installation(shape: Shape, expected: object):
    """Near relatives of the convention have one shape for all failures."""
    app = _app(_on(), shape=shape, success_status="keep")

    assert ask(app).json == expected


@pytest.mark.parametrize(
    ("announced", "passed_s", "told"),
    [
        (None, 0, 45),
        (None, 1000, 45),
        (90, 0, 90),
        (90, 0.001, 90),
        (90, 1, 89),
        (90, 89.5, 1),
        (90, 90, 45),
        (90, 900, 45),
        (0.2, 0, 1),
        (31_622_400, 0, 31_622_400),
    ],
)
def test_retry_after_is_the_time_until_the_announced_end(announced: float | None, passed_s: float, told: int):
    """In whole seconds, rounded up, at least 1; the constructor's seconds if there is none any more."""
    maintenance = Maintenance(retry_after_s=44.5)
    clock = maintenance._known.clock = Clock()
    app = _app(maintenance)
    maintenance.start(retry_after_s=announced)

    clock.pass_s(passed_s)
    refused = ask(app)

    assert (refused.status, refused.wait_s) == (503, told)


def test_retry_after_is_a_year_at_the_most(tmp_path: Path):
    """Whatever somebody wrote into the file; servers and clients reckon with 32 bits."""
    (tmp_path / "switch").write_text("9999-12-31T00:00:00Z")

    assert ask(_app(Maintenance(f"file://{tmp_path}/switch", timeout_s=2))).wait_s == 366 * 86_400


def test_refusal_of_a_head_request_has_no_body():
    """RFC 9110, 9.3.2: the headers are those that GET would have had."""
    app = _app(_on())

    head, get = ask(app, method="HEAD"), ask(app)

    assert (head.status, head.body) == (503, b"")
    assert head.fields == get.fields


def test_every_path_is_refused_also_those_that_no_route_has():
    """Whether a service has a path is not told while it rests."""
    app = _app(_on())

    assert [ask(app, path).status for path in ("/", "/nothing", "/health")] == [503] * 3


def test_refused_request_does_not_reach_the_application():
    """Neither routing nor the endpoint runs, and the body is not read."""
    seen: list[str] = []

    async def endpoint(request: Request) -> Response:
        seen.append(request.method)
        return JSONResponse(1)

    done = exchange(
        _app(_on(), Route("/", endpoint, methods=["POST"])),
        method="POST",
        incoming=[AssertionError("the body was read")],
    )

    assert (done.status, done.raised, seen) == (503, None, [])


def test_refused_request_is_not_charged_and_locks_nothing():
    """Clients that poll for the end do not use up what they may do afterwards."""
    maintenance, limiter = _on(), RateLimiter("1/hour")
    app = _app(maintenance, rate_limiter=limiter, locks=ObjectLocks())

    refused = [ask(app) for _ in range(3)]
    maintenance.stop()

    assert {(each.status, each.ratelimit) for each in refused} == {(503, None)}
    assert [ask(app).status for _ in range(2)] == [200, 429]


def test_cors_headers_are_on_the_refusal():
    """A browser may read it, and its preflight is answered by the application's own middleware."""
    app = _app(_on())
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"], allow_methods=["POST"])
    origin = {"origin": "https://a.example"}

    refused = ask(app, headers=origin)
    preflight = ask(app, method="OPTIONS", headers={**origin, "access-control-request-method": "POST"})

    assert (refused.status, refused.access_control_allow_origin) == (503, "https://a.example")
    assert preflight.status == 200


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("key", [503, Exception])
def test_handler_of_the_application_is_not_asked(framework: type[Starlette], key: Any):
    """What it answers when its own endpoints raise says nothing of maintenance, as with the other guards."""

    async def handle(request: Request, error: Exception) -> Response:
        return PlainTextResponse("mine", 599)

    app = framework(routes=[Route("/", one)], exception_handlers={key: handle})
    install(app, maintenance=_on())

    assert ask(app).json == REFUSED


def test_own_503_of_an_endpoint_is_its_own():
    """Of an exempt path it passes as it would without maintenance."""

    async def ready(request: Request) -> Response:
        return PlainTextResponse("not yet", 503, {"retry-after": "7"})

    app = _app(_on(exempt=["/ready"]), Route("/ready", ready))

    answer = ask(app, "/ready")

    assert (answer.json, answer.retry_after, answer.cache_control) == (failure(503, "not yet"), "7", None)


def test_middleware_that_copies_the_scope_changes_nothing():
    """Some routers and wrappers do."""
    app = _app(_on())
    app.add_middleware(CopiedScope)

    assert ask(app).json == REFUSED


def test_each_refusal_is_its_own():
    """Whoever changes the headers of one on its way does not change the next."""

    class Marking:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def mark(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"].append((b"x-mark", b"1"))
                await send(message)

            await self.app(scope, receive, mark)

    app = _app(_on())
    app.add_middleware(Marking)

    assert [ask(app).all("x-mark") for _ in range(3)] == [["1"]] * 3


# What passes


def test_off_changes_nothing():
    """The messages are those of an application without it."""
    scope = http_scope()

    assert run(_app(Maintenance()), scope) == run(_bare(), scope)


def _bare() -> Starlette:
    app = Starlette(routes=[Route("/", one)])
    install(app)
    return app


def test_on_and_off_again():
    """With the next request."""
    maintenance = Maintenance()
    app = _app(maintenance)
    statuses = []
    for switch in (maintenance.stop, maintenance.start, maintenance.start, maintenance.stop):
        switch()
        statuses.append(ask(app).status)

    assert statuses == [200, 503, 503, 200]


@pytest.mark.parametrize(
    ("exempt", "path", "status"),
    [
        (["/health"], "/health", 200),
        (["/health"], "/health/", 503),
        (["/health"], "/healthy", 503),
        (["/health"], "/", 503),
        (["/internal/*"], "/internal/metrics", 200),
        (["/internal/*"], "/internal", 503),
        (["/internal/*"], "/internal/../", 503),
        (["/health", "/internal/*"], "/internal/a/b", 404),
        (["/*"], "/", 200),
        ([], "/health", 503),
    ],
)
@pytest.mark.parametrize("root_path", ["", "/api"])
def test_exempt_paths_are_served_as_usual(exempt: Sequence[str], path: str, status: int, root_path: str):
    """Below the root path; what they answer is wrapped as ever."""
    routes = [Route(name, one) for name in ("/", "/health", "/internal/metrics")]
    app = _app(_on(exempt=exempt), *routes)

    answer = ask(app, root_path + path, root_path=root_path)

    assert answer.status == status
    assert status != 200 or answer.json == success(1)


def test_mounted_application_rests_with_the_one_around_it():
    """Its paths are spelled as clients spell them."""
    inner = Starlette(routes=[Route("/health", one), Route("/", one)])
    app = _app(_on(exempt=["/inner/health"]), Mount("/inner", inner), Route("/health", one))

    assert [ask(app, path).status for path in ("/inner/health", "/inner/", "/health")] == [200, 503, 503]


def test_mounted_application_with_a_switch_of_its_own():
    """The other half of the service is served; its patterns are relative to where it stands."""
    inner = _app(_on(exempt=["/health"]), Route("/health", one), Route("/", one))
    app = _app(Maintenance(), Mount("/inner", inner), Route("/health", one))

    assert [ask(app, path).status for path in ("/inner/health", "/inner/", "/health")] == [200, 503, 200]


def test_request_that_is_at_work_finishes():
    """Nothing is cut off."""
    maintenance = Maintenance()

    async def endpoint(request: Request) -> Response:
        maintenance.start()
        return JSONResponse(1)

    app = _app(maintenance, Route("/", endpoint))

    assert [ask(app).status for _ in range(2)] == [200, 503]


def test_crash_passes():
    """The server learns of it, as ever."""

    async def crash(request: Request) -> Response:
        raise ZeroDivisionError

    done = exchange(_app(_on(exempt=["/"]), Route("/", crash)))

    assert done.status == 500
    assert isinstance(done.raised, ZeroDivisionError)


# Websockets


async def _talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def _connect(app: ASGIApp, path: str = "/ws", **options: Any) -> list[Message]:
    return run(app, websocket_scope(path, **options), received=CONNECT)


def test_handshake_is_denied_with_the_envelope():
    """A server that can send a response sends the 503."""
    app = _app(_on(), WebSocketRoute("/ws", _talk), shape=Shape(message="error"))

    start, body = _connect(app, denial=True)

    headers = dict(start["headers"])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert body["type"] == "websocket.http.response.body"
    assert strict_json(body["body"]) == {"code": 503, "error": TEXT, "status": "failure"}
    assert (headers[b"retry-after"], headers[b"cache-control"]) == (b"60", b"no-store")
    assert len(headers) == len(start["headers"]) == 4


def test_handshake_is_closed_where_no_response_can_be_sent():
    """1011: we cannot, it is not the client's fault (RFC 6455, 7.4.1)."""
    app = _app(_on(), WebSocketRoute("/ws", _talk))

    assert _connect(app) == [{"type": "websocket.close", "code": 1011, "reason": TEXT}]


@pytest.mark.parametrize("maintenance", [Maintenance(), Maintenance(exempt=["/ws"])])
def test_handshake_that_passes(maintenance: Maintenance):
    """When it is off, and at an exempt path."""
    app = _app(maintenance, WebSocketRoute("/ws", _talk))
    if maintenance.exempt.cover("/ws"):
        maintenance.start()

    types = [message["type"] for message in _connect(app)]

    assert types == ["websocket.accept", "websocket.send", "websocket.close"]


# The life of an application


@shared
def test_first_request_finds_what_was_read_at_the_start(place: Place):
    """It is read with the application's start, and closed with its end."""
    other, here = place.open(), place.open()
    other.start(retry_after_s=90)

    with TestClient(_app(here)) as client:
        settle(here._watch)
        assert here._known.read is not None
        response = client.get("/")
        assert here._watch is not None
        assert here._watch._background._thread is not None

    assert response.status_code == 503
    assert 80 <= int(response.headers["retry-after"]) <= 91
    assert here._watch._background._thread is None


@shared
def test_request_without_a_lifespan_waits_for_the_reading(place: Place):
    """As in many tests, and behind servers that know none; each request has an event loop of its own here."""
    other, here = place.open(), place.open()
    other.start()
    app = _app(here)

    assert [ask(app).status for _ in range(3)] == [503] * 3


@shared
def test_request_sees_what_another_process_has_switched(place: Place):
    """A second later by the clock, and without waiting for it."""
    other, here = place.open(), place.open()
    clock = here._known.clock = Clock()
    app = _app(here)
    statuses = [ask(app).status]
    settle(here._watch)
    other.start()
    for _ in range(2):
        clock.pass_s(1)
        statuses.append(ask(app).status)
        settle(here._watch)

    assert statuses[0] == 200
    assert statuses[2] == 503


def test_cost_when_off_is_no_await_of_its_own():
    """The application inside is called with the very objects that came."""
    seen: list[object] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((scope, receive, send))

    middleware = MaintenanceMiddleware(inside, Maintenance(), BodyWriter(Shape()))
    given = (http_scope(), object(), object())

    coroutine = middleware(*given)  # type: ignore[arg-type]
    with pytest.raises(StopIteration):
        coroutine.send(None)

    assert all(each is other for each, other in zip(seen, given, strict=True))


def test_is_on_waits_if_nothing_is_known(watched: Any):
    """A worker without requests learns of it as well: at its first look, and after a quiet time."""
    here, maintenance = watched(Reading(0, None)), Maintenance()
    maintenance._known, maintenance._watch = here.known, here.watch

    assert maintenance.is_on
    assert here.switch.asked == 1
    here.settle()
    here.switch.reading = None
    here.clock.pass_s(1.9)
    here.switch.gate.clear()
    assert maintenance.is_on  # and asks in the background
    here.switch.gate.set()
    here.settle()
    assert not maintenance.is_on
    here.switch.reading = Reading(0, None)
    here.clock.pass_s(2)
    assert maintenance.is_on


def test_is_on_waits_no_longer_than_the_timeout(watched: Any):
    """Then it is what was last known."""
    here, maintenance = watched(Reading(0, None), timeout_s=0.05), Maintenance()
    maintenance._known, maintenance._watch = here.known, here.watch
    here.switch.gate.clear()
    begun = time.monotonic()

    assert not maintenance.is_on
    assert 0.04 < time.monotonic() - begun < 1


def test_exempt_path_waits_for_nothing(watched: Any):
    """A health check that hangs with the storage gets the process killed; it begins the reading all the same."""
    here, maintenance = watched(Reading(0, None), timeout_s=10), Maintenance(exempt=["/health"])
    maintenance._known, maintenance._watch = here.known, here.watch
    here.switch.gate.clear()
    app = _app(maintenance)
    begun = time.monotonic()

    assert [ask(app, "/health").status for _ in range(3)] == [200] * 3
    assert time.monotonic() - begun < 5
    here.switch.gate.set()
    here.settle()
    assert here.switch.asked == 1
    assert ask(app).status == 503


def test_another_end_leaves_the_beginning():
    """Of what stands in this process only, as of the others."""
    maintenance = Maintenance()
    clock = maintenance._known.clock = Clock()
    maintenance.start(retry_after_s=60)
    clock.pass_s(45)

    maintenance.start(retry_after_s=60)
    clock.pass_s(15)

    assert maintenance._known.now() == Reading(60_000, 45_000)


def test_nothing_goes_on_for_memory(caplog: pytest.LogCaptureFixture):
    """No thread, no clock, nothing to close."""
    maintenance = Maintenance()
    assert not maintenance.is_on
    with TestClient(_app(maintenance)) as client:
        client.get("/")
    asyncio.run(maintenance.aclose())
    gc.collect()

    assert maintenance._watch is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
