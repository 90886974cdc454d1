"""An event loop that ends when its work does: name servers that hang keep nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, as ``asyncio.run`` does, but wait for no thread at the end.

    ``getaddrinfo`` blocks a thread for as long as the system asks name servers, 10 s and more. ``asyncio.run``
    waits for it after the timeout and after Ctrl-C, and so does the end of the process for a usual executor.
    """
    with asyncio.Runner(loop_factory=_open_loop) as runner:
        return runner.run(work)


def _open_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_DaemonThreads())
    return loop


class _DaemonThreads(ThreadPoolExecutor):  # an event loop takes no other kind
    """Gives each call a thread of its own, for which nobody waits, the end of the process included."""

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()

        def answer() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)

        threading.Thread(target=answer, name="envelope-cli", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing."""
