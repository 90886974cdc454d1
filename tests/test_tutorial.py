"""The tutorial is followed by machine: its files are written, its commands run, and what comes is what it shows.

    python -m tests.test_tutorial redis://localhost:6379/0 .venv/bin/python

follows it once more, with a server that may be flushed and the packages of some Python, and writes what came into the page.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import redis

from tests.servers.server import Server

PAGE = Path(__file__).parents[1] / "docs/tutorial/first-service.md"

#: What is done to the machine of whoever reads it; here everything is there already.
PREPARING = re.compile(
    r"mkdir entities && cd entities|python3 -m venv \.venv|\. \.venv/bin/activate|pip install .*"
)

#: What a block is: its fence, and what stands in it.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: A command, with the lines that continue it, and what it printed.
COMMAND = re.compile(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", re.MULTILINE)

#: What differs from run to run, and what the page has in its place.
VOLATILE = [
    (r"(?m)^date: .*", "date: some time"),
    (r"(?m)^(x-ratelimit-\w+|retry-after): \d+", r"\1: N"),
    (r";r=\d+;t=\d+", ";r=N;t=N"),
    (r"127\.0\.0\.1:\d{5}\b", "127.0.0.1:N"),
    (r"\d+ requests sent", "N requests sent"),
    # Of the command line: a time and how long it is until then; process, age, rest and fence of a lock.
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:[\d.]+Z", "some time"),
    (r"in \d+m( \d+s)?", "in a while"),
    (r"\blaptop:\d+", "laptop:N"),
    (r"\t[\d.]+s\t[\d.]+s\t(\w+)\t\d{16}\b", r"\tAGE\tREST\t\1\tFENCE"),
]

#: Where the reader of the page is.
HOME = "/home/ada/entities"


class Walk:
    """Somebody who follows the page, in an empty folder.

    Args:
        folder: Is empty.
        server: The URL of a server that may be flushed.
        python: Has what the page installs.
    """

    def __init__(self, folder: Path, server: str, python: str = sys.executable) -> None:
        self._folder = folder
        self._python = python
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._starting: dict[str, str] = {}
        #: What stands on the page -> what is there.
        self._places = {
            "localhost:6379": re.sub(r".*//|/.*", "", server),
            "127.0.0.1:8000": f"127.0.0.1:{_free_port()}",
            "127.0.0.1:8001": f"127.0.0.1:{_free_port()}",
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ENVELOPE_")}
        path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
        # As wide as what fits onto a page; without the coverage of whoever runs the tests.
        self._environment = environment | {"PATH": path, "COLUMNS": "100", "LANG": "C.UTF-8", "NO_COLOR": "1"}

    def follow(self, page: str) -> str:
        """Do what the page says, and give it with what came of it."""
        return BLOCK.sub(self._do, page)

    def stop(self) -> None:
        for process in self._servers.values():
            process.terminate()
        for process in self._servers.values():
            process.wait(timeout=30)
        self._servers = {}

    def _do(self, block: re.Match[str]) -> str:
        kind, text = block.groups()
        if kind == "python":
            title = block.string[: block.start()].rstrip().rpartition("\n")[2]
            (self._folder / title.strip("`")).write_text(text)
            self._serve(*self._starting.values())
        elif kind == "sh":
            self._prepare(text.splitlines())
        elif kind == "console":
            text = COMMAND.sub(lambda command: f"$ {command[1]}{self._run(command[1])}", text)
        elif kind == "text":
            text = self._logged(text)
        else:
            raise AssertionError(f"a block of {kind} is nothing that can be followed")
        return f"```{kind}\n{text}```"

    def _prepare(self, lines: list[str]) -> None:
        for line in lines:
            if "uvicorn app:app" not in line:
                assert PREPARING.fullmatch(line), line
            elif " --port " in line or not self._servers:
                if "8000" in line:  # the server of before is stopped, says the page
                    self.stop()
                    self._starting = {}
                self._starting["8001" if "8001" in line else "8000"] = line
                self._serve(line)

    def _serve(self, *lines: str) -> None:
        """Start servers as these lines do; what --reload would do is done by starting anew."""
        for line in lines:
            port = "8001" if "8001" in line else "8000"
            before = self._servers.pop(port, None)
            if before is not None:
                before.terminate()
                before.wait(timeout=30)
            words = shlex.split(self._here(line.removesuffix(" --reload").removesuffix(f" --port {port}")))
            assignments = dict(word.split("=", 1) for word in words if "=" in word)
            own_port = self._places[f"127.0.0.1:{port}"].partition(":")[2]
            log = self._log(port)
            with log.open("w") as output:
                self._servers[port] = subprocess.Popen(
                    [self._python, "-m", "uvicorn", *words[words.index("app:app") :], "--port", own_port],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    env=self._environment | assignments,
                )
            give_up_at = time.monotonic() + 60
            while "Uvicorn running on" not in log.read_text():
                assert self._servers[port].poll() is None, log.read_text()
                assert time.monotonic() < give_up_at, log.read_text()
                time.sleep(0.02)

    def _run(self, command: str) -> str:
        """Run what was typed, and give what it printed, in lines."""
        typed = command.replace("\n> ", "\n")
        if typed.startswith("export "):
            name, _, value = typed.removeprefix("export ").strip().partition("=")
            self._environment[name] = self._here(value).replace("$PWD", str(self._folder))
            return ""
        # No test speaks to a terminal, so curl would show how far it is.
        done = subprocess.run(
            ["bash", "-c", self._here(typed)],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder,
            env=self._environment,
            text=True,
            timeout=120,
        )
        printed = self._there(done.stdout)
        return printed if not printed or printed.endswith("\n") else f"{printed}\n"

    def _logged(self, text: str) -> str:
        """Give those lines of the server's log that the page shows; a crash is told after it was answered."""
        shown = {mask(line) for line in text.splitlines()}
        give_up_at = time.monotonic() + 10
        while True:
            log = [self._there(line) for line in self._log("8000").read_text().splitlines()]
            kept = [line for line in log if mask(line) in shown]
            if shown <= {mask(line) for line in kept} or time.monotonic() > give_up_at:
                return "".join(f"{line}\n" for line in kept)
            time.sleep(0.02)

    def _log(self, port: str) -> Path:
        return self._folder.with_name(f"{self._folder.name}-{port}.log")

    def _here(self, text: str) -> str:
        for there, here in self._places.items():
            text = text.replace(there, here)
        ports = {port: self._places[f"127.0.0.1:{port}"].partition(":")[2] for port in ("8000", "8001")}
        return re.sub(r"(?<= )800[01](?=[ ;])", lambda port: ports[port[0]], text)

    def _there(self, text: str) -> str:
        for there, here in self._places.items():
            text = text.replace(here, there)
        return text.replace(str(self._folder), HOME).replace(socket.gethostname(), "laptop")


