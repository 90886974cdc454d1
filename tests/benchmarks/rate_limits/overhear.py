"""Overhears the command with which we ask a server about one request: between both stands a relay that notes it."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from tests.benchmarks.rate_limits.drive import Driver
from tests.benchmarks.rate_limits.subjects import OURS, Setup, build


async def overhear(setup: Setup, address: str) -> list[bytes]:
    """Send requests from an address, and give the command that the last of them sends, word by word.

    Raises:
        RuntimeError: It sends no command, or more than one.
    """
    heard = bytearray()
    to_port = urlsplit(setup.url).port
    pumps: set[asyncio.Task[None]] = set()

    async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", to_port)
        for pump in (_pump(client, to_server, heard), _pump(server, to_client, bytearray())):
            pumps.add(asyncio.create_task(pump))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listening, AsyncExitStack() as stack:
        url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        driver = Driver(await build(OURS, Setup(limits=setup.limits, url=url), stack), address=address)
        # The first opens the connection, and the server learns the script.
        await driver.send()
        await driver.send()
        heard.clear()
        await driver.send()
        command = _parse(bytes(heard))
        for pump in pumps:
            pump.cancel()
    return command


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, heard: bytearray) -> None:
    while data := await source.read(65536):
        heard += data
        target.write(data)
    target.close()


def _parse(request: bytes) -> list[bytes]:
    """Read one command of the Redis protocol: an array of strings with their lengths."""
    words, place = [], request.find(b"\r\n") + 2
    while header := re.compile(rb"\$(\d+)\r\n").match(request, place):
        begin = header.end()
        place = begin + int(header[1]) + 2
        words.append(request[begin : place - 2])
    if not words or not request.startswith(b"*%d\r\n" % len(words)) or place != len(request):
        raise RuntimeError(f"one command was expected, heard {request!r}")
    return words
