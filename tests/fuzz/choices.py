"""Choices: a case is made of the choices that a string of bytes stands for.

So whoever makes bytes can make cases: hypothesis, a generator of random numbers, a fuzzer that watches what is
executed. Where the bytes end, everything is as simple as it can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads choices from bytes, from the front."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at = 0

    def number(self, most: int) -> int:
        """Choose a number from 0 to ``most``."""
        count = (most.bit_length() + 7) // 8
        taken = self._source[self._at : self._at + count]
        self._at += count
        return int.from_bytes(taken, "big") % (most + 1)

    def pick(self, options: Sequence[T]) -> T:
        """Choose one; the first is the simplest."""
        return options[self.number(len(options) - 1)]

    def chance(self, one_in: int) -> bool:
        """Choose what happens seldom."""
        return self.number(one_in - 1) == 1

    def some(self, options: Sequence[T], most: int) -> list[T]:
        """Choose a few, in any order and again."""
        return [self.pick(options) for _ in range(self.number(most))]

    def blob(self, most: int) -> bytes:
        """Choose bytes."""
        count = self.number(most)
        taken = self._source[self._at : self._at + count]
        self._at += count
        return taken
