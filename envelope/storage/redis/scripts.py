"""Scripts that run on the server, put together from ``.lua`` files."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    """A script by its text, and by the digest under which a server remembers it.

    Attributes:
        text: In Lua.
        sha: SHA-1 of the text, in hexadecimal digits.
        most: How many errands may share a command. 1, unless the script reads its keys and arguments as those of
            any number of errands, and answers them in order.
    """

    text: bytes
    sha: bytes
    most: int = 1


def read_script(package: str, *names: str, most: int = 1) -> Script:
    """Put a script together.

    Args:
        package: Where the files are.
        names: Of the files without ``.lua``; the last one is what the script does.
        most: How many errands may share a command.
    """
    folder = resources.files(package)
    text = b"\n".join((folder / f"{name}.lua").read_bytes() for name in names)
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode(), most)
