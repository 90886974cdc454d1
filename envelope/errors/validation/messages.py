"""Turns pydantic's request-validation errors into the messages that the `jsonschema` library would give.

The words are rows of `wording.py`; here the errors are read one by one, those that JSON Schema reports as one
are merged (several unexpected properties, the branches of a union), and the list is kept short. No input makes it
raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from envelope.errors.validation.blanks import Blanks
from envelope.errors.validation.json_schema import Loc
from envelope.errors.validation.problem import Problem, Submission
from envelope.errors.validation.redaction import is_secret_name, quoted, shorten
from envelope.errors.validation.variants import row_for
from envelope.errors.validation.wording import (
    LAST_RESORT,
    MORE,
    NOT_VALID,
    OPAQUE,
    UNEXPECTED,
    UNEXPECTED_NAMED,
    UNION,
)

if TYPE_CHECKING:
    from envelope.errors.validation.request_schema import RequestSchema

_MAX_MESSAGES: Final = 50
_MAX_MESSAGE_CHARS: Final = 500
_MAX_NAMES: Final = 10
# More than this is not looked at, only counted: a client decides how many errors there are.
_MAX_READ: Final = 300
_UNEXPECTED: Final = frozenset(("extra_forbidden", "unexpected_keyword_argument"))


def validation_messages(
    errors: Sequence[Mapping[str, Any]],
    *,
    schema: RequestSchema | None = None,
    body: object = None,
    echo_values: Literal["safe", "never"] = "safe",
) -> list[str]:
    """Words the errors of a request as JSON Schema validators do.

    Args:
        errors: `RequestValidationError.errors()`, or the same list after a trip through JSON.
        schema: what the endpoint declares, from `request_schema(scope)`. Without it no value is quoted, because a
            secret could not be recognised.
        body: the parsed body, `RequestValidationError.body`.
        echo_values: `"safe"` quotes scalars that are not secret; `"never"` writes `value` in their place.

    Returns:
        At least one message and at most 51, each of at most 500 characters: `["'offset' is a required property"]`.
    """
    try:
        return _Messages(Submission(schema, body, may_quote=echo_values == "safe")).read(errors)
    except Exception:  # noqa: BLE001 an answer without details is better than a crash about somebody's broken object
        return [LAST_RESORT]


class _Messages:
    """The messages of one request, in the order of the errors; a merged one stands where its first error stood."""

    def __init__(self, submission: Submission) -> None:
        self._submission = submission
        self._lines: list[_Line] = []
        self._seen: set[object] = set()
        self._unexpected: dict[Loc, _Unexpected] = {}
        self._surplus = 0

    def read(self, errors: Sequence[Mapping[str, Any]]) -> list[str]:
        """Reads the errors and gives the messages."""
        rest = iter([error for error in errors if not _is_consequence(error)] or errors)
        for error in islice(rest, _MAX_READ):
            self._add(error)
        lines = [_limited(line if isinstance(line, str) else line.worded()) for line in self._lines]
        surplus = self._surplus + sum(1 for _ in rest)
        return [*lines, MORE.format(count=surplus)] if surplus else lines or [LAST_RESORT]

    def _add(self, error: Mapping[str, Any]) -> None:
        try:
            self._sort(Problem(error, self._submission))
        except Exception:  # noqa: BLE001 one broken error must not hide the others
            self._append(lambda: OPAQUE)

    def _sort(self, problem: Problem) -> None:
        place = problem.place
        if place.union_at is not None:
            self._once(problem.loc[: place.union_at], lambda: union_message(problem))
        elif problem.kind in _UNEXPECTED and problem.loc:
            self._add_unexpected(problem)
        else:
            self._append(lambda: single_message(problem), problem.loc)

    def _append(self, word: Callable[[], _Line], loc: Loc | None = None) -> None:
        if len(self._lines) == _MAX_MESSAGES:
            self._surplus += 1
            return
        line = word()
        if loc is None:
            self._lines.append(line)
        else:
            self._once((loc, line), lambda: line)

    def _once(self, key: object, word: Callable[[], _Line]) -> None:
        if key not in self._seen:
            self._seen.add(key)
            self._append(word)

    def _add_unexpected(self, problem: Problem) -> None:
        """Collects the unexpected properties of one parent."""
        parent = problem.loc[:-1]
        found = self._unexpected.get(parent)
        if found is None:
            place = problem.place_of(parent)
            may_name = self._submission.may_quote and place.is_known and not place.is_secret
            found = self._unexpected[parent] = _Unexpected(may_name=may_name)
            self._append(lambda: found)
        found.names.append(problem.loc[-1])


class _Unexpected:
    """The unexpected properties of one parent: JSON Schema reports them together, sorted."""

    def __init__(self, *, may_name: bool) -> None:
        self.names: list[str | int] = []
        self._may_name = may_name

    def worded(self) -> str:
        """Names the properties, ten at most; none if even names may be secret."""
        if not self._may_name:
            return UNEXPECTED
        names = [quoted(str(name)) for name in nsmallest(_MAX_NAMES, self.names, key=str)]
        more = ["..."] if len(self.names) > _MAX_NAMES else []
        verb = "was" if len(self.names) == 1 else "were"
        return UNEXPECTED_NAMED.format(names=", ".join(names + more), verb=verb)


_Line = str | _Unexpected


def single_message(problem: Problem) -> str:
    """Words a problem that stands alone."""
    row = row_for(problem)
    if row is not None:
        return row.format_map(Blanks(problem))
    # The name of a custom type may be all that tells what the value is: `iban_length`.
    return OPAQUE if is_secret_name(problem.kind) else NOT_VALID.format_map(Blanks(problem))


def union_message(problem: Problem) -> str:
    """Words a value that fits none of a union's members, from the problem of the first member."""
    return UNION.format(value=problem.shown(_value_at_union(problem)))


def _value_at_union(problem: Problem) -> object:
    label = problem.place.union_at or 0
    try:
        return _value_in(problem.body, problem.place.path)
    except (LookupError, TypeError):
        inside = problem.loc[label + 1 :]
    if not inside:
        return problem.input
    return [...] if type(inside[0]) is int else {...: ...}  # only their type is ever shown


def _value_in(body: Any, path: Loc) -> object:
    if path[:1] != ("body",):
        raise LookupError(path)
    for key in path[1:]:
        if type(body) not in (dict, list):  # a text that a Json[...] field reads
            raise LookupError(key)
        body = body[key]
    return body


def _is_consequence(error: Any) -> bool:
    """Whether an error only says that an earlier one kept a default from being made."""
    return type(error) is dict and error.get("type") == "default_factory_not_called"


def _limited(line: str) -> str:
    text = shorten(line, _MAX_MESSAGE_CHARS)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
