"""A cluster of three primaries without replicas."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from tests.servers.process import free_port, wait_until
from tests.servers.server import Server

_SLOTS = 16384


class Cluster:
    """Three primaries that share the slots evenly, in the order of ``servers``."""

    def __init__(self) -> None:
        self.servers = (_Node(), _Node(), _Node())
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for server in self.servers:
                starting.enter_context(server)
            self._form()
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(server.address for server in self.servers)

    def server_of(self, key: str) -> Server:
        """Give the server that holds the key."""
        slot = int(self.servers[0].call("CLUSTER", "KEYSLOT", key))
        return self.servers[slot * len(self.servers) // _SLOTS]

    def flush(self) -> None:
        for server in self.servers:
            server.flush()

    def _form(self) -> None:
        first, count = self.servers[0], len(self.servers)
        for number, server in enumerate(self.servers):
            begin, end = -(-number * _SLOTS // count), -(-(number + 1) * _SLOTS // count)
            server.call("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
            server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if server is not first:
                server.call("CLUSTER", "MEET", first.host, first.port, first.bus_port)
        for server in self.servers:
            wait_until(server.is_in_cluster, within_s=15, told=lambda: "\n".join(s.output for s in self.servers))


class _Node(Server):
    def __init__(self) -> None:
        self.bus_port = free_port()
        # A node that is late by the timeout is failed and takes the cluster down: no shorter than a busy machine.
        timeout = ("--cluster-node-timeout", "5000")
        super().__init__("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port), *timeout)

    def is_in_cluster(self) -> bool:
        lines = self.call("CLUSTER", "INFO").splitlines()
        return {"cluster_state:ok", "cluster_known_nodes:3", "cluster_size:3"} <= set(lines)
