"""Servers that restart, forget their scripts, or answer with an error."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from envelope import RateLimiter
from envelope.errors.tree import ServiceUnavailableError
from envelope.rate_limit.quotas import Strategy
from envelope.rate_limit.storages.outage import OnOutage
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.storage.errors import StorageUnavailableError
from tests.rate_limit.outages.watching import (
    PATIENCE_S,
    STRATEGY,
    Clock,
    connections,
    counted,
    demand,
    guarded,
    is_local,
    keys_of,
    remaining,
    run,
    timed,
)
from tests.servers.delay import Delay
from tests.servers.process import free_port, wait_until
from tests.servers.server import Server, TlsServer


@pytest.mark.parametrize("at_once", [1, 200])
@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_restarted_between_requests(own_valkey: Server, scheme: str, at_once: int):
    """A connection that went stale costs nobody an answer: the server decides about everybody."""
    url = own_valkey.url.replace("redis://", f"{scheme}://")

    async def main() -> None:
        limiter = RateLimiter("20/minute", "1000/hour", storage=url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            for _ in range(3):
                await limiter.check("ada")
                own_valkey.stop()
                own_valkey.start()
                outcomes = await asyncio.gather(*(limiter.check(f"{number}") for number in range(at_once)))
                assert [remaining(outcome) for outcome in outcomes] == [19] * at_once
            assert counted(own_valkey) == 2 * at_once

    run(main())


async def _noticed() -> None:
    """Let the event loop, which stood still, see what is on its way."""
    await asyncio.sleep(0.02)


def test_connection_cut_between_requests(own_valkey: Server):
    """A reset by something in between is as good as none."""
    own_valkey.flush()

    async def main() -> None:
        with Delay(own_valkey.port, each_way_s=0) as delay:
            limiter = RateLimiter("20/minute", storage=delay.url, on_outage="deny", timeout_s=1)
            async with aclosing(limiter):
                for number in range(5):
                    assert remaining(await limiter.check("ada")) == 19 - number
                    delay.drop()
                    await _noticed()
                assert connections(own_valkey) <= 1

    run(main())


def test_connection_killed_by_the_server(own_valkey: Server):
    """An idle connection that the server closes is replaced, and counts go on."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            for number in range(3):
                assert remaining(await limiter.check("ada")) == 19 - number
                assert own_valkey.call("CLIENT", "KILL", "TYPE", "normal") >= 1
                await _noticed()
            assert remaining(await limiter.check("ada", cost=0)) == 17

    run(main())


def test_connection_cut_under_way(valkey: Server):
    """A reply that was cut off with its connection is an outage for one; it was counted, once, and nobody hangs."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.03) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=0.5)
            async with aclosing(storage):
                await storage.decide(demand())
                for number in range(5):
                    task = asyncio.create_task(storage.decide(demand("grace")))
                    await asyncio.sleep(0.045)  # the script has run, its reply is under way
                    delay.drop()
                    with pytest.raises(StorageUnavailableError):
                        await task
                    assert remaining(await storage.decide(demand("grace", cost=0))) == 19 - number

    run(main())


def test_connection_cut_under_way_is_not_counted_twice(valkey: Server):
    """What may have been counted is not sent again: one check is charged once at the most."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.1) as delay:
            guard = guarded(delay.url, timeout_s=1, on_outage="allow")
            async with aclosing(guard):
                await guard.decide(demand("somebody else", cost=0))
                task = asyncio.create_task(guard.decide(demand("ada", cost=5)))
                while not keys_of(valkey):
                    await asyncio.sleep(0.001)
                delay.drop()
                await task
        assert counted(valkey) == 5

    run(main())


