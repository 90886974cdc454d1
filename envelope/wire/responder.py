"""What both layers do with one response: let it pass, convert it if it is a foreign failure, answer crashes.

A response goes outward message by message. Each message that comes in is turned into the messages that
go out, by functions without an await; only ``send`` waits. Nothing is changed that was not understood,
and what was sent cannot be taken back: after the first byte a failure can only be raised, so that the
server cuts the connection and the client sees that the body is incomplete (RFC 9112, 8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from envelope.wire.answers import Answers, covered_error, uncover
from envelope.wire.conversion import LARGEST, TRACEBACK, convert, is_convertible, is_crash_text, shorten
from envelope.wire.exchange import Exchange
from envelope.wire.failure_response import FailureResponse
from envelope.wire.head import Head
from envelope.wire.witness import WITNESS

START = "http.response.start"
BODY = "http.response.body"
TRAILERS = "http.response.trailers"

#: Messages beside the response; they neither begin it nor belong to its body (ASGI, HTTP extensions).
INTERIM = frozenset({"http.response.early_hint", "http.response.push", "http.response.debug"})

#: What Starlette's ServerErrorMiddleware writes without debug mode.
_CRASH_TEXT = b"Internal Server Error"

Messages = list[Message]


class Responder:
    """The state of one response on its way through one layer.

    Attributes:
        begun: The start message came.
        busy: Several messages are on their way outward.
        head: What it says, if that was asked.
        held: Messages that came and are not sent yet: the start message and what followed it.
        on_body: Turns a body message into what goes out; None lets it pass. A function of the class, not a
            method of this object, which would be a reference cycle for the collector in every request.
        pending: The answer to what may be a crash, until it is clear whether an exception follows.
        replaced: What is sent is a response of ours, in the place of the application's.
        started: A message of the response was sent outward.
        suffix: What is still to be put behind the last byte of the body.
    """

    # Defaults of the class: one responder is made for each request and layer, and most set few of these.
    begun = False
    busy = False
    head: Head | None = None
    on_body: Callable[[Any, Message], Messages] | None = None
    pending: FailureResponse | None = None
    replaced = False
    started = False
    suffix = b""
    _gone: anyio.Event | None = None
    _size = 0

    def __init__(self, answers: Answers, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        self.answers = answers
        self.exchange = exchange
        self.scope = scope
        self.held: list[Message] = []
        self._receive = receive
        self._outer = send

    async def receive(self) -> Message:
        """Give the application a message, remembering what ``receive`` raises: that is nobody's to answer."""
        try:
            return await self._receive()
        except Exception as exc:
            self.exchange.foreign += (exc,)
            raise

    async def send(self, message: Message) -> None:
        """Take a message from the application."""
        kind = message["type"]
        if kind == BODY:
            if self.suffix and self.on_body is None and not message.get("more_body", False):
                message = self.with_suffix(message)
            if self.on_body is None and not self.busy:
                # On its own, without a list and a loop, because most messages of a stream are this one.
                try:
                    await self._outer(message)
                except Exception as exc:
                    self.exchange.foreign += (exc,)
                    raise
                return
            outgoing = [message] if self.on_body is None else self.on_body(self, message)
            self.started = self.started or bool(outgoing)
        else:
            outgoing = self._take_other(kind, message)
        if not outgoing:
            return
        while self.busy:
            # What another task sends meanwhile comes after what is on its way.
            self._gone = self._gone or anyio.Event()
            await self._gone.wait()
        self.busy = True
        try:
            for each in outgoing:
                await self._outer(each)
        except Exception as exc:
            self.exchange.foreign += (exc,)
            raise
        finally:
            self.busy = False
            if self._gone is not None:
                self._gone.set()
                self._gone = None

    def _take_other(self, kind: str, message: Message) -> Messages:
        if kind == START and not self.begun and message["status"] >= 200:
            self.begun = True
            outgoing = self.begin(message)
        elif kind in INTERIM or (kind == START and message["status"] < 200):
            return [message]  # beside the response, which has not started
        else:
            outgoing = self.pass_other(message)
        self.started = self.started or bool(outgoing)
        return outgoing

    def begin(self, message: Message) -> Messages:
        """Decide what happens to a response; give the start message if it is not held."""
        raise NotImplementedError

    def read(self, message: Message) -> tuple[Head, Message]:
        """Read a start message, and give it with a list of headers of its own.

        ASGI allows an iterable that can be read once, and an application may change a list that it sent.
        """
        headers = list(message.get("headers", ()))
        self.head = Head(message["status"], headers)
        return self.head, {**message, "headers": headers}

    def hold(self, message: Message, on_body: Callable[[Any, Message], Messages]) -> Messages:
        """Keep the start message back until it is clear how the response goes on."""
        self.held.append(message)
        self.on_body = on_body
        return []

    def release(self, *more: Message) -> Messages:
        """Give the held messages as they came, and what comes after them."""
        held, self.held = self.held, []
        self.on_body = None
        return [*held, *more]

    def with_suffix(self, message: Message) -> Message:
        """Give the last message of a spliced body."""
        suffix, self.suffix = self.suffix, b""
        return {**message, "body": b"".join((message.get("body", b""), suffix))}

    def pass_other(self, message: Message) -> Messages:
        """Pass on what is not understood, after everything that came before it."""
        if message["type"] == TRAILERS and (self.replaced or self.pending is not None):
            return []  # they belong to a body that is not sent
        return self.release(message)

    def is_foreign_failure(self, head: Head) -> bool:
        """Tell whether the response is a failure, not in its final form, that can be said in the convention."""
        return (
            400 <= head.status <= 599 and not self.exchange.is_settled(head) and is_convertible(head, self.scope)
        )

    def collect(self, message: Message) -> Messages:
        """Gather the body of a foreign failure, and convert it when it is whole."""
        assert self.head is not None
        self.held.append(message)
        self._size += len(message.get("body", b""))
        if self._size > LARGEST[self.head.body]:
            return self._overflow(self.head)
        return [] if message.get("more_body", False) else self._convert(self.head, self._collected())

    def _collected(self) -> bytes:
        return b"".join(held.get("body", b"") for held in self.held)

    def _overflow(self, head: Head) -> Messages:
        self.pending = shorten(head, self._collected(), self.exchange.convention)
        if self.pending is None:
            return self.release()
        self.on_body = Responder._drop
        return []

    def _drop(self, _: Message) -> Messages:
        return []

    def _convert(self, head: Head, body: bytes) -> Messages:
        response = convert(head, body, self.scope, self.exchange.convention)
        if response is None:
            self.exchange.settle(head.status, head.content_type, head.length)
            return self.release()
        if WITNESS in self.scope:
            self.scope[WITNESS].note_foreign(response.body, head.status, head.headers, body)
        if is_crash_text(head) and (body == _CRASH_TEXT or TRACEBACK in body):
            # The exception, which follows at once, may have an answer.
            self.pending = response
            return []
        return self._replace(response)

    def _replace(self, response: FailureResponse) -> Messages:
        self.release()
        self.replaced = True
        return response.messages(self.scope)

    async def finish(self) -> None:
        """Send what is still held when the application has returned."""
        self.on_body = Responder._flush
        await self.send({"type": BODY})

    def _flush(self, _: Message) -> Messages:
        return self.release() if self.pending is None else self._replace(self.pending)

    async def fail(self, exc: Exception) -> Exception | None:
        """Answer an exception of the application.

        Returns:
            What is to be raised: the crash itself, what came out of ``send`` or ``receive``, or an exception
            that came too late to be answered. None if it was an answer.
        """
        origin = self.origin_of(exc)
        if self.is_untouchable(origin):
            return origin
        if self.started:
            return await self._fail_late(exc, origin)
        self.reset()
        answer = await self.answers.answer(origin, self.exchange, self.scope, self._receive)
        self.exchange.crash = answer.crash
        if answer.response is not None:
            await self.send_answer(answer.response)
        return answer.crash

    def origin_of(self, exc: Exception) -> Exception:
        """Find the exception that was raised first, behind what Starlette makes of it."""
        origin = uncover(exc)
        covered = covered_error(origin)
        return origin if covered is None or self.exchange.is_foreign(covered) else covered

    def is_untouchable(self, exc: Exception) -> bool:
        """Tell whether an exception is nobody's to answer."""
        return self.exchange.is_foreign(exc)

    async def _fail_late(self, exc: Exception, origin: Exception) -> Exception | None:
        converted_500 = self.replaced and self.head is not None and self.head.status == 500
        if converted_500 and self.answers.have_answer(origin, self.scope):
            return None  # a mounted application raises after its 500 what it has answered
        # That we have a handler for it hides nothing; that Starlette, or the application, has one does.
        error = exc if self.answers.would_be_hidden(origin) else origin
        await self.answers.report(error, self.exchange, self.scope, self._receive)
        return error

    def reset(self) -> None:
        """Forget the response that came and was not sent; an answer takes its place."""
        self.release()
        self.head = self.pending = None
        self.begun = self.replaced = False
        self.suffix = b""
        self._size = 0
        self.exchange.unsettle()
        self.exchange.raised = True

    async def send_answer(self, response: Response) -> None:
        """Send the answer to an exception; one of the application's own handlers may need conversion."""
        await response(self.scope, self._receive, self.send)
        await self.finish()
