"""Assertions about responses: the convention is checked by the way, and what came is said in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from envelope.wire.bodies import Shape

#: Stands for a content that is not compared; None is one.
_ANY: Any = object()

#: Bytes of a body, or of what was expected, that a message quotes.
_LONGEST_QUOTE = 500

#: Status -> the field that a failure carries, what its value matches, and in words.
_FIELDS = {
    401: ("WWW-Authenticate", re.compile(r"\S"), "how to authenticate (RFC 9110, 15.5.2)"),
    405: ("Allow", re.compile(r""), "the methods that there are (RFC 9110, 15.5.6)"),
    **dict.fromkeys((423, 429, 503), ("Retry-After", re.compile(r"[1-9]\d*\Z"), "whole seconds from 1")),
}


class Response(Protocol):
    """What is asked of a response: of Starlette's test client, httpx or requests."""

    status_code: int

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content(self) -> bytes: ...


def assert_success(
    response: Response,
    content: Any = _ANY,
    *,
    status: int = 200,
    shape: Shape = Shape(),  # noqa: B008 - frozen
) -> Any:
    """Assert that a response is a success of the convention.

    Args:
        response: Of Starlette's test client, httpx or requests.
        content: What it contains; left out, anything.
        status: Another one than 200, with ``install(success_status="keep")``; the content of a 204 is None.
        shape: Of the envelopes.

    Returns:
        The content.

    Raises:
        AssertionError: It is not; the message says what came.
        TypeError: It is no response.
    """
    __tracebackhide__ = True
    _check_kind(response)
    if response.status_code != status:
        _fail(response, f"A success with the status {status} was expected")
    if status == 204 and not response.content:
        found = None
    else:
        body = _read(response)
        if body.keys() != {shape.status, shape.content} or body[shape.status] != shape.success:
            expected = f'{{"{shape.status}": "{shape.success}", "{shape.content}": ...}}'
            _fail(response, f"The body of a success was expected, {expected}")
        found = body[shape.content]
    if content is not _ANY and found != content:
        _fail(response, f"The content {_shorten(repr(content))} was expected")
    return found


def assert_failure(
    response: Response,
    code: int,
    *,
    error_code: str | None = None,
    message: Any = None,
    shape: Shape = Shape(),  # noqa: B008 - frozen
) -> Any:
    """Assert that a response is a failure of the convention.

    Args:
        response: Of Starlette's test client, httpx or requests.
        code: The status, which the body repeats.
        error_code: The one that stands in the message; None: not compared.
        message: The text, or the list of problems, also where an error code stands beside it; None: not compared.
        shape: Of the envelopes.

    Returns:
        The message as it stands in the body, a text or ``{"error_code": ..., "message": ...}``.

    Raises:
        AssertionError: It is not; the message says what came.
        TypeError: It is no response.
    """
    __tracebackhide__ = True
    _check_kind(response)
    if response.status_code != code:
        _fail(response, f"A failure with the status {code} was expected")
    body = _read(response)
    expected = f'{{"{shape.code}": {code}, "{shape.message}": ..., "{shape.status}": "{shape.failure}"}}'
    if body.keys() != {shape.code, shape.message, shape.status} or body[shape.status] != shape.failure:
        _fail(response, f"The body of a failure was expected, {expected}")
    if body[shape.code] != code or isinstance(body[shape.code], float):
        _fail(response, f"A body that repeats the status was expected, {expected}")
    found = body[shape.message]
    if isinstance(found, bool | int | float | list | None):
        _fail(response, f"A text or an object was expected as {shape.message!r}")
    _check_field(response)
    details = found if isinstance(found, Mapping) else {}
    if error_code is not None and details.get("error_code") != error_code:
        _fail(response, f"The error code {error_code!r} was expected")
    if message is not None and message not in (found, details.get("message")):
        _fail(response, f"The message {_shorten(repr(message))} was expected")
    return found


def _check_kind(response: object) -> None:
    __tracebackhide__ = True
    if not all(hasattr(response, name) for name in ("status_code", "headers", "content")):
        raise TypeError(
            "A response of Starlette's test client, httpx or requests was expected, not an object of the type"
            f" {type(response).__name__}"
        )


def _read(response: Response) -> dict[str, Any]:
    __tracebackhide__ = True
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        _fail(response, "The Content-Type application/json was expected")
    try:
        body = json.loads(response.content)
    except ValueError:
        _fail(response, "JSON was expected")
    if not isinstance(body, dict):
        _fail(response, "A JSON object was expected")
    return body


def _check_field(response: Response) -> None:
    __tracebackhide__ = True
    if response.status_code in _FIELDS:
        name, pattern, words = _FIELDS[response.status_code]
        value = response.headers.get(name)
        if value is None or not pattern.match(value):
            _fail(response, f"{name} was expected with a {response.status_code}, {words}; its value is {value!r}")


def _fail(response: Response, expected: str) -> NoReturn:
    __tracebackhide__ = True
    media_type = response.headers.get("content-type", "no Content-Type")
    body = _shorten(response.content.decode("utf-8", "backslashreplace")) or "no body"
    raise AssertionError(f"{expected}. Status {response.status_code} came, {media_type}, with {body}")


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}... ({len(text)} characters)"
