"""The servers that the soak is run against: one process each, which serves the soak's service."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tests.servers.process import Process
from tests.soak.service import STORAGE

_SERVICE = "tests.soak.service:from_environment"
_ROOT = Path(__file__).parents[2]

#: A server and what it is told, beside where it listens.
_COMMANDS = {
    # The soak's service knows itself which proxies it trusts.
    "uvicorn": ("uvicorn", _SERVICE, "--factory", "--no-proxy-headers", "--log-level", "critical"),
    "hypercorn": ("hypercorn", f"{_SERVICE}()", "--workers", "0", "--log-level", "critical"),
    "granian": ("granian", _SERVICE, "--factory", "--interface", "asgi", "--workers", "1", "--no-log"),
}

NAMES = tuple(_COMMANDS)


class ServiceProcess(Process):
    """A server with the soak's service.

    Args:
        name: Of the server, one of ``NAMES``.
        storage: What the service counts and locks with.
    """

    def __init__(self, name: str, storage: str) -> None:
        super().__init__()
        self._name = name
        self._storage = storage

    def command(self) -> list[str]:
        where = {
            "uvicorn": ("--host", self.host, "--port", str(self.port)),
            "hypercorn": ("--bind", f"{self.host}:{self.port}"),
            "granian": ("--host", self.host, "--port", str(self.port)),
        }
        settings = (f"{STORAGE}={self._storage}", f"PYTHONPATH={_ROOT}", "PYTHONUNBUFFERED=1")
        return ["env", *settings, sys.executable, "-m", *_COMMANDS[self._name], *where[self._name]]

    def answers(self) -> bool:
        try:
            return bool(self.state())
        except (OSError, http.client.HTTPException):
            return False

    def state(self) -> dict[str, int]:
        """Give what the service says of itself: the process that serves, and its tasks."""
        return dict(json.loads(self._get("/state")[1]))

    def ask(self, path: str) -> int:
        """Give the status of a path."""
        return self._get(path)[0]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def kill(self) -> None:
        # The processes that it has started are of its group.
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        super().kill()
