"""What is asked of a storage, and what it answers.

A storage reads, decides and commits all demands of a request together: everything is taken, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NamedTuple, Protocol, runtime_checkable

from envelope.rate_limit.quotas import Quota
from envelope.storage.errors import StorageUnavailableError


class Demand(NamedTuple):
    """What a request takes from the quotas of one subject.

    Attributes:
        subject: Whose budget it is.
        quotas: Each is charged; at least one.
        cost: 0 or more; 0 only looks.
        is_work: The cost stands for work, which may turn out to be more or less; otherwise for the request.
    """

    subject: str
    quotas: tuple[Quota, ...]
    cost: int
    is_work: bool = False


class Change(NamedTuple):
    """A correction of what was taken.

    Attributes:
        subject: Whose budget it is.
        quota: Which of its quotas.
        difference: What is taken in addition; below 0 what is given back.
    """

    subject: str
    quota: Quota
    difference: int


class Figure(NamedTuple):
    """One quota as its client sees it.

    Attributes:
        name: ``"20/minute"``, with the scope behind it if there is one.
        amount: What fits into the window.
        remaining: What is left of it.
        reset_s: Seconds until there is more left.
    """

    name: str
    amount: int
    remaining: int
    reset_s: float


class Verdict:
    """The answer to the demands of one request. The lists follow the demands' quotas in order.

    Attributes:
        storage: Which storage decided; it is the one to settle with.
        demands: What was asked.
        remaining: What is left in each quota, after this request if it was admitted. Empty if nothing was
            counted, because the storage did not answer and the limiter admits then.
        resets_ms: Milliseconds until each quota begins to have more left; 0 when it is untouched.
        waits_ms: Milliseconds until this cost fits into each quota, if nobody takes anything meanwhile; 0
            where it does. None if it fits everywhere.
        wait_ms: The longest of the waits that count, those of quotas not in shadow; 0: admitted.
        taken_at: When the storage decided, in its own time.
    """

    __slots__ = ("demands", "remaining", "resets_ms", "storage", "taken_at", "wait_ms", "waits_ms")

    def __init__(
        self,
        storage: Storage,
        demands: Sequence[Demand],
        remaining: list[int],
        resets_ms: list[int],
        waits_ms: Sequence[int] | None,
        wait_ms: int,
        taken_at: Any,
    ) -> None:
        self.storage = storage
        self.demands = demands
        self.remaining = remaining
        self.resets_ms = resets_ms
        self.waits_ms = waits_ms
        self.wait_ms = wait_ms
        self.taken_at = taken_at

    @classmethod
    def of_all(cls, verdicts: Sequence[Verdict]) -> Verdict:
        """Put the verdicts about one request together; the last is the one that may refuse it."""
        counted = [each for each in verdicts if each.remaining]
        return cls(
            verdicts[-1].storage,
            [demand for each in counted for demand in each.demands],
            [left for each in counted for left in each.remaining],
            [reset for each in counted for reset in each.resets_ms],
            [wait for each in counted for wait in each.waits_ms or [0] * len(each.remaining)],
            verdicts[-1].wait_ms,
            verdicts[-1].taken_at,
        )

    def quotas(self) -> tuple[Quota, ...]:
        """Give the quotas in the order of the lists."""
        if len(self.demands) == 1:
            return self.demands[0].quotas
        return tuple(quota for demand in self.demands for quota in demand.quotas)

    @property
    def figures(self) -> list[Figure]:
        """What is left in each quota; empty if nothing was counted."""
        quotas = self.quotas() if self.remaining else ()
        return [
            Figure(quota.name, quota.amount, left, reset_ms / 1000)
            for quota, left, reset_ms in zip(quotas, self.remaining, self.resets_ms, strict=True)
        ]

    def change(self, cost_of: Callable[[Demand], int]) -> list[Change]:
        """Give the changes that make the costs these, and note them as made.

        A refused request has taken nothing; nor was anything taken from a quota in shadow that it did not fit.
        """
        if self.wait_ms or not self.remaining:
            return []
        before = self.demands
        self.demands = [demand._replace(cost=cost_of(demand)) for demand in before]
        waits = iter(self.waits_ms or repeat(0))
        return [
            Change(old.subject, quota, new.cost - old.cost)
            for old, new in zip(before, self.demands, strict=True)
            for quota in old.quotas
            if next(waits) == 0 and new.cost != old.cost
        ]

    def adjust(self, changes: Sequence[Change]) -> None:
        """Bring the figures up to date with these changes."""
        counted = [(demand.subject, quota) for demand in self.demands for quota in demand.quotas]
        for subject, quota, difference in changes:
            for index, other in enumerate(counted if self.remaining else ()):
                if other == (subject, quota):
                    left = min(max(self.remaining[index] - difference, 0), quota.amount)
                    self.remaining[index] = left
                    if left == quota.amount:
                        self.resets_ms[index] = 0


async def settle(verdicts: Sequence[Verdict], cost: int) -> None:
    """Change what was taken to ``cost``, where it stands for work; where all counts requests, everywhere.

    Args:
        verdicts: All that were made about one request.
        cost: 0 or more.
    """
    has_work = any(demand.is_work for verdict in verdicts for demand in verdict.demands)
    await _settle(verdicts, lambda demand: cost if demand.is_work or not has_work else demand.cost)


async def refund(verdicts: Sequence[Verdict]) -> None:
    """Give back all that was taken."""
    await _settle(verdicts, lambda _: 0)


async def _settle(verdicts: Sequence[Verdict], cost_of: Callable[[Demand], int]) -> None:
    # All is noted before anything is awaited: the next one to settle starts from here.
    changes = [(verdict, verdict.change(cost_of)) for verdict in verdicts]
    for verdict in verdicts:
        for _, made in changes:
            verdict.adjust(made)
    error: StorageUnavailableError | None = None
    for verdict, made in changes:
        try:
            if made:
                await verdict.storage.settle(made, verdict.taken_at)
        except StorageUnavailableError as unavailable:
            error = unavailable  # the others may be luckier
    if error is not None:
        raise error


@runtime_checkable
class Storage(Protocol):
    """Where quotas are counted. One storage counts by one strategy."""

    def check(self, quota: Quota) -> None:
        """Refuse a quota that this storage cannot count; asked before the quota is used.

        Raises:
            ConfigurationError: Why it cannot.
        """

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Take every demand or none.

        Raises:
            StorageUnavailableError: Nothing is known; the demands may have been taken.
        """

    async def settle(self, changes: Sequence[Change], taken_at: Any) -> None:
        """Correct what a verdict took at that time.

        What was taken from a window that is over meanwhile is not given back. What is taken in addition is
        taken even if it does not fit.

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


@runtime_checkable
class TellingStorage(Protocol):
    """A storage that finds what is counted for a subject without being told where to look."""

    async def quotas_of(self, subject: str) -> Sequence[Quota]:
        """Tell which quotas are counted for a subject.

        Raises:
            StorageUnavailableError: Nothing is known.
        """
