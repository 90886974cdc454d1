"""Websockets: their handshake is a request, and is limited like one."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from envelope import ClientAddress, ForbiddenError, RateLimiter, Shape, install
from tests.rate_limit.asking import (
    REFUSED,
    TEXT,
    RawApp,
    ScriptedStorage,
    app_of,
    ask,
    by_header,
    limiter_of,
    one,
    read_list,
    websocket_scope,
)
from tests.wire.apps import strict_json
from tests.wire.asgi import run

CONNECT = ({"type": "websocket.connect"},)


async def _talk(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-own", b"1")])
    await websocket.send_text("hello")
    await websocket.close(1000)


def _connect(app: Any, path: str = "/ws", **options: Any) -> list[Message]:
    return run(app, websocket_scope(path, **options), received=CONNECT)


def _types(messages: list[Message]) -> list[str]:
    return [message["type"] for message in messages]


def _app(limiter: RateLimiter, **options: Any) -> Starlette:
    return app_of(limiter, WebSocketRoute("/ws", _talk), Route("/http", one), **options)


def test_accepted_handshake_tells_the_figures() -> None:
    """They stand beside the endpoint's own headers, once, and the messages behind are untouched."""
    app, bare = _app(limiter_of("9/minute")), Starlette(routes=[WebSocketRoute("/ws", _talk)])

    messages, expected = _connect(app), _connect(bare)

    headers = messages[0].pop("headers")
    assert headers[0] == (b"x-own", b"1") == expected[0].pop("headers")[0]
    assert [name for name, _ in headers[1:]] == [
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
        b"ratelimit-policy",
        b"ratelimit",
    ]
    assert read_list(dict(headers)[b"ratelimit"]) == [("9/minute", {"r": 8, "t": 60})]
    assert messages == expected


def test_accept_without_headers_gets_them() -> None:
    """``headers`` is optional in ``websocket.accept``."""
    app = app_of(
        limiter_of("9/minute"), Mount("/", RawApp({"type": "websocket.accept"}, {"type": "websocket.close"}))
    )

    messages = _connect(app)

    assert dict(messages[0]["headers"])[b"x-ratelimit-remaining"] == b"8"
    assert messages[1] == {"type": "websocket.close"}


def test_refused_handshake_is_a_denial_response_with_the_envelope() -> None:
    """A server that can send a response sends the 429."""
    app = _app(limiter_of("1/minute"), shape=Shape(message="error"))
    _connect(app, denial=True)

    start, body = _connect(app, denial=True)

    headers = dict(start["headers"])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
    assert body["type"] == "websocket.http.response.body"
    assert strict_json(body["body"]) == {"code": 429, "error": TEXT, "status": "failure"}
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    assert (headers[b"retry-after"], headers[b"cache-control"]) == (b"61", b"no-store")
    assert headers[b"ratelimit"] == b'"1/minute";r=0;t=60'
    assert len(headers) == len(start["headers"])


def test_refused_handshake_closes_with_1008_where_no_response_can_be_sent() -> None:
    """1008 is the close code of policy violations, and the reason says which."""
    app = _app(limiter_of("1/minute"))
    _connect(app)

    assert _connect(app) == [{"type": "websocket.close", "code": 1008, "reason": TEXT}]


def test_refused_handshake_as_its_client_sees_it() -> None:
    """Through the framework's own client."""
    app = _app(limiter_of("1/minute"))
    client = TestClient(app)
    with client.websocket_connect("/ws") as websocket:
        assert websocket.receive_text() == "hello"
        headers: Any = websocket.extra_headers
        assert b"ratelimit" in dict(headers)

    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/ws"):
        pass

    assert (denied.value.status_code, denied.value.json()) == (429, REFUSED)
    assert denied.value.headers["retry-after"].isdecimal()


def test_refused_handshake_does_not_reach_the_endpoint() -> None:
    """Nor is anything received for it."""
    called: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        called.append("endpoint")
        await websocket.accept()

    app = app_of(limiter_of("1/minute"), WebSocketRoute("/ws", endpoint))

    for denial in (False, False, True):
        _connect(app, denial=denial)

    assert called == ["endpoint"]


def test_handshakes_and_requests_have_one_budget() -> None:
    """Opening sockets is no way around."""
    app = _app(limiter_of("2/minute"))

    assert _types(_connect(app))[0] == "websocket.accept"
    assert ask(app, "/http", client=("192.0.2.1", 1)).left == {"2/minute": 0}
    assert _types(_connect(app)) == ["websocket.close"]
    assert ask(app, "/http", client=("192.0.2.1", 1)).status == 429


def test_messages_of_an_open_socket_are_not_limited() -> None:
    """Only the handshake is a request."""
    app = _app(limiter_of("1/minute"))

    assert _types(_connect(app)) == ["websocket.accept", "websocket.send", "websocket.close"]


def test_route_table_has_entries_for_websockets() -> None:
    """``WEBSOCKET /ws``: beside the global limits, and not those of GET on the same path."""
    limiter = limiter_of("9/minute", routes={"WEBSOCKET /ws": ["1/minute"], "GET /ws": ["5/minute"]})
    app = app_of(limiter, WebSocketRoute("/ws", _talk), Route("/ws", one))

    accepted, refused = _connect(app), _connect(app, denial=True)

    assert read_list(dict(accepted[0]["headers"])[b"ratelimit"]) == [
        ("9/minute", {"r": 8, "t": 60}),
        ("1/minute WEBSOCKET /ws", {"r": 0, "t": 60}),
    ]
    assert refused[0]["status"] == 429
    assert ask(app, "/ws", client=("192.0.2.1", 1)).left == {"9/minute": 7, "5/minute GET /ws": 4}


