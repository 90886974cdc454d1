"""A name server that hangs keeps no command: neither after its timeout, nor after Ctrl-C, nor at the end of Python."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from envelope.cli import event_loop
from tests.cli.running import environment

#: This machine may be busy.
pytestmark = pytest.mark.timeout(60)

#: A name that nobody resolves within the time of a test.
HANGING = """
import socket, sys, threading

def hang(*_, **__):
    print("asked", flush=True)
    threading.Event().wait(100)

socket.getaddrinfo = hang
from envelope.cli import main

main()
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HANGING, *arguments, "--storage", "redis://db.example:6379/0"],
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def read_to_the_end(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=30)
    finally:
        process.kill()


COMMANDS = [("locks", "list"), ("limits", "inspect", "ada"), ("maintenance", "status"), ("maintenance", "on")]


@pytest.mark.parametrize("command", COMMANDS)
def test_name_server_that_hangs(command) -> None:
    """Is given up after the timeout."""
    process = start(*command, "--timeout", "0.2")
    _, errors = read_to_the_end(process)

    assert process.returncode == 2
    assert errors.startswith("Error: redis://db.example:6379/0 does not answer: no answer within ")


@pytest.mark.parametrize("command", COMMANDS)
def test_interruption_while_a_name_server_hangs(command) -> None:
    """Ends the command: exit code 130."""
    process = start(*command, "--timeout", "30")
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    _, errors = read_to_the_end(process)

    assert process.returncode == 130
    assert "Traceback" not in errors


def test_calls_in_threads_have_their_results() -> None:
    """And raise where they are waited for."""

    async def work() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(int, "12")

    assert event_loop.run(work()) == 12


def test_thread_that_hangs_is_left_alone() -> None:
    """It ends after the loop, and harms nobody."""
    may_end, has_ended = threading.Event(), threading.Event()

    def hang() -> None:
        may_end.wait(30)
        has_ended.set()

    async def work() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.to_thread(hang)

    event_loop.run(work())
    assert not has_ended.is_set()
    may_end.set()
    assert has_ended.wait(30)