@pytest.mark.parametrize("strategy", ["sliding-window-counter", "fixed-window", "moving-window"])
def test_scripts_flushed(valkey: Server, strategy: Strategy):
    """A server that forgot the script gets it with the next request, in one command more."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, strategy, timeout_s=1)
        async with aclosing(storage):
            await storage.decide(demand())
            valkey.call("SCRIPT", "FLUSH")
            with valkey.counting() as traffic:
                assert remaining(await storage.decide(demand())) == 18
                assert remaining(await storage.decide(demand())) == 17
            assert traffic.commands == Counter({"evalsha": 2, "eval": 1})
            assert traffic.round_trips == 3

    run(main())


def test_scripts_flushed_with_many_in_flight(valkey: Server):
    """Decisions, corrections and resets that share a trip all have their script sent, and their answers."""
    valkey.flush()

    async def main() -> None:
        limiter = RateLimiter("1000/minute", storage=valkey.url, on_outage="deny", timeout_s=2)
        async with aclosing(limiter):
            taken = [await limiter.check(f"{number}", cost=5) for number in range(20)]
            valkey.call("SCRIPT", "FLUSH")
            outcomes = await asyncio.gather(
                *(limiter.check(f"{number}") for number in range(20)),
                *(limiter.settle(verdict, 1) for verdict in taken),
                *(limiter.check(f"other {number}") for number in range(20)),
            )
            # Scripts that the server does not know run after those that it knows: each key its own order.
            assert {remaining(verdict) for verdict in outcomes[:20]} <= {994, 998}
            assert {remaining(verdict) for verdict in outcomes[40:]} == {999}
            assert counted(valkey) == 20 * (1 + 1) + 20

    run(main())


@contextmanager
def _read_only(server: Server) -> Iterator[None]:
    server.call("REPLICAOF", server.host, free_port())
    yield
    server.call("REPLICAOF", "NO", "ONE")


@contextmanager
def _out_of_memory(server: Server) -> Iterator[None]:
    server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.call("CONFIG", "SET", "maxmemory", "1")
    yield
    server.call("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def _snapshots_fail(server: Server) -> Iterator[None]:
    (server.directory / "dump.rdb" / "in the way").mkdir(parents=True)
    server.call("CONFIG", "SET", "save", "3600 1")
    server.call("SET", "key", "value")
    server.call("BGSAVE")
    wait_until(
        lambda: server.call("INFO", "persistence")["rdb_last_bgsave_status"] == "err",
        within_s=5,
        told=lambda: "a snapshot that failed",
    )
    yield
    server.call("CONFIG", "SET", "save", "")


@contextmanager
def _of_another_type(server: Server) -> Iterator[None]:
    for key in keys_of(server):
        server.call("SET", key, "what is this?", "KEEPTTL")
    yield
    for key in server.call("KEYS", "*"):
        server.call("DEL", key)


@contextmanager
def _no_scripts_allowed(server: Server) -> Iterator[None]:
    server.call("ACL", "SETUSER", "default", "-@scripting")
    yield
    server.call("ACL", "SETUSER", "default", "+@all")


@contextmanager
def _no_hashes_allowed(server: Server) -> Iterator[None]:
    server.call("ACL", "SETUSER", "default", "-@hash")
    yield
    server.call("ACL", "SETUSER", "default", "+@all")


@contextmanager
def _no_keys_allowed(server: Server) -> Iterator[None]:
    server.call("ACL", "SETUSER", "default", "resetkeys", "~theirs:*")
    yield
    server.call("ACL", "SETUSER", "default", "allkeys")


@contextmanager
def _busy(server: Server) -> Iterator[None]:
    server.call("CONFIG", "SET", "busy-reply-threshold", "10")
    client = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))

    def loop() -> None:
        with pytest.raises(redis.ResponseError):
            client.eval("while true do end", 0)

    def is_busy() -> bool:
        try:
            server.call("DBSIZE")
        except redis.ResponseError as error:
            return "BUSY" in str(error)
        return False

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        wait_until(is_busy, within_s=5, told=lambda: "a busy server")
        yield
    finally:
        server.call("SCRIPT", "KILL")
        thread.join()
        client.close()


@contextmanager
def _loading(server: Server) -> Iterator[None]:
    for number in range(300):
        server.call("SET", f"filling {number}", "x" * 2000)
    server.call("CONFIG", "SET", "key-load-delay", "2000")
    server.call("CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
    client = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
    thread = threading.Thread(target=client.execute_command, args=("DEBUG", "RELOAD"))
    thread.start()

    def is_loading() -> bool:
        try:
            server.call("DBSIZE")
        except redis.exceptions.BusyLoadingError:
            return True
        return False

    try:
        wait_until(is_loading, within_s=5, told=lambda: "a server that loads")
        yield
    finally:
        thread.join()
        client.close()


TROUBLES = [
    _read_only,
    _out_of_memory,
    _snapshots_fail,
    _of_another_type,
    _no_scripts_allowed,
    _no_hashes_allowed,
    _no_keys_allowed,
    _busy,
    _loading,
]


@pytest.mark.parametrize("on_outage", ["local", "deny"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_server_that_answers_with_errors(
    own_valkey: Server,
    trouble: Callable[[Server], Iterator[None]],
    on_outage: OnOutage,
    caplog: pytest.LogCaptureFixture,
):
    """An error is an outage like any other: the policy's answer, in time, one line; then the server counts on."""
    clock = Clock()

    async def main() -> None:
        guard = guarded(own_valkey.url, clock, on_outage=on_outage)
        async with aclosing(guard):
            assert remaining(await guard.decide(demand())) == 19
            with trouble(own_valkey):  # type: ignore[attr-defined]  # contextmanager says Callable
                for number in range(7):
                    wait_s, outcome = await timed(guard.decide(demand()))
                    assert wait_s < PATIENCE_S
                    if on_outage == "local":
                        assert is_local(outcome)
                        assert remaining(outcome) == 19 - number
                    else:
                        assert isinstance(outcome, ServiceUnavailableError)
            clock.pass_ms(1000)
            found = await guard.decide(demand())
            assert not is_local(found)
            assert remaining(found) in (18, 19)  # whether the trouble took the key with it or not
            assert connections(own_valkey) == 1

    run(main())
    # A key of somebody else's is no outage of the storage, and told each time.
    assert len(caplog.records) == (7 if trouble.__name__ == "_of_another_type" else 2)


def test_tls_server_restarted(tls_redis: TlsServer):
    """TLS changes nothing about a stale connection."""
    tls_redis.flush()

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=tls_redis.url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            assert remaining(await limiter.check("ada")) == 19
            tls_redis.call("CLIENT", "KILL", "TYPE", "normal")
            assert remaining(await limiter.check("ada")) == 18

    run(main())


def test_restarted_under_load(own_valkey: Server):
    """While a server is killed and comes back, requests go on: each has an answer in time."""

    async def main() -> None:
        limiter = RateLimiter("100000/minute", storage=own_valkey.url, on_outage="allow")
        is_over = False
        longest_s = 0.0

        async def ask(subject: str) -> None:
            nonlocal longest_s
            while not is_over:
                wait_s, _ = await timed(limiter.check(subject))
                longest_s = max(longest_s, wait_s)
                await asyncio.sleep(0.001)

        async with aclosing(limiter):
            tasks = [asyncio.create_task(ask(f"{number}")) for number in range(30)]
            await asyncio.sleep(0.05)
            await asyncio.to_thread(own_valkey.kill)
            await asyncio.sleep(0.05)
            await asyncio.to_thread(own_valkey.start)
            begun = time.monotonic()
            while not (await limiter.check("ada")).figures:
                assert time.monotonic() - begun < 5
                await asyncio.sleep(0.02)
            is_over = True
            await asyncio.gather(*tasks)
        assert longest_s < PATIENCE_S

    run(main())
