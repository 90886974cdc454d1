"""Debian's memcached."""

from __future__ import annotations

import socket

from tests.servers.process import Process


class Memcached(Process):
    """A memcached server with 16 MiB."""

    def command(self) -> list[str]:
        # -u: as root it refuses to start without one, and nobody else may change it.
        return ["memcached", "-l", self.host, "-p", str(self.port), "-U", "0", "-m", "16", "-u", "nobody"]

    def answers(self) -> bool:
        try:
            return self.call("version").startswith("VERSION")
        except OSError:
            return False

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"memcached://{self.address}"

    def call(self, line: str) -> str:
        """Send one line of the text protocol, such as ``get key``, and give the first line of the answer."""
        with socket.create_connection((self.host, self.port), timeout=2) as connection:
            connection.sendall(line.encode() + b"\r\n")
            with connection.makefile("r", newline="\r\n") as answer:
                return answer.readline().rstrip()

    def flush(self) -> None:
        self.call("flush_all")
