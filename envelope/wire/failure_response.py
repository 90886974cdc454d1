"""A failure on its way out: body, headers, and the mark that it needs no conversion any more."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from envelope.errors.tree import TABLE, ApiError, is_failure_status
from envelope.events import ERROR_UNRENDERABLE, log_event
from envelope.wire.bodies import BodyWriter, error_code_of, write_message
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.head import JSON_TYPE, REPLACED, Headers
from envelope.wire.witness import WITNESS

logger = logging.getLogger("envelope.wire")

#: Statuses that always carry ``Retry-After``, with the seconds when nobody knows better.
RETRY_AFTER_S = {status: cls.retry_after for status, cls in TABLE.items() if cls.retry_after is not None}

#: What a longer delay is counted as (RFC 9111, 1.2.2).
_LONGEST_S = 2**31


_NO_HEADERS: Headers = []

#: What ends a header field, or is no part of one (RFC 9110, 5.5).
_BREAKS = re.compile(r"[\r\n\0]")


class FailureResponse(Response):
    """A response whose body is the convention's failure already.

    Args:
        status: 400 to 599.
        body: The whole body, as JSON.
        headers: What the failure brought along; fields that described another body are left out.
        retry_after: Seconds until the client may try again, if known.
    """

    media_type = "application/json"

    #: Of the body, for those who count.
    error_code: str | None = None

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = failure_headers(status, headers, len(body), retry_after)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        for message in self.messages(scope):
            await send(message)

    def messages(self, scope: Scope, more_headers: Headers = _NO_HEADERS) -> list[Message]:
        """Give the messages of the response to a request, and tell all layers that they need no conversion.

        Args:
            scope: Of the request.
            more_headers: Sent with this response only, so that one response can serve many requests.
        """
        headers = self.raw_headers + more_headers
        start: Message = {"type": "http.response.start", "status": self.status_code, "headers": headers}
        exchange: Exchange | None = scope.get(KEY)
        if exchange is not None:
            exchange.settle_failure(start, JSON_TYPE[1], len(self.body), self.error_code)
            if WITNESS in scope:
                scope[WITNESS].note_failure(self.body, self.status_code, headers, exchange.convention.writer.shape)
        # For HEAD the headers say what GET would have sent (RFC 9110, 9.3.2); not every server drops the body.
        body = b"" if scope["method"] == "HEAD" else self.body
        return [start, {"type": "http.response.body", "body": body}]


def render_failure(writer: BodyWriter, failure: ApiError, headers: Headers | None = None) -> FailureResponse:
    """Render a failure; one that cannot be rendered becomes the opaque 500, and a log record.

    Args:
        writer: The shape of the body.
        failure: What is said.
        headers: Instead of the failure's own, as they stood on the wire.
    """
    status = failure.status_code
    try:
        if not is_failure_status(status):
            raise ValueError(f"status_code is {status!r}, which is no failure")  # noqa: TRY301
        body = writer.failure(status, write_message(status, failure.message, failure.error_code))
        if headers is None:
            headers = _encode(failure.headers) if failure.headers else []
        response = FailureResponse(status, body, headers, failure.retry_after)
        response.error_code = error_code_of(status, failure.message, failure.error_code)
        return response  # noqa: TRY300 - what fails here is answered below
    except Exception:  # noqa: BLE001 - logged with its traceback
        log_event(logger, ERROR_UNRENDERABLE, exc_info=True, failure=type(failure).__qualname__)
        return FailureResponse(500, writer.crash)


def failure_headers(
    status: int, headers: Iterable[tuple[bytes, bytes]], length: int, retry_after: float | None = None
) -> Headers:
    """Give a failure's headers: those that survive, its own length and type, and ``Retry-After``."""
    result = [(b"content-length", b"%d" % length), JSON_TYPE]
    given = None
    for name, value in headers:
        if name.lower() == b"retry-after":
            given = value
        elif name.lower() not in REPLACED:
            result.append((name, value))
    if given is not None or retry_after is not None or status in RETRY_AFTER_S:
        result.append((b"retry-after", _retry_after(given, retry_after, RETRY_AFTER_S.get(status, 1))))
    return result


def _encode(headers: Mapping[str, str]) -> Headers:
    for name, value in headers.items():
        if _BREAKS.search(name + value):
            # Not the value, which may be a client's.
            raise ValueError(f"the header field {name!r} holds a line break or NUL")
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _retry_after(given: bytes | None, known: float | None, default: float) -> bytes:
    seconds = known if given is None else _read_seconds(given.decode("latin-1"))
    if seconds is None or not math.isfinite(seconds):
        seconds = default
    return b"%d" % max(1, math.ceil(min(seconds, _LONGEST_S)))


def _read_seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
