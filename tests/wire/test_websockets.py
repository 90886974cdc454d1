"""Websockets and lifespan: they pass; only an ApiError in a websocket has an answer of ours."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from envelope import (
    ApiError,
    ConflictError,
    EnvelopeMiddleware,
    ErrorMap,
    ForbiddenError,
    InternalServerError,
    NotFoundError,
    RateLimitedError,
    install,
)
from tests.wire.apps import Exchange, exchange, failure, serve, strict_json, success, talk


class DomainError(Exception):
    """Knows nothing of HTTP."""


def _connect(app: Any, path: str = "/", *, denial: bool = False, disconnects: bool = True) -> Exchange:
    """Play the server for one websocket that the client opens, and leaves after it was accepted."""
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "state": {},
        "extensions": {"websocket.http.response": {}} if denial else {},
    }
    incoming: list[Any] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    return asyncio.run(talk(app, scope, incoming=incoming))


def _socket(exc: Exception, *, accept: bool) -> WebSocketRoute:
    async def endpoint(websocket: WebSocket) -> None:
        if accept:
            await websocket.accept()
        raise exc

    return WebSocketRoute("/", endpoint)


def test_messages_of_a_websocket_pass() -> None:
    """Case 38: accept, texts, bytes and the close code are nobody's envelope."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="chat")
        await websocket.send_json({"a": 1})
        await websocket.send_bytes(b"\x00")
        await websocket.close(4001, "bye")

    app, bare = (
        Starlette(routes=[WebSocketRoute("/", endpoint)]),
        Starlette(routes=[WebSocketRoute("/", endpoint)]),
    )
    install(app)

    assert _connect(app) == _connect(bare)


def test_websocket_echo_works_with_the_test_client() -> None:
    """Case 38: a whole conversation."""
    app = fastapi.FastAPI()
    install(app)

    @app.websocket("/ws")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())

    with TestClient(app).websocket_connect("/ws") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"


# Answers before the socket is accepted


def test_own_error_before_accept_is_a_denial_response_with_the_envelope() -> None:
    """Case 37: a server that can send a response sends the envelope."""
    app = Starlette(
        routes=[_socket(ForbiddenError("no", error_code="banned", headers={"X-One": "1"}), accept=False)]
    )
    install(app)

    done = _connect(app, denial=True)
    start, body = done.sent

    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 403
    assert (b"x-one", b"1") in [(name.lower(), value) for name, value in start["headers"]]
    assert body["type"] == "websocket.http.response.body"
    assert strict_json(body["body"]) == failure(403, {"error_code": "banned", "message": "no"})
    assert done.raised is None


def test_own_error_before_accept_is_seen_by_the_client() -> None:
    """Case 37: the same through the test client, which understands denial responses."""
    app = fastapi.FastAPI()
    install(app)

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        raise ForbiddenError("no")

    with pytest.raises(WebSocketDenialResponse) as denied, TestClient(app).websocket_connect("/ws"):
        pass

    assert denied.value.status_code == 403
    assert denied.value.json() == failure(403, "no")


def test_own_error_in_a_dependency_before_accept_is_a_denial_response() -> None:
    """Case 37: a websocket's dependency refuses the client."""
    app = fastapi.FastAPI()
    install(app)

    async def user() -> None:
        raise RateLimitedError(retry_after=7)

    @app.websocket("/ws", dependencies=[fastapi.Depends(user)])
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()

    with pytest.raises(WebSocketDenialResponse) as denied, TestClient(app).websocket_connect("/ws"):
        pass

    assert denied.value.status_code == 429
    assert denied.value.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("exc", "code"), [(ForbiddenError("no"), 1008), (InternalServerError("no"), 1011)], ids=["403", "500"]
)
def test_own_error_before_accept_closes_if_the_server_cannot_send_a_response(exc: ApiError, code: int) -> None:
    """Case 37: without the extension there is only a close."""
    app = Starlette(routes=[_socket(exc, accept=False)])
    install(app)

    done = _connect(app)

    assert done.sent == [{"type": "websocket.close", "code": code, "reason": "no"}]
    assert done.raised is None


# Answers after the socket was accepted


@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (ForbiddenError("no"), 1008),
        (ConflictError("no"), 1008),
        (InternalServerError("no"), 1011),
        (ApiError("no", status_code=503), 1011),
    ],
    ids=str,
)
def test_own_error_after_accept_closes_the_socket(exc: ApiError, code: int, denial: bool) -> None:
    """Case 38: 1008 if the client did something that it may not, 1011 if we failed."""
    app = Starlette(routes=[_socket(exc, accept=True)])
    install(app)

    done = _connect(app, denial=denial)

    assert done.types() == ["websocket.accept", "websocket.close"]
    assert done.sent[-1] == {"type": "websocket.close", "code": code, "reason": "no"}
    assert done.raised is None


