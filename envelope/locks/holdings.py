"""What is held where code is at work: by its request, and by the blocks around it.

Whoever locks an object that is held there already finds that lease and takes nothing again: an operation may
call others that lock the same object. What is held is told by the context (PEP 567), so a task or a thread finds
what was held where it was started; what another one takes beside it, it does not find.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

import anyio
from starlette.types import Message, Scope, Send

from envelope.locks.grants import LockStorage
from envelope.locks.lease import Lease, LeaseLostError
from envelope.wire.ending import Ending


class RequestLeases:
    """The leases that belong to one request.

    Attributes:
        scope: Of the request.
        is_over: Nothing can belong to it any more.
        is_used: Something belongs to it, or did.
    """

    # Defaults of the class: one of these is made for each request, and most hold nothing.
    is_over = is_used = False
    _is_answered = False
    _until_answer: list[Lease]
    _until_end: list[Lease]

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self._outer = send
        self._ending = Ending(scope)

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message, and release before it what the client does not expect to be locked any more."""
        # Not a coroutine of its own: nearly every message only passes.
        if self._ending.is_reached(message):
            self._is_answered = True
            if self.is_used and self._until_answer:
                return self._release_and_send(message)
        return self._outer(message)

    async def _release_and_send(self, message: Message) -> None:
        outer = self._outer
        await drop_all(self._until_answer)
        await outer(message)

    def find(self, storage: LockStorage, key: str) -> Lease | None:
        """Give the lease on an object that the request holds already."""
        leases = [*self._until_answer, *self._until_end] if self.is_used else []
        return next((lease for lease in leases if _holds(lease, storage, key)), None)

    async def keep(self, lease: Lease, *, background: bool) -> None:
        """Hold a lease as long as the request lasts.

        Args:
            lease: Was taken, or found and shared.
            background: Keep it until the background tasks are done, not only until the answer.

        Raises:
            LeaseLostError: The request has ended meanwhile.
        """
        if self.is_over:
            lease.drop_without_waiting()
            raise LeaseLostError(lease)
        if not self.is_used:
            self.is_used = True
            self._until_answer, self._until_end = [], []
        elif lease in self._until_end or (lease in self._until_answer and not background):
            await lease.drop()  # once is enough
            return
        (self._until_end if background or self._is_answered else self._until_answer).append(lease)

    async def end(self) -> None:
        """Release everything."""
        self.is_over = True
        if self.is_used:
            await drop_all(self._until_answer)
            await drop_all(self._until_end)

    def let_go(self) -> None:
        """Release everything, without waiting; forget the request, because a task may remember this for long."""
        self.is_over = True
        self.scope = {}
        if self.is_used:
            for lease in (*self._until_answer, *self._until_end):
                lease.drop_without_waiting()


async def drop_all(leases: list[Lease]) -> None:
    """Give back leases, all at once; the list is empty afterwards."""
    taken = [*leases]
    leases.clear()
    if len(taken) > 1:
        async with anyio.create_task_group() as together:  # every one begins, also if this is cancelled
            for lease in taken:
                together.start_soon(lease.drop)
    else:
        for lease in taken:
            await lease.drop()


class Held:
    """A lease that a block of code holds, and where the block stands."""

    __slots__ = ("lease", "outside")

    lease: Lease
    outside: Held | RequestLeases | None

    def __init__(self, lease: Lease) -> None:
        outside = _here.get()
        while isinstance(outside, Held) and outside.lease.has_ended:
            outside = outside.outside  # of a block that was never left: a generator that nobody finished
        self.lease = lease
        self.outside = outside


_here: ContextVar[Held | RequestLeases | None] = ContextVar("envelope.locks", default=None)


# A forked process holds nothing: the leases are its parent's.
os.register_at_fork(after_in_child=lambda: _here.set(None))


def enter(inside: Held | RequestLeases | None) -> Held | RequestLeases | None:
    """Begin a request or a block, and give where it stands: what is to be entered at its end."""
    outside = _here.get()
    _here.set(inside)
    return outside


def current_request() -> RequestLeases | None:
    """Give the request that is at work; None outside of requests, or when it is over."""
    place = _here.get()
    while isinstance(place, Held):
        place = place.outside
    return None if place is None or place.is_over else place


def is_anything_held() -> bool:
    """Tell whether there may be something to find."""
    place = _here.get()
    return place is not None and (isinstance(place, Held) or place.is_used)


def find(storage: LockStorage, key: str) -> Lease | None:
    """Give the lease on an object that is held here already."""
    place = _here.get()
    while isinstance(place, Held):
        if _holds(place.lease, storage, key):
            return place.lease
        place = place.outside
    return None if place is None else place.find(storage, key)


def _holds(lease: Lease, storage: LockStorage, key: str) -> bool:
    return key in lease.keys and lease.keeper is storage and lease.is_held


def name_of(scope: Any) -> str:
    """Name the endpoint that is at work; "" before routing."""
    endpoint = scope.get("endpoint")
    return "" if endpoint is None else name_of_endpoint(endpoint)


def name_of_endpoint(endpoint: Any) -> str:
    """Name an endpoint: ``"update"``, ``"Entities.patch"``."""
    name: str = getattr(endpoint, "__qualname__", type(endpoint).__qualname__)
    return name.rpartition("<locals>.")[2]
