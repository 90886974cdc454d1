"""Requests on the wire: the 429, the responses that carry figures, and everything that has to pass unchanged."""

from __future__ import annotations

import asyncio
import copy
import gc
import gzip
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Host, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import (
    EnvelopeMiddleware,
    ErrorMap,
    ForbiddenError,
    NotFoundError,
    RateLimiter,
    Shape,
    install,
    raw_response,
)
from envelope.rate_limit.middleware import RateLimitMiddleware
from envelope.storage.errors import StorageUnavailableError
from tests.rate_limit.asking import (
    DRAFT,
    LEGACY,
    REFUSED,
    TEXT,
    Answer,
    RawApp,
    ScriptedStorage,
    answer_of,
    app_of,
    ask,
    crash,
    limiter_of,
    one,
)
from tests.wire.apps import CRASH, CopiedScope, exchange, failure, scope_of, serve, success, throw
from tests.wire.asgi import assert_legal

ORIGIN = {"origin": "https://a.example"}
PREFLIGHT = {**ORIGIN, "access-control-request-method": "POST"}


def _figures(answer: Answer) -> list[str]:
    return [name for name, _ in answer.fields if name in (*LEGACY, *DRAFT)]


# The refusal


def test_refusal_is_the_conventions_body_in_one_message() -> None:
    """Golden: all messages of a 429, to the byte."""
    app = app_of(limiter_of("1/minute"))
    ask(app)

    done = exchange(app)

    assert_legal(done.sent)
    start, body = done.sent
    assert start["status"] == 429
    assert body["body"] == (
        b'{"code":429,"message":"You have reached the request rate limit. Try your request again later.",'
        b'"status":"failure"}'
    )
    fields = dict(start["headers"])
    reset = fields.pop(b"x-ratelimit-reset")
    assert reset.isdigit()
    assert len(start["headers"]) == len(fields) + 1
    assert fields == {
        b"content-length": b"%d" % len(body["body"]),
        b"content-type": b"application/json",
        b"x-ratelimit-limit": b"1",
        b"x-ratelimit-remaining": b"0",
        b"ratelimit-policy": b'"1/minute";q=1;w=60',
        b"ratelimit": b'"1/minute";r=0;t=60',
        b"retry-after": b"61",
        b"cache-control": b"no-store",
    }


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(), REFUSED),
        (Shape(failure="error"), {**REFUSED, "status": "error"}),
        (Shape(code="status_code", message="error"), {"status_code": 429, "error": TEXT, "status": "failure"}),
        (Shape(status="%d", failure='"'), {"code": 429, "message": TEXT, "%d": '"'}),
    ],
)
def test_refusal_has_the_shape_of_the_installation(shape: Shape, expected: object) -> None:
    """Near relatives of the convention have one shape for all failures."""
    app = app_of(limiter_of("1/minute"), shape=shape, success_status="keep")
    ask(app)

    assert ask(app).json == expected


def test_refusal_of_a_head_request_has_no_body() -> None:
    """RFC 9110, 9.3.2: the headers are those that GET would have had."""
    app = app_of(limiter_of("1/minute"))
    ask(app)

    head, get = ask(app, method="HEAD"), ask(app)

    assert (head.status, head.body) == (429, b"")
    assert head.fields == get.fields


def test_head_uses_the_same_budget_as_get() -> None:
    """HEAD is no way around."""
    app = app_of(limiter_of("9/hour", routes={"GET /": ["2/minute"]}))

    statuses = [ask(app, method=method).status for method in ("HEAD", "GET", "HEAD", "GET")]

    assert statuses == [200, 200, 429, 429]


def test_refused_request_does_not_reach_the_application() -> None:
    """Neither routing nor the endpoint runs, and the body is not read."""
    seen: list[str] = []

    async def endpoint(request: Request) -> Response:
        seen.append(request.method)
        return JSONResponse(1)

    app = app_of(limiter_of("1/minute"), Route("/", endpoint, methods=["POST"]))
    ask(app, method="POST")

    done = exchange(app, method="POST", incoming=[AssertionError("the body was read")])

    assert (done.status, done.raised, seen) == (429, None, ["POST"])


