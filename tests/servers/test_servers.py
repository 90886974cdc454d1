"""The servers themselves: a test that waits for a broken one says little about the package."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.cluster import Cluster
from tests.servers.delay import Delay
from tests.servers.memcached import Memcached
from tests.servers.process import wait_until
from tests.servers.sentinel import Sentinel
from tests.servers.server import Server, TlsServer

ROOT = Path(__file__).parents[2]


@contextmanager
def client_of(server: Server | Delay, timeout_s: float = 0.3) -> Iterator[redis.Redis]:
    """One connection, opened before the test begins."""
    with redis.Redis.from_url(
        server.url, single_connection_client=True, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    ) as client:
        client.ping()
        yield client


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_valkey_stopped_and_started():
    """A server that is started again has its old port and none of its keys; the end leaves nothing behind."""
    with Server() as server:
        first_pid, url, directory = server.pid, server.url, server.directory
        server.call("SET", "key", "value")
        server.stop()
        with pytest.raises(redis.ConnectionError):
            server.call("GET", "key")
        server.start()
        assert (server.url, server.call("GET", "key")) == (url, None)
        second_pid = server.pid
    assert not is_alive(first_pid)
    assert not is_alive(second_pid)
    assert not directory.exists()


def test_valkey_refuses_its_options():
    """A server that cannot start says why."""
    with pytest.raises(RuntimeError, match="no-such-option"), Server("--no-such-option", "1"):
        pass


def test_valkey_suspended(own_valkey: Server):
    """A suspended server answers when it is resumed, and a suspended one can be stopped."""
    with client_of(own_valkey) as client:
        own_valkey.suspend()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own_valkey.resume()
        assert client.ping()
    own_valkey.suspend()
    own_valkey.stop()
    assert not own_valkey.is_running


def test_servers_end_with_a_killed_test_run():
    """Neither a server nor a proxy outlives an interpreter that had no chance to end them."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.servers.server import Server\n"
        "from tests.servers.delay import Delay\n"
        "with Server() as server, Delay(server.port) as delay:\n"
        "    print(server.directory, server.port, delay.port, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(ROOT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    directory, *ports = run.stdout.readline().split()
    run.send_signal(signal.SIGKILL)
    run.communicate()

    def is_closed(port: str) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", int(port))) != 0

    wait_until(lambda: all(map(is_closed, ports)), within_s=5, told=lambda: f"{ports} are closed")
    wait_until(lambda: not Path(directory).exists(), within_s=5, told=lambda: f"{directory} is gone")


def test_counting_separates_scripts_from_clients(valkey: Server):
    """A script is one command and one round trip, whatever it calls; so many calls are in commandstats."""
    valkey.flush()
    script = "redis.call('incr', KEYS[1]) return redis.call('incr', KEYS[1])"
    with client_of(valkey) as client:
        calls_before = valkey.commands()
        with valkey.counting() as traffic:
            client.eval(script, 1, "key")
            client.get("key")
        calls = valkey.commands() - calls_before
    assert traffic.commands == Counter({"eval": 1, "get": 1})
    assert traffic.in_scripts == Counter({"incr": 2})
    assert traffic.round_trips == 2
    assert (calls["eval"], calls["get"], calls["incr"]) == (1, 1, 2)


def test_counting_pipelines(valkey: Server):
    """A pipeline is many commands in one round trip."""
    with redis.Redis.from_url(valkey.url) as client, client.pipeline(transaction=True) as pipeline:
        client.ping()
        with valkey.counting() as traffic:
            pipeline.get("one")
            pipeline.get("two")
            pipeline.execute()
    assert traffic.commands == Counter({"get": 2, "multi": 1, "exec": 1})
    assert traffic.round_trips == 1


def test_counting_nothing(valkey: Server):
    """The counting does not count itself."""
    with valkey.counting() as traffic:
        pass
    assert (traffic.commands, traffic.in_scripts, traffic.round_trips) == (Counter(), Counter(), 0)


def test_cluster_answers(valkey_cluster: Cluster):
    """A cluster's client finds each key on the server that has it, and each server has some."""
    valkey_cluster.flush()
    first = valkey_cluster.servers[0]
    with redis.RedisCluster(host=first.host, port=first.port) as client:
        for number in range(20):
            client.set(f"key:{number}", number)
    assert all(server.call("DBSIZE") > 0 for server in valkey_cluster.servers)
    assert valkey_cluster.server_of("key:7").call("GET", "key:7") == "7"


