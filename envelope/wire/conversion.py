"""Failures that somebody else wrote: read the body, say the same in the convention.

Only bodies that are small and understood are converted; everything else passes as it is.
"""

from __future__ import annotations

import json
from email.message import Message as MimeHeader
from typing import Any, NoReturn

from starlette.types import Scope

from envelope.errors.tree import BadRequestError
from envelope.wire.convention import Convention
from envelope.wire.failure_response import RETRY_AFTER_S, FailureResponse, render_failure
from envelope.wire.head import UTF8_BOM, Body, Head

#: Bytes that a body may have to be converted: a text is a message, JSON may be a list of problems.
LARGEST = {Body.JSON: 64 * 1024, Body.PROBLEM: 64 * 1024, Body.TEXT: 4 * 1024, Body.UNDECLARED: 0}

#: What the debug answers of WSGI and ASGI applications begin with; a failure never says what went wrong.
TRACEBACK = b"Traceback (most recent call last)"
_OPAQUE = "Internal Server Error"


def is_convertible(head: Head, scope: Scope) -> bool:
    """Tell whether a failure's head announces a body that can be converted."""
    limit = LARGEST.get(head.body)
    if limit is None or head.encoded:
        return False
    if (head.length or 0) > limit and not (is_crash_text(head) or _may_quote_input(head)):
        return False
    return not is_preflight(scope)


def is_crash_text(head: Head) -> bool:
    """Tell whether a mounted application's ``ServerErrorMiddleware`` may have written this.

    It raises afterwards what happened, and that may have an answer.
    """
    return head.status == 500 and head.body == Body.TEXT


def shorten(head: Head, begun: bytes, convention: Convention) -> FailureResponse | None:
    """Say a failure that is too long to be read, if its beginning tells that it must not pass.

    A traceback says what went wrong, and FastAPI's list of problems quotes the input: with a long one a
    client could choose that its secrets come back.
    """
    if is_crash_text(head) and TRACEBACK in begun:
        return FailureResponse(500, convention.writer.crash, head.headers)
    if _may_quote_input(head) and begun.lstrip().startswith(b'{"detail":[{'):
        failure = BadRequestError(["request is not valid"], error_code="invalid_input")
        return render_failure(convention.writer, failure, head.headers)
    return None


def _may_quote_input(head: Head) -> bool:
    return head.status == 422 and head.body == Body.JSON


def convert(head: Head, body: bytes, scope: Scope, convention: Convention) -> FailureResponse | None:
    """Say a foreign failure in the convention.

    Returns:
        The failure, or None if the body is this convention's failure already.
    """
    response = _read(head, body, scope, convention)
    if response is not None and scope["method"] == "HEAD" and not body and head.length != 0:
        # The body was kept back, so nobody knows its envelope's length (RFC 9110, 8.6).
        del response.headers["content-length"]
    return response


def _read(head: Head, body: bytes, scope: Scope, convention: Convention) -> FailureResponse | None:
    body = body.removeprefix(UTF8_BOM)
    if head.status == 500 and TRACEBACK in body:
        return _from_detail(head, _OPAQUE, scope, convention)
    if head.body == Body.TEXT or not body:
        return _from_detail(head, _decode(head, body), scope, convention)
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # Labelled as JSON, but it is not: a text is what it can be.
        detail = _decode(head, body) if len(body) <= LARGEST[Body.TEXT] else ""
        return _from_detail(head, detail, scope, convention)
    if convention.writer.is_failure(value, head.status):
        return FailureResponse(head.status, body, head.headers) if _lacks_retry_after(head) else None
    if isinstance(value, dict) and value.keys() == {"detail"}:
        value = value["detail"]
    elif isinstance(value, dict | list):
        # Spliced, not rendered again: numbers and key order stay as they were written.
        return FailureResponse(head.status, convention.writer.failure(head.status, body), head.headers)
    return _from_detail(head, value, scope, convention)


def _from_detail(head: Head, detail: Any, scope: Scope, convention: Convention) -> FailureResponse:
    failure = convention.finder.from_detail(head.status, detail, scope)
    return render_failure(convention.writer, failure, head.headers)


def _decode(head: Head, body: bytes) -> str:
    header = MimeHeader()
    header["content-type"] = (head.content_type or b"").decode("latin-1")
    try:
        return body.decode(header.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):  # no such charset, or one that is no text
        return body.decode("utf-8", "replace")


def _lacks_retry_after(head: Head) -> bool:
    return head.status in RETRY_AFTER_S and all(name.lower() != b"retry-after" for name, _ in head.headers)


def is_preflight(scope: Scope) -> bool:
    """Tell whether a browser asks for CORS headers; it reads nothing else of the answer (Fetch, 4.8)."""
    return scope["method"] == "OPTIONS" and any(
        name.lower() == b"access-control-request-method" for name, _ in scope["headers"]
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
