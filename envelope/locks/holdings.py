"""What is held where code is at work: by its request, and by the blocks around it.

Whoever locks an object that is held there already finds that lease and takes nothing again: an operation may
call others that lock the same object. What is held is told by the context (PEP 567), so a task or a thread finds
what was held where it was started; what another one takes beside it, it does not find.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from envelope.locks.grants import LockStorage
from envelope.locks.lease import Lease
from envelope.wire.ending import Ending
from envelope.wire.exchange import Exchange


class RequestLeases:
    """The leases that belong to one request.

    Attributes:
        scope: Of the request.
    """

    __slots__ = ("_exchange", "_until_answer", "_until_end", "scope")

    def __init__(self, scope: Any, exchange: Exchange | None) -> None:
        self.scope = scope
        self._exchange = exchange
        # Until the client has its answer, and until the background tasks are done; None when that is over.
        self._until_answer: list[Lease] | None = []
        self._until_end: list[Lease] | None = []

    @property
    def is_over(self) -> bool:
        """Whether nothing can belong to the request any more."""
        return self._until_end is None

    @property
    def leases(self) -> list[Lease]:
        """What the request holds."""
        return [*(self._until_answer or ()), *(self._until_end or ())]

    def keep(self, lease: Lease, *, background: bool) -> None:
        """Hold a lease as long as the request lasts.

        Args:
            lease: Was taken, or found and shared.
            background: Keep it until the background tasks are done, not only until the answer.
        """
        if background or self._until_answer is None:
            assert self._until_end is not None
            self._until_end.append(lease)
            return
        self._until_answer.append(lease)
        if self._exchange is not None and self._exchange.ending is None:
            self._exchange.ending = Ending(self.scope, self.answer)

    def keeps(self, lease: Lease, *, background: bool) -> bool:
        """Tell whether the request holds a lease so long already."""
        return lease in (self._until_end or ()) or (not background and lease in (self._until_answer or ()))

    async def answer(self) -> None:
        """Release what is not for the background tasks; awaited before the client has its answer."""
        leases, self._until_answer = self._until_answer or [], None
        await _drop_all(leases)

    async def end(self) -> None:
        """Release everything."""
        leases, self._until_answer, self._until_end = self.leases, None, None
        await _drop_all(leases)

    def let_go(self) -> None:
        """Release everything, without waiting."""
        leases, self._until_answer, self._until_end = self.leases, None, None
        for lease in leases:
            lease.drop_without_waiting()


class Held:
    """A lease that a block of code holds, and where the block stands."""

    __slots__ = ("lease", "outside")

    def __init__(self, lease: Lease, outside: Held | RequestLeases | None) -> None:
        self.lease = lease
        self.outside = outside


_here: ContextVar[Held | RequestLeases | None] = ContextVar("envelope.locks", default=None)


def enter(inside: Held | RequestLeases | None) -> Held | RequestLeases | None:
    """Begin a request or a block, and give where it stands: what is to be entered at its end."""
    outside = _here.get()
    _here.set(inside)
    return outside


def here() -> Held | RequestLeases | None:
    """Give where the code that asks is at work."""
    return _here.get()


def current_request() -> RequestLeases | None:
    """Give the request that is at work; None outside of requests, or when it is over."""
    place = _here.get()
    while isinstance(place, Held):
        place = place.outside
    return None if place is None or place.is_over else place


def find(storage: LockStorage, key: str) -> Lease | None:
    """Give the lease on an object that is held here already."""
    place = _here.get()
    while isinstance(place, Held):
        if _holds(place.lease, storage, key):
            return place.lease
        place = place.outside
    leases = () if place is None else place.leases
    return next((lease for lease in leases if _holds(lease, storage, key)), None)


def _holds(lease: Lease, storage: LockStorage, key: str) -> bool:
    return key in lease.keys and lease.keeper is storage and lease.is_held


async def _drop_all(leases: list[Lease]) -> None:
    try:
        while leases:
            await leases.pop().drop()
    finally:
        for lease in leases:  # cancelled in between
            lease.drop_without_waiting()
