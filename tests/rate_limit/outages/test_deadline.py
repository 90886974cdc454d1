"""The longest that a request waits, and what it gets instead of the storage's answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from envelope import RateLimiter, install
from envelope.errors.tree import RateLimitedError, ServiceUnavailableError
from envelope.rate_limit.storages.outage import OnOutage
from envelope.rate_limit.storages.redis.scripts import load_scripts
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Verdict
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.redis.errands import Arguments, Command
from envelope.storage.redis.line import Line
from tests.rate_limit.outages.watching import (
    PATIENCE_S,
    STRATEGY,
    counted,
    demand,
    eventually,
    is_local,
    remaining,
    run,
    timed,
)
from tests.servers.delay import Delay
from tests.servers.process import free_port
from tests.servers.server import Server

LEAKS = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PASSWORD = "hunter2-is-secret"


@pytest.mark.parametrize("at_once", [1, 200])
@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "connecting"])
@pytest.mark.parametrize("on_outage", ["local", "allow", "deny"])
def test_deadline_of_a_suspended_server(own_valkey: Server, on_outage: OnOutage, is_connected: bool, at_once: int):
    """However many ask a stopped server, each has its policy's answer within the deadline."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage=on_outage)
        async with aclosing(limiter):
            if is_connected:
                await limiter.check("somebody else")
            own_valkey.suspend()
            waits = await asyncio.gather(*(timed(limiter.check("ada")) for _ in range(at_once)))
            own_valkey.resume()
        assert max(wait_s for wait_s, _ in waits) < PATIENCE_S
        outcomes = [outcome for _, outcome in waits]
        admitted = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        if on_outage == "local":
            assert sorted(map(remaining, admitted), reverse=True) == list(range(19, 19 - at_once, -1))[:20]
            assert all(map(is_local, admitted))
            assert sum(isinstance(outcome, RateLimitedError) for outcome in outcomes) == max(0, at_once - 20)
        elif on_outage == "allow":
            assert [outcome.figures for outcome in admitted] == [[]] * at_once
        else:
            assert all(isinstance(outcome, ServiceUnavailableError) for outcome in outcomes)
            assert all((outcome.retry_after or 0) >= 1 for outcome in outcomes)  # type: ignore[union-attr]

    run(main())


@pytest.mark.parametrize("on_outage", ["local", "allow", "deny"])
def test_deadline_in_an_application(own_valkey: Server, on_outage: OnOutage):
    """An installed application answers in time: with this process' figures, without figures, or 503."""

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse({})

    async def main() -> None:
        app = Starlette(routes=[Route("/", endpoint)])
        limiter = RateLimiter("20/minute", "100/hour", storage=own_valkey.url, on_outage=on_outage)
        install(app, rate_limiter=limiter)
        transport = httpx.ASGITransport(app)
        async with aclosing(limiter), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/")).headers["x-ratelimit-remaining"] == "19"
            own_valkey.suspend()
            waits = await asyncio.gather(*(timed(client.get("/")) for _ in range(12)))
            own_valkey.resume()
        assert max(wait_s for wait_s, _ in waits) < PATIENCE_S
        for _, answer in waits:
            assert isinstance(answer, httpx.Response)
            names = {name for name in answer.headers if "ratelimit" in name}
            if on_outage == "deny":
                assert (answer.status_code, answer.json()["status"]) == (503, "failure")
                assert int(answer.headers["retry-after"]) >= 1
            else:
                assert (answer.status_code, answer.json()["status"]) == (200, "success")
            assert bool(names) == (on_outage == "local")
        if on_outage == "local":
            left = {answer.headers["x-ratelimit-remaining"] for _, answer in waits}  # type: ignore[union-attr]
            assert left == {str(number) for number in range(8, 20)}

    run(main())


def test_deadline_holds_in_the_queue(valkey: Server):
    """A trip may take its time, but who waits behind it has a deadline of its own from the beginning."""

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=1)
            async with aclosing(storage):
                await storage.decide(demand())
                delay.slow(0.33)
                first = asyncio.create_task(timed(storage.decide(demand("first"))))
                await asyncio.sleep(0)
                second = asyncio.create_task(_failing(storage.decide(demand("second"))))
                first_s, verdict = await first
                assert isinstance(verdict, Verdict)
                assert 0.66 <= first_s < 1
                # Its own trip would end at 1.3 s.
                assert 0.9 < await second < 1.25

    valkey.flush()
    run(main())


