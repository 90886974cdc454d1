"""The floors: the least code that limits by hand, in memory and on a server. Neither knows any special case."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.benchmarks.rate_limits.apps import Limit

_REFUSAL = b'{"code":429,"message":"too many requests","status":"failure"}'


class _Counters:
    """The counters of one limit: a dict for this window, a dict for the window before."""

    def __init__(self, limit: Limit) -> None:
        self.amount, self.window_s = limit.amount, limit.window_s
        self.ends_at = 0.0
        self.current: dict[str, int] = {}
        self.previous: dict[str, int] = {}

    def rotate(self, now: float) -> None:
        self.previous = self.current if now < self.ends_at + self.window_s else {}
        self.current = {}
        self.ends_at = now + self.window_s - (now - self.ends_at) % self.window_s


class CountingFloor:
    """A dict of counters: a sliding window counter for each limit, and the legacy headers."""

    def __init__(self, app: ASGIApp, limits: Sequence[Limit]) -> None:
        self.app = app
        self._limits = [_Counters(limit) for limit in limits]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        key = scope["client"][0]
        now = time.monotonic()
        least, tightest = -1, self._limits[0]
        for counters in self._limits:
            left_s = counters.ends_at - now
            if left_s <= 0:
                counters.rotate(now)
                left_s = counters.ends_at - now
            used = counters.current.get(key, 0)
            if before := counters.previous.get(key):
                used += int(before * left_s / counters.window_s)
            remaining = counters.amount - used - 1
            if remaining < 0:
                await refuse(send, _headers(counters.amount, 0, left_s), left_s)
                return
            if least < 0 or remaining < least:
                least, tightest = remaining, counters
        for counters in self._limits:
            counters.current[key] = counters.current.get(key, 0) + 1
        headers = _headers(tightest.amount, least, tightest.ends_at - now)
        await self.app(scope, receive, _adding(headers, send))


class ScriptFloor:
    """One script call per request through the client library, and the legacy headers.

    Args:
        app: The application.
        call: Sends the script and gives what is left (below 0: refused) and the seconds to wait.
        amount: The amount of the limit that the headers describe.
    """

    def __init__(self, app: ASGIApp, call: Callable[[], Any], amount: int) -> None:
        self.app = app
        self._call = call
        self._amount = amount

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        remaining, wait_s = await self._call()
        if remaining < 0:
            await refuse(send, _headers(self._amount, 0, wait_s), wait_s)
            return
        await self.app(scope, receive, _adding(_headers(self._amount, remaining, wait_s), send))


async def refuse(send: Send, headers: list[tuple[bytes, bytes]], wait_s: float) -> None:
    """Send a 429."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_REFUSAL)),
        (b"retry-after", b"%d" % (int(wait_s) + 1)),
        *headers,
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSAL})


def _headers(amount: int, remaining: int, reset_s: float) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit", b"%d" % amount),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % (int(reset_s) + 1)),
    ]


def _adding(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return add
