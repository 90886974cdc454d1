"""FailureNet: the outer layer. What fails outside the inner layer becomes an envelope here.

It catches what the inner layer cannot see: a host that is not allowed, a body that is too large, an
exception in somebody's middleware. It never touches a success.

The answer to a crash comes here with the headers of the application's middleware, but it does not go out
here: the framework's ``ServerErrorMiddleware`` sends it, after the exception has passed everything that
stands in between. Instrumentation stands there, and closes its span with the last byte.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope.wire.answers import Answers
from envelope.wire.convention import Convention
from envelope.wire.conversion import is_preflight
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.failure_response import FailureResponse
from envelope.wire.responder import START, Messages, Responder

Around = Callable[[ASGIApp], ASGIApp]


class FailureNet:
    """Converts failures that were made further out than ``EnvelopeMiddleware``.

    Stands directly inside the framework's ``ServerErrorMiddleware``.

    Args:
        app: Everything inside.
        convention: Shared with the inner layer.
        answers: Shared with the inner layer.
        around: Wraps the answer to an exception in the application's CORS middleware, because the
            exception left that middleware behind.
        sends_crashes: Send the answer to a crash here, because no ``CrashHandler`` will.
    """

    def __init__(
        self, app: ASGIApp, convention: Convention, answers: Answers, around: Around, *, sends_crashes: bool
    ) -> None:
        self.app = app
        self._convention = convention
        self._answers = answers
        self.around = around
        self.sends_crashes = sends_crashes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        outside: Exchange | None = scope.get(KEY)
        exchange = scope[KEY] = Exchange(self._convention, outside)
        responder = _NetResponder(self._answers, exchange, scope, receive, send)
        responder.net = self
        try:
            await self.app(scope, responder.receive, responder.take)
        except Exception as exc:  # noqa: BLE001 - answered, and raised again unless it was an answer
            if responder.started or not isinstance(exc, ClientDisconnect):
                await responder.fail(exc)
        else:
            if responder.held or exchange.crash_answer:
                await responder.finish()
        finally:
            if outside is not None:
                exchange.leave()


class CrashHandler:
    """What ``ServerErrorMiddleware`` is given as its handler: sends the answer that the net has kept."""

    def __init__(self, convention: Convention) -> None:
        self._convention = convention

    async def __call__(self, request: Request, _: Exception) -> Response:
        exchange: Exchange | None = request.scope.get(KEY)
        if exchange is None or not exchange.crash_answer:
            return FailureResponse(500, self._convention.writer.crash)
        return _KeptResponse(exchange)


class _KeptResponse(Response):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        # Still this installation's response, though its layers have been left.
        self._exchange.enter()
        try:
            for message in self._exchange.crash_answer:
                await send(message)
        finally:
            self._exchange.leave()


class _NetResponder(Responder):
    """The state of one response on its way through the net."""

    net: FailureNet
    _real_outer: Send | None = None

    def take(self, message: Message) -> Awaitable[None]:
        # Not a coroutine of its own: nearly every message only passes.
        if self.held:
            return self.send(message)
        if message["type"] == START:
            status = message["status"]
            if status >= 400:
                return self.send(message)
            self.started = self.started or status >= 200
        return self._outer(message)

    def begin(self, message: Message) -> Messages:
        exchange = self.exchange
        if exchange.crashed and not self.net.sends_crashes:
            self._real_outer, self._outer = self._outer, self._keep
        if exchange.is_final(message) or not exchange.owns(self.scope):
            return (message,)
        head, message = self.read(message)
        if not self.is_foreign_failure(head):
            return (message,)
        self.held.append(message)
        self.on_body = Responder.collect
        return ()

    async def _keep(self, message: Message) -> None:
        self.exchange.crash_answer += (message,)

    async def send_answer(self, response: Response) -> None:
        # The CORS middleware would answer a preflight itself, as if nothing had failed.
        app = response if is_preflight(self.scope) else self.net.around(response)
        await app(self.scope, self._receive, self.send)
        await super().finish()

    async def finish(self) -> None:
        await super().finish()
        if self._real_outer is not None:
            # A middleware swallowed the crash, so the framework will not ask for its answer.
            for message in self.exchange.crash_answer:
                await self._real_outer(message)
