"""What a storage of locks is asked, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from envelope.locks.lease import Keeper, Lease

T = TypeVar("T")


class Holder(NamedTuple):
    """Who has an object, as its storage knows it. All times are of the storage's clock.

    Attributes:
        key: The object.
        fence: Of the lease.
        operation: What it was taken for.
        process: Where: host and process id.
        age_ms: How long ago the object became busy.
        beat_ms: How long ago the holder was last heard of.
        rest_ms: When the lease ends unless it is renewed.
        lease_ms: How long it was given or renewed for.
        is_handed_off: It waits to be claimed.
        holds_ms: How long the last holds of this operation lasted.
        is_cut: The key is only the beginning of a long one.
    """

    key: str
    fence: int
    operation: str
    process: str
    age_ms: int
    beat_ms: int
    rest_ms: int
    lease_ms: int
    is_handed_off: bool
    holds_ms: Sequence[int]
    is_cut: bool = False


class Refusal(NamedTuple):
    """Some of the objects are busy; nothing was taken."""

    holders: Sequence[Holder]


@dataclass(frozen=True)
class LockInfo:
    """Who holds an object, for those who operate the service.

    Attributes:
        key: The object.
        fence: Of the lease; ``break_lock`` wants it, so that what is broken is what was looked at.
        operation: What the object was locked for.
        holder: Host and process id of whoever took or claimed it.
        since: When the object became busy, by the storage's clock.
        age_s: How long ago that was.
        expires_in_s: When the lease ends unless it is renewed.
        state: ``"handed_off"`` while nobody has claimed it.
        is_cut: The key is only the beginning of a long one, as ``survey`` finds it on a server.
    """

    key: str
    fence: int
    operation: str
    holder: str
    since: datetime
    age_s: float
    expires_in_s: float
    state: Literal["held", "handed_off"]
    is_cut: bool = False


@runtime_checkable
class LockStorage(Keeper, Protocol):
    """Where it stands who has which object."""

    async def acquire(self, keys: tuple[str, ...], operation: str) -> Lease | Refusal:
        """Take all the objects or none.

        Raises:
            StorageUnavailableError: Nothing is known; what may have been taken is given back.
        """

    async def claim(self, token: str) -> Lease | None:
        """Take what was handed off; None if it is not to be had any more.

        Raises:
            StorageUnavailableError: Nothing is known; what may have been taken is given back.
            ValueError: This is no token.
        """

    def entered(self, block: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """Enter and leave a block in the background, for a thread without an event loop."""

    async def inspect(self, key: str) -> Holder | None:
        """Tell who has an object.

        Raises:
            StorageUnavailableError: Nothing is known.
        """

    def survey(self) -> AsyncGenerator[Holder, None]:
        """Tell who has which object, each at the most once.

        What is taken or freed meanwhile may be told or not.

        Raises:
            StorageUnavailableError: The rest is not known.
        """

    async def break_lock(self, key: str, fence: int) -> bool:
        """Free an object if the lease on it has this fence.

        Raises:
            StorageUnavailableError: Nothing is known.
        """

    async def aclose(self) -> None:
        """Finish what goes on in the background, and close the connections of the running event loop."""
