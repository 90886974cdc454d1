"""What an application would have answered alone, from what the wire layer noted in the witness."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message

from envelope.wire.head import Headers
from envelope.wire.witness import FailureNote, ForeignFailure, RaisedFailure, SuccessNote

_CRASH = "Internal Server Error"


class Answer(NamedTuple):
    """A response as the application would have sent it."""

    status: int
    headers: Headers
    body: bytes = b""


def success_head(start: Message, note: SuccessNote) -> Answer:
    """Give the head of a success, with its own status and fields, and what a middleware changed outside of us."""
    return _outside(start, note.sent_status, note.sent_headers, Answer(note.status, note.headers))


async def failure(
    start: Message,
    envelope: bytes,
    note: FailureNote,
    origin: ForeignFailure | RaisedFailure | None,
    request: Request,
) -> Answer:
    """Give a failure as the application, or the framework alone, would have said it."""
    if isinstance(origin, ForeignFailure):
        own = Answer(origin.status, origin.headers, origin.body)
    else:
        response = await _framework_response(envelope, note, origin, request)
        own = Answer(response.status_code, response.raw_headers, bytes(response.body))
    return _outside(start, note.status, note.headers, own)


async def _framework_response(
    envelope: bytes, note: FailureNote, origin: RaisedFailure | None, request: Request
) -> Response:
    handler = None if origin is None else _handler_of(origin)
    if origin is not None and handler is not None:
        response: Response = await handler(request, origin.exception)
        return response
    message = json.loads(envelope)[note.shape.message]
    if origin is None and message == _CRASH:
        return PlainTextResponse(_CRASH, 500)
    # The framework knows nothing of what remains: errors of ours, of the ErrorMap, of the guards.
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in note.headers}
    return JSONResponse({"detail": message}, note.status, _without_body_fields(headers))


def _handler_of(origin: RaisedFailure) -> Callable[[Any, Any], Awaitable[Any]] | None:
    """Find how the framework alone answers an exception; None if it does not know it."""
    if isinstance(origin.exception, HTTPException):
        return origin.handler
    # Looked up, not imported: whoever raises FastAPI's error has imported FastAPI.
    fastapi: Any = sys.modules.get("fastapi.exception_handlers")
    if fastapi is not None and isinstance(origin.exception, fastapi.RequestValidationError):
        handler: Callable[[Any, Any], Awaitable[Any]] = fastapi.request_validation_exception_handler
        return handler
    return None


def _without_body_fields(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in ("content-length", "content-type")}


def _outside(start: Message, sent_status: int, sent_headers: Headers, own: Answer) -> Answer:
    """Give the application's own answer, but what a middleware changed after we had sent ours.

    Args:
        start: As it came through all middleware.
        sent_status: Ours.
        sent_headers: Ours.
        own: The application's.
    """
    status = own.status if start["status"] == sent_status else start["status"]
    came, sent, said = (_by_name(headers) for headers in (start["headers"], sent_headers, own.headers))
    headers: Headers = []
    for name in came | said:
        is_untouched = came.get(name) == sent.get(name)
        headers += (said if is_untouched else came).get(name, [])
    return Answer(status, headers, own.body)


def _by_name(headers: Headers) -> dict[bytes, Headers]:
    found: dict[bytes, Headers] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append((name, value))
    return found
