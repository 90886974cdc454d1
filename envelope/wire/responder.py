"""What both layers do with one response: forward it, convert it if it is a foreign failure, answer crashes.

A response is sent outward message by message. Nothing is changed that was not understood, and what was
sent cannot be taken back: after the first byte a failure can only be raised, so that the server cuts
the connection and the client sees that the body is incomplete (RFC 9112, 8).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from envelope.wire.answers import Answers, unhide
from envelope.wire.conversion import LARGEST, TRACEBACK, convert, is_convertible
from envelope.wire.exchange import Exchange
from envelope.wire.head import Body, Head

START = "http.response.start"
BODY = "http.response.body"
TRAILERS = "http.response.trailers"

#: Messages beside the response; they neither begin it nor belong to its body (ASGI, HTTP extensions).
INTERIM = frozenset({"http.response.early_hint", "http.response.push", "http.response.debug"})

#: What Starlette's ServerErrorMiddleware writes without debug mode.
_CRASH_TEXT = b"Internal Server Error"


class Responder:
    """The state of one response on its way through one layer.

    Attributes:
        head: What the start message says; None before it came.
        held: Messages that came and are not sent yet: the start message and what followed it.
        replaced: What is sent is a response of ours, in the place of the application's.
        started: A message of the response was sent outward.
        untouched: The response is exempt; it is held only until it is clear that no exception follows.
    """

    __slots__ = (
        "_outer",
        "_pending",
        "_receive",
        "_size",
        "answers",
        "exchange",
        "head",
        "held",
        "on_body",
        "replaced",
        "scope",
        "started",
        "untouched",
    )

    def __init__(self, answers: Answers, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        self.answers = answers
        self.exchange = exchange
        self.scope = scope
        self._receive = receive
        self._outer = send
        self.started = False
        self.reset()

    def reset(self) -> None:
        """Forget what came and was not sent."""
        self.head: Head | None = None
        self.held: list[Message] = []
        self.on_body: Callable[[Message], Awaitable[None]] = self.forward
        self.replaced = self.untouched = False
        self._size = 0
        self._pending: Response | None = None

    async def send(self, message: Message) -> None:
        """Take a message from the application."""
        kind = message["type"]
        if kind == BODY:
            await self.on_body(message)
        elif kind == START:
            await self.on_start(message)
        elif kind in INTERIM:
            await self.forward_beside(message)
        else:
            await self.on_other(message)

    async def on_start(self, message: Message) -> None:
        """Decide what happens to a response."""
        raise NotImplementedError

    async def on_other(self, message: Message) -> None:
        """Pass on what is not understood, after everything that came before it."""
        if self.replaced and message["type"] == TRAILERS:
            return  # they belong to a body that is not sent
        await self.release()
        await self.forward(message)

    async def forward(self, message: Message) -> None:
        """Send a message of the response outward."""
        self.started = True
        await self.forward_beside(message)

    async def forward_beside(self, message: Message) -> None:
        """Send a message outward, remembering what ``send`` raises: that is nobody's to answer."""
        try:
            await self._outer(message)
        except Exception as exc:
            self.exchange.foreign += (exc,)
            raise

    async def release(self) -> None:
        """Send the held messages as they came."""
        held, self.held = self.held, []
        self.on_body = self.forward
        for message in held:
            await self.forward(message)

    def hold(self, message: Message, head: Head) -> None:
        """Keep the start message back until it is clear how the response goes on."""
        self.head = head
        # A one-shot iterable of headers was read; the list has what it gave.
        intact = message.get("headers") is head.headers
        self.held = [message if intact else {**message, "headers": head.headers}]

    def is_foreign_failure(self, head: Head) -> bool:
        """Tell whether the response is a failure, not in its final form, that can be said in the convention."""
        return (
            400 <= head.status <= 599 and not self.exchange.is_settled(head) and is_convertible(head, self.scope)
        )

    async def collect(self, message: Message) -> None:
        """Gather the body of a foreign failure, and convert it when it is whole."""
        assert self.head is not None
        self.held.append(message)
        self._size += len(message.get("body", b""))
        if self._size > LARGEST[self.head.body]:
            await self.release()
        elif not message.get("more_body", False):
            await self._convert(self.head)

    async def _convert(self, head: Head) -> None:
        if self.untouched:
            return  # unless an exception follows, it goes out as it came
        body = b"".join(held.get("body", b"") for held in self.held)
        response = convert(head, body, self.scope, self.exchange.convention)
        if response is None:
            self.exchange.settle(head.status, head.content_type, head.length)
            await self.release()
        elif is_crash_text(head) and (body == _CRASH_TEXT or TRACEBACK in body):
            # The exception, which follows at once, may have an answer.
            self._pending = response
        else:
            await self._send_own(response)

    async def _send_own(self, response: Response) -> None:
        self.reset()
        self.replaced = True
        await response(self.scope, self._receive, self.forward)

    async def finish(self) -> None:
        """Send what is still held when the application has returned."""
        if self._pending is not None:
            await self._send_own(self._pending)
        elif self.held:
            await self.release()

    async def fail(self, exc: Exception) -> None:
        """Answer an exception of the application, and raise it again if it is a crash.

        Raises:
            Exception: The crash itself, what came out of ``send`` or ``receive``, or an exception that
                came too late to be answered.
        """
        origin = unhide(exc)
        if self.exchange.is_foreign(origin):
            raise origin
        if self.started:
            if self.replaced and self.answers.have_answer(origin, self.scope):
                return  # a mounted application answered it in its own way
            await self._report(exc)
            # A mount that owns its answers raised it; that we have a handler for it hides nothing.
            raise exc if self.exchange.owns(self.scope) else origin
        self.reset()
        self.exchange.unsettle()
        self.exchange.raised = True
        answer = await self.answers.answer(exc, self.scope, self._receive)
        self.exchange.crashed = answer.crash is not None
        self.exchange.reported = self.exchange.crashed and answer.response is not None
        if answer.response is not None:
            await self.send_answer(answer.response)
        if answer.crash is not None:
            raise answer.crash

    async def send_answer(self, response: Response) -> None:
        """Send the answer to an exception; one of the application's own handlers may need conversion."""
        await response(self.scope, self._receive, self.send)
        await self.finish()

    async def _report(self, exc: Exception) -> None:
        if not self.exchange.reported:
            self.exchange.reported = True
            await self.answers.report(exc, self.scope, self._receive)


def is_crash_text(head: Head) -> bool:
    """Tell whether a mounted application's ``ServerErrorMiddleware`` may have written this.

    It raises afterwards what happened, and that may have an answer.
    """
    return head.status == 500 and head.body is Body.TEXT