@pytest.mark.parametrize("text", ["x" * 200, "é" * 200, "a" + "漢" * 100, "🎉" * 50], ids=["ascii", "2", "3", "4"])
def test_reason_of_a_close_fits_its_frame(text: str) -> None:
    """Case 38: at most 123 bytes of valid UTF-8 (RFC 6455, 5.5)."""
    app = Starlette(routes=[_socket(ForbiddenError(text), accept=True)])
    install(app)

    reason = _connect(app).sent[-1]["reason"]

    assert 120 <= len(reason.encode()) <= 123
    assert text.startswith(reason)


@pytest.mark.parametrize("message", [["a", "b"], {"k": 1}, "lone \ud800"], ids=["list", "dict", "surrogate"])
def test_reason_of_a_close_is_a_text(message: Any) -> None:
    """Case 38: whatever the message is, the reason is a text that can be sent."""
    app = Starlette(routes=[_socket(ForbiddenError(message), accept=True)])
    install(app)

    done = _connect(app)

    assert done.raised is None
    assert done.sent[-1]["code"] == 1008
    assert isinstance(done.sent[-1]["reason"], str)
    assert len(done.sent[-1]["reason"].encode()) <= 123


def test_own_error_after_the_socket_was_closed_sends_nothing() -> None:
    """Case 38: there is one close."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()
        raise ForbiddenError("late")

    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    install(app)

    done = _connect(app)

    assert done.types() == ["websocket.accept", "websocket.close"]
    assert done.raised is None


@pytest.mark.parametrize("accept", [True, False])
def test_mapped_error_in_a_websocket_is_an_answer(accept: bool) -> None:
    """Case 45: a rule counts in websockets, too."""
    app = Starlette(routes=[_socket(DomainError("secret"), accept=accept)])
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = _connect(app)

    assert done.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": NotFoundError.message}
    assert done.raised is None


def test_group_with_one_own_error_in_a_websocket_is_its_answer() -> None:
    """Case 58: websockets are where task groups are used most."""
    app = Starlette(routes=[_socket(ExceptionGroup("tasks", [ForbiddenError("no")]), accept=True)])
    install(app)

    done = _connect(app)

    assert done.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "no"}
    assert done.raised is None


# The framework's own


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("denial", [True, False])
def test_http_exception_in_a_websocket_is_left_to_the_framework(framework: type[Starlette], denial: bool) -> None:
    """Case 37: Starlette denies with its text, FastAPI with its {"detail": ...}, as without us."""
    exc = HTTPException(403, "members only", headers={"X-One": "1"})
    app, bare = framework(routes=[_socket(exc, accept=False)]), framework(routes=[_socket(exc, accept=False)])
    install(app)

    done, expected = _connect(app, denial=denial), _connect(bare, denial=denial)

    assert done.sent == expected.sent
    assert type(done.raised) is type(expected.raised)


def test_http_exception_in_a_websocket_of_fastapi_denies_with_its_detail() -> None:
    """Case 37: the body that FastAPI's clients know."""
    app = fastapi.FastAPI()
    install(app)

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        raise fastapi.HTTPException(401, "who are you")

    with pytest.raises(WebSocketDenialResponse) as denied, TestClient(app).websocket_connect("/ws"):
        pass

    assert denied.value.status_code == 401
    assert denied.value.json() == {"detail": "who are you"}


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("accept", [True, False])
def test_websocket_exception_keeps_its_code(framework: type[Starlette], accept: bool) -> None:
    """Case 38: the framework's own way to close."""
    app = framework(routes=[_socket(WebSocketException(1003, "no texts"), accept=accept)])
    install(app)

    done = _connect(app)

    assert done.sent[-1] == {"type": "websocket.close", "code": 1003, "reason": "no texts"}
    assert done.raised is None


def test_invalid_parameter_of_a_websocket_closes_with_1008() -> None:
    """Case 38: FastAPI's validation of a websocket is left to FastAPI."""
    app = fastapi.FastAPI()
    install(app)

    @app.websocket("/ws")
    async def ws(websocket: WebSocket, n: int) -> None:
        await websocket.accept()

    with pytest.raises(WebSocketDisconnect) as closed, TestClient(app).websocket_connect("/ws?n=x"):
        pass

    assert closed.value.code == 1008


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("denial", [True, False])
def test_unknown_path_of_a_websocket_is_left_to_the_framework(framework: type[Starlette], denial: bool) -> None:
    """Case 62: the router closes, as without us."""
    app, bare = framework(), framework()
    install(app)

    done, expected = _connect(app, "/none", denial=denial), _connect(bare, "/none", denial=denial)

    assert (done.sent, type(done.raised)) == (expected.sent, type(expected.raised))


@pytest.mark.parametrize("accept", [True, False])
def test_crash_in_a_websocket_is_raised(accept: bool) -> None:
    """Case 38: the server closes with 1011 or 500 and logs; nothing of ours is in its way."""
    crash = ZeroDivisionError()
    app = Starlette(routes=[_socket(crash, accept=accept)])
    install(app)

    done = _connect(app, denial=True)

    assert done.raised is crash
    assert done.types() == (["websocket.accept"] if accept else [])


