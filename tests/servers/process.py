"""One server process: started, answered, stopped, suspended, and ended even when the test run is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Self

HOST = "127.0.0.1"

# pytest-randomly seeds the shared generator alike in every run, and two runs would choose the same ports.
_random = SystemRandom()


def free_port() -> int:
    """Choose a port that nobody listens on.

    Never one of the ephemeral ports (32768 and up): while its server is down, a client of the machine may
    have been given it, and a client that dials it again and again can even connect to itself.
    """
    while True:
        port = _random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port


def wait_until(condition: Callable[[], bool], *, within_s: float, told: Callable[[], str]) -> None:
    """Ask again and again until the condition holds.

    Raises:
        TimeoutError: it did not in time; ``told`` gives the message.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s: {told()}")
        time.sleep(0.005)


class Process:
    """A server process on one port, which it keeps over restarts, with a temporary directory.

    A subclass gives the command line and knows how to ask whether the server answers.
    """

    host = HOST

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory: Path
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes]

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def prepare(self) -> None:
        """Write the files that the command names; runs once, before the first start."""

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="envelope-"))
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} on port {self.port} is not running: start() it")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """What the process has printed so far."""
        return (self.directory / "output").read_text(errors="replace")

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            TimeoutError: it does not; the message has its output.
        """
        if self._process is not None:
            raise RuntimeError(f"{type(self).__name__} on port {self.port} runs already: stop() it first")
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends the servers in its own order
            )
        # When this interpreter dies in whatever way, its end of the pipe closes and the guard does its work.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 "$1"; rm -rf "$2"', "guard", str(self.pid), str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(
            lambda: self.answers() or not self.is_running,
            within_s=10,
            told=lambda: f"an answer from {self.command()}, which printed:\n{self.output}",
        )
        if not self.is_running:
            printed = self.output
            self.kill()
            raise RuntimeError(f"{self.command()} ended at once and printed:\n{printed}")

    def stop(self) -> None:
        """End the process in its own time, at most 5 s, and wait for it; nothing happens when it has ended."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """End the process at once, as a power cut does, and wait for it; nothing happens when it has ended."""
        if self._process is None:
            return
        # The guard goes first: the process id is the server's only until somebody has waited for it.
        self._guard.kill()
        self._guard.communicate()
        self._process.kill()
        self._process.wait()
        self._process = None

    def suspend(self) -> None:
        """Freeze the process: connections are still accepted by the kernel, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