@pytest.mark.parametrize("installed_first", [True, False])
@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_refusal_has_cors_headers(framework: type[Starlette], installed_first: bool) -> None:
    """A browser that may not read a 429 takes it for a network error."""
    app = framework()
    limiter = limiter_of("1/minute")
    if installed_first:
        install(app, rate_limiter=limiter)
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"], expose_headers=["RateLimit"])
    if not installed_first:
        install(app, rate_limiter=limiter)
    ask(app, headers=ORIGIN)

    refused = ask(app, headers=ORIGIN)

    assert (refused.status, refused.json) == (429, REFUSED)
    assert refused.access_control_allow_origin == "https://a.example"
    assert refused.access_control_expose_headers == "RateLimit"


def test_preflight_is_answered_by_cors_and_costs_nothing() -> None:
    """A preflight is no request of the service's; CORS stands outside."""
    app = app_of(limiter_of("1/minute"))
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["POST"])

    preflights = [ask(app, method="OPTIONS", headers=PREFLIGHT) for _ in range(3)]
    request = ask(app, method="POST", headers=ORIGIN)

    assert [(answer.status, _figures(answer)) for answer in preflights] == [(200, [])] * 3
    assert (request.status, request.left) == (200, {"1/minute": 0})


def test_options_without_cors_is_limited_like_any_method() -> None:
    """Without CORS nobody else answers OPTIONS, so it is the service's own."""
    app = app_of(limiter_of("1/minute"))

    assert [ask(app, method="OPTIONS", headers=PREFLIGHT).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("method", ["TRACE", "PURGE", "get", "WEBSOCKET", ""])
def test_methods_that_nobody_knows_are_limited(method: str) -> None:
    """No method is a way around, nor a budget of its own."""
    app = app_of(limiter_of("2/minute"))
    ask(app)

    assert ask(app, method=method).left == {"2/minute": 0}
    assert ask(app, method=method).status == 429


def test_refusal_is_compressed_by_the_applications_middleware() -> None:
    """GZip stands outside and sees the envelope."""
    app = app_of(limiter_of("1/minute"))
    app.add_middleware(GZipMiddleware, minimum_size=1)
    headers = {"accept-encoding": "gzip"}
    ask(app, headers=headers)

    refused = ask(app, headers=headers)

    assert (refused.status, refused.content_encoding) == (429, "gzip")
    assert Answer(429, [], gzip.decompress(refused.body)).json == REFUSED
    assert refused.content_length == str(len(refused.body))


class _Rewriting:
    """Gives each head a header more, in a message and a list of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-seen", b"%d" % message["status"])]}
            await send(message)

        await self.app(scope, receive, send_more)


class _Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-seen"] = str(response.status_code)
        return response


@pytest.mark.parametrize("middleware", [_Rewriting, _Passing])
def test_refusal_is_never_wrapped_twice(middleware: Any) -> None:
    """What stands outside sees the 429 and may change its headers; the net knows the body all the same."""
    app = app_of(limiter_of("1/minute"), shape=Shape(message="error"))
    app.add_middleware(middleware)
    app.add_middleware(CopiedScope)
    ask(app)

    refused = ask(app)

    assert refused.json == {"code": 429, "error": TEXT, "status": "failure"}
    assert (refused.x_seen, refused.wait_s) == ("429", 61)


def test_refusal_on_an_exempt_path_is_an_envelope() -> None:
    """Exemptions are about what endpoints return; a guard's refusal is none of it."""

    @raw_response
    async def raw(request: Request) -> Response:
        return JSONResponse(1)

    app = app_of(limiter_of("2/minute"), Route("/raw", raw), Route("/hook", one), exempt=["/hook"])

    assert [ask(app, "/raw").body, ask(app, "/hook").body] == [b"1", b"1"]
    assert [ask(app, "/raw").json, ask(app, "/hook").json] == [REFUSED, REFUSED]


def test_application_may_not_handle_the_middlewares_refusal_away() -> None:
    """A handler for 429 is about what is raised inside; the refusal is made before anything is inside."""
    app = app_of(limiter_of("1/minute"))
    app.add_exception_handler(429, lambda request, exc: PlainTextResponse("teapot", 418))
    ask(app)

    assert ask(app).json == REFUSED


@pytest.mark.parametrize("installed_first", [True, False])
def test_limits_stand_inside_the_applications_middleware_next_to_the_envelope(installed_first: bool) -> None:
    """Design, section 2: user's middleware, rate limit, EnvelopeMiddleware, and all have ``app``."""
    app = Starlette()
    steps: list[Any] = [
        lambda: install(app, rate_limiter=limiter_of("1/minute")),
        lambda: app.add_middleware(GZipMiddleware),
    ]
    for step in steps if installed_first else reversed(steps):
        step()
    ask(app)

    layers: list[type] = []
    layer: Any = app.middleware_stack
    while layer is not None:
        layers.append(type(layer))
        layer = getattr(layer, "app", None)

    assert layers.index(GZipMiddleware) + 1 == layers.index(RateLimitMiddleware)
    assert layers.index(RateLimitMiddleware) + 1 == layers.index(EnvelopeMiddleware)


def test_what_a_middleware_refuses_costs_nothing() -> None:
    """A wrong host never came in."""
    app = app_of(limiter_of("1/minute"))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["a.example"])

    refused = [ask(app, headers={"host": "b.example"}) for _ in range(3)]

    assert [(answer.status, _figures(answer)) for answer in refused] == [(400, [])] * 3
    assert ask(app, headers={"host": "a.example"}).status == 200


