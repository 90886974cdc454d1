"""Starts an example as a person would: its own process, a real server, a real database file."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

Start = Callable[[str], tuple[httpx.Client, list[str]]]


@pytest.fixture
def start_example() -> Iterator[Start]:
    """Start an example by file name; gives a client for it and the lines that it printed first."""
    processes: list[subprocess.Popen[str]] = []
    clients: list[httpx.Client] = []

    def start(name: str) -> tuple[httpx.Client, list[str]]:
        port = _free_port()
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line.rstrip())
            if "Uvicorn running on" in line:
                break
        assert "Uvicorn running on" in printed[-1], "\n".join(printed)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        clients.append(client)
        return client, printed

    yield start
    for client in clients:
        client.close()
    for process in processes:
        process.terminate()
        process.communicate(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
