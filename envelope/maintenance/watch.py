"""Watch: keeps what a process knows of a shared switch young, without requests that wait for it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from typing import Any

from envelope.maintenance.background import Background
from envelope.maintenance.knowledge import Knowledge
from envelope.maintenance.readings import Reading, SharedSwitch
from envelope.storage.breaker import Breaker
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.forks import renew_after_fork

#: A reading is used for so long before another one is begun, in seconds; also one that failed.
_YOUNG_S = 1.0

#: After so long without a reading, because the service was quiet, the next request waits for one.
_QUIET_S = 2.0

#: A switch keeps its own deadline, and says best why nothing came of it; so much later nobody waits any more.
_GRACE_S = 0.25

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
        patience_s: The longest that whoever switches waits.
    """

    def __init__(
        self, switch: SharedSwitch, known: Knowledge, breaker: Breaker, timeout_s: float, patience_s: float
    ) -> None:
        self.switch = switch
        self._known = known
        self._breaker = breaker
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._background = Background(switch.aclose)
        self._settled_at = known.due_at = -math.inf
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """Forget the readings that are under way: in a forked process nobody finishes them."""
        self._lock = threading.RLock()  # a signal's handler may come while this thread has it
        self._under_way: Future[Reading | None] | None = None
        self._asked: Future[Reading | None] | None = None
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
                reading = self._under_way = self._begin(self.switch.read)
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

    def wait(self) -> None:
        """Do what ``catch_up`` does, from synchronous code."""
        reading = self.look()
        # In its own thread, such as in the handler of a log record, it would wait for itself.
        if reading is not None and not self._background.is_here():
            wait([reading], self._timeout_s)

    def read(self) -> Reading | None:
        """Read the switch now, from synchronous code. All who come before that begins share the answer.

        Raises:
            StorageUnavailableError: The switch does not answer.
            RuntimeError: It is called where it would wait for itself.
        """
        self._refuse_here()
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = self._begin(self._read_what_was_asked)
            asked = self._asked
        return self._result_of(asked)

    def do(self, act: Act) -> Reading | None:
        """Do something with the switch, after what was asked before, from synchronous code.

        Raises:
            StorageUnavailableError: The switch does not answer.
            RuntimeError: It is called where it would wait for itself.
        """
        self._refuse_here()
        future = self._begin(act)
        try:
            return self._result_of(future)
        finally:
            future.cancel()  # whoever has given up does not want it any more

    async def aclose(self) -> None:
        """End what goes on in the background; with the next request it begins anew."""
        await self._background.aclose()

    def close(self) -> None:
        """End what goes on in the background, from synchronous code."""
        self._background.close()

    def _begin(self, act: Act) -> Future[Reading | None]:
        try:
            return self._background.do(lambda: self._learn(act))
        except (OSError, RuntimeError) as error:
            no_thread = StorageUnavailableError("this process gets no thread, or no descriptor, to read it with")
            no_thread.__cause__ = error
            failed: Future[Reading | None] = Future()
            failed.set_exception(no_thread)
            self._breaker.note_failure(no_thread)
            return failed

    def _refuse_here(self) -> None:
        if self._background.is_here():
            raise RuntimeError(
                "the thread that asks the maintenance switch cannot wait for its answer; in the handler of a log"
                " record use maintenance.is_on, or ask in another thread"
            )

    def _result_of(self, future: Future[Reading | None]) -> Reading | None:
        try:
            return future.result(self._patience_s + _GRACE_S)
        except CancelledError as error:
            raise StorageUnavailableError("it was closed meanwhile") from error
        except TimeoutError as error:
            raise StorageUnavailableError(f"no answer within {self._patience_s:g} s") from error

    async def _read_what_was_asked(self) -> Reading | None:
        with self._lock:
            self._asked = None  # whoever asks from now on asks anew
        return await self.switch.read()

    async def _learn(self, act: Act) -> Reading | None:
        reading = await self._breaker.ask(_answer_of(act))
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


async def _answer_of(act: Act) -> Reading | None:
    try:
        return await act()
    except StorageUnavailableError as error:
        if error.is_outage:
            raise
        raise StorageUnavailableError(str(error)) from error  # there is one key: without it nothing is known
    except Exception as error:  # nothing is known, whatever it is
        raise StorageUnavailableError(f"an unexpected {type(error).__name__}") from error
