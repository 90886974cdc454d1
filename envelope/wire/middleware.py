"""EnvelopeMiddleware: the inner layer, through which every answer of the application goes."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from envelope import signals
from envelope.errors.error_map import ErrorMap
from envelope.errors.failures import EchoValues
from envelope.wire.answers import Answers
from envelope.wire.bodies import Shape
from envelope.wire.convention import Convention, SuccessStatus
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.splicing import SplicingResponder
from envelope.wire.telling import HEARD, serve_heard
from envelope.wire.websockets import noting_state


class EnvelopeMiddleware:
    """Speaks the convention for one ASGI application.

    ``install(app)`` puts it in its place in Starlette and FastAPI, together with a net for failures
    further out. Alone it works around any ASGI application: ``EnvelopeMiddleware(app)``.

    Args:
        app: The ASGI application.
        errors: Domain exception -> failure.
        exempt: Paths whose output is not wrapped: ``"/oauth/token"``, ``"/hooks/*"``.
        success_status: ``"always-200"`` sends every wrapped success as 200; ``"keep"`` keeps its status.
        shape: Key names and words.
        echo_values: ``"never"`` keeps values out of validation messages.

    Raises:
        ConfigurationError: An option is not what it should be.

    Source:
        ASGI, HTTP & WebSocket message format 2.5, with its extensions.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        errors: ErrorMap | None = None,
        exempt: Sequence[str] = (),
        success_status: SuccessStatus = "always-200",
        shape: Shape = Shape(),  # noqa: B008 - frozen
        echo_values: EchoValues = "safe",
        _answers: Answers | None = None,
    ) -> None:
        # install() gives the answers that it shares with a FailureNet; the other options are theirs then.
        self._has_net = _answers is not None
        self._answers = _answers or Answers(
            Convention(
                errors=errors, exempt=exempt, success_status=success_status, shape=shape, echo_values=echo_values
            )
        )
        self._exemptions = self._answers.convention.exemptions
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901, PLR0912 - one request
        if scope["type"] != "http":
            if self._has_net and scope["type"] == "websocket":
                send = noting_state(scope, send)  # our handlers answer inside
            await self.app(scope, receive, send)
            return
        if signals.listener is not None and HEARD not in scope:
            await serve_heard(self, signals.listener, scope, receive, send)
            return
        outside: Exchange | None = scope.get(KEY)
        if self._has_net and outside is not None and outside.convention is self._answers.convention:
            exchange, outside = outside, None
            exchange.start()
        else:
            exchange = scope[KEY] = Exchange(self._answers.convention)
        if outside is not None:
            send = outside.inside_out(send)
        responder = SplicingResponder(self._answers, exchange, scope, receive, send)
        if self._exemptions.have_paths:
            responder.exempt = self._exemptions.cover_path(scope)
        try:
            await self.app(scope, responder.receive, responder.send)
        except Exception as exc:  # noqa: BLE001 - raised again below, unless it was an answer
            error = await responder.fail(exc)
            if error is not None:
                context = error.__context__
                try:
                    if error is exc:
                        raise
                    raise error
                finally:
                    # Not this except block, which would make a circle of the chain; nor may this frame,
                    # which is in the traceback, hold what the traceback belongs to.
                    error.__context__ = context
                    del error, context
        else:
            if responder.held or responder.pending is not None:
                await responder.finish()
        finally:
            if not self._has_net:
                exchange.close()
            if outside is not None:
                scope[KEY] = outside
