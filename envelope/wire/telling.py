"""Tells the listener, if there is one, of the failures that leave an application."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope.signals import Listener
from envelope.wire.exchange import KEY, Exchange

#: In the scope of a request that the listener is told of.
HEARD = "envelope.heard"


async def serve_heard(app: ASGIApp, listener: Listener, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request, and tell of it if it fails.

    Stands around the outermost layer of ours, which then knows it by the mark in the scope; what is mounted inside
    tells nothing of its own.
    """

    async def send_heard(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            tell_failure(listener, scope, message["status"])
        await send(message)

    scope[HEARD] = True
    with listener.request():
        await app(scope, receive, send_heard)


def tell_failure(listener: Listener, scope: Scope, status: int) -> None:
    """Tell of a failure, with its error code if a layer of ours has written it."""
    exchange: Exchange | None = scope.get(KEY)  # of the innermost installation that is at work
    is_ours = exchange is not None and exchange.settled is not None and exchange.settled[0] == status
    listener.failure(status, exchange.error_code if exchange is not None and is_ours else None)
