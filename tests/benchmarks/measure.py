"""Measures requests in process: no server, no socket, only the application's own work.

Subjects take turns in short batches, so that a slow moment of the machine meets all of them; a ratio is
made within one round and the median of the rounds is reported.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Protocol

from starlette.types import ASGIApp, Message

from tests.benchmarks.subjects import Work


class Runs(Protocol):
    """What ``compare`` measures."""

    async def run(self, requests: int) -> float:
        """Give the mean seconds per request of one batch."""


class Client:
    """Sends one prepared request to one application, again and again."""

    def __init__(self, app: ASGIApp, work: Work) -> None:
        self._app = app
        self._scope = scope_of(work.path, method=work.method, body=work.body)
        self._request: Message = {"type": "http.request", "body": work.body, "more_body": False}

    async def answer(self) -> tuple[int, bytes]:
        """Give the status and body of one answer.

        Raises:
            ValueError: ``Content-Length`` is not the body's.
        """
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        await self._app(dict(self._scope), self._receive, send)
        body = b"".join(message["body"] for message in messages[1:])
        length = dict(messages[0]["headers"]).get(b"content-length")
        if length is not None and int(length) != len(body):
            raise ValueError(f"Content-Length is {length!r}, the body has {len(body)} bytes")
        return messages[0]["status"], body

    async def run(self, requests: int) -> float:
        """Give the mean seconds per request of one batch."""
        app, scope, receive = self._app, self._scope, self._receive
        begun = perf_counter()
        for _ in range(requests):
            await app(scope.copy(), receive, _drop)
        return (perf_counter() - begun) / requests

    async def peak(self) -> int:
        """Give the most bytes that one request holds at a time, beside what was there before."""
        await self.run(1)
        gc.collect()
        tracemalloc.start()
        try:
            await self.run(1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async def _receive(self) -> Message:
        return self._request


@dataclass(frozen=True)
class Figures:
    """One subject's seconds per request, one value a round; rounds are comparable between subjects."""

    seconds: list[float]

    @property
    def median_us(self) -> float:
        return median(self.seconds) * 1e6

    @property
    def least_us(self) -> float:
        return min(self.seconds) * 1e6

    def added_us(self, to: Figures) -> float:
        """Give the median of what a round took longer than the other subject's."""
        return median(own - other for own, other in zip(self.seconds, to.seconds, strict=True)) * 1e6

    def ratio(self, over: Figures) -> float:
        """Give the median of the rounds' ratios."""
        return median(own / other for own, other in zip(self.seconds, over.seconds, strict=True))


async def compare(clients: Mapping[str, Runs], *, rounds: int, batch_s: float) -> dict[str, Figures]:
    """Measure several subjects in turn.

    Args:
        clients: The subjects by name.
        rounds: How often each has its turn.
        batch_s: How long a turn lasts, about.
    """
    sizes = {name: max(1, round(batch_s / await _estimate_s(client))) for name, client in clients.items()}
    seconds: dict[str, list[float]] = {name: [] for name in clients}
    names = list(clients)
    # What is alive now is nobody's garbage; without it, a collection between two batches costs nothing.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                await clients[name].run(1)
                seconds[name].append(await clients[name].run(sizes[name]))
                gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return {name: Figures(values) for name, values in seconds.items()}


async def _estimate_s(client: Runs) -> float:
    await client.run(5)
    return min([await client.run(5) for _ in range(3)])


async def _drop(message: Message) -> None:
    pass


def scope_of(path: str, *, method: str = "GET", body: bytes = b"", address: str = "127.0.0.1") -> dict[str, Any]:
    """Make the scope of one request, as uvicorn makes it."""
    return {
        "type": "http",
        # From 2.4 on, Starlette streams without a task that waits for the client to leave.
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost:8000"),
            (b"user-agent", b"benchmark"),
            (b"accept", b"application/json"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ],
        "client": (address, 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
