"""Guard: what is done with the keys that stand at an endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple

from envelope.errors.tree import ConfigurationError
from envelope.locks.holdings import RequestLeases, current_request
from envelope.locks.lease import Lease

#: What a request with a method that changes nothing meets at a busy object (RFC 9110, 9.2.1).
Reads = Literal["pass", "refuse"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})


class Guard(NamedTuple):
    """What a guard does with keys.

    Attributes:
        lock: Takes them for the request.
        look: Refuses if one of them is busy, and takes nothing; None lets reads pass.
        unguarded: Gives what stands for a lease where nothing is taken.
        denies: Answers 503 while the storage does not answer.
    """

    lock: Callable[[RequestLeases, tuple[str, ...], str], Awaitable[Lease]]
    look: Callable[[tuple[str, ...]], Awaitable[None]] | None
    unguarded: Callable[[tuple[str, ...], str], Lease]
    denies: bool

    def stand(self, request: RequestLeases, keys: tuple[str, ...], name: str) -> Awaitable[Lease]:
        """Do what the request's method asks for.

        Args:
            request: Is at work.
            keys: What is guarded.
            name: Of the endpoint.
        """
        if request.scope.get("method") in _SAFE:
            return self._read(keys, name)
        return self.lock(request, keys, name)

    def refusals(self, method: str) -> Sequence[int]:
        """Give the statuses that it can answer."""
        if method in _SAFE:
            return () if self.look is None else (423,)
        return (423, 503) if self.denies else (423,)

    async def _read(self, keys: tuple[str, ...], name: str) -> Lease:
        if self.look is not None:
            await self.look(keys)
        return self.unguarded(keys, name)


def request_of(guarded: object) -> RequestLeases:
    """Give the request that is at work.

    Raises:
        ConfigurationError: There is none.
    """
    request = current_request()
    if request is None:
        raise ConfigurationError(
            f"a lock guards {getattr(guarded, '__qualname__', guarded)}, but no request is at work that it"
            " could belong to: call install(app, locks=...) for the application, or use locks.hold(...) outside"
            " of requests"
        )
    return request
