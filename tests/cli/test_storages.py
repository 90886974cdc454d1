"""Which storage is asked, and what is told when that is not possible: one line, soon, and no password."""

from __future__ import annotations

import logging
import signal
import time

import pytest

from envelope.cli.storages import _explain
from tests.cli.running import read, run, start
from tests.locks.storages.places import slot_of

#: This machine may be busy.
pytestmark = pytest.mark.timeout(60)

COMMANDS = [["locks", "list"], ["locks", "inspect", "a"], ["limits", "inspect", "ada"], ["maintenance", "status"]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://", "memory:// is the memory of the service's own process"),
        ("localhost", "this is no URL; write it as 'redis://host:6379/0'"),
        ("redi://u:s3cret@h", "'redi'"),
        ("redis://u:s3cret@h:port", "storage redis://h"),
        ("redis://u:s3c@ret@h/x@y", "percent-encode"),
        ("redis://u:s3cret@h/no", "is no database"),
        ("redis://u:s3cret@[::1", "storage is no URL"),
        ("redis+sentinel://u:s3cret@h", "name the service"),
        ("", "Missing option '--storage'"),
        ("redi\x1b[31m://h", "Error: "),
    ],
)
def test_url_that_is_of_no_use(command, url, words) -> None:
    """Wherever it was given, and whatever is wrong with it."""
    results = [run(*command, ENVELOPE_STORAGE=url)]
    if url:
        results.append(run(*command, "--storage", url))
    for result in results:
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr
        assert "s3cret" not in result.stderr
        assert "\x1b" not in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", ["", "+sentinel", "+cluster"])
@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_nobody_listens(command, form, library) -> None:
    """One line on standard error, without what the client libraries show of themselves."""
    url = f"{library}{form}://u:s3cret@127.0.0.1:9/{'service' if form == '+sentinel' else '0'}"
    result = run(*command, ENVELOPE_STORAGE=url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {library}{form}://127.0.0.1:9/")
    assert " does not answer: " in result.stderr
    assert result.stderr.count("\n") == 1
    assert "s3cret" not in result.stderr
    assert "<" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_server_that_hangs(own_valkey, command) -> None:
    """Is given up after the timeout."""
    own_valkey.suspend()
    begun = time.monotonic()
    result = run(*command, "--timeout", "0.2", "--storage", own_valkey.url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {own_valkey.url} does not answer: no answer within ")
    assert result.stderr.count("\n") == 1
    assert time.monotonic() - begun < 10


def test_password_is_not_shown(own_valkey) -> None:
    """Nor are options, in which it may stand as well."""
    own_valkey.call("CONFIG", "SET", "requirepass", "s3cret")
    where = f"redis://:s3cret@{own_valkey.address}/0?client_name=s3cret"
    assert read("locks", "list", "--storage", where)["storage"] == own_valkey.url
    for option in ("", "other@"):
        wrong = where.replace(":s3cret@", f":{option}" if option else "").replace("?client_name=s3cret", "")
        result = run("locks", "list", "--storage", wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"Error: {own_valkey.url} answered: ")
        assert result.stderr.endswith("; check the user and the password in the URL\n")
        assert "other" not in result.stderr


@pytest.mark.parametrize(
    ("rules", "right"),
    [
        ("~envelope:* +client|setinfo", "+evalsha"),
        ("~envelope:* +client|setinfo +eval +evalsha +time +hmget", "+scan"),
        ("~envelope:* +client|setinfo +eval +scan", "+evalsha"),
        ("~other:* +@all", "~envelope:*"),
    ],
)
def test_right_that_is_missing_is_named(own_valkey, rules, right) -> None:
    """The server did answer; what it said is told, and what it needs."""
    own_valkey.call("ACL", "SETUSER", "ada", "on", ">s3cret", *rules.split())
    result = run("locks", "list", ENVELOPE_STORAGE=own_valkey.url.replace("//", "//ada:s3cret@"))

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {own_valkey.url} answered: ")
    assert f"; the user needs the right {right} (all the rights: 'Keys in the storage'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "s3cret" not in result.stderr


def test_answer_that_no_right_would_change_is_told_as_it_is() -> None:
    """There is nothing to advise."""
    from redis.exceptions import ReadOnlyError

    assert _explain([ReadOnlyError("You can't write here.")]) == "answered: You can't write here"


def test_answer_of_a_cluster(valkey_cluster) -> None:
    """A value that is not ours is no outage there, either."""
    valkey_cluster.flush()
    valkey_cluster.server_of(slot_of("a")).call("SET", slot_of("a"), "a text")
    result = run("locks", "inspect", "a", ENVELOPE_STORAGE=valkey_cluster.url)

    assert result.exit_code == 2
    assert f"Error: {valkey_cluster.url} answered, but what lies under a key is not ours\n" in result.stderr


def test_log_of_the_caller_stays_as_it_was(caplog) -> None:
    """What is told in one line is not told again by Python's last resort."""
    handlers = list(logging.getLogger("envelope").handlers)
    run("locks", "list", "--storage", "redis://127.0.0.1:9")
    assert logging.getLogger("envelope").handlers == handlers


def test_nothing_else_is_on_standard_error_of_a_process() -> None:
    """Also where nobody has set up a log."""
    output, errors = start("locks", "list", ENVELOPE_STORAGE="redis://127.0.0.1:9").communicate(timeout=40)

    assert output == ""
    assert errors.startswith("Error: redis://127.0.0.1:9 does not answer")
    assert errors.count("\n") == 1


def test_interrupted_command_ends_quietly(own_valkey) -> None:
    """While it waits for an answer: exit code 130."""
    before = int(own_valkey.call("INFO", "stats")["total_connections_received"])
    own_valkey.suspend()
    process = start("locks", "list", "--timeout", "30", ENVELOPE_STORAGE=own_valkey.url)
    deadline = time.monotonic() + 20
    while not connections_to(own_valkey.port) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=40)
    own_valkey.resume()

    assert before >= 0
    assert (process.returncode, output) == (130, "")
    assert "Traceback" not in errors


def connections_to(port: int) -> bool:
    """Tell whether somebody has connected to a port of this machine, as the kernel sees it."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
