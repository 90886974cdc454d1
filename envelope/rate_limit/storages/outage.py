"""What happens while a storage does not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from envelope import signals
from envelope.errors.tree import ServiceUnavailableError
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.verdicts import Change, Demand, Storage, TellingStorage, Verdict
from envelope.signals import Listener
from envelope.storage.breaker import Breaker
from envelope.storage.clock import monotonic_ms
from envelope.storage.errors import StorageUnavailableError

logger = logging.getLogger("envelope.rate_limit")

#: ``local`` counts in this process, ``allow`` admits, ``deny`` answers 503.
OnOutage = Literal["local", "allow", "deny"]

_DOING = {
    "local": "counting in this process",
    "allow": "admitting everything",
    "deny": "answering 503",
}


class OutageGuard:
    """A storage that may fail, and what stands in for it.

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
        self._on_outage: OnOutage = on_outage
        self._local = local
        self._timeout_s = timeout_s
        self._breaker = Breaker(name, logger, what="the rate limit storage", doing=_DOING[on_outage], clock=clock)

    def check(self, quota: Quota) -> None:
        """Refuse a quota that the storage, or what stands in for it, cannot count."""
        self._storage.check(quota)
        self._local.check(quota)

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Take every demand or none; where depends on whether the storage answers."""
        if not self._breaker.may_ask():
            return await self._stand_in(demands)
        try:
            verdict = await self._breaker.ask(self._storage.decide(demands), self._timeout_s)
        except StorageUnavailableError:
            return await self._stand_in(demands)
        verdict.storage = self  # it settles here, where an outage is no error
        return verdict

    async def settle(self, changes: Sequence[Change], taken_at: Any) -> None:
        """Correct what the storage took; if it does not answer now, nothing is corrected."""
        if not self._breaker.may_ask():
            return
        with suppress(StorageUnavailableError):
            await self._breaker.ask(self._storage.settle(changes, taken_at), self._timeout_s)

    async def reset(self, subject: str) -> None:
        """Forget everything that was counted for a subject, here and there.

        Raises:
            ServiceUnavailableError: The storage does not answer.
        """
        await self._local.reset(subject)
        try:
            await self._breaker.ask(self._storage.reset(subject), self._timeout_s)
        except StorageUnavailableError as error:
            raise self._denial() from error

    async def quotas_of(self, subject: str) -> Sequence[Quota]:
        """Tell which quotas are counted for a subject.

        Raises:
            ServiceUnavailableError: The storage does not answer.
            ValueError: It cannot tell.
        """
        if not isinstance(self._storage, TellingStorage):
            raise ValueError(  # noqa: TRY004 - the subject cannot be inspected here
                "this storage finds only the limits that it is asked for: check(subject, '5/minute', cost=0)"
            )
        try:
            return await self._breaker.ask(self._storage.quotas_of(subject), self._timeout_s)
        except StorageUnavailableError as error:
            raise self._denial() from error

    async def aclose(self) -> None:
        """Close the storage's connections."""
        await self._storage.aclose()

    async def _stand_in(self, demands: Sequence[Demand]) -> Verdict:
        if self._on_outage == "local":
            return await self._local.decide(demands)
        if self._on_outage == "deny":
            if signals.listener is not None:
                _tell_denial(signals.listener, demands)
            raise self._denial()
        return Verdict(self, demands, [], [], None, 0, None)

    def _denial(self) -> ServiceUnavailableError:
        return ServiceUnavailableError(retry_after=self._breaker.retry_after_s())


def _tell_denial(listener: Listener, demands: Sequence[Demand]) -> None:
    for demand in demands:
        for quota in demand.quotas:
            listener.decision(quota.name, "unavailable", share_left=None, is_local=False)
