"""An example of the repository, served by its own process and uvicorn, as other people's tools find a service."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx

from tests.servers.process import Process

ROOT = Path(__file__).parents[3]


class Example(Process):
    """One of the examples.

    Args:
        arguments: What the interpreter is given, up to the port.
        environment: Of the process, beside ours.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        super().__init__()
        self._arguments = arguments
        self._environment = {"PYTHONPATH": str(ROOT), **environment}
        self.url = f"http://{self.host}:{self.port}"

    def command(self) -> list[str]:
        environment = [f"{name}={value}" for name, value in self._environment.items()]
        return ["env", *environment, sys.executable, *self._arguments, "--port", str(self.port)]

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/openapi.json", trust_env=False).is_success
        except httpx.TransportError:
            return False


def quickstart() -> Example:
    return Example(str(ROOT / "examples/quickstart.py"))


def tiers() -> Example:
    return Example(str(ROOT / "examples/tiers.py"), STORAGE="memory://")


def verification_service(*, pause_s: float = 0.01) -> Example:
    """Give the service in one process; its database is in the directory that it is started in.

    Args:
        pause_s: Seconds that each of the four checks of a verification takes.
    """
    module = "examples.verification_service.app:app"
    return Example("-m", "uvicorn", module, VERIFICATION_PAUSE_S=str(pause_s), ENVELOPE_STORAGE="memory://")
