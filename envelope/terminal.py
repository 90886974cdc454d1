"""What may be written to a terminal or into a report: text that came from elsewhere must not act there."""

from __future__ import annotations


def printable(text: object) -> str:
    """Spell out what is not seen, so that it neither acts on a terminal, nor makes lines, nor breaks XML.

    A text that has a backslash of its own may look like another one; ``unmistakable`` tells them apart.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))


def unmistakable(text: object) -> str:
    """Spell out what is not seen, and double each backslash, so that no two texts look alike."""
    return printable(str(text).replace("\\", "\\\\"))
