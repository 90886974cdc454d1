"""Line: the errands of one event loop, which share round trips.

An errand that finds nothing under way is sent at once. Those that come meanwhile wait and then go together, so
that the busier a server is, the fewer round trips a request costs. A trip is a task of its own: whoever waits for
it may be cancelled without harm to the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from envelope.rate_limit.storages.redis.errands import Arguments, Errand, merge
from envelope.rate_limit.storages.redis.links import Connect, Link, LinkLostError
from envelope.rate_limit.storages.redis.scripts import Script
from envelope.rate_limit.verdicts import StorageUnavailableError

#: Errands of one trip: so many keep the server busy for about a millisecond.
_MOST = 128

#: Passes of the event loop before a deadline holds: a reply that lies in the socket already is taken.
_GRACE = 3

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

    async def run(self, script: Script, keys: Sequence[bytes], arguments: Arguments, size: int) -> list[int]:
        """Run a script.

        Args:
            script: What to run.
            keys: Its keys.
            arguments: Its other arguments.
            size: How many numbers it answers with, beside the time.

        Returns:
            The server's time in milliseconds, followed by those numbers.

        Raises:
            StorageUnavailableError: Nothing is known; the script may have run.
        """
        answer: asyncio.Future[list[int]] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout_s
        self._waiting.append(Errand(script, keys, arguments, size, deadline, answer))
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Fail those who wait, and close the connection."""
        link = self._link
        self._give_up("the storage was closed")
        if self._connecting is not None:
            self._connecting.cancel()
        if link is not None:
            await link.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                # Who is cancelled by now is not charged.
                errands = [errand for errand in self._waiting[:_MOST] if not errand.answer.done()]
                del self._waiting[:_MOST]
                if errands:
                    await self._travel(errands)
        finally:
            if self._runner is asyncio.current_task():
                self._runner = None

    async def _travel(self, errands: list[Errand]) -> None:
        self._travelling = errands
        # The first has waited longest.
        timer = self._loop.call_at(errands[0].deadline, self._expire, errands, _GRACE)
        link, is_old = self._link, self._link is not None
        is_done = False
        try:
            link = link or await self._connected()
            try:
                await link.exchange(merge(errands))
            except LinkLostError:
                if not is_old:
                    raise
                # The server closed it while nothing was under way, or was restarted.
                await self._hang_up(link)
                link = await self._connected()
                await link.exchange(merge(errand for errand in errands if not errand.answer.done()))
            is_done = True
        except Exception as error:  # noqa: BLE001 - whatever a client library raises
            _fail(errands, f"{type(error).__name__}: {error}", error)
        finally:
            timer.cancel()
            if self._travelling is errands:
                self._travelling = None
            if not is_done and link is not None:
                await self._hang_up(link)

    async def _connected(self) -> Link:
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._open())
            self._connecting.add_done_callback(self._opened)
        return await asyncio.shield(self._connecting)

    async def _open(self) -> Link:
        async with asyncio.timeout(max(self._timeout_s, _CONNECTING_S)):
            return await self._connect()

    def _opened(self, task: asyncio.Task[Link]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._link = task.result()

    async def _hang_up(self, link: Link) -> None:
        if self._link is link:
            self._link = None
        await link.close()

    def _expire(self, errands: list[Errand], grace: int) -> None:
        if self._travelling is not errands:
            return
        if grace:
            self._loop.call_soon(self._expire, errands, grace - 1)
        else:
            self._give_up(f"no answer within {self._timeout_s * 1000:g} ms")

    def _give_up(self, why: str) -> None:
        """Fail the trip under way, and those who wait for its end; its task closes the link."""
        errands, self._waiting = [*(self._travelling or ()), *self._waiting], []
        self._travelling = self._link = None
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
        _fail(errands, why)


def _fail(errands: Sequence[Errand], why: str, cause: Exception | None = None) -> None:
    for errand in errands:
        error = StorageUnavailableError(why)
        error.__cause__ = cause
        errand.fail(error)