# Responses with figures


async def _stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"[1", b",2", b"]"):
            yield part

    return StreamingResponse(parts(), media_type="application/json")


async def _wants_int(n: int) -> int:
    return n


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/ok", "GET", 200),
        ("/ok", "HEAD", 200),
        ("/made", "GET", 200),
        ("/empty", "GET", 200),
        ("/cached", "GET", 304),
        ("/moved", "GET", 307),
        ("/slash", "GET", 307),
        ("/stream", "GET", 200),
        ("/text", "GET", 200),
        ("/teapot", "GET", 418),
        ("/busy", "GET", 403),
        ("/mapped", "GET", 404),
        ("/nowhere", "GET", 404),
        ("/ok", "DELETE", 405),
        ("/typed/x", "GET", 400),
    ],
)
def test_every_response_has_the_figures_once(path: str, method: str, status: int) -> None:
    """Successes, streams, redirects and failures, whoever made them."""
    app = fastapi.FastAPI(
        routes=[
            Route("/ok", serve(JSONResponse(1))),
            Route("/made", serve(JSONResponse(1, 201))),
            Route("/empty", serve(Response(status_code=204))),
            Route("/cached", serve(Response(status_code=304, headers={"etag": '"a"'}))),
            Route("/moved", serve(RedirectResponse("/ok"))),
            Route("/slash/", one),
            Route("/stream", _stream),
            Route("/text", serve(PlainTextResponse("text"))),
            Route("/teapot", throw(HTTPException(418, "short"))),
            Route("/busy", throw(ForbiddenError("no"))),
            Route("/mapped", throw(LookupError())),
        ]
    )
    app.get("/typed/{n}")(_wants_int)
    install(app, rate_limiter=limiter_of("9/minute"), errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app, path, method=method)
    answer = answer_of(done)

    assert_legal(done.sent)
    assert (answer.status, done.raised) == (status, None)
    assert _figures(answer) == [*LEGACY, *DRAFT]
    assert answer.left == {"9/minute": 8}


@pytest.mark.parametrize("status", [201, 204])
def test_kept_status_has_the_figures(status: int) -> None:
    """A 204 that stays a 204 is empty and has them too."""
    app = app_of(limiter_of("9/minute"), Route("/", serve(Response(status_code=status))), success_status="keep")

    answer = ask(app)

    assert (answer.status, answer.left) == (status, {"9/minute": 8})
    assert answer.body == (b"" if status == 204 else answer.body)


