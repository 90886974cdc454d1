"""Overhears with which commands we lock and release, so that the floor sends the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import redis

from envelope import ObjectLockedError, ObjectLocks

#: The words of a command before its token, and those behind it.
Command = tuple[Sequence[str], Sequence[str]]


class Overheard(NamedTuple):
    """What was sent for some objects.

    Attributes:
        acquire: Takes them.
        release: Gives them back; None if they were refused.
    """

    acquire: Command
    release: Command | None


async def overhear(url: str, keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Overheard]:
    """Hold objects, and give the commands that the server was sent for them.

    Raises:
        RuntimeError: It was sent other commands than one script, or two.
    """
    locks = ObjectLocks(url)
    overheard = {}
    with redis.Redis.from_url(url, decode_responses=True) as client, client.monitor() as monitor:
        try:
            for several in [keys[0], *keys]:  # the first connects, and the server learns the scripts
                with suppress(ObjectLockedError):
                    async with locks.hold(*several):
                        pass
                client.echo("the end")
                heard = await asyncio.to_thread(_commands, monitor.next_command)
                overheard[several] = Overheard(*map(_split, heard)) if len(heard) == 2 else _refused(heard)
        finally:
            await locks.aclose()
    return overheard


def _commands(listen: Callable[[], dict[str, str]]) -> list[list[str]]:
    """Give the script calls of clients, word by word; no word of ours has a space in it."""
    heard: list[list[str]] = []
    while True:
        seen = listen()
        words = seen["command"].split(" ")
        if words[0] == "ECHO":
            return heard
        if words[0] == "EVALSHA" and seen["client_type"] != "lua":
            heard.append(words)


def _refused(heard: list[list[str]]) -> Overheard:
    if len(heard) != 1:
        raise RuntimeError(f"one script or two were expected, heard {heard!r}")
    return Overheard(_split(heard[0]), None)


def _split(words: list[str]) -> Command:
    token = 3 + int(words[2])
    return words[:token], words[token + 1 :]
