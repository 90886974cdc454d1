"""How the tests run commands: in this process, as a process of its own, and at a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from click.testing import CliRunner, Result

from envelope import Lease, ObjectLocks, RateLimiter, cli
from tests.locks.storages.places import die

COMMAND = Path(sys.executable).with_name("envelope")

#: What the machine that runs the tests may have set.
_NOBODYS = {"ENVELOPE_STORAGE": None, "ENVELOPE_NAMESPACE": None, "ENVELOPE_KEY_SECRET": None}


def run(*arguments: str, **environment: str) -> Result:
    """Run a command in this process; standard input is no terminal."""
    return CliRunner(env={**_NOBODYS, **environment}).invoke(cli.build_group(), arguments)


def read(*arguments: str, code: int = 0, **environment: str) -> Any:
    """Run a command with ``--json``, and give its document."""
    result = run(*arguments, "--json", **environment)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def environment(**more: str) -> dict[str, str]:
    """Give the environment of a process."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOBODYS}
    return {**kept, "TERM": "xterm", **more}


def start(*arguments: str, streams: dict[str, Any] | None = None, **more: str) -> subprocess.Popen[str]:
    """Start the installed command as a process of its own."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [COMMAND, *arguments], text=True, env=environment(**more), **{**pipes, **(streams or {})}
    )


class Terminal:
    """A terminal of so many columns, at whose other end a test types and reads."""

    def __init__(self, columns: int = 80) -> None:
        self._controller, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._shown = b""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self._reader.join()
        os.close(self._controller)

    def hang_up(self) -> None:
        with suppress(OSError):  # it was closed already
            os.close(self.end)

    def type(self, text: str) -> None:
        os.write(self._controller, text.encode())

    @property
    def shown(self) -> str:
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, text: str, within_s: float = 15) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.shown, within_s), self.shown

    def _read(self) -> None:
        with suppress(OSError):  # how Linux says that the other end was closed
            while chunk := os.read(self._controller, 65536):
                with self._changed:
                    self._shown += chunk
                    self._changed.notify_all()


class Ended(NamedTuple):
    """How a command at a terminal has ended: its exit code, and all that was shown there."""

    code: int | str
    shown: str


def run_at_terminal(
    patch: pytest.MonkeyPatch, *arguments: str, typed: str = "", columns: int = 80, **environment: str
) -> Ended:
    """Run a command in this process as its users do; what they answer is typed beforehand."""
    with Terminal(columns) as terminal:
        terminal.type(typed)
        with patch.context() as within:
            for name in _NOBODYS:
                within.delenv(name, raising=False)
            for name, value in {"TERM": "xterm", "COLUMNS": str(columns), **environment}.items():
                within.setenv(name, value)
            within.setattr(sys, "argv", ["envelope", *arguments])
            files = [os.fdopen(os.dup(terminal.end), mode) for mode in ("r", "w", "w")]
            for name, file in zip(("stdin", "stdout", "stderr"), files, strict=True):
                within.setattr(sys, name, file)
            with pytest.raises(SystemExit) as ended:
                cli.main()
            for file in files:
                file.close()
    return Ended(ended.value.code or 0, terminal.shown)


def lock(
    url: str, *keys: str, operation: str | None = None, namespace: str = "", hands_off: bool = False
) -> Lease:
    """Take objects as a process that then stands still; nobody renews the lease, which is long."""

    async def take() -> Lease:
        locks = ObjectLocks(url, ttl_s=600, max_hold_s=600, timeout_s=5, namespace=namespace)
        lease = await locks.acquire(*keys, operation=operation)
        if hands_off:
            await lease.hand_off(claim_within_s=600)
        await die(locks)
        return lease

    return asyncio.run(take())


def unlock(url: str, *keys: str) -> None:
    """Free objects, whoever holds them."""

    async def free() -> None:
        locks = ObjectLocks(url, timeout_s=4)
        for key in keys:
            info = await locks.inspect(key)
            assert info is not None
            assert await locks.break_lock(key, fence=info.fence)
        await locks.aclose()

    asyncio.run(free())


def charge(url: str, subject: str, *limits: Any, cost: int = 1, scope: str = "", **options: Any) -> None:
    """Charge a subject."""

    async def check() -> None:
        limiter = RateLimiter(storage=url, timeout_s=5, on_outage="deny", **options)
        await limiter.check(subject, *limits, cost=cost, scope=scope)
        await limiter.aclose()

    asyncio.run(check())