@pytest.mark.parametrize("debug", [True, False])
def test_crash_has_the_figures_and_is_raised(debug: bool) -> None:
    """A crash is a request like any other for its client, and for the server still a crash."""
    error = ZeroDivisionError()
    app = app_of(limiter_of("2/minute"), Route("/", throw(error)))
    app.debug = debug

    answer, raised = crash(app)
    crash(app)

    assert raised is error
    assert (answer.status, answer.json, answer.left) == (500, CRASH, {"2/minute": 1})
    assert ask(app).status == 429


def test_crash_after_the_head_is_raised_as_it_is() -> None:
    """A broken stream stays broken; the figures went out with its head."""
    error = ZeroDivisionError()

    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"[1"
            raise error

        return StreamingResponse(parts(), media_type="application/json")

    done = exchange(app_of(limiter_of("9/minute"), Route("/", endpoint)))

    assert done.raised is error
    assert answer_of(done).left == {"9/minute": 8}


@pytest.mark.parametrize("error", [OSError("gone"), ZeroDivisionError(), KeyError("x")])
def test_exception_out_of_send_passes_untouched(error: Exception) -> None:
    """The server's own errors are nobody's to answer."""
    done = exchange(app_of(limiter_of("9/minute")), send_error=error, error_at="http.response.start")

    assert (done.raised, done.sent) == (error, [])


@pytest.mark.parametrize("error", [OSError("gone"), ZeroDivisionError()])
def test_exception_out_of_send_of_a_refusal_passes_untouched(error: Exception) -> None:
    """The same for the 429."""
    app = app_of(limiter_of("1/minute"))
    ask(app)

    done = exchange(app, send_error=error, error_at="http.response.start")

    assert (done.raised, done.sent) == (error, [])


def test_base_exceptions_pass() -> None:
    """Cancellation and exit are not ours; what was taken stays taken."""

    class Leaving(BaseException):
        pass

    leaving = Leaving()
    app = app_of(limiter_of("2/minute"), Route("/", throw(leaving)), Route("/ok", one))

    with pytest.raises(Leaving) as raised:
        exchange(app)

    assert raised.value is leaving
    assert ask(app, "/ok").left == {"2/minute": 0}


def test_background_task_runs_after_the_response() -> None:
    """Messages pass at once, and what comes after the last is not ours."""
    order: list[str] = []

    async def task() -> None:
        order.append("task")

    app = app_of(limiter_of("9/minute"), Route("/", serve(JSONResponse(1, background=BackgroundTask(task)))))

    assert (ask(app).left, order) == ({"9/minute": 8}, ["task"])


def test_stream_passes_message_by_message() -> None:
    """Nothing is held back for the figures."""
    app = app_of(limiter_of("9/minute"), Route("/", serve(PlainTextResponse("x"))), Route("/stream", _stream))

    done = exchange(app, "/stream")

    assert [message["body"] for message in done.sent[1:] if message["body"]] == [
        b'{"status":"success","content":[1',
        b",2",
        b"]}",
    ] or b"".join(message["body"] for message in done.sent[1:]) == b'{"status":"success","content":[1,2]}'
    assert len(done.sent) >= 4


class _Shared:
    """An application that sends the same message objects each time, and keeps them."""

    def __init__(self) -> None:
        self.messages: list[Message] = [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]},
            {"type": "http.response.body", "body": b"x"},
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for message in self.messages:
            await send(message)


def test_messages_of_the_application_are_not_mutated() -> None:
    """An application may send the same objects twice."""
    inner = _Shared()
    before = copy.deepcopy(inner.messages)
    app = app_of(limiter_of("9/minute"), Mount("/", inner))

    answers = [ask(app), ask(app)]

    assert inner.messages == before
    assert [_figures(answer) for answer in answers] == [[*LEGACY, *DRAFT]] * 2


@pytest.mark.parametrize("headers", [(), [], iter([(b"a", b"b")]), ([b"a", b"b"],), None])
def test_head_may_have_any_headers_or_none(headers: Any) -> None:
    """ASGI: ``headers`` is optional, and any iterable of iterables."""
    start = {"type": "http.response.start", "status": 200, **({} if headers is None else {"headers": headers})}
    app = app_of(limiter_of("9/minute"), Mount("/", RawApp(start, {"type": "http.response.body", "body": b"x"})))

    done = exchange(app)

    assert_legal(done.sent)
    assert answer_of(done).left == {"9/minute": 8}


def test_unknown_messages_are_forwarded() -> None:
    """Extensions of ASGI pass, with whatever they hold."""
    messages: list[Message] = [
        {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"], "headers": [(b"a", b"b")]},
        {"type": "http.response.debug", "info": {"template": 1}},
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain")],
            "trailers": True,
        },
        {"type": "vendor.thing", "x": object()},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "http.response.trailers", "headers": [(b"c", b"d")], "more_trailers": False},
    ]
    app = app_of(limiter_of("9/minute"), Mount("/", RawApp(*messages)))
    bare = Starlette(routes=[Mount("/", RawApp(*messages))])
    install(bare)

    sent, expected = exchange(app).sent, exchange(bare).sent

    assert [message["type"] for message in sent] == [message["type"] for message in messages]
    assert [message for message in sent if message["type"] != "http.response.start"] == [
        message for message in expected if message["type"] != "http.response.start"
    ]


def test_interim_responses_do_not_use_up_the_figures() -> None:
    """The figures are on the final head, also where a 103 came first."""
    app = app_of(
        limiter_of("9/minute"),
        Mount(
            "/",
            RawApp(
                {"type": "http.response.start", "status": 103, "headers": [(b"link", b"</a>")]},
                {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]},
                {"type": "http.response.body", "body": b"x"},
            ),
        ),
    )

    final = exchange(app).sent[-2]

    assert final["status"] == 200
    assert dict(final["headers"])[b"ratelimit"] == b'"9/minute";r=8;t=60'


def test_scope_that_comes_in_is_the_one_that_goes_on() -> None:
    """Outer middleware reads what the router writes into the scope, such as the route."""
    app = app_of(limiter_of("9/minute"), Route("/things/{n}", one))
    scope = scope_of("/things/7")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    asyncio.run(app(scope, receive, send))

    assert scope["path_params"] == {"n": "7"}


# Mounted applications


def test_figures_of_a_mounted_application_with_a_limiter_win() -> None:
    """The inner limits are what the client meets first; nothing stands twice."""
    inner = app_of(limiter_of("3/minute"))
    app = app_of(limiter_of("9/minute"), Mount("/inner", inner), Route("/outer", one))

    answers = [ask(app, "/inner/"), ask(app, "/outer"), ask(app, "/inner/nowhere")]

    assert [answer.left for answer in answers] == [{"3/minute": 2}, {"9/minute": 7}, {"3/minute": 1}]
    assert all(_figures(answer) == [*LEGACY, *DRAFT] for answer in answers)


def test_refusal_of_a_mounted_application_is_its_own() -> None:
    """Its shape, its figures, one envelope."""
    inner = app_of(limiter_of("1/minute"), shape=Shape(message="error"))
    app = app_of(limiter_of("9/minute"), Mount("/inner", inner))
    ask(app, "/inner/")

    refused = ask(app, "/inner/")

    assert refused.json == {"code": 429, "error": TEXT, "status": "failure"}
    assert (refused.left, refused.wait_s) == ({"1/minute": 0}, 61)
    assert _figures(refused).count("ratelimit") == 1


@pytest.mark.parametrize(
    ("wrap", "inner_limited"),
    [
        (lambda app: app, True),
        (lambda app: app, False),
        (CopiedScope, True),
        (CopiedScope, False),
    ],
)
@pytest.mark.parametrize(
    ("path", "code", "text"), [("/inner/nowhere", 404, "Not Found"), ("/inner/no", 403, "no")]
)
def test_failure_of_a_mounted_application_is_not_wrapped_by_the_outer(
    inner_limited: bool, wrap: Any, path: str, code: int, text: str
) -> None:
    """The figures that the outer limiter adds do not hide whose answer it is, also in a copy of the scope."""
    routes = [Route("/no", throw(ForbiddenError("no")))]
    inner = app_of(limiter_of("5/minute") if inner_limited else None, *routes, shape=Shape(message="error"))
    app = app_of(limiter_of("9/minute"), Mount("/inner", wrap(inner)))

    answer = ask(app, path)

    assert answer.json == {"code": code, "error": text, "status": "failure"}
    assert answer.left == ({"5/minute": 4} if inner_limited else {"9/minute": 8})


