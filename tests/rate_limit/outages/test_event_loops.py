"""One limiter in several event loops, and what is left of a loop's connection when it ends."""

import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import aclosing

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from envelope import RateLimiter, install
from envelope.rate_limit.storages.redis.scripts import load_scripts
from envelope.storage.redis.errands import Arguments
from envelope.storage.redis.line import Line
from tests.rate_limit.outages.watching import (
    connections,
    counted,
    is_answered,
    is_local,
    remaining,
    run,
    wait_for_no_connections,
)
from tests.servers.cluster import Cluster
from tests.servers.sentinel import Sentinel
from tests.servers.server import Server

#: A loop that ends without aclose() leaves its connection to the garbage collector, which says so.
abandons = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def _app(limiter: RateLimiter) -> Starlette:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse({})

    app = Starlette(routes=[Route("/", endpoint)])
    install(app, rate_limiter=limiter)
    return app


def test_loops_one_after_another(own_valkey: Server):
    """A limiter outlives its loops; each closes its own connection."""
    limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage="deny", timeout_s=2)

    async def main(number: int) -> None:
        async with aclosing(limiter):
            assert remaining(await limiter.check("ada")) == 19 - number
            assert connections(own_valkey) == 1

    for number in range(4):
        run(main(number))
    wait_for_no_connections(own_valkey)


@pytest.mark.parametrize("mark", [pytest.param(None, marks=abandons)], ids=[""])
def test_loops_that_end_without_aclose(own_valkey: Server, mark: None):
    """The next loop is served all the same."""
    limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage="deny", timeout_s=2)
    for number in range(4):
        assert remaining(asyncio.run(limiter.check("ada"))) == 19 - number


def _ask_in_loops(server: Server) -> int:
    limiter = RateLimiter("20/minute", storage=server.url, on_outage="deny", timeout_s=2)
    for _ in range(6):
        asyncio.run(limiter.check("ada"))
    gc.collect()
    return connections(server)


def _ask_without_lifespan(server: Server) -> int:
    limiter = RateLimiter("20/minute", storage=server.url, on_outage="deny", timeout_s=2)
    client = TestClient(_app(limiter))
    for number in range(6):
        assert client.get("/").headers["x-ratelimit-remaining"] == f"{19 - number}"
    gc.collect()
    return connections(server)


@pytest.mark.parametrize(
    "ask", [pytest.param(_ask_in_loops, marks=abandons), pytest.param(_ask_without_lifespan, marks=abandons)]
)
def test_loops_that_end_without_aclose_leave_nothing(own_valkey: Server, ask: Callable[[Server], int]):
    """Connections of loops that are gone do not pile up: asyncio.run, or TestClient without ``with``."""
    assert ask(own_valkey) <= 1


def test_lifespan_closes_the_connection(own_valkey: Server):
    """An installed application that shuts down leaves no connection, and can start again."""
    limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage="deny", timeout_s=2)
    app = _app(limiter)
    for turn in range(2):
        with TestClient(app) as client:
            for number in range(3):
                left = client.get("/").headers["x-ratelimit-remaining"]
                assert left == str(19 - 3 * turn - number)
            assert connections(own_valkey) == 1
        wait_for_no_connections(own_valkey)


def test_loops_side_by_side(own_valkey: Server):
    """Two threads with loops of their own share the limiter's counts and nothing else."""
    limiter = RateLimiter("300/minute", storage=own_valkey.url, on_outage="deny", timeout_s=5)
    barrier = threading.Barrier(2)
    failures: list[BaseException] = []

    async def main() -> None:
        async with aclosing(limiter):
            for _ in range(10):
                await asyncio.gather(*(limiter.check("ada") for _ in range(15)))

    def work() -> None:
        barrier.wait()
        try:
            asyncio.run(main(), debug=True)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counted(own_valkey) == 300
    wait_for_no_connections(own_valkey)


def test_closed_and_used_again(own_valkey: Server):
    """aclose() closes at the server at once, may be called twice, and is no end."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage="deny", timeout_s=2)
        await limiter.aclose()
        for number in range(3):
            assert remaining(await limiter.check("ada")) == 19 - number
            await limiter.aclose()
            await limiter.aclose()
            await asyncio.to_thread(wait_for_no_connections, own_valkey)

    run(main(), debug=True)


def test_closed_under_way(own_valkey: Server):
    """Whoever waits when the storage is closed has the outage's answer, and the connection goes."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, timeout_s=5)
        await limiter.check("ada")
        own_valkey.suspend()
        tasks = [asyncio.create_task(limiter.check("ada")) for _ in range(200)]
        await asyncio.sleep(0.02)
        await limiter.aclose()
        done, pending = await asyncio.wait(tasks, timeout=1)
        own_valkey.resume()
        assert not pending
        local = [task.result() for task in done if task.exception() is None]
        assert len(local) == 20
        assert all(map(is_local, local))

    run(main(), debug=True)
    wait_for_no_connections(own_valkey)


def test_closed_just_when_connected():
    """A connection that is made in the moment in which the line is closed is closed too."""

    class Open:
        is_closed = False

        is_worn = False

        def is_lost(self) -> bool:
            return False

        async def exchange(self, commands: object) -> None:
            await asyncio.Event().wait()

        async def close(self) -> None:
            self.is_closed = True

    links: list[Open] = []

    async def connect() -> Open:
        links.append(Open())
        return links[-1]

    async def main() -> None:
        for turns in range(8):
            line = Line(connect, 5)
            task = asyncio.create_task(_reset(line))
            for _ in range(turns):
                await asyncio.sleep(0)
            await line.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for _ in range(3):
                await asyncio.sleep(0)
        assert links
        assert [link.is_closed for link in links] == [True] * len(links)

    run(main())


async def _reset(line: Line) -> None:
    await line.run(load_scripts("fixed-window").reset, [b"key"], Arguments.of())


def _ask_sentinel_in_loops(url: str) -> list[bool]:
    limiter = RateLimiter("20/minute", storage=url, on_outage="deny", timeout_s=2)

    async def main() -> bool:
        async with aclosing(limiter):
            return await is_answered(limiter.check("ada"))

    return [asyncio.run(main()) for _ in range(3)]


@pytest.mark.parametrize("mark", [pytest.param(None, marks=abandons)], ids=[""])
def test_sentinel_in_loops_one_after_another(valkey_sentinel: Sentinel, mark: None):
    """A second loop asks the Sentinels as the first did."""
    assert _ask_sentinel_in_loops(valkey_sentinel.url) == [True, True, True]


def test_cluster_in_loops_one_after_another(valkey_cluster: Cluster):
    """A cluster's client is made for each loop, and closed with it."""
    valkey_cluster.flush()
    limiter = RateLimiter("20/minute", storage=valkey_cluster.url, on_outage="deny", timeout_s=2)

    async def main() -> int:
        async with aclosing(limiter):
            return remaining(await limiter.check("ada"))

    assert [run(main()) for _ in range(3)] == [19, 18, 17]
