"""The two bodies of the convention: as pydantic models, and as bytes around somebody else's bytes.

Nothing here parses or re-serialises a success; a failure's message is the only thing that is rendered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import PydanticSerializationError, to_json

from envelope.errors.tree import ConfigurationError, reason_phrase

T = TypeVar("T")

#: The wire layer writes bytes; only clients, tests and documents use the models.
_BUILT_WHEN_USED = ConfigDict(defer_build=True)


class Success(BaseModel, Generic[T]):
    """The body of a success: ``{"status": "success", "content": ...}``."""

    model_config = _BUILT_WHEN_USED

    status: Literal["success"] = "success"
    content: T


class FailureDetails(BaseModel):
    """A failure's message when there is an error code or a list of problems."""

    model_config = _BUILT_WHEN_USED

    error_code: str
    message: str | list[JsonValue]


class Failure(BaseModel):
    """The body of a failure: ``{"code": 404, "message": ..., "status": "failure"}``.

    ``code`` equals the HTTP status. ``message`` is a text, ``{"error_code": ..., "message": ...}``, or
    the JSON object that the service gave.
    """

    model_config = _BUILT_WHEN_USED

    code: int
    message: str | FailureDetails | dict[str, JsonValue] | list[JsonValue]
    status: Literal["failure"] = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The key names and the two words, for near relatives of the convention.

    JSend's success and error, for example, are ``Shape(content="data", failure="error")``.

    Raises:
        ConfigurationError: A name is empty or not a string, or two keys of one body are the same.
    """

    status: str = "status"
    content: str = "content"
    code: str = "code"
    message: str = "message"
    success: str = "success"
    failure: str = "failure"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, str) and value):
                raise ConfigurationError(f"Shape.{field.name} is {value!r}; it is a non-empty string")
        if len({self.status, self.content}) < 2 or len({self.status, self.code, self.message}) < 3:
            raise ConfigurationError(f"{self!r} gives two keys of one body the same name")


class BodyWriter:
    """Writes the two bodies in one shape, from parts that are encoded once.

    ``prefix`` and ``suffix`` go around a success's own bytes; ``empty`` is the success without content.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.prefix = b"{%b:%b,%b:" % _encoded(shape.status, shape.success, shape.content)
        self.suffix = b"}"
        self.overhead = len(self.prefix) + len(self.suffix)
        self.empty = self.prefix + b"null" + self.suffix
        self._failure = b"{%b:%%d,%b:%%b,%b:%b}" % tuple(
            part.replace(b"%", b"%%") for part in _encoded(shape.code, shape.message, shape.status, shape.failure)
        )
        #: What a crash is answered with: the convention's own example of a failure.
        self.crash = self.failure(500, b'"Internal Server Error"')

    def failure(self, status: int, message: bytes) -> bytes:
        """Write a failure's body around ``message``, which is JSON already."""
        return self._failure % (status, message)

    def is_failure(self, value: object, status: int) -> bool:
        """Tell whether a parsed body is this shape's failure for this very status."""
        return (
            isinstance(value, Mapping)
            and value.get(self.shape.status) == self.shape.failure
            and value.get(self.shape.code) == status
            and self.shape.message in value
        )


def write_message(status: int, message: Any, error_code: str | None = None) -> bytes:
    """Render a failure's message as JSON.

    A text stays a text and a mapping stays as it is, unless there is an error code; a list is a list of
    problems and always stands in ``{"error_code": ..., "message": [...]}``.

    Returns:
        UTF-8 JSON. Not-a-number becomes text and a lone surrogate its escape, because JSON has neither
        (RFC 8259, 6 and 8.1); values JSON does not know are written as pydantic writes them.

    Raises:
        ValueError, TypeError: Nothing of the above can write the message.
    """
    error_code = error_code_of(status, message, error_code)
    if error_code is None:
        return _dump(message)
    return _dump({"error_code": error_code, "message": list(message) if _is_list(message) else message})


def error_code_of(status: int, message: Any, error_code: str | None) -> str | None:
    """Give the error code that a failure is sent with; a list of problems always has one."""
    return error_code or (default_error_code(status) if _is_list(message) else error_code)


def default_error_code(status: int) -> str:
    """Give the error code of a list of problems that came without one: ``conflict`` for 409."""
    if status in (400, 422):
        return "invalid_input"
    return reason_phrase(status).lower().replace(" ", "_").replace("-", "_").replace("'", "")


def _is_list(message: object) -> bool:
    return isinstance(message, list | tuple | set | frozenset)


def _dump(value: Any) -> bytes:
    try:
        return to_json(value, inf_nan_mode="strings", serialize_unknown=True)
    except (PydanticSerializationError, ValueError):
        # Lone surrogates cannot be UTF-8, but their JSON escape is valid (RFC 8259, 8.2).
        lenient = json.dumps(value, default=str)
        return json.dumps(json.loads(lenient, parse_constant=str)).encode()


def _encoded(*texts: str) -> tuple[bytes, ...]:
    return tuple(json.dumps(text).encode() for text in texts)
