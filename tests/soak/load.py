"""The load of the soak, from a process of its own: every kind of request, at a steady rate, each answer judged.

``python -m tests.soak.load PORT SECONDS RATE`` prints what was seen as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.util import find_spec
from itertools import count, cycle
from typing import Any, Self

import httpx

HOST = "127.0.0.1"

#: Requests under way at the most.
_IN_FLIGHT = 24

#: Clients that come again, beside those that never do.
_REGULARS = 50

#: Objects that are fought over.
_OBJECTS = 6

#: A client that takes longer has met a service that hangs.
_PATIENCE_S = 20


class Load:
    """All that clients do to one service.

    Args:
        port: Of the service.
        worker: Takes the tokens that are handed off.
    """

    def __init__(self, port: int, worker: asyncio.StreamWriter) -> None:
        self.seen: Counter[str] = Counter()
        self.flaws: Counter[str] = Counter()
        self._port = port
        self._worker = worker
        self._tokens = count()
        self._strangers = count()
        self._client = httpx.AsyncClient(
            base_url=f"http://{HOST}:{port}",
            timeout=_PATIENCE_S,
            trust_env=False,
            # Shorter than the servers keep a connection, so that none is closed while it is taken up again.
            limits=httpx.Limits(max_keepalive_connections=8, keepalive_expiry=2),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Give the kinds of requests."""
        kinds = {name: self._asking(*of) for name, of in _ASKED.items()}
        kinds |= {
            "hand off": self._hand_off,
            "hang up": self._hang_up,
            "hang up in a stream": self._hang_up_in_a_stream,
            "read slowly": self._read_slowly,
            "send half a body": self._send_half_a_body,
        }
        # uvicorn and hypercorn need a library for them.
        if find_spec("wsproto") or find_spec("websockets"):
            kinds |= {"websocket": self._echo, "websocket that is not there": self._websocket_that_is_not_there}
        return kinds

    async def run(self, seconds: float, rate: float) -> None:
        """Send requests for a while.

        Args:
            seconds: How long.
            rate: Requests a second.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        under_way: set[asyncio.Task[None]] = set()
        for number, (name, ask) in enumerate(cycle(self.kinds().items())):
            due = begun + number / rate
            if due > begun + seconds:
                break
            await asyncio.sleep(max(0.0, due - loop.time()))
            if len(under_way) >= _IN_FLIGHT:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self._judged(name, ask))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way, timeout=_PATIENCE_S + 5)

    async def _judged(self, name: str, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await ask()
        except Exception as error:
            told = str(error) if isinstance(error, Flaw) else repr(error)
            self.flaws[f"{name}: {told}"] += 1

    def _client_headers(self) -> dict[str, str]:
        if random.random() < 0.3:
            return {"x-forwarded-for": f"192.0.2.{random.randrange(_REGULARS)}"}
        stranger = next(self._strangers)
        return {"x-forwarded-for": f"10.{stranger >> 16 & 255}.{stranger >> 8 & 255}.{stranger & 255}"}

    def _asking(
        self, method: str, path: str, statuses: set[int], options: dict[str, Any]
    ) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            filled = path.format(n=random.randrange(100_000), object=random.randrange(_OBJECTS))
            headers = self._client_headers()
            if filled in ("/tight", "/limited"):
                headers = {"x-forwarded-for": "198.51.100.1"}
            headers |= options.get("headers", {})
            await self._ask(method, filled, statuses, **{**options, "headers": headers})

        return ask

    async def _ask(self, method: str, path: str, statuses: set[int], **options: Any) -> httpx.Response:
        try:
            response = await self._client.request(method, path, **options)
        except httpx.RemoteProtocolError:
            # The only right end of a stream that breaks.
            if path != "/breaks":
                raise
            self.seen["cut"] += 1
            return httpx.Response(200)
        self.seen[str(response.status_code)] += 1
        if response.status_code not in statuses:
            raise Flaw(f"status {response.status_code}")
        if path == "/breaks":
            raise Flaw("a broken stream looks whole")
        judge(response)
        return response

    async def _hand_off(self) -> None:
        response = await self._ask("POST", f"/entities/{random.randrange(1000)}/work", {200, 423, 503})
        if response.status_code == 200 and next(self._tokens) % 5:  # every fifth job is lost in the queue
            self._worker.write(response.json()["content"]["token"].encode() + b"\n")
            await self._worker.drain()

    async def _hang_up(self) -> None:
        _, writer = await self._connect()
        writer.write(_head("PUT", f"/entities/{random.randrange(_OBJECTS)}", "content-length: 0"))
        await writer.drain()
        await asyncio.sleep(random.random() * 0.2)
        writer.transport.abort()
        self.seen["hung up"] += 1

    async def _hang_up_in_a_stream(self) -> None:
        reader, writer = await self._connect()
        writer.write(_head("GET", "/big"))
        await reader.readexactly(20_000)
        writer.transport.abort()
        self.seen["hung up"] += 1

    async def _send_half_a_body(self) -> None:
        _, writer = await self._connect()
        writer.write(
            _head("POST", "/things", "content-type: application/json", "content-length: 1000") + b'{"name"'
        )
        await writer.drain()
        await asyncio.sleep(random.random() * 0.1)
        writer.transport.abort()
        self.seen["hung up"] += 1

    async def _read_slowly(self) -> None:
        reader, writer = await self._connect()
        writer.write(_head("GET", "/big", "connection: close"))
        taken = 0
        while chunk := await reader.read(65_536):
            taken += len(chunk)
            await asyncio.sleep(0.02)
        writer.close()
        if taken < 64 * 16_384:
            raise Flaw("a slow reader got less than all")
        self.seen["read slowly"] += 1

    async def _echo(self) -> None:
        reader, writer = await self._connect()
        writer.write(_head("GET", "/echo", *_UPGRADE))
        if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
            raise Flaw("the handshake was refused")
        writer.write(_frame(0x1, b"hello"))
        if await reader.readexactly(7) != b"\x81\x05hello":
            raise Flaw("another echo")
        writer.write(_frame(0x8, b"\x03\xe8"))
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        self.seen["websocket"] += 1

    async def _websocket_that_is_not_there(self) -> None:
        reader, writer = await self._connect()
        writer.write(_head("GET", "/nowhere", *_UPGRADE))
        if b" 101 " in await reader.readuntil(b"\r\n\r\n"):
            raise Flaw("a websocket that is not there was accepted")
        writer.close()
        self.seen["websocket refused"] += 1

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (HOST, self._port))
        return await asyncio.open_connection(sock=client, limit=65_536)


class Flaw(Exception):  # noqa: N818 - it is what was found
    """An answer that is not what it should be."""


def judge(response: httpx.Response) -> None:
    """Refuse an answer that does not keep the convention.

    Raises:
        Flaw: It does not.
    """
    if response.request.method == "HEAD" or response.request.url.path.startswith("/raw/"):
        return
    if "application/json" not in response.headers.get("content-type", ""):
        if response.status_code >= 400:
            raise Flaw(f"a failure of {response.headers.get('content-type')}")
        return
    body = response.json()
    if response.status_code >= 400:
        if body.keys() != {"code", "message", "status"} or body["code"] != response.status_code:
            raise Flaw(f"no failure of the convention: {body}")
        if "nobody may read this" in response.text or "hush" in response.text:
            raise Flaw("a secret")
    elif body.keys() != {"status", "content"}:
        raise Flaw(f"no success of the convention: {body}")
    if response.status_code in (423, 429, 503) and int(response.headers["retry-after"]) < 1:
        raise Flaw("no Retry-After")


def _head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"host: {HOST}", *lines, "", ""]).encode()


def _frame(opcode: int, payload: bytes) -> bytes:
    # A mask of zeros is a mask (RFC 6455, 5.3).
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


_UPGRADE = (
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)

_PREFLIGHT = {"origin": "https://app.example", "access-control-request-method": "GET"}
_GOOD = {"name": "a", "secret": "hush", "amount": 1}

#: Method, path, what may be answered, and what else httpx is told.
_ASKED: dict[str, tuple[str, str, set[int], dict[str, Any]]] = {
    "read": ("GET", "/things/{n}", {200}, {}),
    "head": ("HEAD", "/things/{n}", {405}, {}),
    "sync": ("GET", "/things/{n}/report", {200}, {}),
    "create": ("POST", "/things", {200}, {"json": _GOOD}),
    "invalid": ("POST", "/things", {400}, {"json": {**_GOOD, "amount": "many"}}),
    "unparsable": ("POST", "/things", {400}, {"content": b"{"}),
    "raw": ("GET", "/raw/{n}", {200}, {}),
    "numbers": ("GET", "/numbers", {200}, {}),
    "events": ("GET", "/events", {200}, {}),
    "broken stream": ("GET", "/breaks", set(), {}),
    "update": ("PATCH", "/entities/{object}", {200, 423, 503}, {}),
    "update too": ("PATCH", "/entities/{object}", {200, 423, 503}, {}),
    "update invalid": ("PATCH", "/entities/x", {400}, {}),
    "replace": ("PUT", "/entities/{object}", {200, 423, 503}, {}),
    "delete": ("DELETE", "/entities/{object}", {404, 423, 503}, {}),
    "tight": ("GET", "/tight", {200, 429}, {}),
    "limited": ("GET", "/limited", {200, 429}, {}),
    "missing": ("GET", "/missing", {404}, {}),
    "frozen": ("GET", "/frozen", {409}, {}),
    "teapot": ("GET", "/teapot", {418}, {}),
    # uvicorn closes the connection behind an exception, which whoever takes it up again may meet.
    "crash": ("GET", "/crash", {500}, {"headers": {"connection": "close"}}),
    "foreign": ("GET", "/foreign", {409}, {}),
    "no route": ("GET", "/nowhere/{n}", {404}, {}),
    "no method": ("DELETE", "/things/{n}", {405}, {}),
    "mounted": ("GET", "/plain/deep/gone", {410}, {}),
    "gzip": ("GET", "/things/499/report", {200}, {}),
    "preflight": ("OPTIONS", "/things/1", {200}, {"headers": _PREFLIGHT}),
}


async def main(port: int, seconds: float, rate: float) -> dict[str, Any]:
    """Load the service on a port, and give what was seen."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdin is not None
    async with Load(port, worker.stdin) as load:
        await load.run(seconds, rate)
    worker.stdin.close()
    printed, _ = await worker.communicate()
    return {"seen": load.seen, "flaws": load.flaws, "worker": json.loads(printed or b"{}")}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))))
