"""Log records have names that stay, and say no secrets."""

from __future__ import annotations

import ast
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Header
from starlette.testclient import TestClient

from envelope import ErrorMap, NotFoundError, ObjectLocks, RateLimiter, RouteLimit, events, install
from envelope.events import Event, log_event
from tests.telemetry.conftest import Metrics, metrics  # noqa: F401 - a fixture

#: A call that writes a record without saying which event it is.
_LOGS = re.compile(r"(self\._)?logger\.(debug|info|warning|error|exception|critical|log)\(")

PACKAGE = Path(events.__file__).parent
EVENTS = {name: value for name, value in vars(events).items() if isinstance(value, Event)}


def test_names_are_unique_and_of_one_form():
    """``envelope.<part>.<what happened>``, and no value hides what a record has already."""
    names = [event.name for event in EVENTS.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"envelope\.[a-z_]+\.[a-z_]+", name) for name in names)
    reserved = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
    values = {value for event in EVENTS.values() for value in re.findall(r"%\((\w+)\)", event.text)}
    assert values & reserved == set()


def test_record_has_the_name_and_the_values(caplog: pytest.LogCaptureFixture):
    """So that whoever writes JSON writes them, too; and the line that logs is the caller's."""
    logger = logging.getLogger("envelope.test")
    with caplog.at_level(logging.INFO, "envelope.test"):
        log_event(logger, events.LOCK_BROKEN, key="a", fence=7)
        log_event(logger, events.LIMITS_MEMORY_FULL)
    broken, full = caplog.records
    assert broken.getMessage() == "the lock on 'a' (fence 7) was broken"
    assert vars(broken)["event_name"] == "envelope.lock.broken"
    assert (vars(broken)["key"], vars(broken)["fence"]) == ("a", 7)
    assert broken.filename == "test_events.py"
    assert "memory is full" in full.getMessage()


def test_record_factory_of_the_application_is_no_trouble(caplog: pytest.LogCaptureFixture):
    """One that gives each record attributes of the same names takes ours away; a record decides no answer."""
    factory = logging.getLogRecordFactory()

    def own(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = factory(*arguments, **more)
        vars(record)["key"] = "own"
        return record

    logging.setLogRecordFactory(own)
    try:
        log_event(logging.getLogger("envelope.test"), events.LOCK_BROKEN, key="a", fence=7)
    finally:
        logging.setLogRecordFactory(factory)
    (record,) = caplog.records
    assert record.getMessage() == "the lock on 'a' (fence 7) was broken"
    assert vars(record)["key"] == "own"


def test_everything_that_is_logged_is_an_event():
    """And every event is logged somewhere, with all its values."""
    used, direct = set(), []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name):
                used.add(node.id)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "log_event":
                values = {keyword.arg for keyword in node.keywords}
                for each in ast.walk(node.args[1]):
                    if isinstance(each, ast.Name) and each.id in EVENTS:
                        assert set(re.findall(r"%\((\w+)\)", EVENTS[each.id].text)) <= values
            elif isinstance(node, ast.Call) and re.match(_LOGS, ast.unparse(node)):
                direct.append(path.name)
    assert set(direct) == {"events.py"}
    assert EVENTS.keys() - used == set()


def test_no_secret_is_logged_or_measured(
    metrics: Metrics,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """What clients send stands in no record, no metric and no span: tokens, addresses, bodies, queries."""
    secret = "s3cr3t"  # noqa: S105
    app = FastAPI()
    locks = ObjectLocks()
    limiter = RateLimiter(RouteLimit("1/hour", shadow=True), "3/hour", key=lambda _: f"{secret}-subject")

    class Gone(Exception):
        pass

    def rule(_: Gone) -> Any:
        raise KeyError("rule")

    install(app, rate_limiter=limiter, locks=locks, errors=ErrorMap({Gone: rule, LookupError: NotFoundError}))

    @app.post("/{item}")
    @locks.guarded("item:{item}")
    async def change(item: int, authorization: str = Header()) -> None:
        await locks.break_lock(f"item:{item}", fence=(await locks.inspect(f"item:{item}")).fence)  # type: ignore[union-attr]
        raise Gone

    client = TestClient(app, raise_server_exceptions=False, cookies={"session": secret})
    with caplog.at_level(logging.DEBUG, "envelope"):
        for path in ("/1", "/x", "/2", "/3", "/4"):
            client.post(
                f"{path}?token={secret}", headers={"authorization": f"Bearer {secret}"}, json={"password": secret}
            )

    records = [record for record in caplog.records if record.name.startswith("envelope")]
    assert {vars(record)["event_name"] for record in records} >= {
        "envelope.rate_limit.shadow_refused",
        "envelope.lock.broken",
        "envelope.lock.lost",
        "envelope.error.rule_failed",
    }
    written = [
        json.dumps({key: value for key, value in vars(record).items() if key != "exc_info"}, default=str)
        for record in records
    ]
    names = ("failures", "rate_limit.decisions", "rate_limit.remaining", "lock.acquire.duration", "lock.lost")
    measured = [str(dict(point.attributes)) for name in names for point in metrics.points(name)]
    assert len(measured) >= 5
    assert secret not in "".join(written + measured)
