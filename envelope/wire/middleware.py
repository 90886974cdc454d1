"""EnvelopeMiddleware: the inner layer, through which every answer of the application goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from envelope.errors.error_map import ErrorMap
from envelope.errors.failures import EchoValues
from envelope.wire.answers import Answers
from envelope.wire.bodies import Shape
from envelope.wire.convention import Convention, SuccessStatus
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.splicing import SplicingResponder


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
    ) -> None:
        self.app = app
        self._convention = Convention(
            errors=errors, exempt=exempt, success_status=success_status, shape=shape, echo_values=echo_values
        )
        self._answers = Answers(self._convention)
        self._has_net = False

    @classmethod
    def behind_net(cls, app: ASGIApp, *, convention: Convention, answers: Answers) -> Self:
        """Make the inner layer of an installation, which shares its exchange with a ``FailureNet``."""
        layer = cls.__new__(cls)
        layer.app = app
        layer._convention = convention  # noqa: SLF001 - its own
        layer._answers = answers  # noqa: SLF001 - its own
        layer._has_net = True  # noqa: SLF001 - its own
        return layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        outside: Exchange | None = scope.get(KEY)
        if self._has_net and outside is not None and outside.convention is self._convention:
            exchange = outside
            exchange.start()
        else:
            exchange = scope[KEY] = Exchange(self._convention, outside)
        responder = SplicingResponder(self._answers, exchange, scope, receive, send)
        exemptions = self._convention.exemptions
        if exemptions.have_paths:
            responder.exempt = exemptions.cover_path(scope)
        try:
            await self.app(scope, responder.receive, responder.send)
        except Exception as exc:  # noqa: BLE001 - answered, and raised again unless it was an answer
            await responder.fail(exc)
        else:
            if responder.held:
                await responder.finish()
        finally:
            if exchange is not outside:
                exchange.leave()
