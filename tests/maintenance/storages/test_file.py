"""The file: what it may hold, what may stand in its place, and file systems that hang."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from envelope import Maintenance, ServiceUnavailableError
from tests.maintenance.switches import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "maintenance"


@pytest.fixture
def maintenance(path: Path) -> Maintenance:
    return Maintenance(f"file://{path}", timeout_s=2, retry_after_s=33)


def _events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["event_name"] for record in caplog.records]


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Rights say nothing to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_touch_switches_it_on_and_rm_off(path: Path, maintenance: Maintenance, caplog: pytest.LogCaptureFixture):
    """What anybody at a shell can do; an empty file announces no end."""
    path.touch()
    announcement = maintenance.read()
    path.unlink()

    assert announcement is not None
    assert announcement.until is None
    assert datetime.now(UTC) - announcement.since < timedelta(seconds=5)
    assert maintenance.read() is None
    assert _events(caplog) == ["envelope.maintenance.begun", "envelope.maintenance.ended"]


@pytest.mark.parametrize(
    "text", ["{:%Y-%m-%dT%H:%M:%SZ}", "{:%Y-%m-%dT%H:%M:%S+00:00}\n", " {:%Y%m%dT%H%M%SZ} \n"]
)
def test_time_in_it_is_the_announced_end(path: Path, maintenance: Maintenance, text: str):
    """ISO 8601 with an offset, as `date -u` and people write it."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    path.write_text(text.format(end))

    announcement = maintenance.read()

    assert announcement is not None
    assert announcement.until is not None
    assert abs(announcement.until - end) < timedelta(seconds=1)
    assert 590 <= maintenance._known.wait_s() <= 600


def test_offset_counts(path: Path, maintenance: Maintenance):
    """18:00 in Kathmandu is not 18:00 in London."""
    end = datetime.now(UTC) + timedelta(minutes=10)
    path.write_text(f"{end + timedelta(hours=5, minutes=45):%Y-%m-%dT%H:%M:%S}+05:45")

    maintenance.read()

    assert 590 <= maintenance._known.wait_s() <= 600


@pytest.mark.parametrize(
    "content", [b"soon", b"10m", b"2030-01-31T18:00:00", b"2030-13-31T18:00:00Z", b"\xff\xfe", b"9" * 100_000]
)
def test_what_is_no_time_announces_no_end(
    path: Path, maintenance: Maintenance, content: bytes, caplog: pytest.LogCaptureFixture
):
    """It is on, and the log says it once for each content; what stands there is not repeated."""
    path.write_bytes(content)
    for _ in range(3):
        announcement = maintenance.read()
        assert announcement is not None
        assert announcement.until is None
    assert maintenance._known.wait_s() == 33
    path.write_bytes(b"")
    maintenance.read()
    path.write_bytes(content)
    maintenance.read()

    assert [each for each in _events(caplog) if "begun" not in each] == ["envelope.maintenance.unreadable"] * 2
    assert "soon" not in caplog.text
    assert f"file://{path}" in caplog.text


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
@pytest.mark.parametrize("changed_at", [0, 253402300799, -62135596800])
def test_times_at_the_end_of_the_world(path: Path, maintenance: Maintenance, text: str, changed_at: int):
    """What somebody wrote into a file never makes a service fail."""
    path.write_text(text)
    os.utime(path, (changed_at, changed_at))

    announcement = maintenance.read()

    assert announcement is not None
    assert announcement.since <= datetime.now(UTC)
    assert 33 <= maintenance._known.wait_s() <= 366 * 86_400


def test_written_whole_or_not_at_all(path: Path, maintenance: Maintenance, monkeypatch: pytest.MonkeyPatch):
    """It is renamed into its place; if that fails, nothing of it stays."""
    maintenance.start(retry_after_s=60)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ServiceUnavailableError) as raised:
        maintenance.start(retry_after_s=600)

    assert str(raised.value.__cause__) == "No space left on device"
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["maintenance"]


