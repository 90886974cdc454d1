"""Errands and lines by themselves; what a guard sends is tested with the guard."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

import pytest

from envelope.storage.errors import StorageUnavailableError
from envelope.storage.redis.errands import Arguments, Command
from envelope.storage.redis.line import Line, Lines
from envelope.storage.redis.scripts import Script


class Echo:
    """A server whose scripts answer with a word for all, and then each key and each argument."""

    is_worn = False

    def __init__(self, *, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        self.commands: list[int] = []

    async def connect(self) -> Echo:
        return self

    def is_lost(self) -> bool:
        return False

    async def exchange(self, commands: Sequence[Command]) -> None:
        if self.is_silent:
            await asyncio.Event().wait()
        for command in commands:
            self.commands.append(len(command.errands))
            words = [b"all"]
            for errand in command.errands:
                words += [*errand.keys, *errand.arguments.values]
            command.finish(b" ".join(words))

    async def close(self) -> None:
        pass


def _run_five(most: int) -> tuple[list[list[bytes]], list[int]]:
    script, echo = Script(b"return", b"0" * 40, most), Echo()

    async def main() -> list[list[bytes]]:
        line = Line(echo.connect, 5)
        return await asyncio.gather(
            *(line.run(script, [b"k%d" % number], Arguments.of(number), 2) for number in range(5))
        )

    return asyncio.run(main()), echo.commands


@pytest.mark.parametrize(("most", "commands"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (128, [5])])
def test_script_says_how_many_errands_share_a_command(most: int, commands: list[int]):
    """However they travel, each has the word for all and its own."""
    answers, sizes = _run_five(most)

    assert answers == [[b"all", b"k%d" % number, b"%d" % number] for number in range(5)]
    assert sizes == commands


def test_errand_alone_has_the_whole_reply():
    """A script that shares with nobody may answer with as many words as it likes."""

    async def main() -> list[bytes]:
        return await Line(Echo().connect, 5).run(Script(b"", b""), [b"a", b"b"], Arguments.of("c", 4))

    assert asyncio.run(main()) == [b"all", b"a", b"b", b"c", b"4"]


def test_deadline_of_ones_own():
    """Whoever has less time than the line gives up sooner, also behind somebody with more."""

    async def main() -> None:
        loop, line = asyncio.get_running_loop(), Line(Echo(is_silent=True).connect, 60)
        script, begun = Script(b"", b"", 2), loop.time()
        patient = asyncio.create_task(line.run(script, [b"a"], Arguments.of()))
        hasty = asyncio.create_task(line.run(script, [b"b"], Arguments.of(), deadline=begun + 0.05))
        outcomes = await asyncio.gather(patient, hasty, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StorageUnavailableError] * 2
        assert 0.05 <= loop.time() - begun < 5

    asyncio.run(main())


class Watched(asyncio.SelectorEventLoop):
    """A loop that does something else when it is asked for the first time whether it has ended."""

    meanwhile: Callable[[], object] | None = None

    def is_closed(self) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().is_closed()


async def _here(lines: Lines) -> Line:
    return lines.here()


def test_lines_one_for_each_loop():
    """The same as long as a loop runs and nobody closes it; those of loops that have ended are dropped."""
    lines = Lines(Echo().connect, 5)

    async def main() -> None:
        line = lines.here()
        assert lines.here() is line
        await lines.aclose()
        await lines.aclose()
        assert lines.here() is not line

    for _ in range(3):
        asyncio.run(main())

    assert len(lines._lines) == 1


def test_lines_of_loops_in_two_threads():
    """A loop that asks for its first line just while another one does has it, and so has the other."""
    lines = Lines(Echo().connect, 5)
    found: list[Line] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(_here(lines))))

    def ask_beside() -> None:
        thread.start()
        thread.join(0.1)  # as long as it takes, unless it has to wait for us

    with contextlib.closing(Watched()) as loop:
        loop.run_until_complete(_here(lines))
        loop.meanwhile = ask_beside
        found.append(asyncio.run(_here(lines)))
        thread.join()

    assert len(set(found)) == 2
