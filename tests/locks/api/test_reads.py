"""Reads: never refused, unless a route asks for it, and they never lock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from envelope import ConfigurationError, Lease, ObjectLocks, install
from envelope.locks.grants import Holder
from envelope.locks.storages.memory import MemoryLocks
from envelope.storage.errors import StorageUnavailableError
from tests.locks.api.asking import (
    BUSY,
    DONE,
    Door,
    asking,
    header,
    is_busy,
    json_of,
    slow_locks,
    starlette_of,
    watch,
)
from tests.wire.apps import success

READS = ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"]
WRITES = ["POST", "PUT", "PATCH", "DELETE", "MERGE", "get", "LOCK"]


def _app(locks: ObjectLocks, way: str, **options: Any) -> FastAPI:
    """Make an application whose endpoint has all methods and says whether it has the object."""
    app = FastAPI()
    install(app, locks=locks)
    methods = [*READS, *WRITES, "GET"]
    route: Any
    if way == "guarded":

        @locks.guarded("e:{entity_id}", **options)
        async def guarded(entity_id: int, lease: Lease) -> bool:
            return lease.is_held

        route, dependencies = guarded, []
    else:

        async def plain(entity_id: int) -> bool:
            return await is_busy(locks, f"e:{entity_id}")

        keys = (lambda entity_id: f"e:{entity_id}") if way == "function" else "e:{entity_id}"
        route, dependencies = plain, [Depends(locks.guard(keys, **options))]
    app.add_api_route("/e/{entity_id}", route, methods=methods, dependencies=dependencies, include_in_schema=False)
    if "get" in methods:  # Starlette puts methods into capitals; a client need not
        app.router.routes[-1].methods.update(methods)  # type: ignore[attr-defined]
    return app


WAYS = ["guarded", "guard", "function"]


async def _while_held(locks: ObjectLocks, app: Any, methods: list[str], **options: Any) -> list[int]:
    async with locks.hold("e:1"):
        return [(await asking(app, method=method, **options)).status for method in methods]


@pytest.mark.parametrize("way", WAYS)
def test_reads_pass_and_writes_are_refused_while_the_object_is_busy(way: str) -> None:
    """GET, HEAD, OPTIONS, TRACE and QUERY change nothing; every other method may."""
    locks = slow_locks()
    app = _app(locks, way)

    assert asyncio.run(_while_held(locks, app, READS)) == [200] * 5
    assert asyncio.run(_while_held(locks, app, WRITES)) == [423] * len(WRITES)


@pytest.mark.parametrize("reads", ["pass", "refuse"])
@pytest.mark.parametrize("way", WAYS)
def test_reads_lock_nothing(way: str, reads: str) -> None:
    """Two of them run side by side, and a write comes in between."""
    locks = slow_locks()
    app = _app(locks, way, reads=reads)

    for method in READS:
        seen = watch(app, locks, method=method)
        assert seen.status == 200
        assert not any(seen.held)
        if method != "HEAD":
            assert seen.json == success(False)


@pytest.mark.parametrize("way", WAYS)
def test_reads_that_a_route_refuses(way: str) -> None:
    """For aggregates that are half written meanwhile: 423 as for a write."""
    locks = slow_locks()
    app = _app(locks, way, reads="refuse")

    async def story() -> None:
        async with locks.hold("e:1"):
            for method in (*READS, *WRITES):
                refused = await asking(app, method=method)
                assert refused.status == 423
                assert refused.body == b"" if method == "HEAD" else json_of(refused) == BUSY
                assert header(refused, b"retry-after")[0].isdigit()
                assert header(refused, b"cache-control") == [b"no-store"]
            assert (await asking(app, "/e/2", method="GET")).status == 200
        assert (await asking(app, method="GET")).status == 200

    asyncio.run(story())


def test_refused_reads_do_not_refuse_each_other() -> None:
    """They look, and take nothing."""
    locks = slow_locks()

    async def story() -> None:
        door = Door()
        inside: list[int] = []

        @locks.guarded("e:{entity_id}", reads="refuse")
        async def endpoint(request: Request) -> Response:
            inside.append(1)
            if request.method == "GET":
                if len(inside) == 3:
                    door.opened.set()
                await door.stay()
            return JSONResponse("done")

        app = starlette_of(locks, endpoint)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*[asking(app, method="GET") for _ in range(3)])
        assert [json_of(answer) for answer in answers] == [DONE] * 3

    asyncio.run(story())


@pytest.mark.parametrize("way", WAYS)
def test_own_lease_is_no_obstacle_to_a_read(way: str) -> None:
    """What the request itself has taken before is its own."""
    locks = slow_locks()
    app = FastAPI()
    install(app, locks=locks)

    async def before() -> None:
        await locks.acquire("e:1")

    guard = locks.guard("e:{entity_id}", reads="refuse")

    async def plain(entity_id: int) -> bool:
        return await is_busy(locks)

    endpoint = locks.guarded("e:{entity_id}", reads="refuse")(plain) if way == "guarded" else plain
    guards = [] if way == "guarded" else [Depends(guard)]
    app.get("/e/{entity_id}", dependencies=[Depends(before), *guards])(endpoint)

    seen = watch(app, locks, method="GET")

    assert (seen.json, seen.held) == (success(True), [True, False])


class _Silent(MemoryLocks):
    """A storage that does not answer."""

    def __init__(self) -> None:
        super().__init__(max_hold_s=120)
        self.asked: list[str] = []

    async def inspect(self, key: str) -> Holder | None:
        self.asked.append(key)
        raise StorageUnavailableError("silent")

    async def acquire(self, keys: tuple[str, ...], operation: str) -> Any:
        self.asked.extend(keys)
        raise StorageUnavailableError("silent")


@pytest.mark.parametrize("way", WAYS)
def test_reads_go_on_while_the_storage_is_silent(way: str) -> None:
    """Also those that a busy object would refuse; writes do not."""
    storage = _Silent()
    locks = ObjectLocks(storage)
    refusing, passing = _app(locks, way, reads="refuse"), _app(locks, way)

    async def story() -> None:
        for method in READS:
            assert (await asking(passing, method=method)).status in (200, 503 if way != "guarded" else 200)
        assert storage.asked == [] or way != "guarded"
        if way == "guarded":
            for method in READS:
                assert (await asking(refusing, method=method)).status == 200
            assert storage.asked == ["e:1"] * 5
            assert (await asking(refusing, method="PUT")).status == 503

    asyncio.run(story())


def test_other_words_for_reads_are_a_configuration_error() -> None:
    """At once, with those that there are."""
    locks: Any = ObjectLocks()

    for make in (locks.guarded, locks.guard):
        for reads in ("block", True, None):
            with pytest.raises(ConfigurationError, match="'pass' or 'refuse'"):
                make("e:{entity_id}", reads=reads)
