"""What is held by the request, or by the block of code, that is at work: it belongs to it and is released with it.

A hold inside finds what is held outside, and takes nothing again: an operation may call others that lock the same
object. Who calls is told by the context (PEP 567), so a task or a thread that a request starts belongs to it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from envelope.locks.grants import LockStorage
from envelope.locks.lease import Lease
from envelope.wire.ending import Ending
from envelope.wire.exchange import Exchange


class Holdings:
    """The leases of one request, or of one block outside of requests.

    Attributes:
        scope: Of the request; None outside.
    """

    __slots__ = ("_exchange", "_found", "_until_answer", "_until_end", "scope")

    def __init__(self, scope: Any = None, exchange: Exchange | None = None) -> None:
        self.scope = scope
        self._exchange = exchange
        #: What a hold inside may find.
        self._found: list[Lease] = []
        #: What the request itself holds: until the client has its answer, and until the background tasks are done.
        self._until_answer: list[Lease] | None = []
        self._until_end: list[Lease] | None = []

    @property
    def are_over(self) -> bool:
        """Whether nothing can belong to the request any more."""
        return self._until_end is None

    def find(self, storage: LockStorage, key: str) -> Lease | None:
        """Give the lease on an object that is held already."""
        for lease in self._found:
            if key in lease.keys and lease.storage is storage and lease.is_held:
                return lease
        return None

    def share(self, lease: Lease) -> None:
        """Let a hold inside find a lease."""
        self._found.append(lease)

    async def drop(self, lease: Lease) -> None:
        """Give back one share of a lease; the last one releases it."""
        lease.shares -= 1
        if not lease.shares:
            self._found.remove(lease)
            await lease.release()

    def own(self, lease: Lease, *, background: bool) -> None:
        """Make a share of a lease the request's own.

        Args:
            lease: Was taken, or found and counted once more.
            background: Keep it until the background tasks are done, not only until the answer.
        """
        assert self._until_end is not None
        if background or self._until_answer is None:
            self._until_end.append(lease)
        else:
            self._until_answer.append(lease)
            if self._exchange is not None and self._exchange.ending is None:
                self._exchange.ending = Ending(self.scope, self.answer)

    def owns(self, lease: Lease, *, background: bool) -> bool:
        """Tell whether the request has a share of a lease that lasts long enough."""
        return lease in (self._until_end or ()) or (not background and lease in (self._until_answer or ()))

    async def answer(self) -> None:
        """Release what is not for the background tasks; awaited before the client has its answer."""
        leases, self._until_answer = self._until_answer or [], None
        await self._drop_all(leases)

    async def end(self) -> None:
        """Release everything that is the request's."""
        leases = [*(self._until_answer or ()), *(self._until_end or ())]
        self._until_answer = self._until_end = None
        await self._drop_all(leases)

    def let_go(self) -> None:
        """Release everything that is the request's, without waiting."""
        leases = [*(self._until_answer or ()), *(self._until_end or ())]
        self._until_answer = self._until_end = None
        for lease in leases:
            lease.shares -= 1
            if not lease.shares:
                lease.let_go()

    async def _drop_all(self, leases: list[Lease]) -> None:
        try:
            while leases:
                await self.drop(leases.pop())
        finally:
            for lease in leases:  # cancelled in between
                lease.shares -= 1
                if not lease.shares:
                    lease.let_go()


_current: ContextVar[Holdings | None] = ContextVar("envelope.locks", default=None)


def current() -> Holdings | None:
    """Give what the request or block that is at work holds; None if none is, or it is over."""
    holdings = _current.get()
    return None if holdings is None or holdings.are_over else holdings


def enter(holdings: Holdings | None) -> Holdings | None:
    """Begin with a request or a block, and give what was at work before, to be entered again at its end."""
    before = _current.get()
    _current.set(holdings)
    return before