async def _failing(decision: Any) -> float:
    begun = asyncio.get_running_loop().time()
    with pytest.raises(StorageUnavailableError):
        await decision
    return asyncio.get_running_loop().time() - begun


def test_deadline_of_those_who_come_later(own_valkey: Server):
    """Whoever comes while a trip hangs waits no longer than alone, and nobody is forgotten."""

    async def main() -> None:
        storage = RedisStorage(own_valkey.url, STRATEGY, timeout_s=0.1)
        async with aclosing(storage):
            await storage.decide(demand())
            own_valkey.suspend()
            tasks = []
            for number in range(30):
                tasks.append(asyncio.create_task(_failing(storage.decide(demand(f"{number}")))))
                await asyncio.sleep(0.01)
            waits = await asyncio.gather(*tasks)
            own_valkey.resume()
        assert max(waits) < PATIENCE_S

    run(main())


def test_recovery_of_a_suspended_server(own_valkey: Server, caplog: pytest.LogCaptureFixture):
    """After SIGCONT a probe finds the server again, and it counts on from what it had."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url)
        async with aclosing(limiter):
            for _ in range(3):
                await limiter.check("ada")
            own_valkey.suspend()
            assert all([is_local(await limiter.check("ada")) for _ in range(8)])
            own_valkey.resume()

            async def is_back() -> bool:
                return not is_local(await limiter.check("ada", cost=0))

            assert await eventually(is_back, within_s=5) < 3
            before = counted(own_valkey)
            assert 3 <= before <= 3 + 5  # what the suspended server found in its socket, it may have counted
            assert remaining(await limiter.check("ada")) == 20 - before - 1

    run(main())
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _black_hole(running: ExitStack) -> str:
    server = running.enter_context(Server())
    delay = running.enter_context(Delay(server.port))
    delay.pause()
    return f"redis://:{PASSWORD}@{delay.address}/0"


def _lost_replies(running: ExitStack) -> str:
    server = running.enter_context(Server())
    server.call("CONFIG", "SET", "requirepass", PASSWORD)
    delay = running.enter_context(Delay(server.port))
    delay.lose_replies()
    return f"redis://:{PASSWORD}@{delay.address}/0"


def _refused(running: ExitStack) -> str:
    return f"redis://user:{PASSWORD}@127.0.0.1:{free_port()}/0"


def _refused_valkey(running: ExitStack) -> str:
    return f"valkey://user:{PASSWORD}@127.0.0.1:{free_port()}/0"


def _refused_cluster(running: ExitStack) -> str:
    return f"redis+cluster://user:{PASSWORD}@127.0.0.1:{free_port()}"


def _refused_sentinel(running: ExitStack) -> str:
    return f"redis+sentinel://user:{PASSWORD}@127.0.0.1:{free_port()}/mymaster?sentinel_password={PASSWORD}"


def _no_cluster(running: ExitStack) -> str:
    return f"redis+cluster://{running.enter_context(Server()).address}"


def _no_sentinel(running: ExitStack) -> str:
    return f"redis+sentinel://{running.enter_context(Server()).address}/mymaster"


def _wrong_password(running: ExitStack) -> str:
    server = running.enter_context(Server())
    server.call("CONFIG", "SET", "requirepass", "another")
    return f"redis://:{PASSWORD}@{server.address}/0"


def _no_password(running: ExitStack) -> str:
    server = running.enter_context(Server())
    server.call("CONFIG", "SET", "requirepass", PASSWORD)
    return server.url


def _unknown_name(running: ExitStack) -> str:
    return f"redis://:{PASSWORD}@no-such-host.invalid:6379/0"


def _tls_to_a_plain_port(running: ExitStack) -> str:
    return f"rediss://:{PASSWORD}@{running.enter_context(Server()).address}/0"


def _unix_socket_that_is_not_there(running: ExitStack) -> str:
    return f"redis+unix://:{PASSWORD}@/no/such/socket"


def _database_that_is_not_there(running: ExitStack) -> str:
    return f"redis://{running.enter_context(Server()).address}/99"


@pytest.mark.parametrize(
    "trouble",
    [
        _black_hole,
        _lost_replies,
        _refused,
        _refused_valkey,
        _refused_cluster,
        _refused_sentinel,
        _no_cluster,
        # Its connection to what is no Sentinel is never closed: test_sentinel_connections_are_closed.
        pytest.param(_no_sentinel, marks=LEAKS),
        _wrong_password,
        _no_password,
        _unknown_name,
        _tls_to_a_plain_port,
        _unix_socket_that_is_not_there,
        _database_that_is_not_there,
    ],
)
def test_storage_that_cannot_be_reached(
    running: ExitStack, trouble: Callable[[ExitStack], str], caplog: pytest.LogCaptureFixture
):
    """Nobody waits or sees an exception, this process counts, and one line says so without the password."""
    url = trouble(running)

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=url)
        async with aclosing(limiter):
            for number in range(8):
                wait_s, verdict = await timed(limiter.check("ada"))
                assert wait_s < PATIENCE_S
                assert is_local(verdict)
                assert remaining(verdict) == 19 - number

    run(main())
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "counting in this process" in record.getMessage()
    assert PASSWORD not in caplog.text
    assert url.partition("://")[0] in record.getMessage()


@pytest.mark.parametrize("at_once", [1, 64])
def test_black_hole_heals(valkey: Server, at_once: int):
    """A connection on which something was lost is given up, and the next one works."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=0.1)
            async with aclosing(storage):
                await storage.decide(demand("ada"))
                delay.pause()
                lost = await asyncio.gather(*(_failing(storage.decide(demand("lost"))) for _ in range(at_once)))
                assert max(lost) < PATIENCE_S
                delay.heal()
                verdict = await storage.decide(demand("ada"))
                assert remaining(verdict) == 18

    run(main())


