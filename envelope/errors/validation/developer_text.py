"""The text of developers' own validators: what of it a client may read.

It may quote anything that the validator saw, so it is withheld if it contains a secret of this request. A
validator that changes a secret before it quotes it (all but its case) cannot be found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from envelope.errors.validation.json_schema import Node, everything, is_secret, members
from envelope.errors.validation.problem import Problem, Submission
from envelope.errors.validation.redaction import is_secret_name, shorten

_PREFIXES: Final = ("Value error, ", "Assertion failed, ")
_MAX_CHARS: Final = 200
# A longer text quotes the input, and searching it for many secrets takes long.
_MAX_SEARCHED: Final = 2_000


def developer_text(problem: Problem) -> str:
    """Gives the text of the exception that a validator raised, without pydantic's prefix."""
    error = problem.context.get("error")
    if isinstance(error, Exception):
        return str(error)
    text = problem.error.get("msg")
    return text.removeprefix(_PREFIXES[0]).removeprefix(_PREFIXES[1]) if type(text) is str else ""


def shown_text(problem: Problem) -> str:
    """Gives the text for the client; empty if there is none that it may read."""
    if problem.text is None:
        problem.text = _searched_text(problem)
    return problem.text


def _searched_text(problem: Problem) -> str:
    if problem.place.is_secret or not problem.may_quote:
        return ""
    text = developer_text(problem)
    if len(text) > _MAX_SEARCHED:
        return ""
    return "" if quotes_secret(text, problem) else shorten(text, _MAX_CHARS)


def is_upload_text(problem: Problem) -> bool:
    """Says whether FastAPI raised this because a text came in the place of a file."""
    return developer_text(problem).startswith("Expected UploadFile, received:")


def quotes_secret(text: str, problem: Problem) -> bool:
    """Says whether a text contains a secret of the refused value or of the body."""
    lowered = text.casefold()
    try:
        return any(_contains(lowered, secret, problem.submission) for secret in _secrets(problem))
    except _TooMuchToSearchError:
        return True


def _contains(text: str, secret: str, submission: Submission) -> bool:
    submission.searches_left -= 1
    if submission.searches_left < 0:
        raise _TooMuchToSearchError
    return secret in text


class _TooMuchToSearchError(Exception):
    """The request has more members, or more texts and secrets, than are compared."""


def _secrets(problem: Problem) -> Iterator[str]:
    submission = problem.submission
    if submission.secrets is None:
        body = _secret_leaves(submission.body, submission.place(("body",)).nodes, submission)
        submission.secrets = list(body)
    yield from submission.secrets
    yield from _secret_leaves(problem.input, problem.place.nodes, submission)


def _secret_leaves(value: object, nodes: Iterable[Node], submission: Submission) -> Iterator[str]:
    stack = [(value, list(nodes), False)]
    while stack:
        value, known, secret = stack.pop()
        submission.members_left -= 1
        if submission.members_left < 0:
            raise _TooMuchToSearchError
        secret = secret or is_secret(known)
        if isinstance(value, (dict, list, tuple)):
            stack += [(part, members(known, key), secret or _is_secret_key(key)) for key, part in _items(value)]
        elif secret:
            yield from _spellings(value)
        elif type(value) is str and any("contentSchema" in node.keywords for node in everything(known)):
            stack.append((_parsed(value), known, secret))


def _parsed(text: str) -> object:
    """The document in a `Json[...]` field. What is no document is a secret as a whole: it may be part of one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {"secret": text}
    return document if isinstance(document, (dict, list)) else {"secret": document}


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _is_secret_key(key: object) -> bool:
    return type(key) is str and is_secret_name(key)


def _spellings(value: object) -> Iterator[str]:
    """A secret as a text would contain it, for comparison without regard to case."""
    for text in (str(value), repr(value)[1:-1], json.dumps(value, default=str)[1:-1]):
        if text.strip():
            yield text.strip().casefold()
