"""What is printed cannot be forged, and what cannot be printed is told."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope import cli
from envelope.cli.durations import Duration, spell
from envelope.cli.tables import iso
from envelope.terminal import printable, unmistakable
from tests.cli.running import lock


@given(st.text())
def test_printable_text_is_one_line_of_what_is_seen(text: str) -> None:
    """Whatever it was."""
    assert printable(text).isprintable()
    assert not text.isprintable() or printable(text) == text


@given(st.text(st.sampled_from("\\x1bn\n\x1b\u202eé☃")))
def test_unmistakable_text_can_be_read_back(text: str) -> None:
    """So that no two look alike."""
    shown = unmistakable(text)
    assert shown.isprintable()
    spelled = re.compile(r"\\\\|\\[tnr]|\\x..|\\u....|\\U........")
    assert spelled.sub(lambda found: found[0].encode().decode("unicode_escape"), shown) == text


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_disk_that_is_full(url, monkeypatch, capsys, options) -> None:
    """Is told once, and not again when Python ends."""
    lock(url, "a")
    monkeypatch.setattr(sys, "argv", ["envelope", "locks", "list", "--storage", url, *options])
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "stdout", full)
        cli.main()

    assert ended.value.code == 2
    assert capsys.readouterr().err == "Error: the output cannot be written: No space left on device\n"


def test_pipe_that_nobody_reads(url, monkeypatch, capfd) -> None:
    """Ends the command as the signal would, without a word."""
    import os

    lock(url, "a")
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "argv", ["envelope", "locks", "list", "--storage", url])
    with os.fdopen(writer, "w") as unread, monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "stdout", unread)
        cli.main()

    assert ended.value.code == 141
    assert capfd.readouterr() == ("", "")


def test_instants_are_in_utc() -> None:
    """With milliseconds, and Z."""
    east = timezone(timedelta(hours=5, minutes=30))
    assert iso(datetime(2030, 1, 31, 23, 30, tzinfo=east)) == "2030-01-31T18:00:00.000Z"
    assert datetime.fromisoformat(iso(now := datetime.now(UTC))) - now < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("1", 1), ("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("365d", 31_536_000)),
        *(("1h30m", 5400), ("1d2h3m4s", 93_784), ("0h5m", 300), ("1d1s", 86_401)),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    """As people write them."""
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "-1", "1.5", "1.5h", "m", "30m1h", "1h 30m", "1H", "366d", "9" * 30, "1w", "٣s", "²", "nan"],
)
def test_what_is_no_duration(text: str) -> None:
    """Is said, with what would be one."""
    with pytest.raises(click.BadParameter, match="write 90, 90s, 10m"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((-1, "0.0s"), (0, "0.0s"), (0.44, "0.4s"), (9.99, "10.0s"), (10, "10s"), (59.4, "59s"), (59.6, "1m")),
        *((60, "1m"), (61, "1m 1s"), (3599, "59m 59s"), (3600, "1h"), (3661, "1h 1m"), (3601, "1h")),
        *((86_400, "1d"), (90_000, "1d 1h"), (31_536_000, "365d")),
    ],
)
def test_durations_are_spelled(seconds: float, words: str) -> None:
    """In their two largest units."""
    assert spell(seconds) == words


@given(st.integers(1, 31_536_000))
def test_what_is_spelled_can_be_read(seconds: int) -> None:
    """And loses no more than its smaller units."""
    read = Duration().convert(spell(seconds).replace(".0", "").replace(" ", ""), None, None)
    assert read <= seconds < read * 1.05 + 1


def test_documents_are_ascii(url) -> None:
    """What is not seen is escaped, and comes back."""
    from tests.cli.running import run

    lock(url, "\u202e☃\x9b")
    output = run("locks", "list", "--json", "--storage", url).stdout
    assert output.isascii()
    assert json.loads(output)["locks"][0]["key"] == "\u202e☃\x9b"