def test_sentinel_fails_over(own_sentinel: Sentinel):
    """The roles change on demand and when the primary dies, and what the replica had is kept."""
    first, second = own_sentinel.servers
    first.call("SET", "key", "value")
    assert own_sentinel.fail_over() is second
    assert (own_sentinel.primary, own_sentinel.replica) == (second, first)
    assert own_sentinel.kill_primary() is first
    assert first.call("GET", "key") == "value"


def test_sentinel_names_the_primary(valkey_sentinel: Sentinel):
    """A client of the sentinel writes to the primary."""
    valkey_sentinel.flush()
    with redis.Redis(port=valkey_sentinel.port) as watcher:
        sentinel = redis.Sentinel([])  # type: ignore[no-untyped-call]  # redis-py has no types for it
        sentinel.sentinels = [watcher]
        with sentinel.master_for("mymaster") as client:  # type: ignore[no-untyped-call]  # as above
            client.set("key", "value")
    assert valkey_sentinel.primary.call("GET", "key") == "value"


def test_tls_server_answers(tls_redis: TlsServer):
    """The URL is all that a client needs, and a client without TLS is turned away."""
    tls_redis.flush()
    with redis.Redis.from_url(tls_redis.url) as client:
        assert client.set("key", "value")
    with (
        pytest.raises(redis.ConnectionError),
        redis.Redis(port=tls_redis.port, retry=Retry(NoBackoff(), 0)) as client,
    ):
        client.ping()


def test_memcached_answers(memcached_server: Memcached):
    """The server keeps a number until it is flushed."""
    memcached_server.flush()
    assert memcached_server.call("set number 0 0 1\r\n7") == "STORED"
    assert memcached_server.call("incr number 1") == "8"
    memcached_server.flush()
    assert memcached_server.call("incr number 1") == "NOT_FOUND"


def test_delay_delays_each_way_without_throttling(valkey: Server):
    """A hundred requests in a row arrive together: one delay there and one back, not a hundred."""
    requests = 100
    with (
        Delay(valkey.port, each_way_s=0.05) as delay,
        socket.create_connection((delay.host, delay.port)) as client,
    ):
        begun = time.monotonic()
        for _ in range(requests):
            client.sendall(b"PING\r\n")
        with client.makefile("rb") as replies:
            assert [replies.readline() for _ in range(requests)] == [b"+PONG\r\n"] * requests
        took_s = time.monotonic() - begun
    assert 0.1 <= took_s < 2


def test_delay_paused(valkey: Server):
    """In the black hole nothing arrives and new connections hang; healed, an untouched one works on."""
    valkey.flush()
    with Delay(valkey.port) as delay, client_of(delay) as lost, client_of(delay) as silent:
        delay.pause()
        with pytest.raises(redis.TimeoutError):
            lost.set("key", "value")
        with pytest.raises(redis.TimeoutError), client_of(delay):
            pass
        delay.heal()
        assert silent.get("key") is None
        assert lost.ping()  # redis-py has opened another connection


def test_delay_loses_replies(valkey: Server):
    """What was asked is done, and nobody hears of it."""
    valkey.flush()
    with Delay(valkey.port) as delay, client_of(delay) as client:
        delay.lose_replies()
        with pytest.raises(redis.TimeoutError):
            client.incr("key")
        delay.heal()
        assert client.get("key") == b"1"


def test_delay_drops(valkey: Server):
    """An idle connection is cut; the next one is served."""
    with Delay(valkey.port) as delay, client_of(delay) as client:
        delay.drop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        assert client.ping()


def test_delay_before_a_stopped_server(own_valkey: Server):
    """Without a server behind it the proxy cuts connections, and serves again when the server is back."""
    with Delay(own_valkey.port) as delay, client_of(delay) as client:
        own_valkey.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        own_valkey.start()
        assert client.ping()


def test_delay_slowed(valkey: Server):
    """A slower proxy is slow until it is healed."""
    with Delay(valkey.port, each_way_s=0) as delay, client_of(delay, timeout_s=0.1) as client:
        delay.slow(1)
        with pytest.raises(redis.TimeoutError):
            client.ping()
        delay.heal()
        assert client.ping()
