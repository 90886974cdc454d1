"""Quotas: so much in so long. This module decides nothing; the storages do."""

from __future__ import annotations

import re
from typing import Literal

from envelope.errors.tree import ConfigurationError

#: How windows move; the meanings are those of ``limits``.
Strategy = Literal["sliding-window-counter", "fixed-window", "moving-window"]

#: Entries in the log of a moving window; they take about a megabyte on a server.
_LONGEST_LOG = 10_000

#: What ``Quota.field`` looks like.
_FIELD = re.compile(r"([1-9]\d{0,15})/([1-9]\d{0,15})(~?):(\d+):(.*):", re.ASCII | re.DOTALL)

_UNITS = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day", 2_592_000: "month", 31_104_000: "year"}


class Quota:
    """So much in so long, counted for each subject on its own. Compared by identity.

    Attributes:
        amount: The sum of costs that fits into the window; at least 1.
        window_ms: The length of the window in milliseconds; whole seconds.
        scope: What is counted: ``""`` is everything, ``"POST /entities"`` a route.
        is_shadow: Counted and reported, never refusing.
        is_exposed: Clients may know of it.
        notation: ``"20/minute"`` or ``"10/2 hours"``.
        name: The name of the policy in the header fields: the notation, and the scope if it has one.
        field: The name in a storage, before or beside the subject; different for different quotas.
    """

    __slots__ = ("amount", "field", "is_exposed", "is_shadow", "name", "notation", "scope", "window_ms")

    def __init__(
        self, amount: int, window_s: int, scope: str = "", *, is_shadow: bool = False, is_exposed: bool = True
    ) -> None:
        self.amount = amount
        self.window_ms = window_s * 1000
        self.scope = scope
        self.is_shadow = is_shadow
        self.is_exposed = is_exposed and not is_shadow
        self.notation = f"{amount}/{_describe_window(window_s)}"
        self.name = f"{self.notation} {scope}" if scope else self.notation
        # The length of the scope makes it injective: a subject, or another scope, may begin with anything.
        self.field = f"{amount}/{window_s}{'~' if is_shadow else ''}:{len(scope)}:{scope}:"

    def __repr__(self) -> str:
        return f"<Quota {self.name!r}{' in shadow' if self.is_shadow else ''}>"


def read_field(field: str) -> Quota | None:
    """Give the quota that lies under this name in a storage; None if it is no such name."""
    form = _FIELD.fullmatch(field)
    if form is None:
        return None
    amount, window_s, shadow, _, scope = form.groups()
    quota = Quota(int(amount), int(window_s), scope, is_shadow=bool(shadow))
    return quota if quota.field == field else None


def check_log(strategy: Strategy, quota: Quota) -> None:
    """Refuse a quota that is too large for a strategy that remembers each request.

    Raises:
        ConfigurationError: The strategy is ``moving-window`` and the amount above 10,000.
    """
    if strategy == "moving-window" and quota.amount > _LONGEST_LOG:
        raise ConfigurationError(
            f"{quota.notation!r} is too much for 'moving-window', which remembers each request;"
            f" use 'sliding-window-counter' above {_LONGEST_LOG}"
        )


def _describe_window(window_s: int) -> str:
    unit_s = next(unit_s for unit_s in reversed(_UNITS) if window_s % unit_s == 0)
    count = window_s // unit_s
    return _UNITS[unit_s] if count == 1 else f"{count} {_UNITS[unit_s]}s"
