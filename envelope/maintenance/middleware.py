"""MaintenanceMiddleware: the 503 of a service that is offline for maintenance."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from envelope.errors.tree import ServiceUnavailableError
from envelope.maintenance.maintenance import Maintenance
from envelope.wire.bodies import BodyWriter
from envelope.wire.failure_response import render_failure
from envelope.wire.lifespan import serve_beside
from envelope.wire.paths import route_path
from envelope.wire.websockets import refuse


class MaintenanceMiddleware:
    """Answers everything but the exempt paths while maintenance is on; whatever is under way ends as it would.

    Stands inside the application's own middleware, so that CORS headers are on its refusals, and outside of the
    other guards: whoever is refused here is not charged, and locks nothing.

    Args:
        app: Everything inside.
        maintenance: Knows whether it is on.
        writer: The shape of a refusal.
    """

    def __init__(self, app: ASGIApp, maintenance: Maintenance, writer: BodyWriter) -> None:
        self.app = app
        self._maintenance = maintenance
        self._known = maintenance._known  # noqa: SLF001 - its business with requests is done here
        self._watch = maintenance._watch  # noqa: SLF001
        self._writer = writer
        self._refusal = render_failure(writer, ServiceUnavailableError())
        # It differs from request to request.
        self._refusal.raw_headers = [each for each in self._refusal.raw_headers if each[0] != b"retry-after"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            if self._watch is not None:
                self._watch.look()  # so that the first request finds an answer
            await serve_beside(self.app, scope, receive, send, close=self._maintenance.aclose)
            return
        known = self._known
        if self._watch is not None and known.due_at <= known.clock():
            if self._maintenance.exempt.cover(route_path(scope)):
                self._watch.look()  # a health check does not hang with the storage
            else:
                await self._watch.catch_up()
        if known.read is None or self._maintenance.exempt.cover(route_path(scope)):
            await self.app(scope, receive, send)
            return
        wait_s = known.wait_s()
        if scope["type"] == "websocket":
            failure = ServiceUnavailableError(retry_after=wait_s, headers={"cache-control": "no-store"})
            await refuse(self._writer, failure, scope, receive, send)
            return
        more = [(b"retry-after", b"%d" % wait_s), (b"cache-control", b"no-store")]
        for message in self._refusal.messages(scope, more):
            await send(message)
