"""What is to be done on the server, and how it is written on the wire.

Where a script takes several errands at once, those that travel together are one command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from envelope.storage.redis.scripts import Script


class Arguments(NamedTuple):
    """Arguments of a script, as they are and encoded."""

    values: tuple[bytes, ...]
    encoded: bytes

    @classmethod
    def of(cls, *values: str | int) -> Arguments:
        """Encode arguments."""
        as_bytes = tuple(str(value).encode(errors="surrogatepass") for value in values)
        return cls(as_bytes, b"".join(map(_encode, as_bytes)))


class Errand:
    """One call of a script, or a part of one.

    Attributes:
        script: What to run.
        keys: The script's keys.
        arguments: The script's arguments.
        size: How many words of a shared reply are the answer to this errand, beside the first.
        deadline: When whoever waits has waited long enough, in the event loop's time.
        answer: The reply's first word, which is for all who share it, followed by those words; set once.
    """

    __slots__ = ("answer", "arguments", "deadline", "keys", "script", "size")

    def __init__(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Arguments,
        size: int,
        deadline: float,
        answer: asyncio.Future[list[bytes]],
    ) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.size = size
        self.deadline = deadline
        self.answer = answer

    def finish(self, answer: list[bytes]) -> None:
        """Hand over the answer, if somebody still waits for it."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Hand over an error, if somebody still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Command(NamedTuple):
    """Errands of one script that follow each other."""

    script: Script
    errands: Sequence[Errand]

    def encode(self, *, with_text: bool = False) -> bytes:
        """Write the command in RESP.

        Args:
            with_text: Send the script itself, because the server does not know it by its digest.
        """
        keys = [key for errand in self.errands for key in errand.keys]
        count = 3 + len(keys) + sum(len(errand.arguments.values) for errand in self.errands)
        name, script = (b"EVAL", self.script.text) if with_text else (b"EVALSHA", self.script.sha)
        parts = [b"*%d\r\n" % count, _encode(name), _encode(script), _encode(b"%d" % len(keys))]
        parts += map(_encode, keys)
        parts += [errand.arguments.encoded for errand in self.errands]
        return b"".join(parts)

    def finish(self, reply: bytes) -> None:
        """Give each errand its part of the reply, which is words separated by spaces; a lone one gets them all."""
        words = reply.split()
        if len(self.errands) == 1:
            self.errands[0].finish(words)
            return
        position = 1
        for errand in self.errands:
            end = position + errand.size
            errand.finish(words[:1] + words[position:end])
            position = end

    def fail(self, error: Exception) -> None:
        """Fail each errand."""
        for errand in self.errands:
            errand.fail(error)


def merge(errands: Iterable[Errand]) -> list[Command]:
    """Put errands of the same script that follow each other into one command, as far as the script takes them."""
    commands = []
    for script, group in groupby(errands, key=lambda errand: errand.script):
        same = list(group)
        most = script.most
        commands += [Command(script, same[first : first + most]) for first in range(0, len(same), most)]
    return commands


def _encode(argument: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(argument), argument)
