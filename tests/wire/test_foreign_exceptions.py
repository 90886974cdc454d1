"""Exceptions that came out of ``send`` or ``receive``: they are the server's, and are never answered."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from envelope import ConflictError, EnvelopeMiddleware, ErrorMap, NotFoundError, install
from tests.wire.apps import CRASH, client_of, exchange, failure, serve, strict_json, throw

FOREIGN = [
    OSError("connection reset"),
    HTTPException(418, "a private signal"),
    ConflictError("raised by a server of ours"),
    RuntimeError("x"),
    ClientDisconnect(),
]


class _Signal(HTTPException):
    """As the framework's body limit: an HTTPException that is meant for its own layer."""


@pytest.mark.parametrize("error_at", ["http.response.start", "http.response.body"])
@pytest.mark.parametrize("exc", FOREIGN, ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_exception_of_send_is_raised_untouched(framework: type[Starlette], exc: Exception, error_at: str) -> None:
    """Case 54: whatever its type, by identity, with nothing sent after it."""
    app = framework(routes=[Route("/", serve(JSONResponse([1])))])
    install(app, errors=ErrorMap({OSError: NotFoundError, RuntimeError: NotFoundError}))

    done = exchange(app, send_error=exc, error_at=error_at)

    assert done.types() == ([] if error_at == "http.response.start" else ["http.response.start"])
    assert done.raised is exc


@pytest.mark.parametrize("exc", FOREIGN, ids=lambda exc: type(exc).__name__)
def test_exception_of_send_during_a_failure_is_raised_untouched(exc: Exception) -> None:
    """Case 54: a failure that cannot be sent is not answered by another one."""
    app = Starlette(routes=[Route("/", throw(NotFoundError("x")))])
    install(app, errors=ErrorMap({OSError: NotFoundError, RuntimeError: NotFoundError}))

    done = exchange(app, send_error=exc, error_at="http.response.body")

    assert done.types() == ["http.response.start"]
    assert done.raised is exc


@pytest.mark.parametrize(
    "make",
    [lambda: PlainTextResponse("x", 404), lambda: PlainTextResponse("x", 500), lambda: Response(status_code=204)],
)
def test_exception_of_send_during_a_conversion_is_raised_untouched(make) -> None:
    """Case 54: the same for answers that we write in place of others."""
    app = Starlette(routes=[Route("/", serve(make()))])
    install(app)
    error = OSError("reset")

    done = exchange(app, send_error=error, error_at="http.response.start")

    assert done.sent == []
    assert done.raised is error


def test_exception_of_send_during_a_crash_is_raised() -> None:
    """Case 54: nothing more is sent; the server hears of one of the two."""
    crash, error = ZeroDivisionError(), OSError("reset")
    app = Starlette(routes=[Route("/", throw(crash))])
    install(app)

    done = exchange(app, send_error=error, error_at="http.response.body")

    assert done.types() == ["http.response.start"]
    assert done.raised in (crash, error)


def test_exception_of_send_in_a_group_is_raised_as_the_group() -> None:
    """Cases 54 and 58: a group with a foreign exception is not the answer of its leaf."""
    error = HTTPException(418, "private")

    async def endpoint(scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
        except HTTPException as exc:
            raise ExceptionGroup("tasks", [exc]) from None

    app = Starlette(routes=[Mount("/", endpoint)])
    install(app)

    done = exchange(app, send_error=error, error_at="http.response.start")

    assert done.sent == []
    assert done.raised is error or (isinstance(done.raised, ExceptionGroup) and done.raised.exceptions == (error,))


@pytest.mark.parametrize("leaves", [1, 2])
def test_exception_of_receive_in_a_group_is_not_answered(leaves: int) -> None:
    """Cases 54 and 58: also beside other exceptions; the layer that raised it gets it back, and no response."""
    signal = HTTPException(418, "private")
    caught: list[BaseException] = []
    sent: list[object] = []

    class Signalling:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def raise_signal():
                raise signal

            async def record(message):
                sent.append(message)

            try:
                await self.app(scope, raise_signal, record)
            except Exception as raised:
                caught.append(raised)
            await PlainTextResponse("signalled", 413)(scope, receive, send)

    async def endpoint(scope, receive, send):
        try:
            await receive()
        except HTTPException as exc:
            raise ExceptionGroup("tasks", [exc, ConflictError("x")][:leaves]) from None

    app = Starlette(routes=[Mount("/", endpoint)], middleware=[Middleware(Signalling)])
    install(app)

    exchange(app)

    assert sent == []
    assert caught[0] is signal or (isinstance(caught[0], ExceptionGroup) and signal in caught[0].exceptions)


@pytest.mark.parametrize("exc", [*FOREIGN, _Signal(413)], ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_exception_of_receive_reaches_the_layer_that_raised_it(framework: type[Starlette], exc: Exception) -> None:
    """Cases 54 and 55: middleware outside raises its signal in receive, and gets it back."""
    caught: list[BaseException] = []

    class Signalling:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def signal():
                raise exc

            try:
                await self.app(scope, signal, send)
            except Exception as raised:
                caught.append(raised)
            await PlainTextResponse("signalled", 413)(scope, receive, send)

    async def endpoint(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    app = framework(routes=[Route("/", endpoint, methods=["POST"])], middleware=[Middleware(Signalling)])
    install(app, errors=ErrorMap({OSError: NotFoundError, RuntimeError: NotFoundError}))

    done = exchange(app, method="POST")

    assert caught == [exc]
    assert caught[0] is exc
    assert strict_json(done.body) == {"code": 413, "message": "signalled", "status": "failure"}
    assert done.raised is None


def test_exception_of_send_reaches_the_middleware_that_raised_it() -> None:
    """Case 54: the same for a signal that middleware raises in send."""
    signal = _Signal(418)
    caught: list[BaseException] = []

    class Signalling:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def refuse(message):
                raise signal

            try:
                await self.app(scope, receive, refuse)
            except _Signal as exc:
                caught.append(exc)
            await JSONResponse({"detail": "refused"}, 403)(scope, receive, send)

    app = Starlette(routes=[Route("/", serve(JSONResponse([1])))], middleware=[Middleware(Signalling)])
    install(app)

    done = exchange(app)

    assert caught[0] is signal
    assert strict_json(done.body)["message"] == "refused"
    assert done.raised is None


def test_exception_of_send_in_a_mounted_application_is_raised_untouched() -> None:
    """Case 54: through two installations."""
    error = HTTPException(418, "private")
    inner = Starlette(routes=[Route("/x", serve(JSONResponse([1])))])
    install(inner)
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = exchange(app, "/sub/x", send_error=error, error_at="http.response.start")

    assert done.sent == []
    assert done.raised is error


def test_exception_of_send_in_a_plain_mount_is_raised_untouched() -> None:
    """Case 54: the mounted application's ServerErrorMiddleware tries to answer; nothing is sent."""
    error = OSError("reset")
    app = Starlette(routes=[Mount("/sub", Starlette(routes=[Route("/x", serve(JSONResponse([1])))]))])
    install(app, errors=ErrorMap({OSError: NotFoundError}))

    done = exchange(app, "/sub/x", send_error=error, error_at="http.response.start")

    assert done.sent == []
    assert done.raised is error


def test_disconnect_while_a_stream_is_sent_gives_no_response() -> None:
    """Case 55: Starlette turns the server's OSError into its ClientDisconnect."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"[1"
        yield b"]"

    app = Starlette(routes=[Route("/", serve(StreamingResponse(stream(), media_type="application/json")))])
    install(app)

    done = exchange(app, send_error=OSError("reset"))

    assert done.types() == ["http.response.start"]
    assert isinstance(done.raised, (ClientDisconnect, OSError))


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_disconnect_while_the_body_is_read_gives_no_response(framework: type[Starlette]) -> None:
    """Case 55: nobody is there to read an answer."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    app = framework(routes=[Route("/", endpoint, methods=["POST"])])
    install(app)

    done = exchange(app, method="POST", incoming=[{"type": "http.disconnect"}])

    assert done.sent == []
    assert done.raised is None or isinstance(done.raised, ClientDisconnect)


def test_disconnect_while_fastapi_reads_the_body_is_one_response_at_most() -> None:
    """Case 55: FastAPI may answer a broken body by itself; it never becomes a crash."""
    app = fastapi.FastAPI()
    install(app)

    @app.post("/")
    async def create(item: dict[str, int]) -> int:
        return len(item)

    done = exchange(
        app,
        method="POST",
        headers={"Content-Type": "application/json"},
        incoming=[{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}],
    )

    assert done.types() in ([], ["http.response.start", "http.response.body"])
    assert done.sent == [] or strict_json(done.body)["code"] == 400


def test_disconnect_is_not_a_crash_for_the_handler_of_the_application() -> None:
    """Case 55: nobody wants a report about a client that went away."""
    calls: list[Exception] = []

    async def handler(request: Request, exc: Exception) -> Response:
        calls.append(exc)
        return JSONResponse({}, 500)

    app = Starlette(routes=[Route("/", throw(ClientDisconnect()))], exception_handlers={Exception: handler})
    install(app)

    done = exchange(app)

    assert done.sent == []
    assert calls == []


def test_disconnect_behind_base_http_middleware_gives_no_response() -> None:
    """Case 55: through the framework's own middleware."""

    async def dispatch(request, call_next):
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    app = Starlette(
        routes=[Route("/", endpoint, methods=["POST"])],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    install(app)

    done = exchange(app, method="POST", incoming=[{"type": "http.disconnect"}])

    assert done.sent == []


@pytest.mark.parametrize("exc", FOREIGN, ids=lambda exc: type(exc).__name__)
def test_exception_of_send_is_raised_untouched_by_the_middleware_alone(exc: Exception) -> None:
    """Case 54: EnvelopeMiddleware around any ASGI application."""

    async def app(scope, receive, send):
        await JSONResponse([1])(scope, receive, send)

    done = exchange(EnvelopeMiddleware(app), send_error=exc, error_at="http.response.start")

    assert done.sent == []
    assert done.raised is exc


def test_equal_exception_that_send_did_not_raise_is_answered() -> None:
    """Case 54: by identity; an application's own OSError is a crash."""
    crash = OSError("disk full")
    app = Starlette(routes=[Route("/", throw(crash))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is crash


def test_caught_exception_of_receive_is_forgotten() -> None:
    """Case 54: an endpoint that deals with it answers as it likes."""

    async def endpoint(request: Request) -> Response:
        try:
            await request.body()
        except OSError:
            raise ConflictError("half a body") from None
        return JSONResponse(1)

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    install(app)

    done = exchange(app, method="POST", incoming=[OSError("reset")])

    assert strict_json(done.body) == {"code": 409, "message": "half a body", "status": "failure"}
    assert done.raised is None


def test_cancellation_out_of_send_is_never_caught() -> None:
    """Case 56: a server that cancels in send cancels the application."""
    app = Starlette(routes=[Route("/", serve(JSONResponse([1])))])
    install(app)

    with pytest.raises(asyncio.CancelledError):
        exchange(app, send_error=asyncio.CancelledError())


def test_answer_that_middleware_raises_out_of_receive_is_an_answer() -> None:
    """Case 55: a body limit of one's own; no middleware is left outside that could answer it."""

    class Limit:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def limited() -> Any:
                message = await receive()
                if len(message.get("body", b"")) > 10:
                    raise HTTPException(413, "too big")
                return message

            await self.app(scope, limited, send)

    async def endpoint(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])], middleware=[Middleware(Limit)])
    install(app)

    response = client_of(app).post("/", content=b"x" * 20)

    assert response.json() == failure(413, "too big")
