"""How a storage in trouble is spared, and how it is found out that it answers again."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from envelope import signals
from envelope.events import STORAGE_RECOVERED, STORAGE_UNAVAILABLE, log_event
from envelope.signals import Answer
from envelope.storage.clock import monotonic_ms
from envelope.storage.errors import StorageUnavailableError

#: Round trips in a row without an answer after which the storage is not asked any more ...
_FAILURES = 5

#: ... for so long; then one request asks again.
_PAUSE_MS = 1000

T = TypeVar("T")


class Breaker:
    """Spares a storage in trouble, and the requests that would wait for it.

    After a few failures it is open, and nothing should be asked. After a pause one request at a time tries; the
    first answer closes it. What is done without an answer is the business of whoever asks.

    Args:
        name: The storage's name in the log, without credentials.
        logger: Of the guard whose storage it is: where the first failure in a row is told, and its end.
        what: What the storage is for, in the log: ``"the rate limit storage"``.
        doing: What is done without an answer, in the log: ``"answering 503"``.
        clock: Milliseconds that only grow.
    """

    def __init__(
        self,
        name: str,
        logger: logging.Logger,
        *,
        what: str,
        doing: str,
        clock: Callable[[], int] = monotonic_ms,
    ) -> None:
        self._name = name
        self._logger = logger
        self._guard = logger.name.rpartition(".")[2]
        self._what = what
        self._doing = doing
        self._clock = clock
        self._failures = 0
        self._incident: object = None
        self._is_open = self._is_probing = False
        self._ask_at = 0

    def may_ask(self) -> bool:
        """Tell whether the storage should be asked now.

        While the breaker is open, whoever is told so is the only one until the answer, and for a pause.
        """
        if not self._is_open:
            return True
        now = self._clock()
        if now < self._ask_at or self._is_probing:
            return False
        self._ask_at = now + _PAUSE_MS
        return True

    async def ask(self, answer: Awaitable[T], timeout_s: float | None = None) -> T:
        """Wait for an answer, and learn from it.

        Args:
            answer: What the storage was asked. Ask ``may_ask`` first, unless only the storage will do.
            timeout_s: How long it may take; None if the storage keeps its own deadline.

        Raises:
            StorageUnavailableError: The storage does not answer.
        """
        is_probe, self._is_probing = self._is_open, self._is_open
        listener = signals.listener
        begun = 0.0 if listener is None else time.perf_counter()
        outcome: Answer = "abandoned"
        try:
            if timeout_s is None:
                result = await answer
            else:
                async with asyncio.timeout(timeout_s):
                    result = await answer
        except StorageUnavailableError as error:
            outcome = "failed"
            if error.is_outage:
                self.note_failure(error)
            raise
        except TimeoutError as error:
            outcome = "failed"
            late = StorageUnavailableError(f"no answer within {timeout_s} s")
            self.note_failure(late)
            raise late from error
        else:
            outcome = "answered"
        finally:
            if is_probe:
                self._is_probing = False
            if listener is not None:
                listener.storage(self._guard, self._name, outcome, time.perf_counter() - begun)
        self._note_answer()
        return result

    def retry_after_s(self) -> int:
        """Give the whole seconds after which asking may help: what is left of the pause, at least 1."""
        pause_ms = self._ask_at - self._clock() if self._is_open else _PAUSE_MS
        return max(1, math.ceil(pause_ms / 1000))

    def _note_answer(self) -> None:
        self._turn(is_open=False)
        if self._failures:
            self._failures = 0
            log_event(self._logger, STORAGE_RECOVERED, what=self._what, storage=self._name)

    def note_failure(self, error: StorageUnavailableError) -> None:
        """Learn that there was no answer, where nothing could be asked."""
        if error.incident is not None and error.incident is self._incident:
            return  # many requests share a round trip, and its failure
        self._incident = error.incident
        self._failures += 1
        if self._failures == 1:
            log_event(
                self._logger,
                STORAGE_UNAVAILABLE,
                what=self._what,
                storage=self._name,
                why=str(error),
                doing=self._doing,
            )
        if self._failures >= _FAILURES:
            self._turn(is_open=True)
            self._ask_at = self._clock() + _PAUSE_MS

    def _turn(self, *, is_open: bool) -> None:
        if is_open is not self._is_open and signals.listener is not None:
            signals.listener.breaker(self._guard, self._name, is_open=is_open)
        self._is_open = is_open
