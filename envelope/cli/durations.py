"""Durations, as people write them: ``90``, ``90s``, ``10m``, ``1h30m``."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}

_FORM = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)

_LONGEST_S = 365 * 86_400


class Duration(click.ParamType):  # type: ignore[type-arg] # of no type at run time, before click 8.4
    """An option's value in whole seconds: from one second to a year."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a text.

        Raises:
            click.BadParameter: It is no duration.
        """
        form = _FORM.fullmatch(f"{value}s" if str(value).isdecimal() else str(value))
        counts = form.groups(default="0") if form else ()
        seconds = sum(int(count) * size for count, size in zip(counts, _UNITS.values(), strict=False))
        if not 1 <= seconds <= _LONGEST_S:
            self.fail(f"{value!r} is no duration up to a year; write 90, 90s, 10m, 2h, 1d or 1h30m", param, ctx)
        return seconds


def spell(seconds: float) -> str:
    """Write a duration in its two largest units: ``"1h 30m"``."""
    if seconds < 10:  # where tenths still say something
        return f"{max(0, seconds):.1f}s"
    rest, words = round(seconds), []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        words.append((count, unit))
    while not words[0][0]:
        words.pop(0)
    return " ".join(f"{count}{unit}" for count, unit in words[:2] if count)
