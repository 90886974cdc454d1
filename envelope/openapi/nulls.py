"""Null in a document that somebody wrote: where an object may stand, it is as if nothing stood there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What stands below each kind of object, by key; "*" is any other key. What is not named here is not looked into:
#: schemas, values and the operations that are not described.
_BELOW: Mapping[str, Mapping[str, str]] = {
    "document": {"components": "components"},
    "components": {"responses": "responses", "headers": "headers", "*": "map"},
    "operation": {"responses": "responses"},
    "responses": {"*": "response"},
    "response": {"content": "content", "headers": "headers", "links": "map"},
    "content": {"*": "media"},
    "media": {"examples": "map"},
    "headers": {"*": "header"},
    "header": {},
    "map": {},
}

#: Null is a value here.
_VALUES = {"media": ("example",), "header": ("example",)}


def without_nulls(part: Any, kind: str) -> Any:
    """Give a part of a document without its nulls; extensions and examples keep theirs."""
    if not isinstance(part, dict) or kind not in _BELOW:
        return part
    below, values = _BELOW[kind], _VALUES.get(kind, ())
    return {
        key: each if key.startswith("x-") else without_nulls(each, below.get(key) or below.get("*", ""))
        for key, each in part.items()
        if each is not None or key in values or key.startswith("x-")
    }
