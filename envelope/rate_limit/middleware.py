"""RateLimitMiddleware: charges every request before the router sees it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from envelope import signals
from envelope.errors.tree import ApiError, RateLimitedError
from envelope.rate_limit.limiter import RateLimiter
from envelope.rate_limit.tally import ToldTally
from envelope.rate_limit.verdicts import Demand, Verdict
from envelope.routing.endpoints import check_decorated
from envelope.routing.table import RouteTable
from envelope.wire.bodies import BodyWriter
from envelope.wire.exchange import KEY as EXCHANGE
from envelope.wire.failure_response import render_failure
from envelope.wire.lifespan import serve_beside
from envelope.wire.websockets import refuse


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
        ConfigurationError: The route table speaks of a route that is not there, or ``limited`` stands above a
            route decorator.
    """

    def __init__(
        self, app: ASGIApp, limiter: RateLimiter, writer: BodyWriter, routes: Sequence[BaseRoute]
    ) -> None:
        self.app = app
        self._limiter = limiter
        self._writer = writer
        self._refusal = render_failure(writer, RateLimitedError())
        # It differs from request to request.
        self._refusal.raw_headers = [each for each in self._refusal.raw_headers if each[0] != b"retry-after"]
        self._plan = limiter.plan
        check_decorated(
            limiter.limited_endpoints,
            routes,
            decorator="limited()",
            does="limits",
            example="@limiter.limited('5/minute')",
        )
        self._table = RouteTable(limiter.routes, routes) if limiter.routes else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await serve_beside(self.app, scope, receive, send, close=self._limiter.aclose)
            return
        limiter, plan = self._limiter, self._plan
        verdicts: list[Verdict] = []
        try:
            if self._table is not None:
                plan = self._table.find(scope) or plan
            address = plan.address
            if address is not None and (subject := address.of_scope(scope)) is not None:
                # Past the constructor of NamedTuple, which is slow.
                demands: tuple[Demand, ...] = (
                    tuple.__new__(Demand, (subject, plan.quotas, plan.cost, plan.is_work)),
                )
            else:
                demands = await plan.demands(_connection(scope))
            if demands:
                verdicts.append(await limiter.storage.decide(demands))
        except ApiError as failure:
            if scope["type"] == "http":
                raise  # the FailureNet answers it
            await refuse(self._writer, failure, scope, receive, send)
            return
        if verdicts:
            if plan.has_shadow or signals.listener is not None:
                limiter.report(verdicts[0])
            if verdicts[0].wait_ms:
                await self._refuse(verdicts, scope, receive, send)
                return
        tally = ToldTally(verdicts, limiter.describe, scope.get(EXCHANGE), send)
        scope[limiter.scope_key] = tally
        try:
            await self.app(scope, receive, tally.send)
        finally:
            tally.outer = None

    async def _refuse(self, verdicts: list[Verdict], scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await refuse(self._writer, self._limiter.refusal(verdicts), scope, receive, send)
            return
        for message in self._refusal.messages(scope, self._limiter.describe_refusal(verdicts)):
            await send(message)


def _connection(scope: Scope) -> HTTPConnection:
    # Without receive: who reads the body here takes it from the endpoint.
    return Request(scope) if scope["type"] == "http" else HTTPConnection(scope)
