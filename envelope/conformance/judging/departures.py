"""A departure as the rules name it, before it is known where it was seen."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

#: Characters of a value that stand in a report.
_LONGEST = 60


class Departure(NamedTuple):
    """One departure of one response.

    Attributes:
        id: Of its rule.
        expected: What the convention asks for here.
        came: What was seen.
    """

    id: str
    expected: str
    came: str


def quote(value: Any) -> str:
    """Show a small value as it is, a text shortened, and of anything else only what it is."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "...")
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)[:_LONGEST]
    return describe(value)


def describe(value: Any) -> str:
    """Say what a JSON value is, without its content."""
    if isinstance(value, dict):
        return f"an object with {name_keys(value)}" if value else "an object without keys"
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def name_keys(keys: Any) -> str:
    """List keys as they are, the first few."""
    names = [quote(key) for key in keys]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
