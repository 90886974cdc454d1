"""FailureNet: the outer layer. What fails outside the inner layer becomes an envelope here.

It catches what the inner layer cannot see: a host that is not allowed, a body that is too large, an
exception in somebody's middleware. It never touches a success.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope.wire.answers import Answers
from envelope.wire.conversion import is_preflight
from envelope.wire.convention import Convention
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.head import Head
from envelope.wire.responder import START, Responder

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
    """

    def __init__(self, app: ASGIApp, convention: Convention, answers: Answers, around: Around) -> None:
        self.app = app
        self._convention = convention
        self._answers = answers
        self._around = around

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        outside: Exchange | None = scope.get(KEY)
        exchange = scope[KEY] = Exchange(self._convention, outside)
        responder = _NetResponder(self._answers, exchange, scope, receive, send, self._around)
        try:
            await self.app(scope, exchange.watch(receive), responder.take)
        except Exception as exc:  # noqa: BLE001 - answered, and raised again unless it was an answer
            await responder.fail(exc)
        else:
            await responder.finish()
        finally:
            exchange.leave()


class _NetResponder(Responder):
    __slots__ = ("_around",)

    def __init__(
        self, answers: Answers, exchange: Exchange, scope: Scope, receive: Receive, send: Send, around: Around
    ) -> None:
        super().__init__(answers, exchange, scope, receive, send)
        self._around = around

    def take(self, message: Message) -> Awaitable[None]:
        # Not a coroutine of its own: nearly every message only passes.
        if self.held or message["type"] == START:
            return self.send(message)
        return self._outer(message)

    async def on_start(self, message: Message) -> None:
        if message["status"] >= 400:
            head = Head(message)
            if self.exchange.owns(self.scope) and not self.is_settled(head) and self.is_foreign_failure(head):
                self.hold(message, head)
                self.on_body = self.collect
                return
        await self.forward(message)

    async def send_answer(self, response: Response) -> None:
        # The CORS middleware would answer a preflight itself, as if nothing had failed.
        app = response if is_preflight(self.scope) else self._around(response)
        await app(self.scope, self._receive, self.send)
        await self.finish()
