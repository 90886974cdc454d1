"""``envelope maintenance``: a switch that others see, and that stays where it was put."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from envelope.maintenance.maintenance import Maintenance
from tests.cli.running import read, run

#: This machine may be busy.
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["file", "one", "sentinel", "cluster"])
def switch(request, tmp_path):
    """A URL of each kind of switch, off."""
    if request.param == "file":
        return f"file://{tmp_path}/a file@b"
    found = request.getfixturevalue({"one": "valkey"}.get(request.param, f"valkey_{request.param}"))
    found.flush()
    return found.url


def seen(url: str, namespace: str = "") -> object:
    """Read the switch as a service would, at its own side."""
    return Maintenance(url, timeout_s=5, namespace=namespace).read()


def test_on_and_off(switch) -> None:
    """As the service sees it; twice is as once."""
    status = ("maintenance", "status", "--storage", switch)
    assert run(*status).output == f"Maintenance is off ({switch}).\n"
    for _ in range(2):
        told = run("maintenance", "on", "--storage", switch)
        assert told.exit_code == 0
        assert "no end is announced.\nIt stays on until: envelope maintenance off\n" in told.stdout
        assert seen(switch) is not None
        assert run(*status).exit_code == 1
    for _ in range(2):
        told = run("maintenance", "off", "--storage", switch)
        assert (told.exit_code, told.stdout) == (0, f"Maintenance is off ({switch}).\n")
        assert seen(switch) is None
        assert run(*status).exit_code == 0


def test_announced_end(switch) -> None:
    """Is told, and can be told anew."""
    document = read("maintenance", "on", "--for", "1h30m", "--storage", switch)
    assert (document["version"], document["storage"], document["on"]) == (1, switch, True)
    since, until = (datetime.fromisoformat(document[name]) for name in ("since", "until"))
    assert 5390 < (until - since).total_seconds() < 5410
    again = read("maintenance", "status", "--storage", switch, code=1)
    assert abs((datetime.fromisoformat(again["until"]) - until).total_seconds()) < 5
    assert re.search(r"in 1h (29|30)m", run("maintenance", "status", "--storage", switch).stdout)
    document = read("maintenance", "on", "--storage", switch)
    assert (document["on"], document["until"]) == (True, None)
    document = read("maintenance", "off", "--storage", switch)
    assert [document[name] for name in ("on", "since", "until")] == [False, None, None]


def test_namespaces_are_others(url) -> None:
    """Of a server that services share."""
    run("maintenance", "on", "--namespace", "orders", ENVELOPE_STORAGE=url)
    assert seen(url, "orders") is not None
    assert seen(url) is None
    told = run("maintenance", "status", ENVELOPE_STORAGE=url, ENVELOPE_NAMESPACE="orders")
    assert told.exit_code == 1
    assert f"(namespace 'orders' of {url})" in told.stdout


def test_end_that_has_passed(tmp_path) -> None:
    """It is on all the same."""
    (tmp_path / "switch").write_text("2020-01-01T00:00:00Z\n")
    told = run("maintenance", "status", "--storage", f"file://{tmp_path}/switch")

    assert told.exit_code == 1
    # Clocks are read one after the other.
    assert re.search(r"announced until 2020-01-01T00:00:\d\d\.\d{3}Z, which has passed", told.stdout)


def test_file_that_makes_no_sense(tmp_path) -> None:
    """It is on, and its content is told to be of no use."""
    (tmp_path / "switch").write_text("until tonight")
    told = run("maintenance", "status", "--storage", f"file://{tmp_path}/switch")

    assert told.exit_code == 1
    assert "no end is announced" in told.stdout
    assert told.stderr.startswith("Warning: ")
    assert "does not hold a time" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["on", "--for", "tomorrow"], "'tomorrow' is no duration"),
        (["on", "--for", "0s"], "'0s' is no duration"),
        (["on", "--for", "2y"], "write 90, 90s, 10m, 2h, 1d or 1h30m"),
        (["on", "--storage", "file://relative/path"], "write three slashes"),
        (["on", "--storage", "file:///no/such/folder/switch"], "there is no directory '/no/such/folder'"),
        (["status", "--storage", "memcached://h"], "no maintenance switch is kept in 'memcached'"),
        (["status", "--storage", "memory://"], "ask there: maintenance.read()"),
        (["off", "--storage", "memory://"], "ask there: maintenance.stop()"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments, words) -> None:
    """Exit code 2."""
    result = run("maintenance", *arguments, ENVELOPE_STORAGE="redis://127.0.0.1:9")

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


@pytest.mark.parametrize(
    ("command", "doubt"),
    [("on", "; whether maintenance has begun is not known, ask with status\n"), ("status", "\n")],
)
def test_switch_that_does_not_answer(command, doubt) -> None:
    """In one line, with what is not known."""
    result = run("maintenance", command, "--storage", "redis://127.0.0.1:9")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: redis://127.0.0.1:9 does not answer: ")
    assert result.stderr.endswith(doubt)
    assert result.stderr.count("\n") == 1
