"""From a URL to a storage."""

from __future__ import annotations

import logging
import os
from urllib.parse import urlsplit

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.quotas import Strategy
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.storages.outage import OnOutage, OutageGuard
from envelope.rate_limit.verdicts import Storage

logger = logging.getLogger("envelope.rate_limit")

_REDIS = tuple(
    f"{scheme}{form}"
    for scheme in ("redis", "rediss", "valkey", "valkeys")
    for form in ("", "+unix", "+sentinel", "+cluster")
)
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
    try:
        parts = urlsplit(storage)
    except ValueError as error:
        raise ConfigurationError(f"storage is no URL: {error}") from None  # which may quote a password
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ConfigurationError("storage has an '@' behind its hosts; percent-encode what its password holds")
    if parts.scheme == "memory":
        _warn_of_workers()
        return local
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    # Imported here: a service that counts in memory, or does not count at all, pays for none of it.
    if parts.scheme in _REDIS:
        from envelope.rate_limit.storages.redis.storage import RedisStorage  # noqa: PLC0415

        redis = RedisStorage(storage, strategy, timeout_s=timeout_s, namespace=namespace, key_secret=key_secret)
        return OutageGuard(redis, name, on_outage=on_outage, local=local)
    if parts.scheme in _THROUGH_LIMITS:
        from envelope.rate_limit.storages.through_limits import LimitsStorage  # noqa: PLC0415

        through = LimitsStorage(storage, strategy)
        return OutageGuard(through, name, on_outage=on_outage, local=local, timeout_s=timeout_s)
    known = ", ".join(("memory", *_REDIS, *_THROUGH_LIMITS))
    raise ConfigurationError(
        f"unknown storage {parts.scheme!r} (known: {known}); write it as 'redis://host:6379/0'"
    )


def _warn_of_workers() -> None:
    workers = os.environ.get("WEB_CONCURRENCY", "")
    if workers.isdecimal() and int(workers) > 1:
        logger.warning(
            "memory:// counts in each process on its own: %s workers admit %s times the limits;"
            " name a storage that they share: RateLimiter(storage='redis://...')",
            workers,
            workers,
        )
