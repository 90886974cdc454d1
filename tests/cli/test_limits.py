"""``envelope limits``: shows what is counted for a client, and forgets it."""

from __future__ import annotations

import logging

import pytest

from envelope import RouteLimit
from tests.cli.running import charge, read, run, run_at_terminal

#: This machine may be busy.
pytestmark = pytest.mark.timeout(60)

STRATEGIES = ["sliding-window-counter", "fixed-window", "moving-window"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_that_is_counted_is_found(server, strategy) -> None:
    """Of every scope, also in shadow; and nothing is charged by looking."""
    charge(server.url, "203.0.113.7", "20/minute", "5000/day", cost=3, strategy=strategy)
    charge(server.url, "203.0.113.7", RouteLimit("5/hour", shadow=True), scope="POST /é", strategy=strategy)
    charge(server.url, "203.0.113.8", "9/day", strategy=strategy)

    for _ in range(2):
        document = read("limits", "inspect", "203.0.113.7", "--strategy", strategy, "--storage", server.url)
        assert [
            (each["limit"], each["scope"], each["shadow"], each["amount"], each["remaining"])
            for each in document["limits"]
        ] == [
            ("20/minute", "", False, 20, 17),
            ("5000/day", "", False, 5000, 4997),
            ("5/hour", "POST /é", True, 5, 4),
        ]
    assert (document["version"], document["subject"], document["strategy"]) == (1, "203.0.113.7", strategy)
    assert 0 < document["limits"][0]["reset_s"] <= 60.001
    assert document["limits"][0]["reset_at"].endswith("Z")


def test_limits_that_are_asked_for(url) -> None:
    """Also such as nothing is counted of."""
    charge(url, "ada", "20/minute", cost=3)
    charge(url, "ada", "5/hour", scope="reports")

    def left(*arguments: str) -> list[tuple[str, int]]:
        found = read("limits", "inspect", "ada", *arguments, "--storage", url)["limits"]
        return [(each["limit"], each["remaining"]) for each in found]

    assert left("20/minute", "7 per 2 hours") == [("20/minute", 17), ("7/2 hours", 7)]
    assert left("5/hour") == [("5/hour", 5)]
    assert left("5/hour", "--scope", "reports") == [("5/hour", 4)]
    assert left("--scope", "reports") == [("5/hour", 4)]
    assert left("--scope", "") == [("20/minute", 17)]
    assert left("--scope", "nothing") == []
    (untouched,) = read("limits", "inspect", "eve", "5/hour", "--storage", url)["limits"]
    assert (untouched["reset_s"], untouched["reset_at"]) == (0, None)


def test_counts_in_a_pipe_are_lines_with_tabs(url) -> None:
    """With what is used."""
    charge(url, "ada", "20/minute", cost=3)
    result = run("limits", "inspect", "ada", "20/minute", "3/hour", "--storage", url)

    head, counted, untouched = (line.split("\t") for line in result.stdout.splitlines())
    assert head == ["limit", "scope", "amount", "used", "remaining", "more in", "more at", "shadow"]
    assert (counted[:5], counted[7]) == (["20/minute", "", "20", "3", "17"], "no")
    assert untouched == ["3/hour", "", "3", "0", "3", "-", "-", "no"]
    assert (result.exit_code, result.stderr) == (0, "")


def test_nothing_is_counted(url) -> None:
    """Which is no failure, and says where was looked."""
    result = run("limits", "inspect", "ada", "--storage", url)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Nothing is counted for ada by sliding-window-counter in {url}.\n"


def test_long_subjects_are_shortened_as_the_limiter_does(url) -> None:
    """What was counted for one is found."""
    charge(url, "a" * 1000, "20/minute")
    (found,) = read("limits", "inspect", "a" * 1000, "--storage", url)["limits"]
    assert found["remaining"] == 19
    assert read("limits", "inspect", "a" * 999, "--storage", url)["limits"] == []


def test_secret_comes_from_the_environment(url) -> None:
    """Without it, or with another one, nothing is found; there is no option for it."""
    charge(url, "ada", "20/minute", key_secret="s3cret")

    def found(secret: str) -> int:
        document = read("limits", "inspect", "ada", "--storage", url, ENVELOPE_KEY_SECRET=secret)
        return len(document["limits"])

    assert (found(""), found("s3cret"), found("other")) == (0, 1, 0)
    assert run("limits", "reset", "ada", "--yes", "--storage", url, ENVELOPE_KEY_SECRET="s3cret").exit_code == 0
    assert found("s3cret") == 0
    assert "secret" not in run("limits", "inspect", "--help").output.lower()


def test_namespaces_are_others(url) -> None:
    """As those of the locks."""
    charge(url, "ada", "20/minute", namespace="orders")
    assert read("limits", "inspect", "ada", "--storage", url)["limits"] == []
    assert len(read("limits", "inspect", "ada", "--namespace", "orders", "--storage", url)["limits"]) == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reset_forgets_all(server, strategy) -> None:
    """Of this client only."""
    charge(server.url, "ada", "20/minute", "5/hour", strategy=strategy)
    charge(server.url, "bob", "20/minute", strategy=strategy)
    document = read("limits", "reset", "ada", "--yes", "--strategy", strategy, "--storage", server.url)

    assert (document["subject"], document["reset"]) == ("ada", True)
    left = [
        len(read("limits", "inspect", each, "--strategy", strategy, "--storage", server.url)["limits"])
        for each in ("ada", "bob")
    ]
    assert left == [0, 1]


@pytest.mark.parametrize("arguments", [["--yes"], []])
def test_reset_of_whom_nobody_knows_says_so(url, monkeypatch, arguments) -> None:
    """A typing error must not look like help."""
    charge(url, "ada", "20/minute")
    ended = run_at_terminal(monkeypatch, "limits", "reset", "adda", *arguments, typed="", ENVELOPE_STORAGE=url)

    assert ended.code == 1
    assert "Nothing is counted for adda by sliding-window-counter in" in ended.shown
    assert len(read("limits", "inspect", "ada", "--storage", url)["limits"]) == 1


def test_reset_without_a_terminal_is_refused(url) -> None:
    """Unless it was said beforehand."""
    charge(url, "ada", "20/minute")
    result = run("limits", "reset", "ada", "--storage", url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "give --yes" in result.stderr
    assert len(read("limits", "inspect", "ada", "--storage", url)["limits"]) == 1
    assert run("limits", "reset", "ada", "--yes", "--storage", url).stdout == "ada begins anew.\n"


@pytest.mark.parametrize(("typed", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1), ("\x04", 1, 1)])
def test_reset_shows_and_asks(url, monkeypatch, typed, code, left) -> None:
    """What would be forgotten."""
    charge(url, "ada", "20/minute", cost=3)
    ended = run_at_terminal(monkeypatch, "limits", "reset", "ada", typed=typed, ENVELOPE_STORAGE=url)

    assert ended.code == code
    assert "20/minute" in ended.shown
    assert "Forget all that is counted for ada? [y/N]" in ended.shown
    assert ("begins anew" if code == 0 else "Nothing was changed") in ended.shown
    assert len(read("limits", "inspect", "ada", "--storage", url)["limits"]) == left


def test_subject_is_in_no_log(url, caplog) -> None:
    """It is data of a person, and only for who typed it; control characters are nobody's."""
    caplog.set_level(logging.DEBUG)
    charge(url, "ada\x1b[31m@example.com", "20/minute")
    for command in (["inspect"], ["reset", "--yes"], ["inspect"]):
        result = run("limits", *command, "ada\x1b[31m@example.com", "--storage", url)
        assert result.exit_code == 0
        assert "\x1b" not in result.output
    assert "ada" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect", "ada", "20/fortnight"], "'20/fortnight' is no limit"),
        (["inspect", "ada", "20/minute", "20/minute"], "'20/minute' stands twice"),
        (["inspect", ""], "it is empty; give what the limiter's key function returns"),
        (["inspect"], "Missing argument 'SUBJECT'"),
        (["inspect", "ada", "--strategy", "leaky-bucket"], "'leaky-bucket' is not one of"),
        (["inspect", "ada", "20000/day", "--strategy", "moving-window"], "too much for 'moving-window'"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments, words) -> None:
    """Exit code 2, and no server was asked."""
    result = run("limits", *arguments, "--storage", "redis://127.0.0.1:9")

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_key_that_is_not_ours(valkey, url) -> None:
    """Is told in one line."""
    charge(url, "ada", "20/minute")
    (key,) = valkey.call("KEYS", "*")
    valkey.call("DEL", key)
    valkey.call("SET", key, "a text")
    result = run("limits", "inspect", "ada", "--storage", url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {url} answered, but what lies under a key is not ours\n"


def test_memcached_knows_what_it_is_asked_for(memcached_server) -> None:
    """It lists nothing, and finds nothing to forget."""
    memcached_server.flush()
    charge(memcached_server.url, "ada", "20/minute", cost=3)
    (found,) = read("limits", "inspect", "ada", "20/minute", "--storage", memcached_server.url)["limits"]
    assert found["remaining"] == 17
    for arguments, words in (
        (["inspect", "ada"], "name them: envelope limits inspect SUBJECT 5/minute\n"),
        (["reset", "ada", "--yes"], "only the service can forget it"),
    ):
        result = run("limits", *arguments, "--storage", memcached_server.url)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr
