"""From a URL to a storage."""

from __future__ import annotations

import logging

from envelope.errors.tree import ConfigurationError
from envelope.events import LIMITS_NOT_SHARED, log_event
from envelope.rate_limit.quotas import Strategy
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.storages.outage import OnOutage, OutageGuard
from envelope.rate_limit.verdicts import Storage
from envelope.storage.urls import REDIS_SCHEMES, count_workers, read_url

logger = logging.getLogger("envelope.rate_limit")

_THROUGH_LIMITS = ("memcached", "mongodb", "mongodb+srv")


def open_storage(
    storage: str | Storage,
    *,
    strategy: Strategy,
    max_keys: int,
    timeout_s: float,
    on_outage: OnOutage,
    namespace: str,
    key_secret: str | bytes | None,
) -> Storage:
    """Open a storage; nothing is connected before the first request.

    Raises:
        ConfigurationError: The URL names no storage, or its client is not installed.
    """
    local = MemoryStorage(strategy, max_keys=max_keys)
    if isinstance(storage, MemoryStorage):
        return storage
    if not isinstance(storage, str):
        if not isinstance(storage, Storage):
            raise ConfigurationError(
                f"storage is {storage!r}; give a URL such as 'redis://host:6379/0', or a Storage"
            )
        own = storage
        return OutageGuard(own, type(own).__name__, on_outage=on_outage, local=local, timeout_s=timeout_s)
    scheme, name = read_url(storage)
    if scheme == "memory":
        _warn_of_workers()
        return local
    # Imported here: a service that counts in memory, or does not count at all, pays for none of it.
    if scheme in REDIS_SCHEMES:
        from envelope.rate_limit.storages.redis.storage import RedisStorage  # noqa: PLC0415

        redis = RedisStorage(storage, strategy, timeout_s=timeout_s, namespace=namespace, key_secret=key_secret)
        return OutageGuard(redis, name, on_outage=on_outage, local=local)
    if scheme in _THROUGH_LIMITS:
        from envelope.rate_limit.storages.through_limits import LimitsStorage  # noqa: PLC0415

        through = LimitsStorage(storage, strategy)
        return OutageGuard(through, name, on_outage=on_outage, local=local, timeout_s=timeout_s)
    known = ", ".join(("memory", *REDIS_SCHEMES, *_THROUGH_LIMITS))
    raise ConfigurationError(f"unknown storage {scheme!r} (known: {known}); write it as 'redis://host:6379/0'")


def _warn_of_workers() -> None:
    workers = count_workers()
    if workers > 1:
        log_event(logger, LIMITS_NOT_SHARED, workers=workers)
