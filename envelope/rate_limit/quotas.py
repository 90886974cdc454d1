"""Quotas: what a notation such as ``"5000/day"`` means, in one scope.

The notation is that of ``limits`` (``"20/second"``, ``"10 per 2 hours"``, ``"1/second; 30/minute"``).
This module decides nothing; the storages do.
"""

from __future__ import annotations

import functools
from typing import Literal

from envelope.errors.tree import ConfigurationError

#: How windows move; the meanings are those of ``limits``.
Strategy = Literal["sliding-window-counter", "fixed-window", "moving-window"]

#: Largest amount x window in milliseconds: the scripts reckon in doubles, which are exact up to here.
_LARGEST = 2**53

_UNITS = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day", 2_592_000: "month", 31_104_000: "year"}


class Quota:
    """So much in so long, counted for each subject on its own. Compared by identity; ``parse`` gives the same again.

    Attributes:
        amount: The sum of costs that fits into the window; at least 1.
        window_ms: The length of the window in milliseconds; whole seconds.
        scope: What is counted: ``""`` is everything, ``"POST /entities"`` a route.
        is_shadow: Counted and reported, never refusing.
        notation: ``"20/minute"`` or ``"10/2 hours"``.
        name: The name of the policy in the header fields: the notation, and the scope if it has one.
        field: The name in a storage, before or beside the subject; different for different quotas.
    """

    __slots__ = ("amount", "field", "is_shadow", "name", "notation", "scope", "window_ms")

    def __init__(self, amount: int, window_s: int, scope: str = "", *, is_shadow: bool = False) -> None:
        self.amount = amount
        self.window_ms = window_s * 1000
        self.scope = scope
        self.is_shadow = is_shadow
        self.notation = f"{amount}/{_describe_window(window_s)}"
        self.name = f"{self.notation} {scope}" if scope else self.notation
        # The length of the scope makes it injective: a subject, or another scope, may begin with anything.
        self.field = f"{amount}/{window_s}{'~' if is_shadow else ''}:{len(scope)}:{scope}:"

    def __repr__(self) -> str:
        return f"<Quota {self.name!r}{' in shadow' if self.is_shadow else ''}>"


@functools.lru_cache(maxsize=4096)
def parse(notation: str, scope: str = "", *, is_shadow: bool = False) -> tuple[Quota, ...]:
    """Read a notation of ``limits``; one may hold several limits, separated by ``;``, ``,`` or ``|``.

    Raises:
        ConfigurationError: It is no notation, or says nothing that can be counted.
    """
    from limits import parse_many  # noqa: PLC0415 - costs 13 ms, which a service without limits does not pay

    if not isinstance(notation, str):
        raise ConfigurationError(f"a limit is {notation!r}; give a notation such as '20/second' or '5000/day'")
    try:
        items = parse_many(notation)
    except ValueError as error:
        raise ConfigurationError(
            f"{notation!r} is no limit; write it as '20/second', '100 per 5 minutes' or '1/second; 30/minute'"
        ) from error
    for item in items:
        if item.amount < 1 or item.get_expiry() < 1:
            raise ConfigurationError(f"{notation!r} admits nothing; amount and window are at least 1")
        if item.amount * item.get_expiry() * 1000 > _LARGEST:
            raise ConfigurationError(f"{notation!r} is too large to be counted exactly; take a shorter window")
    return tuple(Quota(item.amount, item.get_expiry(), scope, is_shadow=is_shadow) for item in items)


def _describe_window(window_s: int) -> str:
    unit_s = next(unit_s for unit_s in reversed(_UNITS) if window_s % unit_s == 0)
    count = window_s // unit_s
    return _UNITS[unit_s] if count == 1 else f"{count} {_UNITS[unit_s]}s"
