"""What a storage sends to its server, and how it is sent once more, as by a network that loses answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from envelope import ObjectLocks


class Trip(NamedTuple):
    """One script that was run.

    Attributes:
        name: What it does: ``"acquire"``.
        call: The script, its keys and its arguments.
        answer: Its words.
    """

    name: str
    call: tuple[Any, ...]
    answer: list[bytes]


class Overheard:
    """All scripts that a client runs from now on; it stands in the place of the client's lines.

    Args:
        locks: The client, of a server.
        times: How often it sends each, and believes the last answer.
    """

    def __init__(self, locks: ObjectLocks, times: int = 1) -> None:
        storage: Any = locks.storage
        self.trips: list[Trip] = []
        self._lines, storage._lines = storage._lines, self
        self._names = {script.sha: name for name, script in storage._scripts._asdict().items()}
        self._times = times

    def here(self) -> Overheard:
        return self

    async def run(self, *call: Any, deadline: float | None = None) -> list[bytes]:
        for _ in range(self._times):
            answer: list[bytes] = await self._lines.here().run(*call, deadline=deadline)
            self.trips.append(Trip(self._names[call[0].sha], call, answer))
        return answer

    async def aclose(self) -> None:
        await self._lines.aclose()

    def last(self, name: str) -> Trip:
        return [trip for trip in self.trips if trip.name == name][-1]

    def answers(self, name: str) -> list[list[bytes]]:
        return [trip.answer for trip in self.trips if trip.name == name]

    async def again(self, name: str) -> list[bytes]:
        """Let the last script of this name arrive once more."""
        answer: list[bytes] = await self._lines.here().run(*self.last(name).call)
        return answer