def test_lost_replies_heal(valkey: Server):
    """What was counted without an answer is not answered to somebody else on the connection after it."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=0.1)
            async with aclosing(storage):
                await storage.decide(demand("ada"))
                delay.lose_replies()
                await _failing(storage.decide(demand("grace", cost=7)))
                delay.heal()
                assert remaining(await storage.decide(demand("ada"))) == 18
                assert remaining(await storage.decide(demand("grace"))) == 12

    run(main())


class Willing:
    """A link that answers at once."""

    is_worn = False

    def is_lost(self) -> bool:
        return False

    async def exchange(self, commands: Sequence[Command]) -> None:
        for command in commands:
            command.finish(b"7")

    async def close(self) -> None:
        pass


def test_connecting_goes_on_after_the_deadline():
    """A connection that takes longer than a request may wait is made all the same, once, for those who come."""
    connects = 0

    async def connect() -> Willing:
        nonlocal connects
        connects += 1
        await asyncio.sleep(0.2)
        return Willing()

    async def main() -> None:
        line = Line(connect, 0.05)
        reset = load_scripts(STRATEGY).reset
        for _ in range(2):
            await _failing(line.run(reset, [b"key"], Arguments.of()))
        await asyncio.sleep(0.15)
        assert await line.run(reset, [b"key"], Arguments.of()) == [b"7"]
        assert connects == 1
        await line.close()

    run(main())


def test_event_loop_that_stood_still_is_no_outage(valkey: Server):
    """What a service does to its own loop is not held against a server that has answered meanwhile."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.01) as delay:
            storage = RedisStorage(delay.url, "sliding-window-counter", timeout_s=0.2)
            async with aclosing(storage):
                await storage.decide(demand(cost=0))
                deciding = asyncio.create_task(storage.decide(demand()))
                for _ in range(10):
                    await asyncio.sleep(0)  # it is sent
                time.sleep(0.4)
                assert remaining(await deciding) == 19
                await asyncio.sleep(0.03)  # the second timer finds nothing under way
                assert remaining(await storage.decide(demand())) == 18

    run(main())
