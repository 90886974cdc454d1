"""What guards say of themselves: the statuses that they can answer, for the OpenAPI document.

A guard marks what it makes of an endpoint, or the dependency that it is; whoever describes the application reads
the marks, and knows no guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: The statuses that a guard can answer to a request with a method.
Refusals = Callable[[str], Iterable[int]]

_MARK = "__envelope_refusals__"


def mark_refusals(function: Any, refusals: Refusals) -> None:
    """Note at a function of a guard what it can answer; what it took over from the function inside stays."""
    setattr(function, _MARK, (*getattr(function, _MARK, ()), refusals))


def refusals_at(function: object, method: str) -> Iterator[int]:
    """Give what the guards at an endpoint, or a dependency that is one, can answer to a method."""
    for refusals in getattr(function, _MARK, ()):
        yield from refusals(method)
