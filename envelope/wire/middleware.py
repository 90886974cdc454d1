"""EnvelopeMiddleware: the inner layer. Every JSON answer with a 2xx becomes ``{"status": "success", ...}``.

Bytes are spliced in front of and behind the body; nothing is parsed, and a stream stays a stream. The
start message is held until the first byte, so that what fails before it gets the status of its error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope.errors.error_map import ErrorMap
from envelope.errors.failures import EchoValues
from envelope.wire.answers import Answers
from envelope.wire.bodies import Shape
from envelope.wire.convention import Convention, SuccessStatus
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.head import DIGESTS, JSON_TYPE, UTF8_BOM, Body, Head, Headers, with_length
from envelope.wire.responder import BODY, TRAILERS, Responder, is_crash_text

#: What a JSON text begins with, and what may stand before it (RFC 8259, 2).
_JSON_BEGINNINGS = frozenset(b'{["-0123456789tfn')
_WHITE_SPACE = b" \t\r\n"

#: What a response without content may wrongly say of its body.
_OF_A_BODY = frozenset({b"content-encoding", b"content-type"})

_COMPRESSED = (
    "a JSON response came compressed from inside and is passed unwrapped;"
    " add compression with app.add_middleware(GZipMiddleware), which puts it outside"
)
_MISLABELLED = "a response says application/json but does not begin like JSON; it is passed unwrapped"


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
        shape: Shape | None = None,
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
        responder = _EnvelopeResponder(self._answers, exchange, scope, receive, send)
        try:
            await self.app(scope, exchange.watch(receive), responder.send)
        except Exception as exc:  # noqa: BLE001 - answered, and raised again unless it was an answer
            await responder.fail(exc)
        else:
            await responder.finish()
        finally:
            if exchange is not outside:
                exchange.leave()


class _EnvelopeResponder(Responder):
    """The state of one response on its way through the inner layer.

    Attributes:
        exempt: The path is exempt; the endpoint is asked when it has answered.
        spliced: The body that goes out is not the application's own.
    """

    __slots__ = ("_mark", "exempt", "spliced")

    def __init__(self, answers: Answers, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(answers, exchange, scope, receive, send)
        self.spliced = False
        self._mark = False  # a byte order mark came
        self.exempt = exchange.convention.exemptions.cover_path(scope)

    async def on_start(self, message: Message) -> None:
        if message["status"] < 200:
            await self.forward_beside(message)
            return
        head = Head(message)
        if self.head is not None or not self.exchange.owns(self.scope) or self.exchange.is_settled(head):
            await self.on_other(message)
        else:
            self.hold(message, head)
            await self._plan(head)

    async def _plan(self, head: Head) -> None:
        self.on_body = self._hold_until_byte
        if head.body is Body.STREAM:
            await self.release()
        elif self._is_exempt():
            self.exchange.settle(head.status, head.content_type)
            if is_crash_text(head):
                self.untouched = True
                self.on_body = self.collect
        elif self.is_foreign_failure(head):
            self.on_body = self.collect
        elif head.status in (204, 205, 304):
            self.on_body = self._end_without_content
        elif self._is_success(head):
            self.on_body = self._splice_first

    def _is_exempt(self) -> bool:
        if self.exchange.raised:
            return False
        return self.exempt or self.exchange.convention.exemptions.cover_endpoint(self.scope)

    def _is_success(self, head: Head) -> bool:
        if not 200 <= head.status <= 299 or head.status in (206, 226) or self.scope["method"] == "CONNECT":
            return False
        if head.body is Body.JSON and head.encoded:
            self.exchange.convention.warn_once(_COMPRESSED)
        return head.body in (Body.JSON, Body.UNDECLARED) and not head.encoded and not head.untouchable

    async def _hold_until_byte(self, message: Message) -> None:
        self.held.append(message)
        if message.get("body") or not message.get("more_body", False):
            await self.release()

    async def _end_without_content(self, message: Message) -> None:
        # RFC 9110, 15.3.5, 15.3.6 and 15.4.5: whatever body the application sends here is dropped.
        if message.get("more_body", False):
            return
        head = self._head()
        if head.status == 304:
            await self._send(head.status, head.headers, b"")
        elif self.exchange.convention.always_200 and not head.untouchable:
            await self._send_null(head)
        else:
            await self._send(head.status, with_length(head.headers, 0 if head.status == 205 else None), b"")

    async def _splice_first(self, message: Message) -> None:
        body = message.get("body", b"")
        more = message.get("more_body", False)
        head = self._head()
        if not body:
            self.held.append(message)
            if not more:
                await self._end_empty(head)
        elif head.body is Body.UNDECLARED:
            await self._pass_on(message)
        elif body[0] in _JSON_BEGINNINGS:
            await self._splice(head, body, more=more)
        else:
            await self._look_closer(head, message)

    async def _splice(self, head: Head, body: bytes, *, more: bool) -> None:
        convention = self.exchange.convention
        writer = convention.writer
        status = 200 if convention.always_200 else head.status
        if more:
            length = None if head.length is None else head.length + writer.overhead
            await self._send(status, with_length(head.headers, length), b"".join((writer.prefix, body)), more=True)
            self.on_body = self._splice_rest
        else:
            # The length that was declared may be stale; the body is here whole.
            whole = b"".join((writer.prefix, body, writer.suffix))
            await self._send(status, with_length(head.headers, len(whole) if head.has_length else None), whole)

    async def _look_closer(self, head: Head, message: Message) -> None:
        """Decide about a body that begins with white space, a byte order mark, or as JSON never does."""
        body, more = bytes(message["body"]), message.get("more_body", False)
        begun = body.removeprefix(UTF8_BOM) if not self._mark else body
        text = begun.lstrip(_WHITE_SPACE)
        if text and text[0] not in _JSON_BEGINNINGS:
            self.exchange.convention.warn_once(_MISLABELLED)
            await self._pass_on(message)
            return
        if begun != body:
            self._mark = True
            head.length = None if head.length is None else head.length - len(UTF8_BOM)
        if begun or not more:
            await (self._splice(head, begun, more=more) if text or more else self._send_null(head))
        else:
            self.held.append(message)  # the mark alone: the next chunk tells

    async def _splice_rest(self, message: Message) -> None:
        if not message.get("more_body", False):
            self.on_body = self.forward
            suffix = self.exchange.convention.writer.suffix
            message = {**message, "body": b"".join((message.get("body", b""), suffix))}
        await self.forward(message)

    async def _end_empty(self, head: Head) -> None:
        """End a success that came without a body."""
        if self.scope["method"] != "HEAD" or head.length == 0:
            await self._send_null(head)
        elif head.body is Body.UNDECLARED:
            await self.release()  # what GET would send is not known to be JSON
        else:
            # A length that is not known cannot be told (RFC 9110, 8.6).
            length = None if head.length is None else head.length + self.exchange.convention.writer.overhead
            await self._send(self._success_status(head), with_length(head.headers, length), b"")

    async def _send_null(self, head: Head) -> None:
        empty = self.exchange.convention.writer.empty
        headers = with_length(head.headers, len(empty))
        if head.body is not Body.JSON or head.encoded:
            headers = [*(pair for pair in headers if pair[0].lower() not in _OF_A_BODY), JSON_TYPE]
        await self._send(self._success_status(head), headers, b"" if self.scope["method"] == "HEAD" else empty)

    async def _pass_on(self, message: Message) -> None:
        await self.release()
        await self.forward(message)

    def _head(self) -> Head:
        assert self.head is not None
        return self.head

    def _success_status(self, head: Head) -> int:
        return 200 if self.exchange.convention.always_200 else head.status

    async def _send(self, status: int, headers: Headers, body: bytes, *, more: bool = False) -> None:
        start, self.held = self.held[0], []
        self.on_body = self.forward
        self.spliced = True
        await self.forward({**start, "status": status, "headers": headers})
        await self.forward({"type": BODY, "body": body, "more_body": more})

    async def on_other(self, message: Message) -> None:
        if not self.spliced:
            await super().on_other(message)
        elif message["type"] == TRAILERS:
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in DIGESTS]
            await self.forward({**message, "headers": kept})
        elif message["type"] == "http.response.zerocopysend" and not message.get("more_body", False):
            await self.forward({**message, "more_body": True})
            await self.on_body({"type": BODY, "body": b""})
        else:
            await self.forward(message)
