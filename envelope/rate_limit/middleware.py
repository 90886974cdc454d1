"""RateLimitMiddleware: charges every request before the router sees it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from envelope.errors.tree import RateLimitedError
from envelope.rate_limit.limiter import RateLimiter
from envelope.rate_limit.routes import RouteTable
from envelope.rate_limit.tally import Tally
from envelope.rate_limit.verdicts import Demand
from envelope.wire.bodies import BodyWriter
from envelope.wire.failure_response import FailureResponse, render_failure
from envelope.wire.websockets import deny


class RateLimitMiddleware:
    """Refuses what is above the limits, and tells on every answer how much is left.

    Stands inside the application's own middleware, so that CORS headers are on its refusals, and directly
    outside ``EnvelopeMiddleware``.

    Args:
        app: Everything inside.
        limiter: Which limits there are.
        writer: The shape of a refusal.
        routes: Of the application, which the limiter's route table speaks of.

    Raises:
        ConfigurationError: The route table speaks of a route that is not there.
    """

    def __init__(self, app: ASGIApp, limiter: RateLimiter, writer: BodyWriter, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._limiter = limiter
        self._writer = writer
        self._plan = limiter.plan
        self._table = RouteTable(limiter.routes, routes) if limiter.routes else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            try:
                await self.app(scope, receive, send)
            finally:
                await self._limiter.aclose()  # after the application's own shutdown
            return
        plan = self._plan
        if self._table is not None:
            plan = self._table.find(scope) or plan
        if plan.is_empty:
            await self.app(scope, receive, send)
            return
        address = plan.address
        if address is not None and (subject := address.of_scope(scope)) is not None:
            demands: tuple[Demand, ...] = (Demand(subject, plan.quotas, plan.cost),)
        else:
            demands = await plan.demands(_connection(scope))
        if not demands:
            await self.app(scope, receive, send)
            return
        verdict = await self._limiter.decide(demands)
        tally = scope[self._limiter.scope_key] = Tally(self._limiter, [verdict], send)
        if verdict.wait_ms:
            await self._refuse(self._limiter.refusal([verdict]), scope, receive, send)
            return
        await self.app(scope, receive, tally.send)

    async def _refuse(self, failure: RateLimitedError, scope: Scope, receive: Receive, send: Send) -> None:
        response: FailureResponse | None = render_failure(self._writer, failure)
        if scope["type"] == "websocket":
            response = await deny(WebSocket(scope, receive, send), failure, response)
        if response is not None:
            await response(scope, receive, send)


def _connection(scope: Scope) -> HTTPConnection:
    # Without receive: who reads the body here takes it from the endpoint.
    return Request(scope) if scope["type"] == "http" else HTTPConnection(scope)
