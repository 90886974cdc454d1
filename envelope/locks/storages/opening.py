"""From a URL to a storage of locks."""

from __future__ import annotations

import logging

from envelope.errors.tree import ConfigurationError
from envelope.events import LOCKS_NOT_SHARED, log_event
from envelope.locks.grants import LockStorage
from envelope.locks.storages.memory import MemoryLocks
from envelope.storage.breaker import Breaker
from envelope.storage.urls import REDIS_SCHEMES, count_workers, read_url

logger = logging.getLogger("envelope.locks")


def open_storage(
    storage: str | LockStorage, *, ttl_s: float, max_hold_s: float, timeout_s: float, namespace: str, doing: str
) -> LockStorage:
    """Open a storage; nothing is connected before the first lock.

    Args:
        storage: Its URL; or a storage, as it is.
        ttl_s: How long a lease lasts unless it is renewed.
        max_hold_s: How long it is renewed.
        timeout_s: How long a question may take.
        namespace: Tells services apart.
        doing: What is done without an answer, in the log.

    Raises:
        ConfigurationError: The URL names no storage of locks, or its client is not installed.
    """
    if not isinstance(storage, str):
        if not isinstance(storage, LockStorage):
            raise ConfigurationError(
                f"storage is {storage!r}; give a URL such as 'redis://host:6379/0', or a LockStorage"
            )
        return storage
    scheme, name = read_url(storage)
    if scheme == "memory":
        workers = count_workers()
        if workers > 1:
            log_event(logger, LOCKS_NOT_SHARED, workers=workers)
        return MemoryLocks(max_hold_s=max_hold_s)
    if scheme in REDIS_SCHEMES:
        # Imported here: a service that locks in memory, or locks nothing, pays for none of it.
        from envelope.locks.storages.redis.storage import RedisLocks  # noqa: PLC0415

        breaker = Breaker(name, logger, what="the lock storage", doing=doing)
        return RedisLocks(
            storage, breaker, ttl_s=ttl_s, max_hold_s=max_hold_s, timeout_s=timeout_s, namespace=namespace
        )
    known = ", ".join(("memory", *REDIS_SCHEMES))
    raise ConfigurationError(
        f"no locks are kept in {scheme!r} (known: {known}); write it as 'redis://host:6379/0'"
    )
