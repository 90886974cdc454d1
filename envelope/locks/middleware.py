"""LocksMiddleware: gives each request a place for its leases, and sees that none of them outlives it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from envelope.locks.guards import decorated
from envelope.locks.holdings import RequestLeases, enter
from envelope.locks.object_locks import ObjectLocks
from envelope.routing.endpoints import check_decorated
from envelope.wire.exchange import KEY as EXCHANGE


class LocksMiddleware:
    """Releases what a request holds, at the latest when it has ended, however it ends.

    Stands directly outside ``EnvelopeMiddleware``, which releases what is the client's to wait for: by then it
    has its answer.

    Args:
        app: Everything inside.
        locks: Closed at the end of the application.
        routes: Of the application.

    Raises:
        ConfigurationError: ``guarded`` stands above a route decorator.
    """

    def __init__(self, app: ASGIApp, locks: ObjectLocks, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._locks = locks
        check_decorated(
            decorated,
            routes,
            decorator="guarded()",
            does="guards",
            example="@locks.guarded('entity:{entity_id}')",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            try:
                await self.app(scope, receive, send)
            finally:
                if scope["type"] == "lifespan":
                    await self._locks.aclose()  # after the application's own shutdown
            return
        leases = RequestLeases(scope, scope.get(EXCHANGE))
        outside = enter(leases)
        try:
            await self.app(scope, receive, send)
        except Exception:
            await leases.end()  # somebody further out may answer it
            raise
        else:
            if leases.is_used:
                await leases.end()
        finally:
            enter(outside)
            leases.let_go()  # what a request that was cancelled has left; nobody waits for it
