"""FailureNet: the outer layer. What fails outside the inner layer becomes an envelope here.

It catches what the inner layer cannot see: a host that is not allowed, a body that is too large, an
exception in somebody's middleware. It never touches a success.

The answer to a crash comes here with the headers of the application's middleware, but it does not go out
yet: the framework's ``ServerErrorMiddleware`` sends it, after the exception has passed everything that
stands in between. Instrumentation stands there, and closes its span with the last byte.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import signals
from envelope.errors.tree import ApiError
from envelope.wire.answers import Answers, uncover
from envelope.wire.convention import Convention
from envelope.wire.conversion import is_preflight
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.failure_response import FailureResponse
from envelope.wire.responder import START, Messages, Responder
from envelope.wire.telling import HEARD, serve_heard, tell_failure

Around = Callable[[ASGIApp], ASGIApp]

#: Where the net leaves the answer to a crash for the framework's handler.
_KEPT = "envelope.crash"


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
        self._around = around
        self._sends_crashes = sends_crashes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if signals.listener is not None and HEARD not in scope:
            await serve_heard(self, signals.listener, scope, receive, send)
            return
        outside: Exchange | None = scope.get(KEY)
        exchange = scope[KEY] = Exchange(self._convention)
        if outside is not None:
            send = outside.inside_out(send)
        responder = _NetResponder(self._answers, exchange, scope, receive, send)
        responder.outside = outside
        try:
            await self.app(scope, responder.receive, responder.take)
        except Exception as exc:  # noqa: BLE001 - raised again below, unless it was an answer
            error = await self._fail(responder, exc)
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
            if responder.held or responder.kept is not None:
                await responder.finish()
                await responder.send_kept()
        finally:
            exchange.close()
            if outside is not None:
                scope[KEY] = outside

    async def _fail(self, responder: _NetResponder, exc: Exception) -> Exception | None:
        if isinstance(responder.origin_of(exc), ClientDisconnect) and not responder.started:
            return None  # nobody is there to read an answer, nor the framework's
        if responder.kept is not None and self._is_new_answer(responder, exc):
            responder.drop_kept()
        error: Exception | None = exc
        if responder.kept is None:
            responder.around = self._around
            error = await responder.fail(exc)
        if self._sends_crashes:
            await responder.send_kept()
        elif responder.kept is not None:
            responder.scope[_KEPT] = responder.kept
            if signals.listener is not None and responder.outside is None:
                tell_failure(signals.listener, responder.scope, responder.kept.status)
        return error

    def _is_new_answer(self, responder: _NetResponder, exc: Exception) -> bool:
        """Tell whether a middleware raised an answer in the place of the crash that it got."""
        origin = uncover(exc)
        return origin is not responder.exchange.kept_crash and self._answers.have_answer(origin, responder.scope)


class CrashHandler:
    """What ``ServerErrorMiddleware`` is given as its handler: sends the answer that the net has kept."""

    def __init__(self, convention: Convention) -> None:
        self._convention = convention

    async def __call__(self, request: Request, _: Exception) -> Response:
        kept: _KeptResponse | None = request.scope.pop(_KEPT, None)
        return kept or FailureResponse(500, self._convention.writer.crash)


class _KeptResponse(Response):
    """The answer to a crash, kept until the exception has passed.

    Args:
        outside: The installation that this one is mounted in.
    """

    def __init__(self, outside: Exchange | None) -> None:
        self._outside = outside
        self._messages: list[Message] = []

    @property
    def status(self) -> int:
        """Of the answer."""
        status: int = next(message["status"] for message in self._messages if message["type"] == START)
        return status

    async def keep(self, message: Message) -> None:
        self._messages.append(message)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        if self._outside is not None:
            send = self._outside.inside_out(send)
        await self.send_to(send)

    async def send_to(self, send: Send) -> None:
        for message in self._messages:
            await send(message)


class _NetResponder(Responder):
    """The state of one response on its way through the net.

    Attributes:
        around: Wraps the answer to an exception.
        kept: The answer to a crash, once it came.
        outside: The installation that this one is mounted in.
    """

    around: Around | None = None
    kept: _KeptResponse | None = None
    outside: Exchange | None = None
    _way_out: Send

    def take(self, message: Message) -> Awaitable[None]:
        # Not a coroutine of its own: nearly every message only passes.
        if self.held or self.busy:
            return self.send(message)
        if message["type"] == START:
            status = message["status"]
            if self.kept is not None and status >= 200:
                self.drop_kept()  # a middleware swallowed the crash and answers in its own way
            if status >= 400:
                return self.send(message)
            self.started = self.started or status >= 200
        return self._outer(message)

    def begin(self, message: Message) -> Messages:
        exchange = self.exchange
        if exchange.crash is not None:
            exchange.kept_crash, exchange.crash = exchange.crash, None
            self.kept, self._way_out = _KeptResponse(self.outside), self._outer
            self._outer = self.kept.keep
        if exchange.is_final(message) or not exchange.owns(self.scope, message):
            return [message]
        head, message = self.read(message)
        return self.hold(message, Responder.collect) if self.is_foreign_failure(head) else [message]

    def is_untouchable(self, exc: Exception) -> bool:
        # Here no middleware is left that could catch what another one raised out of receive.
        is_answer = isinstance(exc, HTTPException | ApiError) and self.outside is None
        return super().is_untouchable(exc) and not is_answer

    def drop_kept(self) -> None:
        """Forget the answer to a crash that is not raised any more."""
        self._outer, self.kept = self._way_out, None
        self.begun = self.started = self.replaced = False

    async def send_kept(self) -> None:
        """Send the answer to a crash, because the framework does not."""
        if self.kept is not None:
            await self.kept.send_to(self._way_out)

    async def send_answer(self, response: Response) -> None:
        # The CORS middleware would answer a preflight itself, as if nothing had failed.
        app = response if self.around is None or is_preflight(self.scope) else self.around(response)
        await app(self.scope, self._receive, self.send)
        await self.finish()