def test_own_handler_for_a_websocket_wins() -> None:
    """A handler of the application answers websockets as it did before."""

    async def handler(websocket: WebSocket, exc: Exception) -> None:
        await websocket.close(4409, "mine")

    app = Starlette(routes=[_socket(ConflictError("x"), accept=True)], exception_handlers={ConflictError: handler})
    install(app)

    done = _connect(app)

    assert done.sent[-1] == {"type": "websocket.close", "code": 4409, "reason": "mine"}
    assert done.raised is None


def test_own_denial_response_of_an_endpoint_passes() -> None:
    """Case 37: what an endpoint sends as a denial is its own."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.send_denial_response(JSONResponse({"mine": True}, 418))

    app, bare = (
        Starlette(routes=[WebSocketRoute("/", endpoint)]),
        Starlette(routes=[WebSocketRoute("/", endpoint)]),
    )
    install(app)

    assert _connect(app, denial=True).sent == _connect(bare, denial=True).sent


def test_own_error_in_a_websocket_of_an_installed_mount_is_answered_once() -> None:
    """Case 40: the inner application answers."""
    inner = Starlette(routes=[_socket(ForbiddenError("no"), accept=False)])
    install(inner)
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    done = _connect(app, "/sub/", denial=True)

    assert done.types() == ["websocket.http.response.start", "websocket.http.response.body"]
    assert done.raised is None


# Lifespan


def test_lifespan_state_reaches_the_requests() -> None:
    """Case 39: what the lifespan yields is the state of every request."""

    @asynccontextmanager
    async def lifespan(app: Starlette):
        yield {"answer": 42}

    async def endpoint(request: Any) -> Response:
        return JSONResponse(request.state.answer)

    app = Starlette(routes=[Route("/", endpoint)], lifespan=lifespan)
    install(app)

    with TestClient(app) as client:
        assert client.get("/").json() == success(42)


def test_startup_failure_is_raised() -> None:
    """Case 39: a service that cannot start must not look as if it had."""

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI):
        raise ConflictError("database is locked")
        yield

    app = fastapi.FastAPI(lifespan=lifespan)
    install(app)

    with pytest.raises(ConflictError, match="database is locked"), TestClient(app):
        pass


@pytest.mark.parametrize("kind", ["lifespan", "unknown.protocol"])
def test_middleware_passes_other_scopes(kind: str) -> None:
    """Case 39: scope, receive and send arrive untouched."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((scope, receive, send))

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        raise AssertionError

    scope = {"type": kind}
    asyncio.run(EnvelopeMiddleware(app)(scope, receive, send))

    assert [scope, receive, send] == seen
    assert scope == {"type": kind}


def test_http_works_beside_websockets() -> None:
    """Case 38: both kinds on one application."""
    app = Starlette(routes=[_socket(ForbiddenError("no"), accept=False), Route("/http", serve(JSONResponse(1)))])
    install(app)

    assert exchange(app, "/http").body == b'{"status":"success","content":1}'
    assert _connect(app).types() == ["websocket.close"]


def test_rule_that_fails_leaves_a_websocket_its_crash() -> None:
    """Case 59: there is no response to a websocket that could hide it."""
    crash = DomainError()

    def rule(exc: Exception) -> ApiError:
        raise ZeroDivisionError

    app = Starlette(routes=[_socket(crash, accept=False)])
    install(app, errors=ErrorMap({DomainError: rule}))

    assert _connect(app).raised is crash


def test_handler_that_fails_for_a_websocket_raises() -> None:
    """Case 60: what a handler of the application raises is the application's."""

    async def handler(websocket: WebSocket, exc: Exception) -> None:
        raise LookupError

    app = Starlette(routes=[_socket(DomainError(), accept=False)], exception_handlers={DomainError: handler})
    install(app)

    assert isinstance(_connect(app).raised, LookupError)


@pytest.mark.parametrize("denial", [False, True])
def test_error_after_accept_in_an_endpoint_class_closes(denial: bool) -> None:
    """Case 38: after accept there is no response any more, whatever the server could have sent before it."""

    class Endpoint(WebSocketEndpoint):
        async def on_connect(self, websocket: WebSocket) -> None:
            await websocket.accept()
            raise ConflictError("busy")

    app = Starlette(routes=[WebSocketRoute("/", Endpoint)])
    install(app)

    done = _connect(app, denial=denial)

    assert done.types() == ["websocket.accept", "websocket.close"]
    assert (done.sent[-1]["code"], done.sent[-1]["reason"]) == (1008, "busy")
    assert done.raised is None


def test_error_after_close_is_left_alone() -> None:
    """Case 38: a websocket that the application closed is not closed again."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4001)
        raise ConflictError("busy")

    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    install(app)

    done = _connect(app)

    assert done.types() == ["websocket.accept", "websocket.close"]
    assert done.sent[-1]["code"] == 4001
