"""Splicing: every JSON answer with a 2xx becomes ``{"status": "success", "content": ...}``.

Bytes are put in front of and behind the body; nothing is parsed, and a stream stays a stream. The start
message is held until the first byte, so that what fails before it gets the status of its error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.types import Message

from envelope.wire.conversion import LARGEST, is_crash_text
from envelope.wire.head import DIGESTS, JSON_TYPE, NO_LENGTH, UTF8_BOM, Body, Head, Headers, find_plain_length
from envelope.wire.responder import BODY, TRAILERS, Messages, Responder
from envelope.wire.witness import WITNESS

#: What a JSON text begins with, and what may stand before it (RFC 8259, 2).
_JSON_BEGINNINGS = frozenset(b'{["-0123456789tfn')
_WHITE_SPACE = b" \t\r\n"

#: Successes whose bodies are what they seem.
_PLAIN = frozenset({200, 201, 202, 203, 207})

#: Successes whose bodies are parts of something, or have none (RFC 9110, 15.3; RFC 3229, 10.4.1).
_NOT_SPLICED = frozenset({204, 205, 206, 226})

#: What a response without content may wrongly say of its body.
_OF_A_BODY = frozenset({b"content-encoding", b"content-type"})

_COMPRESSED = (
    "a JSON response came compressed from inside and is passed unwrapped;"
    " add compression with app.add_middleware(GZipMiddleware), which puts it outside"
)
_MISLABELLED = "a response says application/json but does not begin like JSON; it is passed unwrapped"


class SplicingResponder(Responder):
    """The state of one response on its way through the inner layer.

    Attributes:
        exempt: The path is exempt; the endpoint is asked when it has answered.
        spliced: The body that goes out is not the application's own.
    """

    exempt = False
    spliced = False
    _length = NO_LENGTH
    _mark = False  # a byte order mark came

    def begin(self, message: Message) -> Messages:
        exchange = self.exchange
        if (exchange.settled and exchange.is_final(message)) or not exchange.owns(self.scope, message):
            return [message]
        if self._is_plain(message):
            message = {**message, "headers": message["headers"].copy()}
            return self.hold(message, SplicingResponder._splice_whole)
        head, message = self.read(message)
        if (
            head.body == Body.STREAM
            or self.scope["method"] == "CONNECT"
            or (exchange.settled and exchange.is_settled(head))
        ):
            return [message]
        return self.hold(message, self._plan(head))

    def _is_plain(self, message: Message) -> bool:
        """Tell whether this is a success of plain JSON, which has a way of its own because nearly all are."""
        headers = message.get("headers")
        if message["status"] not in _PLAIN or type(headers) is not list or self.scope["method"] == "CONNECT":
            return False
        length = find_plain_length(headers)
        if length is None or self._is_exempt():
            return False
        self._length = length
        return True

    def _is_exempt(self) -> bool:
        exchange = self.exchange
        if self.exempt or exchange.convention.exemptions.cover_endpoint(self.scope):
            return not exchange.raised
        return False

    def _splice_whole(self, message: Message) -> Messages:
        """Splice a body that comes in one message; if it does not, read the head and begin again."""
        body = message.get("body", b"")
        if not body or message.get("more_body", False) or body[0] not in _JSON_BEGINNINGS:
            self.read(self.held[0])
            self.on_body = SplicingResponder._splice_first
            return self._splice_first(message)
        convention = self.exchange.convention
        writer = convention.writer
        body = b"".join((writer.prefix, body, writer.suffix))
        start = self.held[0]
        headers = start["headers"]
        if self._length is not NO_LENGTH:
            # The length that was declared may be stale; the body is here whole.
            headers[headers.index(self._length)] = (b"content-length", b"%d" % len(body))
        return self._write(200 if convention.always_200 else start["status"], headers, body)

    def _plan(self, head: Head) -> Callable[[Any, Message], Messages]:
        """Choose what is done with the body."""
        if self._is_exempt():
            self.exchange.settle(head.status, head.content_type)
            return SplicingResponder._hold_exempt if is_crash_text(head) else SplicingResponder._hold_until_byte
        if 200 <= head.status <= 299 and self._is_spliceable(head):
            return SplicingResponder._splice_first
        if self.is_foreign_failure(head):
            return Responder.collect
        if head.status in (204, 205, 304):
            return SplicingResponder._end_without_content
        return SplicingResponder._hold_until_byte

    def _is_spliceable(self, head: Head) -> bool:
        if head.encoded and head.body == Body.JSON:
            self.exchange.convention.warn_once(_COMPRESSED)
        return head.body <= Body.JSON and not (head.encoded or head.untouchable or head.status in _NOT_SPLICED)

    def _hold_until_byte(self, message: Message) -> Messages:
        if message.get("body") or not message.get("more_body", False):
            return self.release(message)
        self.held.append(message)
        return []

    def _hold_exempt(self, message: Message) -> Messages:
        """Hold what may be a crash, until it is clear that no exception follows; then it goes out as it came."""
        self.held.append(message)
        self._size += len(message.get("body", b""))
        return self.release() if self._size > LARGEST[Body.TEXT] else []

    def _end_without_content(self, message: Message) -> Messages:
        # RFC 9110, 15.3.5, 15.3.6 and 15.4.5: whatever body the application sends here is dropped.
        if message.get("more_body", False):
            return []
        head = self._head()
        if head.status == 304:
            return self._write(head.status, head.headers, b"")
        if self.exchange.convention.always_200 and not head.untouchable:
            return self._write_null(head)
        return self._write(head.status, head.with_length(0 if head.status == 205 else None), b"")

    def _splice_first(self, message: Message) -> Messages:
        body = message.get("body", b"")
        head = self._head()
        if not body:
            self.held.append(message)
            return [] if message.get("more_body", False) else self._end_empty(head)
        if head.body != Body.JSON:
            return self.release(message)
        if body[0] not in _JSON_BEGINNINGS:
            return self._look_closer(head, message)
        return self._splice(head, body, more=message.get("more_body", False))

    def _splice(self, head: Head, body: bytes, *, more: bool) -> Messages:
        writer = self.exchange.convention.writer
        if more:
            length = None if head.length is None else head.length + writer.overhead
            self.suffix = writer.suffix
            body = b"".join((writer.prefix, body))
        else:
            # The length that was declared may be stale; the body is here whole.
            body = b"".join((writer.prefix, body, writer.suffix))
            length = len(body) if head.has_length else None
        return self._write(self._success_status(head), head.with_length(length), body, more=more)

    def _look_closer(self, head: Head, message: Message) -> Messages:
        """Decide about a body that begins with white space, a byte order mark, or as JSON never does."""
        body, more = bytes(message["body"]), message.get("more_body", False)
        begun = body.removeprefix(UTF8_BOM) if not self._mark else body
        text = begun.lstrip(_WHITE_SPACE)
        if text and text[0] not in _JSON_BEGINNINGS:
            self.exchange.convention.warn_once(_MISLABELLED)
            return self.release(message)
        if begun != body:
            self._mark = True
            head.taken = len(UTF8_BOM)
        if more and not begun:
            self.held.append(message)  # the mark alone: the next chunk tells
            return []
        return self._splice(head, begun, more=more) if text or more else self._write_null(head)

    def _end_empty(self, head: Head) -> Messages:
        """End a success that came without a body."""
        if self.scope["method"] != "HEAD" or head.length == 0:
            return self._write_null(head)
        if head.body == Body.UNDECLARED:
            return self.release()  # what GET would send is not known to be JSON
        # A length that is not known cannot be told (RFC 9110, 8.6).
        length = None if head.length is None else head.length + self.exchange.convention.writer.overhead
        return self._write(self._success_status(head), head.with_length(length), b"")

    def _write_null(self, head: Head) -> Messages:
        empty = self.exchange.convention.writer.empty
        headers = head.with_length(len(empty))
        if head.body != Body.JSON or head.encoded:
            headers = [*(pair for pair in headers if pair[0].lower() not in _OF_A_BODY), JSON_TYPE]
        return self._write(self._success_status(head), headers, b"" if self.scope["method"] == "HEAD" else empty)

    def _head(self) -> Head:
        assert self.head is not None
        return self.head

    def _success_status(self, head: Head) -> int:
        return 200 if self.exchange.convention.always_200 else head.status

    def _write(self, status: int, headers: Headers, body: bytes, *, more: bool = False) -> Messages:
        """Give the messages of a response whose body is ours, at least its beginning."""
        start = self.held[0]  # a copy: begin() made it
        if WITNESS in self.scope:
            self.scope[WITNESS].note_success(start, status, headers, body, self.exchange.convention.writer)
        start["status"] = status
        start["headers"] = headers
        self.held = []
        self.on_body = None
        self.spliced = True
        return [start, {"type": BODY, "body": body, "more_body": more}]

    def pass_other(self, message: Message) -> Messages:
        if not self.spliced:
            return super().pass_other(message)
        if message["type"] == TRAILERS:
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in DIGESTS]
            return [{**message, "headers": kept}]
        if message["type"] == "http.response.zerocopysend" and self.suffix and not message.get("more_body", False):
            return [{**message, "more_body": True}, self.with_suffix({"type": BODY})]
        return [message]
