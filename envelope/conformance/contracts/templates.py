"""Which path template of a document a path belongs to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

_PARAMETER = re.compile(r"\{[^{}]*\}")


class Templates:
    """The path templates of one document, read once.

    Args:
        templates: In the order of the document, which decides between equals.
        prefixes: Paths of the document's servers: ``"/api/v1"``. A path may come with one of them.
    """

    def __init__(self, templates: Iterable[str], prefixes: Iterable[str] = ()) -> None:
        rows = [_Row.read(template) for template in templates]
        self._by_length: dict[int, list[_Row]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.rank):
            self._by_length[row.template.count("/")].append(row)
        # Few, and asked last: most literal text first, because a parameter of them swallows anything.
        self._spanning = sorted((row for row in rows if any(row.rank)), key=lambda row: -row.literal_length)
        self._prefixes = sorted({prefix.rstrip("/") for prefix in prefixes} - {""}, key=len, reverse=True)

    def find(self, path: str) -> Iterator[str]:
        """Give the templates that a path fits, the best first: literal before parameter, from the left.

        Those whose parameters had to span slashes, as Starlette's ``{name:path}`` does, come last.

        Args:
            path: As it was sent, percent-encoded.
        """
        # A server that decodes first sees %2F as a slash (ASGI); one that does not sees it in a parameter.
        decoded, kept = unquote(path), unquote(re.sub("%2[Ff]", "\0", path))
        for spelling in dict.fromkeys((decoded, kept)):
            for below in self.below(spelling):
                yield from _matching(self._by_length.get(below.count("/"), ()), below)
        for below in self.below(decoded):
            yield from (row.template for row in self._spanning if row.spanning.fullmatch(below))

    def below(self, path: str) -> list[str]:
        """Give a path without the prefix of a server that it begins with, then as it is."""
        stripped = [path[len(prefix) :] for prefix in self._prefixes if path.startswith(prefix + "/")]
        return [*stripped, path]


class _Row(NamedTuple):
    template: str
    pattern: re.Pattern[str]
    spanning: re.Pattern[str]
    rank: tuple[int, ...]
    literal_length: int

    @classmethod
    def read(cls, template: str) -> _Row:
        literals = _PARAMETER.split(template)
        return cls(
            template,
            _compile(literals, "[^/]+"),
            _compile(literals, ".*"),
            tuple(_rank(segment) for segment in template.split("/")),
            sum(map(len, literals)),
        )


def _matching(rows: Iterable[_Row], path: str) -> Iterator[str]:
    return (row.template for row in rows if row.pattern.fullmatch(path))


def _compile(literals: Sequence[str], parameter: str) -> re.Pattern[str]:
    # A document may spell a literal percent-encoded, as the path that is compared was before.
    return re.compile(parameter.join(re.escape(unquote(literal)) for literal in literals), re.DOTALL)


def _rank(segment: str) -> int:
    """Rank a segment: 0 literal, 1 partly, 2 nothing but a parameter."""
    if not _PARAMETER.search(segment):
        return 0
    return 2 if _PARAMETER.fullmatch(segment) else 1
