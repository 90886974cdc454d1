"""From a URL to a storage."""

from __future__ import annotations

from urllib.parse import urlsplit

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.storages.memory import MemoryStorage, Strategy
from envelope.rate_limit.storages.outage import OnOutage, OutageGuard
from envelope.rate_limit.verdicts import Storage

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
    return MemoryStorage(strategy, max_keys=max_keys)
