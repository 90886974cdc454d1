"""``envelope locks``: lists, shows and breaks what is locked, and nothing that was not looked at."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from datetime import datetime
from typing import Any

import pytest

from envelope.cli import locks as commands
from tests.cli.running import Terminal, environment, lock, read, run, run_at_terminal, start, unlock
from tests.locks.storages.places import slot_of

#: This machine may be busy.
pytestmark = pytest.mark.timeout(60)


def keys_of(document: dict[str, Any]) -> list[str]:
    return [each["key"] for each in document["locks"]]


def age(server: Any, key: str, seconds: int) -> None:
    """Let an object have been busy for so long."""
    server.call("HINCRBY", slot_of(key), "a", -1000 * seconds)


# list


def test_list_on_every_kind_of_server(server) -> None:
    """All that is locked, with everything that is known of it."""
    one = lock(server.url, "entity:1", operation="rename")
    two = lock(server.url, "entity:2", hands_off=True)

    document = read("locks", "list", "--storage", server.url)

    assert document["version"] == 1
    assert (document["storage"], document["namespace"], document["total"]) == (server.url, "", 2)
    found = {each["key"]: each for each in document["locks"]}
    assert set(found) == {"entity:1", "entity:2"}
    assert set(found["entity:1"]) == {
        *("key", "is_cut", "operation", "holder", "since", "age_s", "expires_in_s", "state", "fence"),
    }
    assert (found["entity:1"]["operation"], found["entity:2"]["operation"]) == ("rename", "entity")
    assert (found["entity:1"]["state"], found["entity:2"]["state"]) == ("held", "handed_off")
    assert (found["entity:1"]["fence"], found["entity:2"]["fence"]) == (one.fence, two.fence)
    assert re.fullmatch(r".+:\d+", found["entity:1"]["holder"])
    assert datetime.fromisoformat(found["entity:1"]["since"]).utcoffset() is not None
    assert found["entity:1"]["since"].endswith("Z")
    assert 0 <= found["entity:1"]["age_s"] < found["entity:1"]["expires_in_s"] <= 600


def test_list_in_a_pipe_is_lines_with_tabs(url) -> None:
    """Complete, however long; what is not for programs is on standard error."""
    lease = lock(url, "entity:1" + "0" * 190, operation="o" * 150)
    result = run("locks", "list", ENVELOPE_STORAGE=url)

    head, line = (each.split("\t") for each in result.stdout.splitlines())
    assert head == ["key", "operation", "holder", "since", "age", "ends in", "state", "fence"]
    assert line[:2] == ["entity:1" + "0" * 190, "o" * 150]
    assert line[6:] == ["held", str(lease.fence)]
    assert result.stderr == f"1 object is locked in {url}.\n"
    assert result.exit_code == 0


def test_list_of_nothing(url) -> None:
    """Is no failure."""
    result = run("locks", "list", "--storage", url)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"0 objects are locked in {url}.\n")
    assert read("locks", "list", "--storage", url)["locks"] == []


def test_list_is_filtered(valkey, url) -> None:
    """By operation, state and age; the oldest first."""
    lock(url, "a", operation="rename")
    lock(url, "b", operation="verify")
    lock(url, "c", operation="verify", hands_off=True)
    lock(url, "d", operation="verify")
    age(valkey, "b", 40)
    age(valkey, "d", 4000)

    def listed(*options: str) -> list[str]:
        return keys_of(read("locks", "list", *options, ENVELOPE_STORAGE=url))

    assert listed()[:2] == ["d", "b"]
    assert sorted(listed("--operation", "verify")) == ["b", "c", "d"]
    assert listed("--state", "handed_off") == ["c"]
    assert sorted(listed("--state", "held")) == ["a", "b", "d"]
    assert listed("--older-than", "30s") == ["d", "b"]
    assert listed("--older-than", "1h") == ["d"]
    assert listed("--older-than", "30", "--operation", "rename") == []


def test_list_shows_the_oldest_of_many(valkey, url) -> None:
    """As many as asked for, and says that there are more."""
    lock(url, *(f"entity:{number}" for number in range(20)))
    for number in (3, 17, 11):
        age(valkey, f"entity:{number}", 100 + number)

    document = read("locks", "list", "--limit", "3", "--storage", url)
    assert document["total"] == 20
    assert keys_of(document) == ["entity:17", "entity:11", "entity:3"]
    assert "20 objects" in (told := run("locks", "list", "--limit", "3", "--storage", url).stderr)
    assert "the oldest 3 are shown, --limit shows more" in told


def test_list_of_ten_thousand(server) -> None:
    """All of them, by questions that each look at few."""
    for first in range(0, 10_000, 1000):
        lock(server.url, *(f"entity:{number}" for number in range(first, first + 1000)))
    home = getattr(server, "primary", server)
    home = home if home is not server or not hasattr(server, "server_of") else server.server_of(slot_of("x"))

    with home.counting() as traffic:
        document = read("locks", "list", "--limit", "20000", "--storage", server.url)

    assert document["total"] == 10_000
    assert set(keys_of(document)) == {f"entity:{number}" for number in range(10_000)}
    assert traffic.commands["evalsha"] >= 10
    assert traffic.in_scripts["keys"] == traffic.commands["keys"] == 0


def test_list_leaves_out_what_is_not_ours(valkey, url) -> None:
    """And says so."""
    lock(url, "a", "b")
    valkey.call("SET", slot_of("c"), "a text")
    valkey.call("HSET", slot_of("b"), "e", "soon")
    result = run("locks", "list", "--json", "--storage", url)

    assert keys_of(json.loads(result.stdout)) == ["a"]
    assert result.stderr == ("Warning: keys in the lock storage that are not ours, or cannot be read: 2\n")
    assert result.exit_code == 0


def test_namespaces_are_others(url) -> None:
    """By option, or from the environment."""
    lock(url, "a", namespace="orders")
    lock(url, "b")

    assert keys_of(read("locks", "list", "--storage", url)) == ["b"]
    assert keys_of(read("locks", "list", "--namespace", "orders", "--storage", url)) == ["a"]
    document = read("locks", "list", ENVELOPE_STORAGE=url, ENVELOPE_NAMESPACE="orders")
    assert (keys_of(document), document["namespace"]) == (["a"], "orders")
    told = run("locks", "inspect", "b", ENVELOPE_STORAGE=url, ENVELOPE_NAMESPACE="orders")
    assert (told.exit_code, told.output) == (1, f"b is free in namespace 'orders' of {url}.\n")


EVIL = "entity:\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\t\u202e\x7f"


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["inspect", EVIL], ["inspect", EVIL, "--json"]]
)
def test_control_characters_reach_no_terminal(url, monkeypatch, arguments) -> None:
    """They came from the network; only what we draw with may be there."""
    lock(url, EVIL, operation="o\x1b[31m")
    shown = run_at_terminal(monkeypatch, "locks", *arguments, columns=200, ENVELOPE_STORAGE=url).shown

    assert "entity:\\" in shown
    left = re.sub(r"\x1b\[[\d;]*m", "", shown) if arguments == ["list"] else shown
    assert [each for each in left if not each.isprintable() and each != "\n"] == []
    assert "\x1b[31m" not in shown


@pytest.mark.parametrize("command", [["list"], ["inspect", "a\\x1bb"]])
def test_keys_that_would_look_alike(url, command) -> None:
    """A backslash is doubled, where another character is spelled out."""
    lock(url, "a\\x1bb", "a\x1bb")
    shown = run("locks", *command, "--storage", url).stdout
    assert ("a\\\\x1bb" in shown, "a\\x1bb\t" in shown) == (True, command == ["list"])
    assert set(keys_of(read("locks", "list", "--storage", url))) == {"a\\x1bb", "a\x1bb"}


def test_beginning_of_a_long_key_is_marked(url) -> None:
    """A server knows no more of it; whole, it is found."""
    lock(url, "k" * 300)
    assert run("locks", "list", "--storage", url).stdout.splitlines()[1].startswith("k" * 200 + "...\t")
    (found,) = read("locks", "list", "--storage", url)["locks"]
    assert (found["key"], found["is_cut"]) == ("k" * 200, True)
    assert read("locks", "inspect", "k" * 300, "--storage", url)["lock"]["is_cut"] is False


def test_table_on_a_terminal_is_whole(url, monkeypatch) -> None:
    """Also on a narrow one: nothing of a key is left out, and a fence can be copied."""
    key = "entity:" + "0123456789" * 5
    lease = lock(url, key, operation="rename")
    code, shown = run_at_terminal(monkeypatch, "locks", "list", ENVELOPE_STORAGE=url)

    assert code == 0
    head, *lines, about = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert re.split(r"  +", head.strip()) == [
        *("key", "operation", "holder", "age", "ends in", "state", "fence"),
    ]
    assert "".join(line[: head.index("operation")].strip() for line in lines) == key
    assert str(lease.fence) in lines[0]
    assert max(map(len, lines)) <= 80
    assert about == f"1 object is locked in {url}."


def test_colours_can_be_turned_off(url, monkeypatch) -> None:
    """By NO_COLOR, as everywhere."""
    lock(url, "a")
    colour = re.compile(r"\x1b\[[\d;]*3\d")
    assert colour.search(run_at_terminal(monkeypatch, "locks", "list", ENVELOPE_STORAGE=url).shown)
    plain = run_at_terminal(monkeypatch, "locks", "list", ENVELOPE_STORAGE=url, NO_COLOR="1").shown
    assert not colour.search(plain)


# inspect


def test_inspect_shows_the_holder(server) -> None:
    """All that is known; exit code 0."""
    lease = lock(server.url, "entity:1", operation="rename")
    result = run("locks", "inspect", "entity:1", "--storage", server.url)

    assert result.exit_code == 0
    facts = dict(re.findall(r"^  (\S+(?: \S+)?)  +(.+)$", result.stdout, re.MULTILINE))
    assert set(facts) == {"operation", "holder", "since", "ends in", "state", "fence"}
    assert (facts["operation"], facts["state"], facts["fence"]) == ("rename", "held", str(lease.fence))


def test_inspect_of_a_free_object(server) -> None:
    """Exit code 1, and no lock in the document."""
    result = run("locks", "inspect", "entity:1", "--storage", server.url)

    assert (result.exit_code, result.output) == (1, f"entity:1 is free in {server.url}.\n")
    assert read("locks", "inspect", "entity:1", "--storage", server.url, code=1) == {
        "version": 1,
        "storage": server.url,
        "namespace": "",
        "key": "entity:1",
        "lock": None,
    }


def test_inspect_of_a_key_that_is_not_ours(valkey, url) -> None:
    """It is neither free nor held, and no outage."""
    valkey.call("SET", slot_of("a"), "a text")
    result = run("locks", "inspect", "a", "--storage", url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Error: {url} answered, but what lies under a key is not ours\n" in result.stderr


@pytest.mark.parametrize(("field", "content"), [("o", "%ff"), ("w", "%ff"), ("f", "soon")])
def test_inspect_of_a_record_that_cannot_be_read(valkey, url, field, content) -> None:
    """Is told, and is not taken for a free object."""
    lock(url, "a")
    valkey.call("HSET", slot_of("a"), field, content)
    result = run("locks", "inspect", "a", "--storage", url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {url} answered, but what lies under a key is not ours, or cannot be read\n"


# break


def test_break_without_a_terminal_is_refused(url) -> None:
    """Nobody can be asked, and nothing is changed; nor is the storage."""
    lock(url, "a")
    result = run("locks", "break", "a", "--storage", url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "--yes FENCE" in result.stderr
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 0


def test_break_with_the_fence_that_was_shown(server) -> None:
    """Asks nothing, and frees the object."""
    lock(server.url, "a", "b")
    fence = read("locks", "inspect", "a", "--storage", server.url)["lock"]["fence"]
    result = run("locks", "break", "a", "--yes", str(fence), "--storage", server.url)

    assert (result.exit_code, result.stdout) == (0, "The lock on a is broken.\n")
    assert "a is locked:" in result.stderr
    assert run("locks", "inspect", "a", "--storage", server.url).exit_code == 1
    assert run("locks", "inspect", "b", "--storage", server.url).exit_code == 0


def test_break_with_a_stale_fence(url) -> None:
    """Changes nothing, and shows who has the object now."""
    before = lock(url, "a")
    unlock(url, "a")
    now = lock(url, "a", operation="another")
    result = run("locks", "break", "a", "--yes", str(before.fence), "--storage", url)

    assert result.exit_code == 1
    assert "Nothing was changed: another lease has a now." in result.stdout
    assert "another" in result.stdout
    assert str(now.fence) in result.stdout
    document = read("locks", "break", "a", "--yes", str(before.fence), "--storage", url, code=1)
    assert (document["broken"], document["lock"]["fence"]) == (False, now.fence)
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 0


def test_break_of_a_free_object(url) -> None:
    """Exit code 1."""
    result = run("locks", "break", "a", "--yes", "1", "--storage", url)

    assert (result.exit_code, result.output) == (1, f"Nothing was changed: a is free in {url}.\n")
    assert read("locks", "break", "a", "--yes", "1", "--storage", url, code=1)["lock"] is None


def test_break_as_a_document(url) -> None:
    """With the lease that was broken."""
    lease = lock(url, "a")
    document = read("locks", "break", "a", "--yes", str(lease.fence), "--storage", url)

    assert (document["broken"], document["key"], document["lock"]["fence"]) == (True, "a", lease.fence)


@pytest.mark.parametrize("taken_again", [False, True])
def test_lock_that_goes_between_the_look_and_the_break(url, monkeypatch, taken_again) -> None:
    """What was looked at is not there any more: nothing is changed."""
    lease = lock(url, "a")
    really_break = commands._break

    def break_late(*arguments: Any) -> bool:
        unlock(url, "a")
        if taken_again:
            lock(url, "a", operation="another")
        return really_break(*arguments)

    monkeypatch.setattr(commands, "_break", break_late)
    result = run("locks", "break", "a", "--yes", str(lease.fence), "--storage", url)

    assert result.exit_code == 1
    assert ("another lease has a now" if taken_again else "a is free") in result.stdout
    assert run("locks", "inspect", "a", "--storage", url).exit_code == int(not taken_again)


@pytest.mark.parametrize(
    ("typed", "code", "words"), [("y\n", 0, "The lock on a is broken."), ("n\n", 1, "Nothing was changed.")]
)
def test_break_shows_and_asks(url, monkeypatch, typed, code, words) -> None:
    """Who holds it, and what breaking means."""
    lease = lock(url, "a", operation="rename")
    ended = run_at_terminal(monkeypatch, "locks", "break", "a", typed=typed, ENVELOPE_STORAGE=url)

    assert ended.code == code
    assert words in ended.shown
    assert "rename" in ended.shown
    assert str(lease.fence) in ended.shown
    assert "does not stop the holder" in ended.shown
    assert "Break it? [y/N]" in ended.shown
    assert run("locks", "inspect", "a", "--storage", url).exit_code == int(code == 0)


def test_end_of_input_is_no(url, monkeypatch) -> None:
    """Ctrl-D; the line of the question is ended."""
    lock(url, "a")
    code, shown = run_at_terminal(monkeypatch, "locks", "break", "a", typed="\x04", ENVELOPE_STORAGE=url)

    assert code == 1
    assert shown.endswith("Break it? [y/N]: \nNothing was changed.\n")
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 0


def test_question_is_asked_again(url, monkeypatch) -> None:
    """Of whoever says neither yes nor no."""
    lock(url, "a")
    code, shown = run_at_terminal(monkeypatch, "locks", "break", "a", typed="a\nYES\n", ENVELOPE_STORAGE=url)

    assert code == 0
    assert "Answer y or n.\nBreak it? [y/N]: " in shown


def test_enter_is_no(url, monkeypatch) -> None:
    """Whoever wants it has to say so."""
    lock(url, "a")
    assert run_at_terminal(monkeypatch, "locks", "break", "a", typed="\n", ENVELOPE_STORAGE=url).code == 1
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 0


def test_break_of_a_free_object_asks_nothing(url, monkeypatch) -> None:
    """There is nothing to say yes to."""
    ended = run_at_terminal(monkeypatch, "locks", "break", "a", typed="y\n", ENVELOPE_STORAGE=url)

    assert ended.code == 1
    assert "a is free" in ended.shown
    assert "[y/N]" not in ended.shown


@pytest.mark.parametrize("taken_again", [False, True])
def test_lock_that_goes_while_the_operator_thinks(url, taken_again) -> None:
    """Yes is the answer to what was shown, not to what came after it; the document is all of standard output."""
    lock(url, "a")
    with Terminal() as terminal:
        streams = {"stdin": terminal.end, "stderr": terminal.end}
        process = start("locks", "break", "a", "--json", streams=streams, ENVELOPE_STORAGE=url)
        terminal.wait_for("Break it? [y/N]")
        unlock(url, "a")
        after = lock(url, "a") if taken_again else None
        terminal.type("y\n")
        output, _ = process.communicate(timeout=40)

    document = json.loads(output)
    assert (process.returncode, document["broken"]) == (1, False)
    assert (document["lock"] and document["lock"]["fence"]) == (after and after.fence)
    assert run("locks", "inspect", "a", "--storage", url).exit_code == int(not taken_again)


def test_interrupted_question_changes_nothing(url) -> None:
    """Exit code 130, as a shell makes of Ctrl-C."""
    lock(url, "a")
    with Terminal() as terminal:
        streams = {"stdin": terminal.end, "stderr": terminal.end}
        process = start("locks", "break", "a", streams=streams, ENVELOPE_STORAGE=url)
        terminal.wait_for("[y/N]")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=40)

    assert (process.returncode, output) == (130, "")
    assert "Traceback" not in terminal.shown
    assert run("locks", "inspect", "a", "--storage", url).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--limit", "0"], "0 is not in the range"),
        (["list", "--state", "free"], "'free' is not one of"),
        (["list", "--older-than", "soon"], "'soon' is no duration"),
        (["list", "--older-than", "0"], "'0' is no duration"),
        (["inspect", ""], "it is empty; name an object"),
        (["inspect"], "Missing argument 'KEY'"),
        (["break", "a", "--yes", "all"], "'all' is not a valid integer"),
        (["list", "--namespace", "a b"], "namespace is 'a b'; use letters"),
        (["list", "--timeout", "nan"], "give a number of seconds"),
        (["list", "--timeout", "0"], "0.0 is not in the range"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments, words) -> None:
    """Exit code 2, and no server was asked."""
    result = run("locks", *arguments, "--storage", "redis://127.0.0.1:9")

    assert result.exit_code == 2
    assert words in result.stderr


def test_pipe_that_nobody_reads_to_its_end(url) -> None:
    """As with ``| head``: no traceback, and the exit code of a process that the pipe's signal ends."""
    lock(url, *(f"entity:{number}:{'x' * 150}" for number in range(1000)))
    line = f"{start.__globals__['COMMAND']} locks list | head -n 1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env=environment(ENVELOPE_STORAGE=url),
    )

    assert ran.stdout.startswith("key\toperation")
    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""
    assert ran.returncode == 141
