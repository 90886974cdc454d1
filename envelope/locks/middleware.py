"""LocksMiddleware: gives each request a place for its leases, and sees that none of them outlives it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from envelope.locks.holdings import RequestLeases, enter
from envelope.locks.object_locks import ObjectLocks
from envelope.wire.lifespan import serve_beside


class LocksMiddleware:
    """Releases what a request holds: before the client has its answer, and however the request ends.

    Stands directly outside ``EnvelopeMiddleware``, so that it sees every answer in its final form.

    Args:
        app: Everything inside.
        locks: Closed at the end of the application.
    """

    def __init__(self, app: ASGIApp, locks: ObjectLocks) -> None:
        self.app = app
        self._locks = locks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await serve_beside(self.app, scope, receive, send, close=self._locks.aclose)
            return
        leases = RequestLeases(scope, send)
        outside = enter(leases)
        try:
            await self.app(scope, receive, leases.send)
        except Exception:
            await leases.end()  # somebody further out may answer it
            raise
        else:
            if leases.is_used:
                await leases.end()
        finally:
            enter(outside)
            leases.let_go()  # what a request that was cancelled has left; nobody waits for it
