"""Options of ObjectLocks: what is wrong is said when the service starts, in words that help, without passwords."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from envelope import ConfigurationError, ObjectLocks
from envelope.locks.grants import LockStorage
from envelope.locks.storages.memory import MemoryLocks


def refused(make: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as error:
        make()
    assert str(error.value)
    return str(error.value)


BAD_SECONDS = [0, -1, -0.5, None, "15", True, False, float("inf"), float("-inf"), float("nan"), [15], 10**9, 1j]


@pytest.mark.parametrize("name", ["ttl_s", "max_hold_s", "timeout_s"])
@pytest.mark.parametrize("value", BAD_SECONDS)
def test_what_are_no_seconds(name: str, value: Any):
    """No lease is infinite, and no question."""
    text = refused(lambda: ObjectLocks(**{name: value}))

    assert name in text
    assert repr(value) in text
    assert "seconds" in text


@pytest.mark.parametrize(("name", "value"), [("ttl_s", 0.09), ("max_hold_s", 0.09), ("timeout_s", 0.0009)])
def test_too_few_seconds(name: str, value: float):
    """Milliseconds are what servers count."""
    assert name in refused(lambda: ObjectLocks(**{name: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_s": 0.5, "timeout_s": 0.16},
        {"ttl_s": 7 * 24 * 3600, "max_hold_s": 7 * 24 * 3600},
        {"ttl_s": 1},
        {"ttl_s": 30, "max_hold_s": 10},
        {"namespace": "orders/v1.2:eu-west_1"},
        {"namespace": ""},
        {"on_outage": "allow"},
        {"storage": "memory://"},
        {"storage": "redis://localhost"},
        {"storage": "rediss://user:s3cret@h:6379/0"},
        {"storage": "valkey://localhost"},
        {"storage": "valkeys://localhost"},
        {"storage": "redis+unix:///tmp/x.sock"},
        {"storage": "valkey+unix:///tmp/x.sock"},
        {"storage": "redis+sentinel://a:1,b:2/service"},
        {"storage": "rediss+sentinel://a:1/service"},
        {"storage": "valkey+cluster://a:1,b:2"},
        {"storage": "rediss+cluster://a:1"},
    ],
)
def test_what_is_right(options: dict[str, Any]):
    """Nothing is connected yet."""
    ObjectLocks(**options)


@pytest.mark.parametrize(
    ("ttl_s", "timeout_s"), [(0.75, 0.25), (0.5, 0.25), (15, 5), (15, 10), (15, 20), (0.3, 0.1001)]
)
def test_timeout_that_leaves_no_time_to_renew(ttl_s: float, timeout_s: float):
    """A lease has to be renewed several times in its time."""
    text = refused(lambda: ObjectLocks("redis://h", ttl_s=ttl_s, timeout_s=timeout_s))

    assert "timeout_s" in text
    assert "ttl_s" in text


def test_timeout_that_leaves_no_time_in_a_short_hold():
    """A lease that lasts ``max_hold_s`` ends before a question may."""
    refused(lambda: ObjectLocks("redis://h", ttl_s=15, max_hold_s=0.2, timeout_s=0.25))


@pytest.mark.parametrize("value", ["Deny", "local", "", None, True, 0, ["deny"], {"deny"}])
def test_what_is_no_outage_policy(value: Any):
    """Of the locks; of a hold, an acquire and the guards, where None is the locks' own."""
    makes: list[Callable[[], object]] = [
        lambda: ObjectLocks(on_outage=value),
        lambda: ObjectLocks().hold("a", on_outage=value),
        lambda: ObjectLocks().guarded("a", on_outage=value),
        lambda: ObjectLocks().guard("a", on_outage=value),
    ]
    for make in makes[:1] if value is None else makes:
        assert "'deny' or 'allow'" in refused(make)


@pytest.mark.parametrize("value", ["no", "", None, True, 0, "Pass"])
def test_what_reads_do(value: Any):
    """Of the guards."""
    for name in ("guarded", "guard"):
        assert "'pass' or 'refuse'" in refused(lambda name=name: getattr(ObjectLocks(), name)("a", reads=value))  # type: ignore[misc]


@pytest.mark.parametrize("namespace", ["a b", "{a}", "a{", "}", "größe", "a\n", "*", "a,b", "a\0", "\ud800"])
def test_what_is_no_namespace(namespace: str):
    """Braces would move the slot; the rest is nothing to read in a key."""
    text = refused(lambda: ObjectLocks(namespace=namespace))

    assert "namespace" in text
    assert repr(namespace) in text


@pytest.mark.parametrize("namespace", [None, 5, b"a", ["a"]])
def test_namespace_that_is_no_text(namespace: Any):
    """Is a wrong option as well."""
    assert "namespace" in refused(lambda: ObjectLocks(namespace=namespace))


