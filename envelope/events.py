"""Events: every log record of this library by a name that stays, so that no alert hangs on a wording.

A record's ``event_name`` is one of these, and each value in its text is an attribute of the record as well, under
the name that it has there; formatters that write JSON take them along. No value is a secret, a token, or what a
client sent in a header or body. Objects are named by their keys, which applications choose.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A kind of log record.

    Attributes:
        name: Stays what it is through all versions.
        level: Of the record.
        text: With the names of its values, ``%(operation)r``; may change.
    """

    name: str
    level: int
    text: str


ERROR_MAPPED = Event("envelope.error.mapped", logging.WARNING, "%(exception)s is answered with %(status)d")
ERROR_TRANSLATED = Event(
    "envelope.error.translated",
    logging.DEBUG,  # clients can cause as many as they like, each with its traceback
    "%(exception)s, which a library raised, is answered with %(status)d",
)
ERROR_RULE_FAILED = Event(
    "envelope.error.rule_failed",
    logging.ERROR,
    "the ErrorMap rule for %(exception)s failed; the client gets a 500",
)
ERROR_HANDLER_FAILED = Event(
    "envelope.error.handler_failed",
    logging.ERROR,
    "the handler for Exception failed while it answered %(exception)s",
)
ERROR_UNRENDERABLE = Event(
    "envelope.error.unrenderable", logging.ERROR, "%(failure)s cannot be rendered; the client gets a 500"
)
WIRE_MISPLACED = Event("envelope.wire.misplaced", logging.WARNING, "%(advice)s")

STORAGE_UNAVAILABLE = Event(
    "envelope.storage.unavailable", logging.ERROR, "%(what)s %(storage)s does not answer (%(why)s): %(doing)s"
)
STORAGE_RECOVERED = Event("envelope.storage.recovered", logging.WARNING, "%(what)s %(storage)s answers again")

LIMITS_NOT_SHARED = Event(
    "envelope.rate_limit.not_shared",
    logging.WARNING,
    "memory:// counts in each process on its own: %(workers)d workers admit %(workers)d times the limits;"
    " name a storage that they share: RateLimiter(storage='redis://...')",
)
LIMITS_FOREIGN_KEY = Event(
    "envelope.rate_limit.foreign_key",
    logging.ERROR,
    "what lies under a subject's key in the rate limit storage is not ours",
)
LIMITS_MEMORY_FULL = Event(
    "envelope.rate_limit.memory_full",
    logging.WARNING,
    "the rate limits' memory is full: new clients share budgets; raise max_keys",
)
LIMITS_SHADOW = Event(
    "envelope.rate_limit.shadow_refused",
    logging.INFO,
    "%(policy)s is in shadow and would have refused a request",
)
LIMITS_UNIDENTIFIED = Event(
    "envelope.rate_limit.unidentified",
    logging.WARNING,
    "a request came without the address of its client, as over a unix socket, and is %(outcome)s; if a proxy"
    " stands in front, name it: key=ClientAddress(trusted_proxies=[...])",
)

LOCKS_NOT_SHARED = Event(
    "envelope.lock.not_shared",
    logging.WARNING,
    "memory:// locks in each process on its own: %(workers)d workers give the same object away %(workers)d times;"
    " name a storage that they share: ObjectLocks('redis://...')",
)
LOCK_REFUSED = Event(
    "envelope.lock.refused",
    logging.INFO,
    "%(operation)r was refused: %(key)r is held for %(held_for)r by %(holder)s since %(age_s).3f s"
    " (fence %(fence)d)",
)
LOCK_LOST = Event(
    "envelope.lock.lost",
    logging.WARNING,
    "the lease of %(operation)r on %(keys)s (fence %(fence)d) is lost: %(why)s [%(cause)s]",
)
LOCK_BROKEN = Event("envelope.lock.broken", logging.WARNING, "the lock on %(key)r (fence %(fence)d) was broken")
LOCKS_FOREIGN_KEYS = Event(
    "envelope.lock.foreign_keys",
    logging.WARNING,
    "keys in the lock storage that are not ours, or cannot be read: %(count)d",
)
LOCK_RENEWAL_FAILED = Event("envelope.lock.renewal_failed", logging.ERROR, "a lease could not be renewed")

MAINTENANCE_BEGUN = Event(
    "envelope.maintenance.begun", logging.WARNING, "maintenance has begun: requests are answered with 503"
)
MAINTENANCE_ENDED = Event("envelope.maintenance.ended", logging.WARNING, "maintenance has ended")
MAINTENANCE_NOT_SHARED = Event(
    "envelope.maintenance.not_shared",
    logging.WARNING,
    "memory:// switches each process on its own: of %(workers)d workers only the one in which start() was"
    " called answers 503; name a storage that they share: Maintenance('file:///run/api/maintenance'), or 'redis://...'",
)
MAINTENANCE_UNREADABLE = Event(
    "envelope.maintenance.unreadable",
    logging.WARNING,
    "%(switch)s %(why)s; maintenance has no announced end",
)


def log_event(
    logger: logging.Logger, event: Event, *, exc_info: BaseException | bool | None = None, **values: Any
) -> None:
    """Write the record of an event.

    Args:
        logger: Of the part that it happens in.
        event: What happened.
        exc_info: The exception whose traceback is written along; True for the one that is being handled.
        values: All that the text names.
    """
    arguments = (values,) if values else ()
    try:
        extra = {"event_name": event.name, **values}
        logger.log(event.level, event.text, *arguments, exc_info=exc_info, extra=extra, stacklevel=2)
    except KeyError:  # a record factory of the application's gives records an attribute of this name
        logger.log(event.level, event.text, *arguments, exc_info=exc_info, stacklevel=2)