def mask(text: str) -> str:
    """Put the same in the place of whatever differs from run to run."""
    for pattern, substitute in VOLATILE:
        text = re.sub(pattern, substitute, text)
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(180)  # five servers are started, and what takes time on the page takes it here
def test_what_comes_is_what_the_page_shows(valkey: Server, tmp_path: Path) -> None:
    """Every command prints what stands below it, but for times, ports and counts."""
    valkey.flush()
    folder = tmp_path / "entities"
    folder.mkdir()
    walk = Walk(folder, valkey.url)
    page = PAGE.read_text()

    try:
        came = walk.follow(page)
    finally:
        walk.stop()

    assert mask(came).splitlines() == mask(page).splitlines()


def test_every_command_of_the_page_is_run() -> None:
    """Nothing that looks like a command stands where nobody runs it; there is something to run."""
    page = PAGE.read_text()
    blocks = BLOCK.findall(page)

    commands = [command for kind, text in blocks if kind == "console" for command in COMMAND.findall(text)]

    assert len(commands) >= 20
    assert page.count("```") == 2 * len(blocks)
    assert all(text.startswith("$ ") for kind, text in blocks if kind == "console")
    assert shutil.which("curl"), "the tutorial needs curl"


def main() -> None:
    url, *python = sys.argv[1:]
    with redis.Redis.from_url(url) as client, tempfile.TemporaryDirectory() as above:
        client.flushall()
        folder = Path(above) / "entities"
        folder.mkdir()
        walk = Walk(folder, url, *(str(Path(each).absolute()) for each in python))
        try:
            came = walk.follow(PAGE.read_text())
        finally:
            walk.stop()
    PAGE.write_text(came)


if __name__ == "__main__":
    main()
