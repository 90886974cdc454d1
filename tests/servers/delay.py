"""A TCP proxy in front of a server: it delays, swallows or cuts. The proxy itself is ``delay_proxy.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.servers.process import HOST, free_port


class Delay:
    """Everything to and from the port arrives ``each_way_s`` later, pipelined bytes side by side.

    It runs in a process of its own, so that it takes no time from the event loop under test.

    Args:
        to_port: where the server listens.
        each_way_s: seconds, for a request and for its reply each; 0 delays nothing.
    """

    host = HOST

    def __init__(self, to_port: int, each_way_s: float = 0.0005) -> None:
        self.port = free_port()
        self._arguments = [str(self.port), str(to_port), str(each_way_s)]
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        script = Path(__file__).with_name("delay_proxy.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), *self._arguments],
            stdin=subprocess.PIPE,  # the proxy ends when this closes, by whatever end of the test run
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        try:
            self._wait_for_ok()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def pause(self) -> None:
        """Become a black hole: connections are accepted, whatever is sent either way is swallowed.

        A connection that lost something so is dead for good; one that was silent works again after ``heal()``.
        """
        self._tell("pause")

    def lose_replies(self) -> None:
        """Pass requests on and swallow the replies; a connection that lost one never gets another."""
        self._tell("lose_replies")

    def drop(self) -> None:
        """Cut every connection (a reset at both ends); new ones are served as before."""
        self._tell("drop")

    def slow(self, each_way_s: float) -> None:
        """Change the delay of what is sent from now on, until ``heal()``."""
        self._tell(f"slow {each_way_s}")

    def heal(self) -> None:
        """Serve as at the start."""
        self._tell("heal")

    def _tell(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        self._wait_for_ok()

    def _wait_for_ok(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ok\n":
            raise RuntimeError(f"the proxy ended (what it printed is above): {self._process.args!r}")
