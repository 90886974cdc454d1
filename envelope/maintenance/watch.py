"""Watch: keeps what a process knows of a shared switch young, without requests that wait for it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from envelope.maintenance.background import Background
from envelope.maintenance.knowledge import Knowledge
from envelope.maintenance.readings import Reading, SharedSwitch
from envelope.storage.breaker import Breaker
from envelope.storage.forks import renew_after_fork

#: A reading is used for so long before another one is begun, in seconds; also one that failed.
_YOUNG_S = 1.0

#: After so long without a reading, because the service was quiet, the next request waits for one.
_QUIET_S = 5.0

#: What is done with a switch.
Act = Callable[[], Coroutine[Any, Any, Reading | None]]


class Watch:
    """Reads a shared switch when a request finds that the last reading is not young any more.

    While nobody asks, nothing is read. The reading goes on in the background, one at a time, at most once a
    second; requests go by what was read before. Only a request that finds no reading of the last seconds waits.

    Args:
        switch: What is read.
        known: Where it is written down.
        breaker: Tells in the log that the switch does not answer, and that it answers again.
        timeout_s: The longest that a request waits.
    """

    def __init__(self, switch: SharedSwitch, known: Knowledge, breaker: Breaker, timeout_s: float) -> None:
        self.switch = switch
        self._known = known
        self._breaker = breaker
        self._timeout_s = timeout_s
        self._background = Background(switch.aclose)
        self._settled_at = known.due_at = -math.inf
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """Forget the reading that is under way: in a forked process nobody finishes it."""
        self._lock = threading.Lock()
        self._under_way: Future[Reading | None] | None = None
        self._is_awaited = False

    def look(self) -> Future[Reading | None] | None:
        """Begin a reading if one is due.

        Returns:
            The reading that requests wait for, because nothing is known of the last seconds; mostly None.
        """
        known = self._known
        with self._lock:
            now = known.clock()
            reading = self._under_way
            if reading is None:
                if now < known.due_at:
                    return None
                # From the last attempt, not from the last answer: in an outage nobody waits again and again.
                self._is_awaited = now >= self._settled_at + _QUIET_S
                if not self._is_awaited:
                    known.due_at = now + _YOUNG_S
                reading = self._under_way = self._background.do(lambda: self._learn(self.switch.read))
                reading.add_done_callback(self._settle)
            return reading if self._is_awaited else None

    async def catch_up(self) -> None:
        """Do what ``look`` does, and wait if nothing is known of the last seconds."""
        reading = self.look()
        if reading is None:
            return
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_finish, waiting)

        reading.add_done_callback(wake)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await waiting

    def do(self, act: Act) -> Reading | None:
        """Do something with the switch now, from synchronous code.

        Raises:
            StorageUnavailableError: The switch does not answer.
        """
        return self._background.do(lambda: self._learn(act)).result()

    async def aclose(self) -> None:
        """End what goes on in the background; with the next request it begins anew."""
        await self._background.aclose()

    def close(self) -> None:
        """End what goes on in the background, from synchronous code."""
        self._background.close()

    async def _learn(self, act: Act) -> Reading | None:
        reading = await self._breaker.ask(act())
        self._known.learn(reading)
        self._note_attempt()
        return reading

    def _settle(self, _: Future[Reading | None]) -> None:
        self._note_attempt()  # also one that failed, which is in the log
        self._under_way = None  # last: from now on another may begin

    def _note_attempt(self) -> None:
        self._settled_at = self._known.clock()
        self._known.due_at = self._settled_at + _YOUNG_S


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
