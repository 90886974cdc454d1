"""The objects that a service has shown: their ids stand in the paths of other operations.

Without them ``GET /entities/{entity_id}`` would only ever be asked for entities that do not exist.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

_PARAMETER = re.compile(r"\{([^{}]+)\}")

#: What an object's key may be called in its own body, if the path's parameter is called after the object too.
_KEYS = ("id", "uuid", "key", "slug", "name", "code")

#: Of each response, and as input of each operation: enough to meet one that is not refused.
_MOST = 3

#: Of each collection.
_KEPT = 4 * _MOST


class ShownObjects:
    """Objects by the path of their collection.

    Args:
        content_key: Where the content of a success is.
    """

    def __init__(self, content_key: str) -> None:
        self._content_key = content_key
        self._found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)

    def add(self, path: str, body: Any) -> None:
        """Take up what a success shows: the object that was made in a collection, or the objects in it."""
        content = body.get(self._content_key, body) if isinstance(body, Mapping) else body
        known = self._found[path.rstrip("/")]
        known.extend(each for each in list(_objects(content))[:_MOST] if each not in known)
        del known[:-_KEPT]

    def parameters_for(self, template: str, *, oldest: bool = False) -> list[dict[str, Any]]:
        """Give sets of path parameters that lead to objects; none if not all of a path's are known.

        Args:
            template: Of the path.
            oldest: Whether the objects that were shown first come first; they are those that other operations have
                touched least.
        """
        if "{" not in template:
            return []
        found = [values for values, _ in self._walk(template.split("/")[1:])]
        return found[-_MOST:] if oldest else found[:_MOST]

    def _walk(self, segments: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
        """Give the parameters and the path of all segments, one way after the other."""
        if not segments:
            yield {}, ""
            return
        *before, last = segments
        for values, path in self._walk(before):
            parameter = _PARAMETER.fullmatch(last)
            if parameter is None:
                yield values, f"{path}/{last}"
                continue
            name = parameter[1]
            for value in self._values(path, name):
                yield {**values, name: value}, f"{path}/{quote(str(value), safe='')}"

    def _values(self, collection: str, name: str) -> Iterator[str | int]:
        keys = (name, *(key for key in _KEYS if name.lower().endswith(key)))
        for each in reversed(self._found.get(collection, ())):
            value = next((each[key] for key in keys if key in each), None)
            if isinstance(value, str | int) and value != "":
                yield value


def _objects(content: Any) -> Iterator[Mapping[str, Any]]:
    """Give the objects of a content: itself, its members, or those of a list inside (``{"items": [...]}``)."""
    if isinstance(content, Mapping):
        yield content
        for value in content.values():
            if isinstance(value, list):
                yield from _objects(value)
    elif isinstance(content, list):
        yield from (each for each in content if isinstance(each, Mapping))
