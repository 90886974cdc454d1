"""Real servers: workers that learn of a file, and forked processes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from envelope import Maintenance
from tests.locks.storages.test_processes import in_a_fork
from tests.maintenance.switches import Clock, Place, settle, shared
from tests.servers.process import HOST, free_port
from tests.servers.server import Server

SERVICE = """
import os
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from envelope import Maintenance, install

async def pid(request):
    return JSONResponse(os.getpid())

app = Starlette(routes=[Route("/", pid), Route("/health", pid)])
install(app, maintenance=Maintenance(os.environ["SWITCH"], exempt=["/health"], timeout_s=2))
"""


@contextmanager
def _served(folder: Path, url: str, workers: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    (folder / "service.py").write_text(SERVICE)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--workers", str(workers)]
    command.append("--no-access-log")  # nobody reads the pipe meanwhile, and a full one stops a worker
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "SWITCH": url, "PYTHONPATH": f"{folder}:{os.getcwd()}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield port, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the workers are of its session
        process.communicate()


def _ask(port: int, path: str = "/") -> tuple[int, Any, http.client.HTTPMessage]:
    """Ask on a connection of its own; the kernel chooses the worker."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


def _eventually(condition: Any, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except OSError:
            pass  # it does not listen yet
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@pytest.mark.timeout(90)
def test_two_workers_and_a_file_that_is_switched_from_outside(tmp_path: Path):
    """Both answer 503 within seconds, with the announced end, and are back as soon; nothing stays behind."""
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "maintenance"

    with _served(tmp_path, f"file://{path}", workers=2) as (port, process):
        workers: set[int] = set()

        def both_answer() -> bool:
            status, body, _ = _ask(port)
            workers.add(body["content"])
            return status == 200 and len(workers) == 2

        _eventually(both_answer, within_s=40)

        def all_answer(status: int) -> bool:
            return {_ask(port)[0] for _ in range(20)} == {status}

        path.write_text("2999-01-01T00:00:00Z")
        _eventually(lambda: all_answer(503), within_s=10)
        _, body, headers = _ask(port)
        health = _ask(port, "/health")
        path.unlink()
        _eventually(lambda: all_answer(200), within_s=10)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)

    assert (body["code"], headers["cache-control"], headers["content-type"]) == (
        503,
        "no-store",
        "application/json",
    )
    assert int(headers["retry-after"]) > 1_000_000
    assert health[0] == 200
    assert health[1]["content"] in workers
    assert output.count("maintenance has begun") == 2
    assert output.count("maintenance has ended") == 2
    assert "Traceback" not in output
    assert "Warning" not in output


@pytest.mark.timeout(60)
def test_worker_without_a_server_starts_and_ends(tmp_path: Path):
    """A switch that nobody reaches keeps no service from starting, serving or ending."""
    with _served(tmp_path, f"redis://{HOST}:{free_port()}", workers=1) as (port, process):
        _eventually(lambda: _ask(port)[0] == 200, within_s=30)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)

    assert "the maintenance switch" in output
    assert "Traceback" not in output


@shared
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of later Pythons: there are threads
def test_fork(place: Place):
    """The child knows what its parent knew, reads by itself, and the parent's connection is the parent's."""
    maintenance = place.open()
    clock = maintenance._known.clock = Clock()
    maintenance.start()

    def child() -> bool:
        was_on = maintenance.is_on
        maintenance.stop()
        asyncio.run(maintenance.aclose())
        return was_on and not maintenance.is_on

    code = in_a_fork(child)

    assert code == 0
    assert maintenance.is_on  # as it was read before
    clock.pass_s(1)
    assert maintenance._watch is not None
    maintenance._watch.look()
    settle(maintenance._watch)
    assert not maintenance.is_on
    maintenance.start()
    assert maintenance.read() is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_during_a_reading(own_valkey: Server):
    """The child does not wait for what only its parent gets."""
    maintenance = Maintenance(own_valkey.url, timeout_s=2)
    other = Maintenance(own_valkey.url, timeout_s=2)
    other.start()
    own_valkey.suspend()
    watch = maintenance._watch
    assert watch is not None
    watch.look()

    def child() -> bool:
        own_valkey.resume()
        asyncio.run(watch.catch_up())
        return maintenance.is_on

    try:
        code = in_a_fork(child)
    finally:
        own_valkey.resume()
    settle(maintenance._watch)

    assert code == 0
    assert maintenance.is_on
