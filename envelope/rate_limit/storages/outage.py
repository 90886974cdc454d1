"""What happens while a storage does not answer, and how it is found out that it answers again."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

from envelope.errors.tree import ServiceUnavailableError
from envelope.rate_limit.clock import monotonic_ms
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.verdicts import (
    Change,
    Demand,
    Storage,
    StorageUnavailableError,
    SubjectUnavailableError,
    Verdict,
)

logger = logging.getLogger("envelope.rate_limit")

#: ``local`` counts in this process, ``allow`` admits, ``deny`` answers 503.
OnOutage = Literal["local", "allow", "deny"]

#: Round trips in a row without an answer after which the storage is not asked any more ...
_FAILURES = 5

#: ... for so long; then one request asks again.
_PAUSE_MS = 1000

T = TypeVar("T")

_DOING = {
    "local": "counting in this process",
    "allow": "admitting everything",
    "deny": "answering 503",
}


class OutageGuard:
    """A storage that may fail, and what stands in for it.

    A breaker spares a storage in trouble, and the requests that would wait for it: after a few failures it is
    open, and nothing is asked. After a pause one request at a time tries; the first answer closes it.

    Args:
        storage: What is guarded.
        name: The storage's name in the log, without credentials.
        on_outage: What to do without an answer.
        local: Counts in this process, for ``local``.
        timeout_s: How long the storage may take; None if it keeps its own deadline.
        clock: Milliseconds that only grow.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        on_outage: OnOutage,
        local: MemoryStorage,
        timeout_s: float | None = None,
        clock: Callable[[], int] = monotonic_ms,
    ) -> None:
        self._storage = storage
        self._name = name
        self._on_outage: OnOutage = on_outage
        self._local = local
        self._timeout_s = timeout_s
        self._clock = clock
        self._failures = 0
        self._incident: object = None
        self._is_open = self._is_probing = False
        self._ask_at = 0

    def check(self, quota: Quota) -> None:
        """Refuse a quota that the storage, or what stands in for it, cannot count."""
        self._storage.check(quota)
        self._local.check(quota)

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Take every demand or none; where depends on whether the storage answers."""
        if self._is_open and not self._may_ask():
            return await self._stand_in(demands)
        try:
            verdict = await self._ask(self._storage.decide(demands))
        except StorageUnavailableError:
            return await self._stand_in(demands)
        verdict.storage = self  # it settles here, where an outage is no error
        return verdict

    async def settle(self, changes: Sequence[Change], taken_at: Any) -> None:
        """Correct what the storage took; if it does not answer now, nothing is corrected."""
        if self._is_open and not self._may_ask():
            return
        with suppress(StorageUnavailableError):
            await self._ask(self._storage.settle(changes, taken_at))

    async def reset(self, subject: str) -> None:
        """Forget everything that was counted for a subject, here and there.

        Raises:
            ServiceUnavailableError: The storage does not answer.
        """
        await self._local.reset(subject)
        try:
            await self._ask(self._storage.reset(subject))
        except StorageUnavailableError as error:
            raise self._denial() from error

    async def aclose(self) -> None:
        """Close the storage's connections."""
        await self._storage.aclose()

    async def _ask(self, answer: Awaitable[T]) -> T:
        is_probe, self._is_probing = self._is_open, self._is_open
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await answer
        except SubjectUnavailableError:
            raise
        except StorageUnavailableError as error:
            self._note_failure(error)
            raise
        except TimeoutError as error:
            late = StorageUnavailableError(f"no answer within {self._timeout_s} s")
            self._note_failure(late)
            raise late from error
        finally:
            if is_probe:
                self._is_probing = False
        self._note_answer()
        return result

    def _may_ask(self) -> bool:
        """Tell whether it is time to try; whoever is told so is the only one until the answer, and for a pause."""
        now = self._clock()
        if now < self._ask_at or self._is_probing:
            return False
        self._ask_at = now + _PAUSE_MS
        return True

    def _note_answer(self) -> None:
        self._is_open = False
        if self._failures:
            self._failures = 0
            logger.warning("the rate limit storage %s answers again", self._name)

    def _note_failure(self, error: StorageUnavailableError) -> None:
        if error.incident is not None and error.incident is self._incident:
            return  # many requests share a round trip, and its failure
        self._incident = error.incident
        self._failures += 1
        if self._failures == 1:
            logger.error(
                "the rate limit storage %s does not answer (%s): %s", self._name, error, _DOING[self._on_outage]
            )
        if self._failures >= _FAILURES:
            self._is_open = True
            self._ask_at = self._clock() + _PAUSE_MS

    async def _stand_in(self, demands: Sequence[Demand]) -> Verdict:
        if self._on_outage == "local":
            return await self._local.decide(demands)
        if self._on_outage == "deny":
            raise self._denial()
        return Verdict(self, demands, [], [], None, 0, None)

    def _denial(self) -> ServiceUnavailableError:
        pause_ms = self._ask_at - self._clock() if self._is_open else _PAUSE_MS
        return ServiceUnavailableError(retry_after=max(1, math.ceil(pause_ms / 1000)))
