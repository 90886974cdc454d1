"""The scripts that run on the server, put together from the ``.lua`` files beside this one."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple

#: What each strategy is made of; the last file of a script is what it does.
_STRATEGIES = {
    "sliding-window-counter": ("now", "sliding-window-counter", "counters"),
    "fixed-window": ("now", "fixed-window", "counters"),
    "moving-window": ("now", "moving-window"),
}


class Script(NamedTuple):
    """A script by its text, and by the digest under which a server remembers it."""

    text: bytes
    sha: bytes


class Scripts(NamedTuple):
    """The scripts of one strategy."""

    decide: Script
    settle: Script
    reset: Script


def load_scripts(strategy: str) -> Scripts:
    """Read the scripts of a strategy."""
    prelude = _STRATEGIES[strategy]
    return Scripts(_read(*prelude, "decide"), _read(*prelude, "settle"), _read("reset"))


def _read(*names: str) -> Script:
    folder = resources.files(__package__)
    text = b"\n".join((folder / f"{name}.lua").read_bytes() for name in names)
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())
