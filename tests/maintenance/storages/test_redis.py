"""What lies on the server, and what clients of the switch make of a server that is strange."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from envelope import Maintenance, ServiceUnavailableError
from envelope.maintenance.readings import Reading
from tests.maintenance.switches import KEY
from tests.servers.server import Server


@pytest.fixture
def maintenance(valkey: Server) -> Maintenance:
    valkey.flush()
    return Maintenance(valkey.url, timeout_s=2)


def _server_ms(server: Server) -> int:
    seconds, micros = server.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def test_record(valkey: Server, maintenance: Maintenance):
    """Golden: version 1 of the layout, by the server's clock."""
    before = _server_ms(valkey)
    maintenance.start(retry_after_s=90)
    after = _server_ms(valkey)

    record = valkey.call("HGETALL", KEY)

    assert set(record) == {"a", "e"}
    assert before <= int(record["a"]) <= after
    assert int(record["e"]) == int(record["a"]) + 90_000
    maintenance.start()
    assert valkey.call("HGETALL", KEY) == {"a": record["a"], "e": ""}
    maintenance.stop()
    assert valkey.call("KEYS", "*") == []


def test_clocks_of_hosts_do_not_matter(valkey: Server, maintenance: Maintenance):
    """Only durations travel: a server that is an hour ahead tells the same seconds."""
    now = _server_ms(valkey)
    valkey.call("HSET", KEY, "a", now - 5000, "e", now + 40_000)

    maintenance.read()

    reading = maintenance._known.now()
    assert reading is not None
    assert reading.rest_ms is not None
    assert 5000 <= reading.age_ms <= 8000
    assert 37_000 <= reading.rest_ms <= 40_000


def test_clock_that_was_set_back(valkey: Server, maintenance: Maintenance):
    """It began in the future, so it began just now."""
    valkey.call("HSET", KEY, "a", _server_ms(valkey) + 10_000, "e", "")

    maintenance.read()

    assert maintenance._known.read is not None
    assert maintenance._known.read[0] == Reading(0, None)


@pytest.mark.parametrize(
    "foreign", [("SET", KEY, "x"), ("HSET", KEY, "a", "x", "e", ""), ("HSET", KEY, "a", "1")], ids=repr
)
def test_what_is_not_ours_is_no_answer(
    valkey: Server, maintenance: Maintenance, foreign: tuple[str, ...], caplog: pytest.LogCaptureFixture
):
    """Nothing is known then, and the last known state stays."""
    maintenance.start()
    valkey.flush()
    valkey.call(*foreign)

    with pytest.raises(
        ServiceUnavailableError, match=r"refuses; whether maintenance is on is not known\. The log says why"
    ):
        maintenance.read()

    assert maintenance.is_on
    assert "envelope.storage.unavailable" in [record.__dict__["event_name"] for record in caplog.records]


def test_rights_that_it_needs(valkey: Server):
    """A user with what the reference says can do everything."""
    valkey.flush()
    rights = "on >secret ~envelope:{maintenance:* +evalsha +eval +time +hmget +hset +del"
    valkey.call("ACL", "SETUSER", "switcher", "reset", *rights.split())
    try:
        url = f"redis://switcher:{quote('secret')}@{valkey.address}/0"
        maintenance = Maintenance(url, timeout_s=2)
        maintenance.start(retry_after_s=5)
        assert maintenance.read() is not None
        maintenance.stop()
        assert maintenance.read() is None
    finally:
        valkey.call("ACL", "DELUSER", "switcher")


def test_scripts_that_the_server_forgot(valkey: Server, maintenance: Maintenance):
    """They are sent again."""
    maintenance.start()
    valkey.call("SCRIPT", "FLUSH")

    assert maintenance.read() is not None


def test_failure_names_no_host(own_valkey: Server, caplog: pytest.LogCaptureFixture):
    """Who asks may be an endpoint, whose client reads it; the log and the cause say why, without the password."""
    maintenance = Maintenance(own_valkey.url.replace("//", "//user:hunter2@"), timeout_s=1)
    own_valkey.kill()

    for act in (maintenance.start, maintenance.stop, maintenance.read):
        with pytest.raises(ServiceUnavailableError) as raised:
            act()
        assert str(own_valkey.port) not in str(raised.value)
        assert str(own_valkey.port) in str(raised.value.__cause__)
        assert raised.value.retry_after == 1
    (record,) = caplog.records
    assert f"redis://{own_valkey.address}" in record.getMessage()
    assert "hunter2" not in caplog.text
