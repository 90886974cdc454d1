"""Witness: what an application said before the wire layer put it into an envelope.

Served requests have none. A test client that unwraps puts one into the scope, and reads in it what stood
where an envelope stands now, which the envelope alone does not tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Message

from envelope.wire.bodies import BodyWriter, Shape
from envelope.wire.head import Headers

#: Where the witness of a request stands in its scope.
WITNESS = "envelope.witness"


@dataclass(frozen=True)
class SuccessNote:
    """A success, as the application sent it and as we did.

    Attributes:
        status: The application's.
        headers: The application's; its ``Content-Length`` may be ours already.
        sent_status: Ours.
        sent_headers: Ours.
        writer: Wrote the envelope.
        is_null: There was no body; ``null`` stands for it.
    """

    status: int
    headers: Headers
    sent_status: int
    sent_headers: Headers
    writer: BodyWriter
    is_null: bool


@dataclass(frozen=True)
class FailureNote:
    """A failure, as we sent it."""

    status: int
    headers: Headers
    shape: Shape


@dataclass(frozen=True)
class ForeignFailure:
    """A failure that came as a response, before it was converted."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class RaisedFailure:
    """A failure that was raised.

    Attributes:
        handler: What would have answered an ``HTTPException`` without us.
    """

    exception: Exception
    handler: Callable[[Any, Any], Awaitable[Any]]


class Witness:
    """What was replaced in one response; the notes of the layers, the last of each kind.

    Attributes:
        success: The success that was spliced.
        failures: Every failure that was written, by its body.
        origins: What a failure stands for, by its body; those that a guard made stand for nothing else.
    """

    def __init__(self) -> None:
        self.success: SuccessNote | None = None
        self.failures: dict[bytes, FailureNote] = {}
        self.origins: dict[bytes, ForeignFailure | RaisedFailure] = {}

    def note_success(self, start: Message, status: int, headers: Headers, body: bytes, writer: BodyWriter) -> None:
        """Note a success that the application began with ``start``, and that is sent in this form."""
        self.success = SuccessNote(
            start["status"], list(start["headers"]), status, list(headers), writer, body is writer.empty
        )

    def note_failure(self, body: bytes, status: int, headers: Headers, shape: Shape) -> None:
        """Note a failure that is sent in this form."""
        self.failures[body] = FailureNote(status, list(headers), shape)

    def note_foreign(self, body: bytes, status: int, headers: Headers, original: bytes) -> None:
        """Note the response that a failure with this body stands for, in the form that it had."""
        self.origins[body] = ForeignFailure(status, headers, original)

    def note_raised(
        self, body: bytes, exception: Exception, handler: Callable[[Any, Any], Awaitable[Any]]
    ) -> None:
        """Note the exception that a failure with this body stands for, and what else would have answered it."""
        self.origins[body] = RaisedFailure(exception, handler)
