"""Lines: the errands of each event loop, which share round trips.

An errand that finds nothing under way is sent at once. Those that come meanwhile wait and then go together, so
that the busier a server is, the fewer round trips a request costs. A trip is a task of its own: whoever waits for
it may be cancelled without harm to the others.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from envelope.storage.errors import StorageUnavailableError
from envelope.storage.forks import renew_after_fork
from envelope.storage.redis.errands import Arguments, Errand, merge
from envelope.storage.redis.links import Connect, Link
from envelope.storage.redis.scripts import Script

#: After so long without a trip the event loop is asked first whether the other side has hung up.
_IDLE_S = 0.001

#: Passes of the event loop until it has noticed.
_NOTICED = 2

#: A link that lost a part of its servers is renewed at most so often.
_RENEWED_S = 1.0

#: Passes of the event loop before a deadline holds: a reply that lies in the socket already is taken.
_GRACE = 3

#: What a trip is given at the least, and once more if the event loop itself was later than this: what a service
#: does to its loop is not the server's fault.
_LEAST_S = 0.02

#: The least that connecting may take. It goes on when those who waited have given up: TLS to a server far away
#: takes longer than a request should wait.
_CONNECTING_S = 1.0


class Line:
    """One connection and those who wait for it.

    Args:
        connect: Connects anew.
        timeout_s: How long an errand may take, waiting included.
    """

    def __init__(self, connect: Connect, timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Errand] = []
        self._travelling: list[Errand] | None = None
        self._runner: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._hung_up: WeakSet[Link] = WeakSet()
        self._used_at = self._renewed_at = 0.0

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Arguments,
        size: int = 0,
        *,
        deadline: float | None = None,
    ) -> list[bytes]:
        """Run a script, which answers with words separated by spaces.

        Args:
            script: What to run.
            keys: Its keys; at least one, and all in one slot.
            arguments: Its other arguments.
            size: How many words are the answer to this call, beside the first one, which is for all whose calls
                share the command; of no matter where ``script.most`` is 1.
            deadline: When to give up, in the event loop's time; None: after the line's own time. Whoever travels
                together gives up together, at the first of their deadlines.

        Returns:
            The reply's first word, followed by the words for this call.

        Raises:
            StorageUnavailableError: Nothing is known; the script may have run.
        """
        answer: asyncio.Future[list[bytes]] = self._loop.create_future()
        if deadline is None:
            deadline = self._loop.time() + self._timeout_s
        self._waiting.append(Errand(script, keys, arguments, size, deadline, answer))
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Fail those who wait, and close the connection."""
        ending: set[asyncio.Task[Any]] = {task for task in (self._runner, self._connecting) if task is not None}
        if self._connecting is not None:
            self._connecting.cancel()
        self._connecting = None
        self._give_up("the storage was closed")
        while ending := ending | self._closing:
            await asyncio.wait(ending)
            ending = set()

    async def _run(self) -> None:
        try:
            while self._waiting:
                # Who is cancelled by now is not charged.
                errands, self._waiting = _unanswered(self._waiting), []
                if errands:
                    await self._travel(errands)
        finally:
            if self._runner is asyncio.current_task():  # pragma: no branch - else it was given up
                self._runner = None

    async def _travel(self, errands: list[Errand]) -> None:
        self._travelling = errands
        due = max(min([errand.deadline for errand in errands]), self._loop.time() + _LEAST_S)
        timer = self._loop.call_at(due, self._expire, errands, due, _GRACE)
        link: Link | None = None
        is_over = False
        try:
            link = await self._usable_link()
            # Never twice: what was sent on a link that is lost then may have been counted.
            if unanswered := _unanswered(errands):
                await link.exchange(merge(unanswered))
            is_over = True
        except Exception as error:  # noqa: BLE001 - whatever a client library raises
            is_over = True
            _fail(errands, f"{type(error).__name__}: {error}", error)
            self._hang_up(link)
        finally:
            timer.cancel()
            self._used_at = self._loop.time()
            if self._travelling is errands:
                self._travelling = None
            if not is_over and link is not None and link not in self._hung_up:
                await link.close()  # the loop ends
        self._look_after(link)

    async def _usable_link(self) -> Link:
        if self._link is not None and self._loop.time() > self._used_at + _IDLE_S:
            for _ in range(_NOTICED):
                await asyncio.sleep(0)
        if self._link is not None and self._link.is_lost():
            self._hang_up(self._link)
        if self._link is not None:
            return self._link
        return await asyncio.shield(self._connecting or self._begin_connecting())

    def _look_after(self, link: Link | None) -> None:
        """Close a link that was replaced during its trip, or replace one that has lost servers."""
        if link is not None and self._link is not link:
            self._hang_up(link)
        elif link is not None and link.is_worn and self._used_at > self._renewed_at + _RENEWED_S:
            self._renewed_at = self._used_at
            self._begin_connecting()

    def _begin_connecting(self) -> asyncio.Task[Link]:
        self._connecting = self._loop.create_task(self._open())
        self._connecting.add_done_callback(self._opened)
        return self._connecting

    async def _open(self) -> Link:
        async with asyncio.timeout(max(self._timeout_s, _CONNECTING_S)):
            return await self._connect()

    def _opened(self, task: asyncio.Task[Link]) -> None:
        link = None if task.cancelled() or task.exception() is not None else task.result()
        if self._connecting is not task:  # closed meanwhile
            self._hang_up(link)
            return
        self._connecting = None
        if link is not None:
            if self._travelling is None:
                self._hang_up(self._link)
            # Otherwise the trip that is under way hangs up what it used.
            self._link = link

    def _hang_up(self, link: Link | None) -> None:
        """Close a link, without waiting for it."""
        if link is None or link in self._hung_up:
            return
        if self._link is link:
            self._link = None
        self._hung_up.add(link)
        task = self._loop.create_task(link.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _expire(self, errands: list[Errand], due: float, grace: int) -> None:
        if self._travelling is not errands:
            return
        if self._loop.time() > due + _LEAST_S:
            self._loop.call_later(_LEAST_S, self._expire, errands, math.inf, grace)
        elif grace:
            self._loop.call_soon(self._expire, errands, due, grace - 1)
        else:
            self._give_up(f"no answer within {self._timeout_s * 1000:g} ms")

    def _give_up(self, why: str) -> None:
        """Fail the trip under way, and those who wait for its end."""
        self._hang_up(self._link)
        errands, self._waiting = [*(self._travelling or ()), *self._waiting], []
        self._travelling = None
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
        _fail(errands, why)


class Lines:
    """The lines to one storage, one for each event loop; loops may run side by side in several threads.

    Args:
        connect: Connects anew.
        timeout_s: How long an errand may take, waiting included.
    """

    def __init__(self, connect: Connect, timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._lines: dict[asyncio.AbstractEventLoop, Line] = {}
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """Make the lock anew; a thread of the parent may have held it when it forked."""
        self._lock = threading.Lock()

    def here(self) -> Line:
        """Give the line of the running event loop."""
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            with self._lock:
                # A loop that ended without aclose() left its connection, which knows the loop: no weak key
                # would go.
                for ended in [each for each in self._lines if each.is_closed()]:
                    del self._lines[ended]
                line = self._lines[loop] = Line(self._connect, self._timeout_s)
        return line

    async def aclose(self) -> None:
        """Close the line of the running event loop; it may be used again."""
        with self._lock:
            line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.close()


def _unanswered(errands: Sequence[Errand]) -> list[Errand]:
    """Give those that have no answer yet, and somebody who waits for it."""
    return [errand for errand in errands if not errand.answer.done()]


def _fail(errands: Sequence[Errand], why: str, cause: Exception | None = None) -> None:
    incident = object()
    for errand in errands:
        error = StorageUnavailableError(why, incident)
        error.__cause__ = cause
        errand.fail(error)