# Storages


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("", ["redis://"]),
        ("redis", ["redis://"]),
        ("localhost:6379", ["redis://"]),
        ("redi://h", ["'redi'", "redis", "memory"]),
        ("redis+sentinels://h", ["'redis+sentinels'"]),
        ("memcached://h", ["'memcached'", "redis"]),
        ("mongodb://h", ["'mongodb'"]),
        ("rediss+unix+cluster://h", ["rediss+unix+cluster"]),
        ("http://h", ["'http'"]),
        ("redis+sentinel://h:26379", ["service"]),
        ("redis://h:port", []),
        ("redis://h?no_such_option=1", ["no_such_option"]),
        (None, ["None", "redis://"]),
        (5, ["5", "redis://"]),
        (b"redis://h", ["redis://"]),
        (object(), ["object", "LockStorage"]),
        (MemoryLocks, []),
    ],
)
def test_what_is_no_storage(storage: Any, words: list[str]):
    """With what it could be."""
    text = refused(lambda: ObjectLocks(storage))

    assert [word for word in words if word not in text] == []


def test_storage_may_be_an_object():
    """Whoever has one of his own gives it; two locks share one."""
    storage = MemoryLocks(max_hold_s=5)
    assert isinstance(storage, LockStorage)
    assert ObjectLocks(storage).storage is ObjectLocks(storage, on_outage="allow").storage is storage


@pytest.mark.parametrize(
    "url",
    [
        "redi://user:s3cret@h:6379",
        "redis://user:s3cret@h:port",
        "redis+sentinel://user:s3cret@h:26379",
        "rediss://user:s3cret@h:6379/0?no_such_option=1",
        "redis://user:s3cret@h:6379/0?socket_timeout=soon",
        "memcachd://user:s3cret@h",
        "user:s3cret@h",
        "redis://user:s3cret@[::1/0",
        "redis://:s3cret/x@h:6379/0",
        "redis://:s3cret?x@h:6379/0",
        "redis://:s3cret#x@h:6379/0",
        "redis+cluster://:s3cret@h:port",
        "valkey+cluster://:s3cret@h?no_such_option=1",
    ],
)
def test_text_about_a_storage_holds_no_password(url: str):
    """It ends in logs and in trackers; so do the errors behind it."""
    with pytest.raises(ConfigurationError) as raised:
        ObjectLocks(url)

    error: BaseException | None = raised.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__ if error.__suppress_context__ else error.__cause__ or error.__context__


@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b"])
def test_password_that_is_not_encoded(password: str):
    """It would be taken for a port, a path or a fragment."""
    text = refused(lambda: ObjectLocks(f"redis://:{password}@h:6379/0"))

    assert "percent-encode" in text
    assert password not in text


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("redis://h", "redis", "asgi-envelope[redis]"),
        ("redis+cluster://h", "redis", "asgi-envelope[redis]"),
        ("valkey+sentinel://h/service", "valkey", "asgi-envelope[valkey]"),
    ],
)
def test_missing_client_package(url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    """With what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    text = refused(lambda: ObjectLocks(url))

    assert package in text
    assert extra in text


@pytest.mark.parametrize(
    ("workers", "warned"), [("4", True), ("2", True), ("1", False), ("0", False), ("", False), ("auto", False)]
)
def test_memory_with_several_workers(
    workers: str, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Each worker would give the same object away; the environment says how many there are."""
    monkeypatch.setenv("WEB_CONCURRENCY", workers)

    ObjectLocks()

    records = [record for record in caplog.records if record.name == "envelope.locks"]
    assert [record.levelno for record in records] == [logging.WARNING] * warned
    assert all(workers in record.getMessage() and "redis://" in record.getMessage() for record in records)


def test_a_server_with_several_workers_is_no_matter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """They share it; whoever gives a storage knows what he does."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")

    ObjectLocks("redis://h")
    ObjectLocks(MemoryLocks(max_hold_s=5))

    assert [record for record in caplog.records if record.name == "envelope.locks"] == []


def test_clients_are_not_imported_until_they_are_used():
    """A service that locks in memory does not pay for a client that it may not have."""
    code = """
        import asyncio, sys, threading
        import envelope
        locks = envelope.ObjectLocks()
        async def main():
            async with locks.hold("a"):
                pass
        asyncio.run(main())
        print([name for name in ("redis", "valkey") if name in sys.modules], threading.active_count())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[] 1"


@pytest.mark.parametrize("given", ["redis://h", 5, ObjectLocks, MemoryLocks(max_hold_s=5), ["a"]])
def test_locks_that_are_none(given: Any):
    """A text is not yet the locks."""
    from starlette.applications import Starlette

    from envelope import install

    text = refused(lambda: install(Starlette(), locks=given))

    assert "locks is" in text
    assert "ObjectLocks(" in text


@pytest.mark.parametrize("url", ["redis:/prod:6379/0", "redis://host/abc", "valkeys://host:1/0/1"])
def test_database_that_is_no_number(url: str):
    """The clients would take another host, or another database, without a word."""
    assert "is no database" in refused(lambda: ObjectLocks(url))
