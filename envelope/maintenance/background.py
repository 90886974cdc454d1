"""An event loop in a thread of its own, in which a shared switch is read and switched.

So no request's event loop has to live until an answer is there, several loops share one connection, synchronous
code can switch while a loop runs in its thread, and whoever waits may be cancelled without harm to the others.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet, finalize

from envelope.storage.forks import renew_after_fork

#: How long whoever closes waits for what is under way, in seconds; and as long again for connections.
_FAREWELL_S = 0.5

T = TypeVar("T")


class Background:
    """Does one thing after the other. The thread begins with the first, and may be closed and begun again.

    Args:
        finish: Is awaited at the end of a thread.
    """

    def __init__(self, finish: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._finish = finish
        self.begin_anew()
        _all.add(self)
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """Forget the thread: a forked process has none."""
        self._lock = threading.RLock()  # a signal's handler may come while this thread has it
        self._thread: _Thread | None = None

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Do something after what was asked before; its end, in whatever way, is that of the future."""
        with self._lock:
            if self._thread is None:
                self._thread = _Thread(self._finish)
                # If nobody closes this and it is forgotten, the thread ends by itself.
                self._left = finalize(self, self._thread.stop)
                self._left.atexit = False
            return self._thread.do(work)

    def is_here(self) -> bool:
        """Tell whether this is the thread: who waits in it for what it does waits for ever."""
        thread = self._thread
        return thread is not None and thread.is_here()

    async def aclose(self) -> None:
        """End the thread, after what is under way if that takes a moment only."""
        thread = self._stopped()
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def close(self) -> None:
        """End the thread, as ``aclose`` does."""
        thread = self._stopped()
        if thread is not None:
            thread.join()

    def _stopped(self) -> _Thread | None:
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._left.detach()
                thread.stop()
        return thread


class _Thread:
    """The thread, from its beginning to its end."""

    def __init__(self, finish: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._finish = finish
        self._loop = asyncio.new_event_loop()
        self._turn = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="envelope-maintenance", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads are to be had
            self._loop.close()
            raise

    def is_here(self) -> bool:
        return threading.current_thread() is self._thread

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        async def do_in_turn() -> T:
            async with self._turn:
                return await work()

        return asyncio.run_coroutine_threadsafe(do_in_turn(), self._loop)

    def stop(self) -> None:
        """Begin to end."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    def join(self) -> None:
        self._thread.join(2 * _FAREWELL_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        await self._stopped.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S), self._turn:  # the last one's
                pass
        await self._finish()


_all: WeakSet[Background] = WeakSet()


@atexit.register
def _end() -> None:
    for background in list(_all):
        background.close()
