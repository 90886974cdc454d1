"""Where a scenario takes place: a server, the processes that use it, and what they have written down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.faults.checker import Terms, Violation, judge
from tests.faults.history import Event, Recorder, clock, read_history
from tests.faults.planted import planted
from tests.faults.register import Register
from tests.faults.subjects import SUBJECTS, Subject
from tests.faults.worker import Worker
from tests.servers.server import Server

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cast:
    """Who is put to the test.

    Attributes:
        subject: ``"envelope"`` or ``"redis-py"``.
        bug: What is planted into the library; None for none.
    """

    subject: str = "envelope"
    bug: str | None = None


OURS = Cast()


class Client:
    """A client process; each method of ``Worker`` is an order that it takes."""

    def __init__(self, name: str, process: subprocess.Popen[str], recorder: Recorder) -> None:
        self.name = name
        self._process = process
        self._recorder = recorder

    def begin(self, order: str, *args: Any, **kwargs: Any) -> None:
        """Give an order, without waiting for it to be done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([order, args, kwargs]) + "\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        """Wait for the end of the order that was given first, and give what it returned."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has ended; what it printed is above")
        found = json.loads(line)
        return Event(**{**found, "keys": tuple(found["keys"])}) if isinstance(found, dict) else found

    def do(self, order: str, *args: Any, **kwargs: Any) -> Any:
        """Give an order and wait for its end."""
        self.begin(order, *args, **kwargs)
        return self.result()

    async def ado(self, order: str, *args: Any, **kwargs: Any) -> Any:
        """Give an order and wait for its end, while the event loop goes on."""
        return await asyncio.to_thread(self.do, order, *args, **kwargs)

    def suspend(self) -> None:
        """Stop the process, as a long pause of a virtual machine does."""
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once, and note when."""
        self._process.kill()
        self._process.wait()
        now = clock()
        self._recorder.write(Event("kill", self.name, begun=now, ended=now))

    def memory_kb(self) -> int:
        """Give how much memory the process has, in KiB (Linux)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()


class Stage:
    """A temporary directory with the histories and the register, and everything that has to end.

    Args:
        server: Flushed first.
        cast: Who is put to the test.
        ttl_s: How long a lease lasts unless it is renewed.
        timeout_s: How long the server may take.
        grace_s: What the checker allows beside, see ``Terms``.
    """

    def __init__(
        self,
        server: Server,
        cast: Cast = OURS,
        *,
        ttl_s: float = 1.0,
        timeout_s: float = 0.25,
        grace_s: float = 0.5,
    ) -> None:
        self.server = server
        self.cast = cast
        self.ttl_s = ttl_s
        self.timeout_s = timeout_s
        self.terms = Terms(ttl_s, grace_s)
        #: What a scenario itself has seen.
        self.seen: list[Violation] = []
        self._names: list[str] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self.server.flush()
        self.directory = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="envelope-faults-")))
        self.register = Register(self.directory / "register.db")
        self._closing.callback(self.register.close)
        self._own = Recorder(self.directory / "stage.jsonl")
        self._closing.callback(self._own.close)
        if self.cast.bug is not None:
            self._closing.enter_context(planted(self.cast.bug))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def client(self, url: str | None = None) -> Client:
        """Start a client process."""
        (client,) = self.clients(1, url)
        return client

    def clients(self, count: int, url: str | None = None) -> list[Client]:
        """Start client processes, side by side."""
        started = []
        for _ in range(count):
            name = self._name("client")
            options = {
                "name": name,
                "directory": str(self.directory),
                "url": url or self.server.url,
                "subject": self.cast.subject,
                "bug": self.cast.bug,
                "ttl_s": self.ttl_s,
                "timeout_s": self.timeout_s,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.client", json.dumps(options)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            client = Client(name, process, self._own)
            self._closing.callback(client.end)
            started.append((client, process))
        for client, process in started:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{client.name} did not start; what it printed is above")
        return [client for client, _ in started]

    @asynccontextmanager
    async def worker(self, url: str | None = None) -> AsyncIterator[Worker]:
        """Give a worker in this process."""
        name = self._name("worker")
        subject: Subject = SUBJECTS[self.cast.subject](url or self.server.url, self.ttl_s, self.timeout_s)
        recorder = Recorder(self.directory / f"{name}.jsonl")
        register = Register(self.directory / "register.db")
        try:
            yield Worker(name, subject, recorder, register)
        finally:
            await subject.aclose()
            recorder.close()
            register.close()

    @contextmanager
    def fault(self, name: str = "server") -> Iterator[None]:
        """Note that something is broken until the block ends."""
        begun = clock()
        yield
        self._own.write(Event("fault", name, begun=begun, ended=clock()))

    def events(self) -> list[Event]:
        return read_history(self.directory.glob("*.jsonl"))

    def judge(self, *, exclusion: bool = True) -> list[Violation]:
        """Give everything that went wrong."""
        log, values = self.register.log(), self.register.values()
        return [*self.seen, *judge(self.events(), self.terms, log=log, values=values, exclusion=exclusion)]

    def count(self, op: str, outcome: str) -> int:
        return sum(event.op == op and event.outcome == outcome for event in self.events())

    def _name(self, kind: str) -> str:
        self._names.append(kind)
        return f"{kind}{len(self._names)}"
