"""The scripts of each strategy, put together from the ``.lua`` files beside this one."""

from __future__ import annotations

from typing import NamedTuple

from envelope.storage.redis.scripts import Script, read_script

#: What each strategy is made of; the last file of a script is what it does.
_STRATEGIES = {
    "sliding-window-counter": ("now", "sliding-window-counter", "counters"),
    "fixed-window": ("now", "fixed-window", "counters"),
    "moving-window": ("now", "moving-window"),
}

#: Errands of one command: so many keep the server busy for about a millisecond.
_MOST = 128


class Scripts(NamedTuple):
    """The scripts of one strategy."""

    decide: Script
    settle: Script
    reset: Script
    fields: Script


def load_scripts(strategy: str) -> Scripts:
    """Read the scripts of a strategy."""
    prelude = _STRATEGIES[strategy]
    fields = read_script(__package__, "fields")
    return Scripts(_read(*prelude, "decide"), _read(*prelude, "settle"), _read("reset"), fields)


def _read(*names: str) -> Script:
    return read_script(__package__, *names, most=_MOST)
