"""What a storage raises that does not answer."""

from __future__ import annotations

from typing import ClassVar


class StorageUnavailableError(Exception):
    """The storage did not decide: no answer in time, no connection, or a reply that is an error.

    Args:
        why: In words without credentials.
        incident: The same for all who were hit by the same; None: this one only.
    """

    #: Whether the storage itself is in trouble; otherwise only what was asked about is.
    is_outage: ClassVar[bool] = True

    def __init__(self, why: str, incident: object = None) -> None:
        super().__init__(why)
        self.incident = incident


class ForeignKeyError(StorageUnavailableError):
    """What lies under a key is not ours; about other keys the storage answers."""

    is_outage = False
