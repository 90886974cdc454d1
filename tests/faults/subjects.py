"""What is put to the test, through one interface: our locks by their public names, and redis-py's own lock."""

from __future__ import annotations

from typing import Any, Protocol

import redis.asyncio
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from envelope import Lease, LeaseLostError, ObjectLockedError, ObjectLocks, ServiceUnavailableError
from tests.faults.history import Outcome, clock


class BusyError(Exception):
    def __init__(self, retry_after: float = 0) -> None:
        self.retry_after = retry_after


class UnavailableError(Exception):
    pass


class LostError(Exception):
    pass


class Held(Protocol):
    """What a subject gives for objects that it has taken."""

    fence: int

    def until(self) -> float:
        """Give when the process has to stop believing that it holds the objects; the past if it has to now."""

    async def release(self) -> Outcome: ...

    async def hand_off(self, within_s: float) -> str: ...


class Subject(Protocol):
    async def acquire(self, *keys: str) -> Held:
        """Take all or none, and wait for nobody.

        Raises:
            BusyError: Somebody has one of them.
            UnavailableError: The server does not answer.
        """

    async def claim(self, token: str) -> Held: ...

    async def aclose(self) -> None: ...


class Envelope:
    """Our locks."""

    def __init__(self, url: str, ttl_s: float, timeout_s: float) -> None:
        self.locks = ObjectLocks(url, ttl_s=ttl_s, timeout_s=timeout_s)

    async def acquire(self, *keys: str) -> Held:
        try:
            return _Leased(await self.locks.acquire(*keys))
        except ObjectLockedError as error:
            raise BusyError(error.retry_after or 0) from error
        except ServiceUnavailableError as error:
            raise UnavailableError from error

    async def claim(self, token: str) -> Held:
        block = self.locks.claim(token)
        try:
            return _Leased(await block.__aenter__())
        except LeaseLostError as error:
            raise LostError from error
        except ServiceUnavailableError as error:
            raise UnavailableError from error

    async def aclose(self) -> None:
        await self.locks.aclose()


class _Leased:
    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.fence = lease.fence

    def until(self) -> float:
        now = clock()
        return now + self.lease.remaining_s() if self.lease.is_held else 0

    async def release(self) -> Outcome:
        await self.lease.release()
        return "lost" if self.lease.lost else "ok"

    async def hand_off(self, within_s: float) -> str:
        try:
            return await self.lease.hand_off(claim_within_s=within_s)
        except LeaseLostError as error:
            raise LostError from error
        except ServiceUnavailableError as error:
            raise UnavailableError from error


class RedisPyLock:
    """redis-py's lock, as its documentation has it: ``client.lock(name, timeout=...)``, which must not wait.

    It has no fences. It renews nothing by itself, and its holder counts the lease's time itself.
    """

    def __init__(self, url: str, ttl_s: float, timeout_s: float) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._ttl_s = ttl_s

    async def acquire(self, *keys: str) -> Held:
        begun = clock()
        taken: list[Lock] = []
        try:
            for key in keys:
                lock = self._client.lock(key, timeout=self._ttl_s, blocking=False)
                if not await lock.acquire():
                    await _release_all(taken)
                    raise BusyError
                taken.append(lock)
        except RedisError as error:
            await _release_all(taken)
            raise UnavailableError from error
        return _Locked(taken, begun + self._ttl_s)

    async def claim(self, token: str) -> Held:
        raise NotImplementedError

    async def aclose(self) -> None:
        await self._client.aclose()


class _Locked:
    fence = 0

    def __init__(self, locks: list[Lock], ends: float) -> None:
        self._locks = locks
        self._ends = ends

    def until(self) -> float:
        return self._ends if clock() < self._ends else 0

    async def release(self) -> Outcome:
        return await _release_all(self._locks)

    async def hand_off(self, within_s: float) -> str:
        raise NotImplementedError


async def _release_all(locks: list[Lock]) -> Outcome:
    outcome: Outcome = "ok"
    for lock in locks:
        try:
            await lock.release()
        except LockError:
            outcome = "lost"
        except RedisError:
            outcome = "unavailable"
    return outcome


SUBJECTS: dict[str, Any] = {"envelope": Envelope, "redis-py": RedisPyLock}
