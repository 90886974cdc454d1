"""Chooses between the rows of an error type that has several, such as a length limit of one or of more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from envelope.errors.validation.developer_text import is_upload_text, shown_text
from envelope.errors.validation.problem import Problem
from envelope.errors.validation.wording import NOT_JSON_MEDIA, WORDING


def row_for(problem: Problem) -> str | None:
    """Gives the sentence for a problem; None if its type has no row."""
    if problem.loc == ("body",) and type(problem.input) is bytes and problem.kind.endswith("_type"):
        return NOT_JSON_MEDIA  # FastAPI does not parse a body of another Content-Type
    choose = _VARIANTS.get(problem.kind)
    suffix = choose(problem) if choose is not None else ""
    return WORDING.get(problem.kind + suffix)


def _required(problem: Problem) -> str:
    if problem.loc == ("body",):
        return ":body"
    return _item(problem)


def _item(problem: Problem) -> str:
    return ":item" if problem.loc and type(problem.loc[-1]) is int else ""


def _document(problem: Problem) -> str:
    # FastAPI reports the text position as the second element, and {} as the input; a Json[...] field its text.
    at_position = len(problem.loc) == 2 and problem.loc[0] == "body" and type(problem.loc[1]) is int
    return ":body" if at_position and type(problem.input) is not str else ""


def _unparsed_body(problem: Problem) -> str:
    """FastAPI hands over the raw bytes if the Content-Type is not JSON; a text if the error came as JSON."""
    if problem.loc != ("body",):
        return ""
    raw = type(problem.input) is bytes or (type(problem.input) is str and type(problem.body) is not str)
    return ":body" if raw else ""


def _minimum(problem: Problem) -> str:
    return ":one" if problem.context.get("min_length") == 1 else _object(problem)


def _maximum(problem: Problem) -> str:
    return ":zero" if problem.context.get("max_length") == 0 else _object(problem)


def _object(problem: Problem) -> str:
    return ":object" if problem.kind in ("too_short", "too_long") and type(problem.input) is dict else ""


def _choices(problem: Problem) -> str:
    if problem.place.keyword("enum") is not None:
        return ""
    expected = problem.context.get("expected")
    if problem.place.keyword("const", problem) is not problem:  # null is a constant too
        return ":const"
    return ":const" if type(expected) is str and " or " not in expected else ""


def _declared_type(problem: Problem) -> str:
    return ":declared" if type(problem.place.keyword("type")) is str else ""


def _tag(problem: Problem) -> str:
    # Quotes mark a property's name; a function's name is the server's business.
    name = problem.context.get("discriminator")
    return "" if type(name) is str and name.startswith("'") else ":computed"


def _developer(problem: Problem) -> str:
    if problem.kind == "value_error":
        if "reason" in problem.context and "error" not in problem.context:
            return ":email"
        if is_upload_text(problem):
            return ":upload"
    return "" if shown_text(problem) else ":hidden"


_VARIANTS: Final[dict[str, Callable[[Problem], str]]] = {
    "missing": _required,
    "missing_argument": _item,
    "missing_positional_only_argument": _item,
    "json_invalid": _document,
    **{kind.removesuffix(":body"): _unparsed_body for kind in WORDING if kind.endswith("_type:body")},
    "too_short": _minimum,
    "string_too_short": _minimum,
    "bytes_too_short": _minimum,
    "too_long": _maximum,
    "string_too_long": _maximum,
    "bytes_too_long": _maximum,
    "enum": _choices,
    "literal_error": _choices,
    "is_instance_of": _declared_type,
    "union_tag_not_found": _tag,
    "value_error": _developer,
    "assertion_error": _developer,
}
