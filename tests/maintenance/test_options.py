"""Options: what is refused, and what is said about it."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

import envelope
from envelope import ConfigurationError, Maintenance, install


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"storage": 7}, "of type int; give a URL such as"),
        ({"storage": None}, "of type NoneType"),
        ({"storage": b"redis://user:hunter2@h"}, r"of type bytes; give a URL such as 'redis://host:6379/0'$"),
        (
            {"storage": "redi://h"},
            r"kept in 'redi' \(known: memory, file, redis, redis\+unix, .*valkeys\+cluster\)",
        ),
        ({"storage": "memcached://h"}, "kept in 'memcached'"),
        (
            {"storage": "/run/maintenance"},
            "write it as 'redis://host:6379/0', or as 'file:///run/api/maintenance'",
        ),
        ({"storage": "redis://h:x"}, "storage redis://h"),
        ({"storage": "redis://u:p@ss@h/x@y"}, "percent-encode"),
        ({"storage": "redis://["}, "is no URL"),
        ({"retry_after_s": 0}, "retry_after_s is 0; it is a number of seconds above 0"),
        ({"retry_after_s": -1}, "above 0"),
        ({"retry_after_s": math.nan}, "above 0"),
        ({"retry_after_s": math.inf}, "31622400 at the most"),
        ({"retry_after_s": True}, "above 0"),
        ({"retry_after_s": "60"}, "above 0"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"timeout_s": 250}, "it is in seconds, 30 at the most"),
        ({"timeout_s": None}, "above 0"),
        ({"namespace": "a{b}"}, "use letters"),
        ({"namespace": None}, "use letters"),
        ({"exempt": "/health"}, r"give a list of paths: exempt=\['/health'\]"),
        ({"exempt": ["health"]}, "a path begins with '/'"),
        ({"exempt": ["/a*"]}, "stands only at the end"),
        ({"exempt": ["/users/{id}"]}, r"name each path, or all below: '/users/\*'"),
        ({"exempt": None}, "give a list of paths"),
    ],
)
def test_wrong_option_is_refused(options: dict[str, Any], match: str):
    """The message says what was seen and what to do."""
    with pytest.raises(ConfigurationError, match=match) as raised:
        Maintenance(**options)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("file://run/maintenance", "no absolute path; write three slashes: 'file:///run/maintenance'"),
        ("file:run/maintenance", "three slashes: 'file:///run/maintenance'"),
        ("file:", "three slashes"),
        ("file:///tmp/a?b", "%3F"),
        ("file:///tmp/a#b", "%23"),
        ("file:///tmp/a%00b", "zero byte"),
        ("file:///", "is a directory; name a file in it"),
        ("file:///tmp", "is a directory; name a file in it"),
        ("file:///nowhere/at/all", "there is no directory '/nowhere/at'; create it first"),
        ("FILE:///nowhere/x", "there is no directory"),
        ("file://[", "is no URL"),
    ],
)
def test_wrong_file_is_refused(url: str, match: str):
    """Where it can be known when the service is put together."""
    with pytest.raises(ConfigurationError, match=match):
        Maintenance(url)


@pytest.mark.parametrize("name", ["maintenance", "a b", "a%b", "a@b", "a?b", "ä", "a:b"])
def test_path_of_any_name(tmp_path: Path, name: str):
    """What a URL cannot hold is percent-encoded, as ``Path.as_uri`` does."""
    maintenance = Maintenance((tmp_path / name).as_uri(), timeout_s=2)

    maintenance.start()

    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("retry_after_s", [0, -1, math.nan, math.inf, True, "60", 31_622_401])
def test_announced_end_that_is_none(retry_after_s: Any):
    """It is the caller's mistake, and switches nothing."""
    maintenance = Maintenance()

    with pytest.raises(ValueError, match="retry_after_s is"):
        maintenance.start(retry_after_s=retry_after_s)

    assert not maintenance.is_on


@pytest.mark.parametrize(
    ("workers", "storage", "warns"), [("4", "memory", True), ("1", "memory", False), ("4", "file", False)]
)
def test_memory_of_several_workers(
    workers: str, storage: str, warns: bool, monkeypatch: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Only the one in which it is started would answer 503."""
    monkeypatch.setenv("WEB_CONCURRENCY", workers)

    Maintenance("memory://" if storage == "memory" else f"file://{tmp_path}/maintenance")

    events = [record.__dict__["event_name"] for record in caplog.records]
    assert events == ["envelope.maintenance.not_shared"] * warns
    assert not warns or "of 4 workers" in caplog.text


def test_client_library_that_is_missing(monkeypatch: pytest.MonkeyPatch):
    """The message names what to install."""
    monkeypatch.setitem(sys.modules, "valkey.asyncio", None)

    with pytest.raises(ConfigurationError, match=r"install asgi-envelope\[valkey\]"):
        Maintenance("valkey://h")


@pytest.mark.parametrize("maintenance", [True, "memory://", Maintenance, object()], ids=repr)
def test_install_takes_a_maintenance(maintenance: Any):
    """The message says what to give."""
    with pytest.raises(ConfigurationError, match=r"give a Maintenance\(\)"):
        install(Starlette(), maintenance=maintenance)


def test_exported():
    """Everyday names come from the root."""
    assert envelope.Maintenance is Maintenance
    assert "Maintenance" in envelope.__all__