def test_mounted_application_that_is_not_installed_is_limited_by_the_outer() -> None:
    """Its paths are paths of the service."""
    app = app_of(limiter_of("2/minute"), Mount("/inner", Starlette(routes=[Route("/", one)])))

    assert [ask(app, "/inner/").status for _ in range(3)] == [200, 200, 429]


def test_applications_behind_hosts_are_limited() -> None:
    """A host is a mount by name."""
    app = app_of(limiter_of("1/minute"), Host("a.example", Starlette(routes=[Route("/", one)])))

    assert [ask(app, headers={"host": "a.example"}).status for _ in range(2)] == [200, 429]


# What keys and storages raise


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_key_that_raises_an_api_error_is_answered_with_it(method: str) -> None:
    """A key function may find that somebody may not come in at all."""

    def key(request: Request) -> str:
        raise ForbiddenError("not you", error_code="unknown_account")

    app = app_of(limiter_of("9/minute", key=key))
    app.add_middleware(CORSMiddleware, allow_origins=["*"])

    answer = ask(app, method=method, headers=ORIGIN)

    assert answer.status == 403
    assert answer.access_control_allow_origin == "*"
    if method == "GET":
        assert answer.json == failure(403, {"error_code": "unknown_account", "message": "not you"})


@pytest.mark.parametrize("error", [HTTPException(401, "who"), LookupError()])
def test_key_that_raises_what_is_answered_elsewhere_is_answered(error: Exception) -> None:
    """``HTTPException`` and mapped errors are answers, wherever they were raised."""
    app = app_of(limiter_of("9/minute", key=throw_sync(error)), errors=ErrorMap({LookupError: NotFoundError}))

    assert ask(app).status in (401, 404)


def throw_sync(error: Exception) -> Any:
    def raise_it(request: Request) -> str:
        raise error

    return raise_it


def test_key_that_crashes_is_a_crash() -> None:
    """A bug in a key function neither admits nor refuses: it is a 500 that the server hears of."""
    error = ZeroDivisionError()
    app = app_of(limiter_of("9/minute", key=throw_sync(error)))

    answer, raised = crash(app)

    assert raised is error
    assert (answer.status, answer.json) == (500, CRASH)


class _Silent(ScriptedStorage):
    async def decide(self, demands: Any) -> Any:
        raise StorageUnavailableError("silent")


def test_outage_that_denies_is_the_envelope_with_retry_after() -> None:
    """503 with the convention's text, and CORS headers like every failure."""
    app = app_of(RateLimiter("9/minute", storage=_Silent((), ()), on_outage="deny"))
    app.add_middleware(CORSMiddleware, allow_origins=["*"])

    answer = ask(app, headers=ORIGIN)

    assert (answer.status, answer.json["code"], answer.json["status"]) == (503, 503, "failure")
    assert answer.wait_s >= 1
    assert answer.access_control_allow_origin == "*"


def test_outage_that_allows_says_nothing_of_figures() -> None:
    """Nothing was counted, so there is nothing to tell."""
    app = app_of(RateLimiter("9/minute", storage=_Silent((), ()), on_outage="allow"))

    assert [(answer.status, _figures(answer)) for answer in (ask(app), ask(app))] == [(200, [])] * 2


def test_outage_that_counts_here_counts() -> None:
    """``local`` is the default: the limits hold in each process."""
    app = app_of(RateLimiter("1/minute", storage=_Silent((), ())))

    assert [ask(app).status, ask(app).status] == [200, 429]


# Installation


