"""What may be written to a terminal or into a report: text that came from elsewhere must not act there."""

from __future__ import annotations


def printable(text: object) -> str:
    """Spell out what is not seen, so that it neither acts on a terminal, nor makes lines, nor breaks XML."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))
