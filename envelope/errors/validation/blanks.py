"""Fills the blanks of a sentence: `{value}`, `{bound}`, `{choices}` and so on, each only if it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from envelope.errors.validation.developer_text import shown_text
from envelope.errors.validation.problem import Problem
from envelope.errors.validation.redaction import (
    HIDDEN,
    MAX_VALUE_CHARS,
    SECRET,
    is_secret_name,
    quoted,
    rendered,
    shorten,
)

_MAX_SCHEMA_CHARS: Final = 300
_BOUNDS: Final = {
    "greater_than": ("gt", "exclusiveMinimum"),
    "greater_than_equal": ("ge", "minimum"),
    "less_than": ("lt", "exclusiveMaximum"),
    "less_than_equal": ("le", "maximum"),
    "multiple_of": ("multiple_of", "multipleOf"),
}


class Blanks(dict[str, str]):
    """The blanks of one problem, for `str.format_map`."""

    def __init__(self, problem: Problem) -> None:
        """Remembers the problem; nothing is worked out yet."""
        self.problem = problem

    def __missing__(self, blank: str) -> str:
        """Works out one blank; a name without a function is that of a schema's figure in the context."""
        fill = _BLANKS.get(blank)
        return fill(self.problem) if fill is not None else _figure(self.problem, blank)


def _value(problem: Problem) -> str:
    return problem.shown(problem.input)


def _number(problem: Problem) -> str:
    value = problem.input
    return problem.shown(_as_number(value) if type(value) is str else value)


def _as_number(text: str) -> int | float | str:
    """Query, path, header, cookie and form inputs arrive as texts."""
    if len(text) > MAX_VALUE_CHARS:
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _url(problem: Problem) -> str:
    """A URL with a user, a query or a fragment may carry a secret anywhere, and this one could not be parsed."""
    value, shown = problem.input, _value(problem)
    return SECRET if shown != HIDDEN and type(value) is str and set(value) & set("@?#;") else shown


def _name(problem: Problem) -> str:
    name = problem.loc[-1] if problem.loc else HIDDEN
    return quoted(str(name))


def _bound(problem: Problem) -> str:
    bound = _bound_value(problem)
    return shorten(repr(bound)) if isinstance(bound, (int, float)) else quoted(str(bound))


def _divisor(problem: Problem) -> str:
    return shorten(str(_bound_value(problem)))


def _bound_value(problem: Problem) -> object:
    key, keyword = _BOUNDS[problem.kind]
    bound = problem.place.keyword(keyword)
    return _plain(problem.context.get(key)) if bound is None else bound


def _plain(bound: Any) -> object:
    """The bound as JSON Schema writes it: 0 for `0.0` and for `Decimal("0")`, a text for a date."""
    if type(bound) is int:
        return bound
    number = _as_number(str(bound))
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _choices(problem: Problem) -> str:
    choices = problem.place.keyword("enum")
    return _schema_text(repr(choices) if isinstance(choices, list) else problem.context.get("expected"))


def _const(problem: Problem) -> str:
    nodes = problem.place.nodes
    if len(nodes) == 1 and "const" in nodes[0].keywords:
        return _schema_text(repr(nodes[0].keywords["const"]))
    return _schema_text(problem.context.get("expected"))


def _type(problem: Problem) -> str:
    return repr(problem.place.keyword("type"))


def _pattern(problem: Problem) -> str:
    return _schema_text(repr(str(problem.context.get("pattern"))))


def _figure(problem: Problem, blank: str) -> str:
    return _schema_text(problem.context.get(blank))


def _schema_text(text: object) -> str:
    return shorten(str(text), _MAX_SCHEMA_CHARS)


def _discriminator(problem: Problem) -> str:
    return _schema_text(problem.context.get("discriminator"))


def _tag(problem: Problem) -> str:
    """The client's own tag; a tag that a function computed is not the client's, nor known to be harmless."""
    value = problem.input
    names = str(problem.context.get("discriminator")).replace("'", "").split(" | ")
    found = [name for name in names if type(value) is dict and name in value]
    if not found or not problem.may_quote:
        return HIDDEN
    return SECRET if problem.place.is_secret or is_secret_name(found[0]) else rendered(value[found[0]])


def _json_error(problem: Problem) -> str:
    # What follows a colon quotes the document.
    return _schema_text(str(problem.context.get("error")).partition(": ")[0].removesuffix(" at"))


def _position(problem: Problem) -> str:
    return str(problem.loc[-1])


_BLANKS: Final[dict[str, Callable[[Problem], str]]] = {
    "value": _value,
    "number": _number,
    "url": _url,
    "name": _name,
    "bound": _bound,
    "divisor": _divisor,
    "choices": _choices,
    "const": _const,
    "pattern": _pattern,
    "tag": _tag,
    "discriminator": _discriminator,
    "json_error": _json_error,
    "position": _position,
    "text": shown_text,
    "type": _type,
}