def test_without_limits_nothing_is_limited_and_nothing_told() -> None:
    """A limiter for ``limit()`` and ``limited()`` alone."""
    app = app_of(limiter_of())

    assert [(answer.json, _figures(answer)) for answer in (ask(app), ask(app))] == [(success(1), [])] * 2


@pytest.mark.parametrize("same_budget", [True, False])
def test_limiter_of_two_applications_counts_for_both(same_budget: bool) -> None:
    """One limiter is one budget; two limiters are two."""
    first = limiter_of("2/minute")
    second = first if same_budget else limiter_of("2/minute")
    apps = [app_of(first), app_of(second)]

    statuses = [ask(app).status for _ in range(2) for app in apps]

    assert statuses == [200, 200, 429, 429] if same_budget else [200] * 4


def test_shutdown_closes_the_storage_after_the_application() -> None:
    """The application's own shutdown may still use the limiter."""
    from contextlib import asynccontextmanager

    order: list[str] = []

    class Closing(ScriptedStorage):
        async def aclose(self) -> None:
            order.append("closed")

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        order.append("startup")
        yield
        order.append("shutdown")

    app = Starlette(lifespan=lifespan)
    install(app, rate_limiter=RateLimiter("5/minute", storage=Closing([4], [1])))
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert order == ["startup", "shutdown", "closed"]


def test_unknown_scope_types_pass() -> None:
    """What a server of tomorrow sends is not ours."""
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    middleware = app_of(limiter_of("1/minute"))
    ask(middleware)
    layer: Any = middleware.middleware_stack
    while not isinstance(layer, RateLimitMiddleware):
        layer = layer.app
    layer.app = inner

    async def never(*args: object) -> Any:
        raise AssertionError

    for _ in range(3):
        asyncio.run(layer({"type": "vendor"}, never, never))

    assert seen == ["vendor"] * 3


# Many at once, and nothing left behind


@pytest.mark.parametrize("strategy", ["sliding-window-counter", "fixed-window", "moving-window"])
def test_concurrent_requests_admit_exactly_the_limit(strategy: Any) -> None:
    """200 at once against 20 per minute and 1000 per hour: 20 pass, and the hour counts 20."""
    app = app_of(limiter_of("20/minute", "1000/hour", strategy=strategy))
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            await asyncio.sleep(0)

    async def all_at_once() -> None:
        await asyncio.gather(*(app(scope_of(), receive, send) for _ in range(200)))

    asyncio.run(all_at_once())

    assert sorted(statuses) == [200] * 20 + [429] * 180
    assert ask(app).left == {"20/minute": 0, "1000/hour": 980}


@pytest.mark.parametrize(
    "path", ["/ok", "/nowhere", "/no", "/crash", "/refused", "/charged", "/inner/", "/stream"]
)
def test_request_leaves_no_cycle(path: str) -> None:
    """What a request held is free when it ends: its scope, its verdicts, its exceptions."""
    limiter = limiter_of("100000/minute", routes={"GET /refused": ["1/hour"]})

    async def charged(request: Request) -> Response:
        await limiter.check(request, "100000/day")
        await limiter.settle(request, 2)
        return JSONResponse(1)

    # Fresh exceptions: one that is shared is never garbage.
    async def crashing(request: Request) -> Response:
        raise ZeroDivisionError

    async def forbidding(request: Request) -> Response:
        raise ForbiddenError

    app = app_of(
        limiter,
        Route("/ok", one),
        Route("/no", forbidding),
        Route("/crash", crashing),
        Route("/refused", one),
        Route("/charged", charged),
        Route("/stream", _stream),
        Mount("/inner", app_of(limiter_of("100000/minute"))),
    )

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    async def ask_many(times: int) -> int:
        for _ in range(times):
            await asyncio.gather(app(scope_of(path), receive, send), return_exceptions=True)
        return gc.collect()

    async def count() -> int:
        await ask_many(3)
        gc.disable()
        try:
            # Three times: now and then something of another test is freed meanwhile.
            return min([await ask_many(20) for _ in range(3)])
        finally:
            gc.enable()

    # A few objects belong to the loop and to gather; a request in a cycle is dozens of them each time.
    assert asyncio.run(count()) < 200
