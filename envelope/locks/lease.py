"""Lease: the right to change objects, for a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, Protocol

from envelope import signals
from envelope.errors.tree import ConfigurationError, ConflictError, ServiceUnavailableError
from envelope.events import LOCK_LOST, log_event
from envelope.signals import LeaseEnd, LossCause
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.forks import renew_after_fork

logger = logging.getLogger("envelope.locks")


class _Sharing:
    """A lease may be shared between threads."""

    def __init__(self) -> None:
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> None:
        self.lock = threading.Lock()


_sharing = _Sharing()

End = Literal["released", "handed off", "lost", "unguarded"]

#: Why a lease is lost, in the log.
_WHY: Mapping[LossCause, str] = {
    "max_hold": "it was held longer than max_hold_s",
    "not_renewed": "it could not be renewed in time",
    "taken": "somebody else has it, or it was broken",
    "broken": "the lock was broken",
    "late_release": "it ended before its release",
    "late_hand_off": "it ended before it was handed off",
}


class LeaseLostError(ConflictError):
    """409: the lease ended before the work did, was claimed before, or was claimed too late.

    What was done under it may have been done beside somebody else's work; writes that carry its fence are refused
    by a fenced table.
    """

    message = "Conflict -- The object was given to somebody else meanwhile."
    error_code = "lease_lost"

    def __init__(self, lease: Lease | None = None) -> None:
        super().__init__()
        #: What ended early; None if it was never had, because it was claimed before or too late.
        self.lease = lease


class Keeper(Protocol):
    """What a lease asks of its storage.

    Whoever waits for a storage may be cancelled: what is to be freed is freed without him.
    """

    def clock(self) -> float:
        """Give seconds that only grow, by which this process knows when its leases end."""

    async def release(self, lease: Lease) -> bool:
        """Free the objects, or withdraw what was handed off.

        Returns:
            Whether the lease had them until now; also if the storage does not answer and the release goes on in
            the background.
        """

    def let_go(self, lease: Lease) -> None:
        """Free the objects without waiting."""

    def check_hand_off(self) -> None:
        """Raise ``ConfigurationError`` if nobody else could claim what is handed off here."""

    async def hand_off(self, lease: Lease, claim_within_ms: int) -> str | None:
        """Give the objects to whoever claims the token that is returned; None if the lease had ended.

        Raises:
            StorageUnavailableError: Nothing is known; whatever was handed off is withdrawn.
        """


class Lease:
    """The right to change one object or several, until it is released or its time is over.

    Attributes:
        fence: Grows with every lease on an object, also over the loss of all data unless the server's clock is
            behind then; below 2**53. A table that stores it with each write, and refuses a smaller one, refuses
            whoever has lost a lease: ``UPDATE ... SET fence = :fence WHERE id = :id AND fence <= :fence``. 0 if
            nothing is held.
        keys: The names of the objects.
        operation: What the lease was taken for.
    """

    # Defaults of the class: one lease is made for each request, and most set none of these.
    #: Tells this lease from all others, to its storage only.
    token: Any = None
    #: When it was last renewed, by the storage's clock.
    renewed_at: float
    _end: End | None = None
    _is_free = False
    #: How many hold it: whoever took it, and those who found it there.
    _shares = 1

    def __init__(
        self, keeper: Keeper, keys: tuple[str, ...], fence: int, operation: str, since: float, deadline: float
    ) -> None:
        self.keeper = keeper
        self.keys = keys
        self.fence = fence
        self.operation = operation
        #: When it was asked for, and when it ends, by the storage's clock, which nobody sets.
        self.since = since
        self.deadline = deadline

    @classmethod
    def unguarded(cls, keeper: Keeper, keys: tuple[str, ...], operation: str) -> Lease:
        """Give what stands for a lease where nothing was locked."""
        lease = cls(keeper, keys, 0, operation, 0, 0)
        lease._end, lease._is_free = "unguarded", True
        return lease

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> NoReturn:
        """Say what to do to whoever lets FastAPI look for a lease in the request.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            "a parameter annotated Lease needs @locks.guarded(...) below the route decorator, or is written as"
            " Annotated[Lease, Depends(locks.guard(...))]"
        )

    def __repr__(self) -> str:
        return f"<Lease {', '.join(self.keys)} fence={self.fence} {self._end or 'held'}>"

    @property
    def key(self) -> str:
        """The name of the object; of the first one, if there are several; "" if there was nothing to lock."""
        return self.keys[0] if self.keys else ""

    @property
    def has_ended(self) -> bool:
        """Whether it was released, handed off or lost."""
        return self._end is not None

    @property
    def is_held(self) -> bool:
        """Whether the objects are still this lease's, as far as this process can tell."""
        return self._end is None and self.keeper.clock() < self.deadline

    @property
    def lost(self) -> bool:
        """Whether somebody else may have the objects, although the lease was neither released nor handed off.

        True from the moment at which nobody can vouch for the lease any more, also while the storage is out of
        reach.
        """
        return self._end == "lost" or (self._end is None and self.keeper.clock() >= self.deadline)

    def remaining_s(self) -> float:
        """Give the seconds until the lease ends unless it is renewed; 0 if it has ended."""
        return 0.0 if self._end is not None else max(0.0, self.deadline - self.keeper.clock())

    async def release(self) -> None:
        """Free the objects; once is enough, and nothing is raised.

        If the storage does not answer now, the release is repeated in the background. A lease that was handed off
        is withdrawn, if it was not claimed yet.
        """
        if self._is_free:
            return
        self._is_free = True
        was_lost = self.lost
        if self._end is None and not was_lost:
            self._end = "released"
        is_whole = True  # also if nobody waits for the answer
        try:
            is_whole = await self.keeper.release(self)
        finally:
            if is_whole and not was_lost:
                self._tell_release()
        if not is_whole or was_lost:
            if self._end == "released":
                self._end = None
            self.lose("late_release")

    def let_go(self) -> None:
        """Free the objects without waiting for it."""
        if not self._is_free:
            self._is_free = True
            self._end = self._end or "released"
            self._tell_release()
            self.keeper.let_go(self)

    def share(self) -> Lease:
        """Hold the lease once more; the last of those who hold it releases it."""
        with _sharing.lock:
            self._shares += 1
        return self

    async def drop(self) -> None:
        """Do not hold the lease any more; what was handed off stays so."""
        if self._is_last():
            await self.release()

    def drop_without_waiting(self) -> None:
        """Do not hold the lease any more; it is released in the background."""
        if self._is_last():
            self.let_go()

    def _is_last(self) -> bool:
        with _sharing.lock:
            self._shares -= 1
            return not self._shares and self._end != "handed off"

    def lose(self, cause: LossCause) -> None:
        """Note that the lease is not ours any more."""
        if self._end is None:
            self._end = "lost"
            if signals.listener is not None:
                signals.listener.loss(self.operation, cause)
            self._tell_end("lost")
            log_event(
                logger,
                LOCK_LOST,
                operation=self.operation,
                keys=list(self.keys),
                fence=self.fence,
                cause=cause,
                why=_WHY[cause],
            )

    async def hand_off(self, *, claim_within_s: float) -> str:
        """Pass the lease on: the objects stay locked, and whoever claims the token has them.

        Args:
            claim_within_s: Seconds after which the objects are free if nobody has claimed the token.

        Returns:
            The token, for ``locks.claim`` in whatever process. It is a secret, because whoever has it has the
            objects. If it cannot be passed on, ``await lease.release()`` withdraws it.

        Raises:
            LeaseLostError: The lease has ended.
            ConfigurationError: The storage is this process's memory, which no other process sees.
            ServiceUnavailableError: The storage does not answer; the objects will be free.
            ValueError: ``claim_within_s`` is no positive number, or more than a week.
        """
        claim_within_ms = check_claim_within(claim_within_s)
        self.keeper.check_hand_off()
        if not self.is_held:
            raise LeaseLostError(self)
        # From now on: a claim may come before the answer.
        self._end = "handed off"
        is_known = False
        try:
            token = await self.keeper.hand_off(self, claim_within_ms)
            is_known = True
        except StorageUnavailableError as error:
            raise ServiceUnavailableError(retry_after=1) from error
        finally:
            if not is_known:
                self._end = "released"
                self.let_go()
        if token is None:
            self._end = None
            self.lose("late_hand_off")
            raise LeaseLostError(self)
        self._tell_end("handed_off")
        if signals.listener is not None:
            signals.listener.hand_off("offered")
        return token

    def _tell_release(self) -> None:
        if self._end == "released":
            self._tell_end("released")
        elif self._end == "handed off" and signals.listener is not None:
            signals.listener.hand_off("withdrawn")

    def _tell_end(self, end: LeaseEnd) -> None:
        if signals.listener is not None:
            signals.listener.lease_end(self.operation, end, self.keeper.clock() - self.since)


#: A lease is never infinite; milliseconds.
_LONGEST_CLAIM_MS = 7 * 24 * 3600 * 1000


def check_claim_within(claim_within_s: float) -> int:
    """Give the milliseconds that a claim may take."""
    if isinstance(claim_within_s, bool) or not isinstance(claim_within_s, int | float):
        raise ValueError(f"claim_within_s is {claim_within_s!r}; give seconds")  # noqa: TRY004
    if not 0.001 <= claim_within_s <= _LONGEST_CLAIM_MS / 1000:
        raise ValueError(f"claim_within_s is {claim_within_s!r}; give seconds, at most those of a week")
    return int(claim_within_s * 1000)
