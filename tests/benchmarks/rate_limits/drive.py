"""Drives applications in process: one request after the other, or many in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Protocol

from starlette.types import ASGIApp, Message

from tests.benchmarks.measure import scope_of
from tests.benchmarks.rate_limits.apps import ADMITTED, PATH

IN_FLIGHT = 64


class Sends(Protocol):
    """Sends one request and waits for its answer."""

    async def send(self) -> None:
        """Send it."""


class Driver:
    """Sends the same request to one application, from one address."""

    def __init__(self, app: ASGIApp, *, address: str = "10.0.0.1", path: str = PATH) -> None:
        self._app = app
        self._scope = scope_of(path, address=address)

    async def send(self) -> None:
        """Send the request; a scope of its own has a state of its own."""
        await self._app({**self._scope, "state": {}}, _receive, _drop)

    async def send_from(self, address: str) -> None:
        """Send the request from another address."""
        await self._app({**self._scope, "client": (address, 50000), "state": {}}, _receive, _drop)

    async def answer(self, address: str | None = None) -> tuple[int, Mapping[bytes, bytes]]:
        """Give the status and the headers of one answer."""
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        client = self._scope["client"] if address is None else (address, 50000)
        await self._app({**self._scope, "client": client, "state": {}}, _receive, send)
        return messages[0]["status"], dict(messages[0]["headers"])


class OneByOne:
    """Sends a request when the one before is answered; the loop turns once after each, as under a server."""

    def __init__(self, sender: Sends) -> None:
        self._sender = sender

    async def run(self, requests: int) -> float:
        """Give the mean seconds per request of one batch."""
        send = self._sender.send
        begun = perf_counter()
        for _ in range(requests):
            await send()
            await asyncio.sleep(0)
        return (perf_counter() - begun) / requests


class InFlight:
    """Keeps 64 requests in flight."""

    def __init__(self, sender: Sends) -> None:
        self._sender = sender

    async def run(self, requests: int) -> float:
        """Give the seconds of one batch over its requests, which are at least 64."""
        requests = max(requests, IN_FLIGHT)
        left = iter(range(requests))
        begun = perf_counter()
        await asyncio.gather(*(self._work(left) for _ in range(IN_FLIGHT)))
        return (perf_counter() - begun) / requests

    async def _work(self, left: Any) -> None:
        for _ in left:
            await self._sender.send()


class FlawedError(Exception):
    """A subject's answer is wrong, or there is none."""


async def admit(driver: Driver, address: str | None = None) -> None:
    """See a request admitted.

    Raises:
        FlawedError: It was not.
    """
    status = await _status(driver, address)
    if status != 200:
        raise FlawedError(f"a request that fits gets {status}")


async def exhaust(driver: Driver) -> None:
    """Exhaust a tight limit.

    Raises:
        FlawedError: A request that fits was refused, one that does not was admitted, or one of another client
            was refused.
    """
    for _ in range(ADMITTED):
        await admit(driver)
    status = await _status(driver, None)
    if status != 429:
        raise FlawedError(f"the request after {ADMITTED} that fit gets {status}")
    status = await _status(driver, "10.0.255.255")
    if status != 200:
        raise FlawedError(f"a second client, which has sent nothing yet, gets {status}")


async def _status(driver: Driver, address: str | None) -> int:
    try:
        return (await driver.answer(address))[0]
    except Exception as error:
        raise FlawedError(f"{type(error).__name__}: {error}") from error


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _drop(message: Message) -> None:
    pass
