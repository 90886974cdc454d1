"""One error of pydantic's, read defensively: its parts as exact built-in types, and what is declared at its place.

It decides whether the value may be quoted; the words are in `wording.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from envelope.errors.validation.json_schema import UNKNOWN, Loc, Place
from envelope.errors.validation.redaction import HIDDEN, SECRET, rendered

if TYPE_CHECKING:
    from envelope.errors.validation.request_schema import RequestSchema

_NO_CONTEXT: Final[Mapping[str, Any]] = {}
_JUNK: Final = "?"
# A client decides how large its body is; beyond this many members nobody looks for secrets.
_MAX_MEMBERS: Final = 2_000
# How often a validator's text is compared with a secret: some milliseconds.
_MAX_SEARCHES: Final = 20_000


class Submission:
    """What one request sent and what is declared about it, shared by its problems."""

    __slots__ = ("body", "may_quote", "members_left", "schema", "searches_left", "secrets")

    def __init__(self, schema: RequestSchema | None, body: object, *, may_quote: bool = True) -> None:
        """Keeps what is known of the request.

        Args:
            schema: what the endpoint declares; without it no value is quoted.
            body: the request's parsed body, as far as it is known.
            may_quote: whether values that are no secrets may be quoted at all.
        """
        self.may_quote = may_quote
        self.schema = schema
        self.body = body
        self.secrets: list[str] | None = None  # of the body, once somebody asked for them
        self.members_left = _MAX_MEMBERS
        self.searches_left = _MAX_SEARCHES

    def place(self, loc: Loc) -> Place:
        """Finds what is declared at a place."""
        return UNKNOWN if self.schema is None else self.schema.node(loc)


class Problem:
    """One error, the place it names and what may be told about it."""

    __slots__ = ("context", "error", "kind", "loc", "place", "submission", "text")

    def __init__(self, error: Mapping[str, Any], submission: Submission) -> None:
        """Reads an error, one of `RequestValidationError.errors()`."""
        kind, context = error.get("type"), error.get("ctx")
        self.error = error
        self.kind = kind if type(kind) is str else ""
        self.context = context if type(context) is dict else _NO_CONTEXT
        self.loc = _loc(error.get("loc"))
        self.submission = submission
        self.place = submission.place(self.loc)
        self.text: str | None = None  # a validator's text for the client, once it was searched for secrets

    @property
    def body(self) -> Any:
        """The request's parsed body, as far as it is known."""
        return self.submission.body

    @property
    def input(self) -> Any:
        """The value that was refused; for a missing property the whole parent, which is never to be shown."""
        return self.error.get("input", HIDDEN_INPUT)

    @property
    def may_quote(self) -> bool:
        """Whether a secret would have been recognised, so that what is not one may be shown."""
        return self.submission.may_quote and self.place.is_known

    def place_of(self, loc: Loc) -> Place:
        """Finds what is declared at a place, this problem's or another."""
        return self.submission.place(loc)

    def shown(self, value: object) -> str:
        """Writes a value that stands at this problem's place."""
        place = self.place
        if not self.may_quote:
            return HIDDEN
        if place.is_secret or (type(value) is str and place.hides_text):
            return SECRET
        return rendered(value)


class _HiddenInput:
    """Stands for an input that the error does not carry; nothing is known of its type, so it reads `value`."""


HIDDEN_INPUT: Final = _HiddenInput()


def _loc(loc: object) -> Loc:
    if not isinstance(loc, (tuple, list)):
        return ()
    return tuple(part if type(part) is str or type(part) is int else _JUNK for part in loc)