def test_exempt_websocket_is_free() -> None:
    """``None`` exempts handshakes too."""
    app = _app(limiter_of("1/minute", routes={"WEBSOCKET /ws": None}))

    assert [_types(_connect(app))[0] for _ in range(3)] == ["websocket.accept"] * 3


def test_unmatched_websocket_is_limited() -> None:
    """Paths that no route has cost like all others."""
    app = _app(limiter_of("1/minute"))
    _connect(app, "/nowhere")

    assert _connect(app, "/nowhere") == [{"type": "websocket.close", "code": 1008, "reason": TEXT}]


@pytest.mark.parametrize("denial", [True, False])
def test_denial_by_the_endpoint_has_the_figures_where_it_has_headers(denial: bool) -> None:
    """A handshake that the application turns down was a request all the same."""

    async def endpoint(websocket: WebSocket) -> None:
        if denial:
            await websocket.send_denial_response(JSONResponse({"mine": True}, 418))
        else:
            await websocket.close(4000, "mine")

    messages = _connect(app_of(limiter_of("9/minute"), WebSocketRoute("/ws", endpoint)), denial=denial)

    if denial:
        assert messages[0]["status"] == 418
        assert dict(messages[0]["headers"])[b"ratelimit"] == b'"9/minute";r=8;t=60'
        assert strict_json(messages[1]["body"]) == {"mine": True}
    else:
        assert messages == [{"type": "websocket.close", "code": 4000, "reason": "mine"}]


def test_key_of_a_websocket_sees_its_headers() -> None:
    """The key function is given the connection, whatever its kind."""
    app = _app(limiter_of("1/minute", key=by_header("x-account")))

    types = [_types(_connect(app, headers=[(b"x-account", account)]))[0] for account in (b"a", b"b", b"a")]

    assert types == ["websocket.accept", "websocket.accept", "websocket.close"]


def _forbid(connection: object) -> str:
    raise ForbiddenError("not you")


@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize(
    ("options", "client", "status"),
    [
        ({"key": _forbid}, ("192.0.2.1", 1), 403),
        ({"key": ClientAddress(unidentified="deny", ipv6_prefix=105)}, None, 403),
    ],
)
def test_error_of_the_key_answers_a_handshake(
    options: dict[str, Any], client: Any, status: int, denial: bool
) -> None:
    """What is an answer for a request is one for a handshake: it does not escape to the server as a crash."""
    messages = _connect(_app(limiter_of("9/minute", **options)), denial=denial, client=client)

    if denial:
        assert (messages[0]["type"], messages[0]["status"]) == ("websocket.http.response.start", status)
        assert strict_json(messages[1]["body"])["code"] == status
    else:
        assert [(message["type"], message["code"]) for message in messages] == [("websocket.close", 1008)]


class _Silent(ScriptedStorage):
    async def decide(self, demands: Any) -> Any:
        from envelope.storage.errors import StorageUnavailableError

        raise StorageUnavailableError("silent")


@pytest.mark.parametrize("denial", [True, False])
def test_outage_that_denies_answers_a_handshake(denial: bool) -> None:
    """503, or 1011 where no response can be sent: the service failed, not the client."""
    app = _app(RateLimiter("9/minute", storage=_Silent((), ()), on_outage="deny"))

    messages = _connect(app, denial=denial)

    if denial:
        assert messages[0]["status"] == 503
        assert dict(messages[0]["headers"])[b"retry-after"].isdigit()
    else:
        assert [(message["type"], message["code"]) for message in messages] == [("websocket.close", 1011)]


def test_crash_of_the_key_of_a_websocket_is_raised() -> None:
    """As any crash in a websocket: the server closes and logs."""
    error = ZeroDivisionError()

    def key(connection: object) -> str:
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        _connect(_app(limiter_of("9/minute", key=key)))

    assert raised.value is error


@pytest.mark.parametrize("decorated", [True, False])
@pytest.mark.parametrize("denial", [True, False])
def test_limit_of_a_websocket_route(decorated: bool, denial: bool) -> None:
    """``Depends(limiter.limit(...))`` and ``@limiter.limited(...)`` refuse before the socket is accepted."""
    limiter = limiter_of()
    app = FastAPI()
    install(app, rate_limiter=limiter)
    if decorated:

        @app.websocket("/ws")
        @limiter.limited("1/minute")
        async def limited(websocket: WebSocket) -> None:
            await _talk(websocket)
    else:

        @app.websocket("/ws", dependencies=[Depends(limiter.limit("1/minute"))])
        async def dependent(websocket: WebSocket) -> None:
            await _talk(websocket)

    accepted, refused = _connect(app, denial=denial), _connect(app, denial=denial)

    assert _types(accepted) == ["websocket.accept", "websocket.send", "websocket.close"]
    if denial:
        assert (refused[0]["status"], strict_json(refused[1]["body"])) == (429, REFUSED)
        assert dict(refused[0]["headers"])[b"ratelimit"] == b'"1/minute /ws";r=0;t=60'
    else:
        assert refused == [{"type": "websocket.close", "code": 1008, "reason": TEXT}]


def test_limited_websocket_of_starlette() -> None:
    """The socket is the first argument there."""
    limiter = limiter_of()
    app = app_of(limiter, WebSocketRoute("/ws", limiter.limited("1/minute")(_talk)))

    assert [_types(_connect(app))[0] for _ in range(2)] == ["websocket.accept", "websocket.close"]


def test_disconnect_of_the_client_passes() -> None:
    """Exceptions of the framework's own protocol are not ours."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()

    app = app_of(limiter_of("9/minute"), WebSocketRoute("/ws", endpoint))
    received: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1001},
    ]

    assert _types(run(app, websocket_scope("/ws"), received=received)) == ["websocket.accept"]
