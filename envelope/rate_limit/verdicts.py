"""What is asked of a storage, and what it answers.

A storage reads, decides and commits all demands of a request together: everything is taken, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from envelope.rate_limit.quotas import Quota


class Demand(NamedTuple):
    """What a request takes from the quotas of one subject.

    Attributes:
        subject: Whose budget it is.
        quotas: Each is charged; at least one.
        cost: 0 or more; 0 only looks.
    """

    subject: str
    quotas: tuple[Quota, ...]
    cost: int


class Verdict:
    """The answer to the demands of one request. The lists follow the demands' quotas in order.

    Attributes:
        demands: What was asked.
        remaining: What is left in each quota, after this request if it was admitted.
        resets_ms: Milliseconds until each quota has more left; 0 when it is untouched.
        waits_ms: Milliseconds until this cost fits into each quota; 0 where it does. Nobody else may
            take anything meanwhile.
        wait_ms: The longest of the waits that count, those of quotas not in shadow; 0: admitted.
        taken_at: When the storage took it, in its own time; None if nothing was taken.
    """

    __slots__ = ("demands", "remaining", "resets_ms", "taken_at", "wait_ms", "waits_ms")

    def __init__(
        self,
        demands: Sequence[Demand],
        remaining: Sequence[int],
        resets_ms: Sequence[int],
        waits_ms: Sequence[int],
        wait_ms: int,
        taken_at: Any,
    ) -> None:
        self.demands = demands
        self.remaining = remaining
        self.resets_ms = resets_ms
        self.waits_ms = waits_ms
        self.wait_ms = wait_ms
        self.taken_at = taken_at


class StorageUnavailableError(Exception):
    """The storage did not decide: no answer in time, no connection, or a reply that is an error."""


class Storage(Protocol):
    """Where quotas are counted. One storage counts by one strategy."""

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Take every demand or none.

        Raises:
            StorageUnavailableError: Nothing is known; the demands may have been taken.
        """

    async def settle(self, verdict: Verdict, cost: int) -> None:
        """Change what an admitted request has taken: give back what is more than ``cost``, or take the rest.

        What was taken from a window that is over meanwhile is not given back. The rest is taken even if it
        does not fit.

        Raises:
            StorageUnavailableError: Nothing is known.
        """

    async def reset(self, subject: str) -> None:
        """Forget everything that was counted for a subject.

        Raises:
            StorageUnavailableError: Nothing is known.
        """

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
