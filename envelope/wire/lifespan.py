"""The end of an application: what a guard closes, it closes while the server still waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: After these a server may end its event loop (ASGI, Lifespan).
_LAST = frozenset({"lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed"})


async def serve_beside(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, close: Callable[[], Awaitable[None]]
) -> None:
    """Serve what is neither a request nor a websocket; after the application's own end, close something.

    Args:
        app: The application.
        scope: Of its lifespan, or of something that it knows.
        receive: Of the server.
        send: Of the server.
        close: What is closed.
    """
    is_closed = scope["type"] != "lifespan"

    async def close_and_send(message: Message) -> None:
        nonlocal is_closed
        if message["type"] in _LAST:
            is_closed = True
            await close()
        await send(message)

    try:
        await app(scope, receive, close_and_send)
    finally:
        if not is_closed:
            await close()
