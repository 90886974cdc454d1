"""From a URL to a switch."""

from __future__ import annotations

import logging

from envelope.errors.tree import ConfigurationError
from envelope.events import MAINTENANCE_NOT_SHARED, log_event
from envelope.maintenance.knowledge import Knowledge
from envelope.maintenance.readings import SharedSwitch
from envelope.maintenance.storages.file import FileSwitch, path_of
from envelope.maintenance.watch import Watch
from envelope.storage.breaker import Breaker
from envelope.storage.urls import REDIS_SCHEMES, count_workers, read_url

logger = logging.getLogger("envelope.maintenance")

#: The least that an answer may take, in seconds. No request waits so long for it: over a slow network a connection
#: and the first answer take longer than a request should wait.
_PATIENCE_S = 1.0


def open_watch(url: str, knowledge: Knowledge, *, timeout_s: float, namespace: str) -> Watch | None:
    """Open a switch; nothing is read or connected yet.

    Args:
        url: Where it is.
        knowledge: Where it is written down what was read.
        timeout_s: The longest that a request waits.
        namespace: Tells services apart.

    Returns:
        What keeps that up to date; None if the switch is this process's own, and ``knowledge`` all there is.

    Raises:
        ConfigurationError: The URL names no switch, or its client is not installed.
    """
    patience_s = max(timeout_s, _PATIENCE_S)
    if url.partition(":")[0].lower() == "file":
        file = FileSwitch(path_of(url), patience_s)
        return _watch(file, knowledge, file.name, timeout_s, patience_s)
    scheme, name = read_url(url)
    if scheme == "memory":
        workers = count_workers()
        if workers > 1:
            log_event(logger, MAINTENANCE_NOT_SHARED, workers=workers)
        return None
    if scheme in REDIS_SCHEMES:
        # Imported here: a service that is switched in another way pays for none of it.
        from envelope.maintenance.storages.redis.storage import RedisSwitch  # noqa: PLC0415

        switch = RedisSwitch(url, timeout_s=patience_s, namespace=namespace)
        return _watch(switch, knowledge, name, timeout_s, patience_s)
    known = ", ".join(("memory", "file", *REDIS_SCHEMES))
    raise ConfigurationError(
        f"no maintenance switch is kept in {scheme!r} (known: {known}); write it as 'redis://host:6379/0',"
        " or as 'file:///run/api/maintenance'"
    )


def _watch(switch: SharedSwitch, known: Knowledge, name: str, timeout_s: float, patience_s: float) -> Watch:
    doing = "what was last known of it stays in force"
    breaker = Breaker(name, logger, what="the maintenance switch", doing=doing)
    return Watch(switch, known, breaker, timeout_s, patience_s)
