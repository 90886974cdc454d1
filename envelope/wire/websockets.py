"""Failures of websockets: a response to the handshake, or a close frame."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from envelope.errors.tree import ApiError
from envelope.wire.bodies import BodyWriter
from envelope.wire.failure_response import render_failure

#: Where the last of these two messages of a websocket is noted.
_STATE = "envelope.websocket"
_ACCEPT = "websocket.accept"
_CLOSE = "websocket.close"

#: A close frame's reason holds this many bytes (RFC 6455, 5.5).
_LONGEST_REASON = 123


def noting_state(scope: Scope, send: Send) -> Send:
    """Note in the scope how far a websocket came; the object that a handler is given may not know."""

    async def send_and_note(message: Message) -> None:
        await send(message)
        if message["type"] in (_ACCEPT, _CLOSE):
            scope[_STATE] = message["type"]

    return send_and_note


async def deny(websocket: WebSocket, failure: ApiError, response: Response) -> Response | None:
    """Close a websocket that meets a failure, or give the response to its handshake, if the server can send one.

    Source:
        ASGI, Websocket Denial Response.
    """
    state = websocket.scope.get(_STATE)
    if state is None and "websocket.http.response" in websocket.scope.get("extensions", {}):
        return response
    if state != _CLOSE:
        reason = str(failure).encode(errors="backslashreplace")[:_LONGEST_REASON].decode(errors="ignore")
        # 1008: the client did something that it may not; 1011: we failed (RFC 6455, 7.4.1).
        await websocket.close(1008 if failure.status_code < 500 else 1011, reason)
    return None


async def refuse(writer: BodyWriter, failure: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a websocket before the application sees it.

    Args:
        writer: The shape of the body.
        failure: What is said.
        scope: Of the websocket.
        receive: Of the server.
        send: Of the server.
    """
    response = await deny(WebSocket(scope, receive, send), failure, render_failure(writer, failure))
    if response is not None:
        await response(scope, receive, send)
