"""What the server and the worker have to agree on: both read it from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from envelope import ObjectLocks


@dataclass(frozen=True)
class Settings:
    """How the service is run.

    Attributes:
        storage: Where the locks are: ``"memory://"``, or the URL of a Redis or Valkey server.
        database: The SQLite file.
        ttl_s: Seconds after which an object is free if the process that worked on it died.
        pause_s: Seconds that each check of a verification takes.
    """

    storage: str
    database: str
    ttl_s: float
    pause_s: float

    @property
    def has_worker(self) -> bool:
        """Whether a worker can see the locks; it cannot look into the server's memory."""
        return not self.storage.startswith("memory:")


settings = Settings(
    storage=os.environ.get("ENVELOPE_STORAGE", "memory://"),
    database=os.environ.get("VERIFICATION_DATABASE", "verification.db"),
    ttl_s=float(os.environ.get("VERIFICATION_TTL_S", "15")),
    pause_s=float(os.environ.get("VERIFICATION_PAUSE_S", "2")),
)

locks = ObjectLocks(settings.storage, ttl_s=settings.ttl_s, namespace="verification")
