"""Standard input, output and error: a shell may have closed any of them, and a disk may be full."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import TextIO

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def prepare() -> None:
    """See to it that each stream is there, and takes every text."""
    for name, mode in _MODES.items():
        if getattr(sys, name) is None:  # closed, as by >&-; the next connection would get its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - a name; open until the end
    for file in (sys.stdin, sys.stdout):  # standard error does so by itself
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="backslashreplace")


def write_nowhere(file: TextIO) -> None:
    """Give up a stream: what it did not take would be tried again when Python ends."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a name, not a path of ours
        os.dup2(nowhere.fileno(), file.fileno())


def is_nowhere(file: TextIO) -> bool:
    """Tell whether nobody sees what is written: ``/dev/null``, ``/dev/full``, or a stream that was given up."""
    return stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty()


def write_last(line: str) -> None:
    """Write a line to standard error as far as that is possible, and leave nothing to be written."""
    for file, text in ((sys.stdout, ""), (sys.stderr, f"{line}\n")):
        try:
            file.write(text)
            file.flush()
        except OSError:
            write_nowhere(file)
