"""Starts it all: the server, and, where the locks can be shared, a worker.

    uv run python -m examples.verification_service
    uv run python -m examples.verification_service --storage redis://localhost:6379/0

A worker that dies is replaced, as by systemd or Kubernetes.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

#: How long the processes have to finish what they are at, in seconds.
FAREWELL_S = 15

#: A worker that cannot start is not started as fast as it fails, in seconds.
REPLACED_AFTER_S = 0.5


def main() -> None:
    options = read_options()
    server = ["uvicorn", f"{__package__}.app:app", "--host", "127.0.0.1", "--port", str(options.port)]
    worker = None if options.storage.startswith("memory:") else [f"{__package__}.worker"]
    print("Try, in another terminal:")
    print(f"  curl -i 'http://127.0.0.1:{options.port}/entities?run_workflow=true' --json '{{\"name\": \"Ada\"}}'")
    print("and go on as in examples/verification_service/README.md", flush=True)

    # By `kill` as by Ctrl-C: everything below is ended in its order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        environment = {
            **os.environ,
            "ENVELOPE_STORAGE": options.storage,  # may have a password, which a command line would show
            "VERIFICATION_DATABASE": options.database or str(Path(folder) / "verification.db"),
            "VERIFICATION_TTL_S": str(options.ttl),
            "VERIFICATION_PAUSE_S": str(options.pause),
        }
        run(server, worker, environment)


def run(server: list[str], worker: list[str] | None, environment: Mapping[str, str]) -> None:
    """Run the server until it ends, and beside it always one worker."""

    def start(module: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", *module], env=environment)  # noqa: S603 - our own words

    running = [start(server)]
    try:
        if worker is not None:
            running.append(start(worker))
        while running[0].poll() is None:
            if worker is not None and running[1].poll() is not None:
                print(f"worker {running[1].pid} ended with {running[1].returncode}; it is replaced", flush=True)
                time.sleep(REPLACED_AFTER_S)
                running[1] = start(worker)
            time.sleep(0.1)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(FAREWELL_S)
            except subprocess.TimeoutExpired:
                process.kill()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Serve on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--storage",
        default=os.environ.get("ENVELOPE_STORAGE", "memory://"),
        help="URL of a Redis or Valkey server for the locks; without one all happens in one process",
    )
    parser.add_argument("--database", help="SQLite file; without one, made anew at every start")
    parser.add_argument(
        "--ttl", type=float, default=15, help="seconds after which the entities of a dead worker are free"
    )
    parser.add_argument("--pause", type=float, default=2, help="seconds that each of the four checks takes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
