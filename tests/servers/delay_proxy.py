"""The process behind ``Delay``: arguments are its port, the server's port and the seconds each way.

Orders come by standard input, one a line, each answered with ``ok``; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
from collections import deque

HOST = "127.0.0.1"


class Proxy:
    def __init__(self, to_port: int, each_way_s: float) -> None:
        self.to_port = to_port
        self.usual_s = each_way_s
        self.each_way_s = each_way_s
        self.loses_requests = False
        self.loses_replies = False
        self.ends: set[End] = set()
        self.connecting: set[asyncio.Task[None]] = set()

    def obey(self, order: str, *arguments: str) -> None:
        match order:
            case "pause":
                self.loses_requests = self.loses_replies = True
            case "lose_replies":
                self.loses_replies = True
            case "slow":
                self.each_way_s = float(arguments[0])
            case "drop":
                for end in tuple(self.ends):
                    end.cut()
            case "heal":
                self.loses_requests = self.loses_replies = False
                self.each_way_s = self.usual_s
            case _:
                raise ValueError(order)


class End(asyncio.Protocol):
    """One end of a proxied connection: what arrives here is due at the other end a delay later."""

    def __init__(self, proxy: Proxy, other: End | None = None) -> None:
        self.proxy = proxy
        self.is_client = other is None
        self.other = other or End(proxy, self)
        self.transport: asyncio.Transport | None = None
        self.lost_something = False
        self._due: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.proxy.ends.add(self)
        if self.is_client and not self._loses():
            task = asyncio.get_running_loop().create_task(self._connect())
            self.proxy.connecting.add(task)
            task.add_done_callback(self.proxy.connecting.discard)
        self._deliver()

    def data_received(self, data: bytes) -> None:
        if not self._loses():
            self.other.expect(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.ends.discard(self)
        # A client that hangs up is always passed on, lest the server keep connections of nobody.
        if self.is_client or not self._loses():
            self.other.expect(None)

    def expect(self, data: bytes | None) -> None:
        """Write the data, or close for None, when the delay has passed."""
        self._due.append((asyncio.get_running_loop().time() + self.proxy.each_way_s, data))
        self._deliver()

    def cut(self) -> None:
        self._due.clear()
        if self.transport is not None:
            self.transport.abort()

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.other, HOST, self.proxy.to_port)
        except OSError:
            self.cut()

    def _loses(self) -> bool:
        """Tell whether what arrives here is swallowed: bytes after a gap would make no sense to anybody."""
        self.lost_something |= self.proxy.loses_requests if self.is_client else self.proxy.loses_replies
        return self.lost_something

    def _deliver(self) -> None:
        if self.transport is None or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        while self._due and self._due[0][0] <= loop.time():
            data = self._due.popleft()[1]
            if data is None:
                self.transport.close()
            else:
                self.transport.write(data)
        if self._due:
            self._timer = loop.call_at(self._due[0][0], self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._deliver()


async def main(port: int, to_port: int, each_way_s: float) -> None:
    loop = asyncio.get_running_loop()
    proxy = Proxy(to_port, each_way_s)
    ended = loop.create_future()

    def listen() -> None:
        orders = os.read(0, 4096).decode()
        if not orders:
            loop.remove_reader(0)
            ended.set_result(None)
        for order in orders.splitlines():
            proxy.obey(*order.split())
            print("ok", flush=True)

    await loop.create_server(lambda: End(proxy), HOST, port, backlog=1024)
    loop.add_reader(0, listen)
    print("ok", flush=True)
    await ended


if __name__ == "__main__":
    # epoll waits whole milliseconds, select microseconds: with the former, half a millisecond becomes one.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
