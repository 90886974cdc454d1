"""What the URL of a storage says, whatever is stored there."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from envelope.errors.tree import ConfigurationError

#: Redis and Valkey, with TLS or without, at a port, at a socket, behind Sentinels, or as a cluster.
REDIS_SCHEMES = tuple(
    f"{scheme}{form}"
    for scheme in ("redis", "rediss", "valkey", "valkeys")
    for form in ("", "+unix", "+sentinel", "+cluster")
)


#: Braces would move the hash tag, by which a cluster chooses the slot.
_NAMESPACE = re.compile(r"[\w.:/-]*", re.ASCII)


class StorageURL(NamedTuple):
    """What a guard has to know of a URL.

    Attributes:
        scheme: ``"redis+cluster"``.
        name: The URL's beginning without credentials, for the log: ``"redis+cluster://host:6379"``.
    """

    scheme: str
    name: str


def read_url(url: str) -> StorageURL:
    """Read a URL; whether its scheme is known is not asked here.

    Raises:
        ConfigurationError: It is none, or its password would be taken for a part of the path.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"storage is no URL: {error}") from None  # which may quote a password
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ConfigurationError("storage has an '@' behind its hosts; percent-encode what its password holds")
    return StorageURL(parts.scheme, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def check_namespace(namespace: object) -> None:
    """Refuse what tells services apart that share a server, if it cannot stand in a key.

    Raises:
        ConfigurationError: Why it cannot.
    """
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ConfigurationError(f"namespace is {namespace!r}; use letters, digits and . : / - _")


def count_workers() -> int:
    """Tell how many processes share the work, as far as the environment says it: 1 if it does not."""
    workers = os.environ.get("WEB_CONCURRENCY", "")
    return int(workers) if workers.isdecimal() else 1