def test_written_file_can_be_read_by_all(path: Path, maintenance: Maintenance):
    """Whoever serves may be another user than who switches, with whatever umask."""
    before = os.umask(0o077)
    try:
        maintenance.start(retry_after_s=60)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    end = datetime.fromisoformat(path.read_text().strip())
    assert end.tzinfo is not None
    assert path.read_text().endswith("Z\n")


def test_what_somebody_left_who_was_killed(path: Path, maintenance: Maintenance):
    """One name for what is not finished, so it does not pile up."""
    path.with_name("maintenance.new").write_text("half")

    maintenance.start(retry_after_s=60)

    assert os.listdir(path.parent) == ["maintenance"]
    assert path.read_text() != "half"


def test_killed_while_it_writes(path: Path, maintenance: Maintenance):
    """What is left is gone with the next switching."""
    killed = (
        "import os, sys, envelope; os.replace = lambda *_: os._exit(9); envelope.Maintenance(sys.argv[1]).start()"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", killed, f"file://{path}"], check=False).returncode == 9
        assert len(os.listdir(path.parent)) == 1

    maintenance.start()

    assert os.listdir(path.parent) == ["maintenance"]


def test_nobody_is_led_to_another_file(path: Path, maintenance: Maintenance):
    """A link under the temporary name is removed, not followed."""
    other = path.with_name("other")
    other.write_text("precious")
    path.with_name("maintenance.new").symlink_to(other)

    maintenance.start()

    assert other.read_text() == "precious"
    assert sorted(os.listdir(path.parent)) == ["maintenance", "other"]


def test_link_stays_one(path: Path, maintenance: Maintenance):
    """What it leads to is switched, there for whoever else reads it; nothing lies at its end while it is off."""
    volume = path.with_name("volume")
    volume.mkdir()
    path.symlink_to(volume / "switch")
    assert maintenance.read() is None

    for _ in range(2):
        maintenance.start(retry_after_s=60)
        assert os.listdir(volume) == ["switch"]
        assert maintenance.read() is not None
    maintenance.stop()

    assert path.is_symlink()
    assert os.listdir(volume) == []
    assert maintenance.read() is None
    volume.rmdir()
    with pytest.raises(ServiceUnavailableError):
        maintenance.read()


def test_name_that_is_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Names are bytes; the log can be written nevertheless."""
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    path.write_text("soon")

    assert Maintenance(path.as_uri(), timeout_s=2).read() is not None
    assert f"file://{tmp_path}/\\udcff does not hold a time" in caplog.text
    caplog.text.encode()


def test_no_thread_to_look_with(path: Path, maintenance: Maintenance, monkeypatch: pytest.MonkeyPatch):
    """Nothing is known then, which is no crash."""
    path.touch()
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "envelope-maintenance-file":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(ServiceUnavailableError) as raised:
        maintenance.read()
    assert not maintenance.is_on
    monkeypatch.undo()

    assert str(raised.value.__cause__) == "this process gets no thread to look at the file with"
    assert maintenance.read() is not None


def test_rights_are_told_apart_from_silence(path: Path, request: pytest.FixtureRequest):
    """Trying again would not help."""
    maintenance = Maintenance(f"file://{path}", timeout_s=2)
    path.parent.chmod(0o555)
    for folder in (path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    request.getfixturevalue("unprivileged")

    with pytest.raises(
        ServiceUnavailableError, match=r"switch refuses; whether maintenance has begun .* The log says"
    ):
        maintenance.start()


def test_another_end_leaves_the_beginning(path: Path, maintenance: Maintenance):
    """The file's own date says since when, and stays."""
    path.touch()
    began = datetime(2020, 2, 2, tzinfo=UTC)
    os.utime(path, (began.timestamp(), began.timestamp()))

    maintenance.start(retry_after_s=60)

    announcement = maintenance.read()
    assert announcement is not None
    assert abs(announcement.since - began) < timedelta(seconds=1)
    assert announcement.until is not None


def test_directory_in_its_place(path: Path, maintenance: Maintenance, caplog: pytest.LogCaptureFixture):
    """It exists, so maintenance is on; it is not removed."""
    path.mkdir()

    assert maintenance.read() is not None
    assert "envelope.maintenance.unreadable" in _events(caplog)
    for act in (maintenance.stop, maintenance.start):
        with pytest.raises(ServiceUnavailableError) as raised:
            act()
        assert str(raised.value.__cause__) in ("Is a directory", "Operation not permitted")
    assert os.listdir(path.parent) == ["maintenance"]


def test_pipe_in_its_place(path: Path, maintenance: Maintenance):
    """Nothing waits for somebody who writes."""
    os.mkfifo(path)
    assert maintenance.read() is not None
    writer = os.open(path, os.O_RDWR)
    assert maintenance.read() is not None
    os.close(writer)


def test_folder_that_is_gone(path: Path, caplog: pytest.LogCaptureFixture):
    """Nothing is known then, and the last known state stays in force."""
    folder = path.parent / "mount"
    folder.mkdir()
    maintenance = Maintenance(f"file://{folder}/maintenance", timeout_s=2)
    maintenance.start()
    (folder / "maintenance").unlink()
    folder.rmdir()

    with pytest.raises(ServiceUnavailableError) as raised:
        maintenance.read()
    assert str(raised.value.__cause__) == "No such file or directory"
    assert maintenance.is_on
    folder.mkdir()
    assert maintenance.read() is None
    assert _events(caplog) == [
        "envelope.maintenance.begun",
        "envelope.storage.unavailable",
        "envelope.storage.recovered",
        "envelope.maintenance.ended",
    ]


def test_file_that_may_not_be_read(path: Path, unprivileged_path: Path, caplog: pytest.LogCaptureFixture):
    """It exists: on, without an announced end."""
    maintenance = Maintenance(f"file://{unprivileged_path}", timeout_s=2)

    announcement = maintenance.read()

    assert announcement is not None
    assert announcement.until is None
    assert f"file://{unprivileged_path} may not be read by this user; maintenance has no announced" in caplog.text


@pytest.fixture
def unprivileged_path(path: Path, request: pytest.FixtureRequest) -> Path:
    path.write_text("2999-01-01T00:00:00Z")
    path.chmod(0)
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    request.getfixturevalue("unprivileged")
    return path


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A file system of which nothing comes back before the event is set."""
    back, real = threading.Event(), os.open

    def hang(*arguments: Any, **options: Any) -> int:
        if not back.is_set():
            back.wait(15)
        return real(*arguments, **options)

    monkeypatch.setattr(os, "open", hang)
    yield back
    back.set()
    until(lambda: not _threads())


def impatient(path: Path) -> Maintenance:
    """Open a switch that gives up at once."""
    maintenance = Maintenance(f"file://{path}")
    assert maintenance._watch is not None
    maintenance._watch.switch._timeout_s = 0.05  # type: ignore[attr-defined]
    return maintenance


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "envelope-maintenance-file"]


def test_file_system_that_hangs(path: Path, hanging: threading.Event, caplog: pytest.LogCaptureFixture):
    """One thread waits for it, nobody else; when it comes back, it is asked again."""
    path.write_bytes(b"")  # touch() opens as the switch does, and would hang, too
    maintenance = impatient(path)
    causes = []
    for _ in range(3):
        begun = time.monotonic()
        with pytest.raises(ServiceUnavailableError) as raised:
            maintenance.read()
        causes.append(str(raised.value.__cause__))
        assert time.monotonic() - begun < 2
        assert len(_threads()) == 1

    hanging.set()
    until(lambda: not _threads())

    assert causes == ["no answer within 50 ms", "the file system still hangs", "the file system still hangs"]
    assert maintenance._known.read is None
    assert maintenance.read() is not None
    assert _events(caplog) == [
        "envelope.storage.unavailable",
        "envelope.storage.recovered",
        "envelope.maintenance.begun",
    ]


def test_late_error_of_a_file_system_that_hung(path: Path, hanging: threading.Event):
    """Nobody waits for it any more, and nobody complains."""
    maintenance = impatient(path)
    with pytest.raises(ServiceUnavailableError):
        maintenance.read()
    path.parent.rename(path.parent.with_name("moved"))

    hanging.set()
    until(lambda: not _threads())
    path.parent.with_name("moved").rename(path.parent)

    assert maintenance.read() is None
