"""A table in SQLite that a lock protects, as a service would have it: a counter for each object, and its fence."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.faults.checker import Write


class Register:
    """Counters that several processes read, change and write back.

    Whoever has a fence reads and writes with it: reading leaves it in the row, so that an earlier lease cannot
    write any more between this read and the write that depends on it. Without a fence (0) everything is accepted.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # processes are killed here, not the machine
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS object (key TEXT PRIMARY KEY, value INTEGER, fence INTEGER)"
        )
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS log"
            " (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, value INTEGER, fence INTEGER, lease TEXT)"
        )

    def read(self, key: str, fence: int) -> int | None:
        """Give the value; None if a later lease was here."""
        rows = self._database.execute(
            "INSERT INTO object VALUES (:key, 0, :fence) ON CONFLICT DO UPDATE"
            " SET fence = :fence WHERE fence <= :fence RETURNING value",
            {"key": key, "fence": fence},
        ).fetchall()
        return int(rows[0][0]) if rows else None

    def write(self, key: str, value: int, fence: int, lease: str) -> bool:
        """Write, unless a later lease was here."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            accepted = self._database.execute(
                "UPDATE object SET value = :value, fence = :fence WHERE key = :key AND fence <= :fence",
                {"key": key, "value": value, "fence": fence},
            ).rowcount
            if accepted:
                self._database.execute(
                    "INSERT INTO log (key, value, fence, lease) VALUES (?, ?, ?, ?)", (key, value, fence, lease)
                )
        finally:
            self._database.execute("COMMIT")
        return bool(accepted)

    def log(self) -> list[Write]:
        return [
            Write(*row)
            for row in self._database.execute("SELECT key, value, fence, lease FROM log ORDER BY number")
        ]

    def values(self) -> dict[str, int]:
        return dict(self._database.execute("SELECT key, value FROM object"))

    def close(self) -> None:
        self._database.close()
