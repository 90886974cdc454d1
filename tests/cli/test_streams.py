"""Streams that are closed, full or of another encoding: they neither stop the work nor make another answer of it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from envelope import cli
from envelope.cli import storages, streams
from envelope.cli.tables import ToolError
from tests.cli.running import COMMAND, Terminal, environment, lock, run, start

#: This machine may be busy.
pytestmark = pytest.mark.timeout(60)


def shell(line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell, in which ``envelope`` is the installed command."""
    return subprocess.run(
        ["bash", "-c", f'envelope() {{ {COMMAND} "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env=environment(**more),
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("envelope locks inspect a >&-", 0),
        ("envelope locks inspect b >&-", 1),
        ("envelope locks list >&- 2>&- <&-", 0),
        ("envelope locks inspect a 2>&-", 0),
        ("envelope locks inspect a --no-such-option 2>&-", 2),
        ("envelope locks inspect a --no-such-option 2>/dev/full", 2),
        ("envelope locks break a <&-", 2),
        ("envelope --help >/dev/full", 2),
    ],
)
def test_exit_code_is_that_of_the_answer(url, line, code) -> None:
    """Whatever the shell has closed, and never 1 for a bug."""
    lock(url, "a")
    ran = shell(line, ENVELOPE_STORAGE=url)

    assert ran.returncode == code
    assert "Traceback" not in ran.stderr
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 0


@pytest.mark.parametrize("stream", [">&-", "2>&-", "2>/dev/full"])
def test_lock_is_broken_whoever_is_told(url, stream) -> None:
    """What is told of the holder is not worth the work."""
    lease = lock(url, "a")
    ran = shell(f"envelope locks break a --yes {lease.fence} {stream}", ENVELOPE_STORAGE=url)

    assert ran.returncode == 0
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 1


def test_table_is_whole_without_its_count(url) -> None:
    """Standard error is for people, and takes nothing here."""
    lock(url, "a", "b")
    ran = shell("envelope locks list 2>/dev/full", ENVELOPE_STORAGE=url)

    assert (ran.returncode, ran.stdout.count("\n")) == (0, 3)


def test_standard_error_that_takes_nothing(url, monkeypatch, capfd) -> None:
    """In this process: the command goes on, and nothing is left for the end of Python."""
    lock(url, "a")
    monkeypatch.setattr(sys, "argv", ["envelope", "locks", "list", "--storage", url])
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert streams.is_nowhere(full)

    assert not ended.value.code
    assert capfd.readouterr().out.count("\n") == 2


def test_closed_streams_lead_nowhere(monkeypatch) -> None:
    """Others stay what they are."""
    other = io.StringIO()
    for name, file in (("stdin", None), ("stdout", None), ("stderr", other)):
        monkeypatch.setattr(sys, name, file)
    streams.prepare()

    with sys.stdin as stdin, sys.stdout as stdout:
        assert (stdin.read(), stdout.write("a"), streams.is_nowhere(stdout)) == ("", 1, True)
    assert sys.stderr is other


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_key_that_the_terminal_cannot_show(url, encoding) -> None:
    """Is shown somehow; the rest of the table is there."""
    lock(url, "café:☃", operation="rename")
    with Terminal() as terminal:
        ends = {"stdin": terminal.end, "stdout": terminal.end, "stderr": terminal.end}
        process = start("locks", "list", streams=ends, ENVELOPE_STORAGE=url, PYTHONIOENCODING=encoding)
        assert process.wait(timeout=40) == 0
        terminal.wait_for("1 object")
        assert "rename" in terminal.shown


def test_question_that_nobody_sees(url) -> None:
    """Is not asked, and what is typed is no answer to it."""
    lock(url, "a")
    with Terminal() as terminal:
        terminal.type("y\n")
        ends = {"stdin": terminal.end, "stderr": subprocess.DEVNULL}
        process = start("locks", "break", "a", streams=ends, ENVELOPE_STORAGE=url)
        output, _ = process.communicate(timeout=40)

    assert (process.returncode, output) == (2, "")
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 0


def test_question_for_standard_error_that_leads_nowhere(monkeypatch) -> None:
    """As above, in this process."""
    with Path("/dev/null").open("w") as nowhere, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", nowhere)
        with pytest.raises(ToolError, match="which nobody sees"):
            storages.confirm("Break it?")


class _Broken:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("redis://u:s3cret@h"), "Error: envelope itself failed, ValueError at cli/test_streams.py:"),
        (ModuleNotFoundError("No module named 'x.y'", name="x.y"), "envelope itself failed, ModuleNotFoundError"),
        (OSError("s3cret"), "Error: envelope itself failed, OSError at"),
        (PermissionError(13, "Permission denied", "/s3cret"), "Error: the system says: Permission denied\n"),
    ],
)
def test_bug_is_told_in_one_line(monkeypatch, capsys, error, words) -> None:
    """Exit code 2, for 1 would be an answer; without its text, in which there may be a password."""
    monkeypatch.setattr(cli, "build_group", _Broken(error))
    with pytest.raises(SystemExit) as ended:
        cli.main()

    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in told
    assert told.count("\n") == 1
    assert "s3cret" not in told


def test_bug_that_cannot_be_told(monkeypatch) -> None:
    """Has its exit code all the same."""
    monkeypatch.setattr(cli, "build_group", _Broken(ValueError()))
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "stderr", full)
        cli.main()

    assert ended.value.code == 2
