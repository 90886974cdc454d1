"""The server of the locks does not answer: guarded writes are 503 in time, everything else goes on."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from envelope import Lease, ObjectLocks, install
from envelope.locks.lease import Lease as LeaseClass
from envelope.locks.storages.memory import MemoryLocks
from envelope.storage.errors import StorageUnavailableError
from tests.locks.api.asking import DONE, ask, asking, header, json_of, slow_locks, starlette_of, watch
from tests.wire.apps import failure, success

UNAVAILABLE = failure(
    503, "Service Unavailable -- We're temporarily offline for maintenance. Please try again later."
)


class Silent(MemoryLocks):
    """A storage that is out of reach."""

    def __init__(self) -> None:
        super().__init__(max_hold_s=120)
        self.asked: list[Any] = []

    async def acquire(self, keys: tuple[str, ...], operation: str) -> Any:
        self.asked.append(keys)
        raise StorageUnavailableError("silent")

    async def inspect(self, key: str) -> Any:
        self.asked.append(key)
        raise StorageUnavailableError("silent")


@pytest.fixture
def closed_port() -> Iterator[str]:
    """The URL of a port that refuses: it is bound, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{bound.getsockname()[1]}/0"


@pytest.fixture
def stalled_port() -> Iterator[str]:
    """The URL of a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def _app(locks: ObjectLocks, **options: Any) -> FastAPI:
    app = FastAPI()
    install(app, locks=locks)

    @app.api_route("/e/{entity_id}", methods=["PUT"])
    @app.api_route("/e/{entity_id}", methods=["GET"], include_in_schema=False)
    @locks.guarded("e:{entity_id}", reads="refuse", **options)
    async def guarded(entity_id: int, lease: Lease) -> list[Any]:
        return [lease.fence, lease.is_held, lease.lost, lease.remaining_s()]

    @app.put("/d/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}", **options))])
    async def dependent(entity_id: int) -> str:
        return "done"

    @app.put("/a/{entity_id}")
    async def acquiring(entity_id: int) -> list[Any]:
        lease = await locks.acquire("e:1", "f:1", **options)
        return [lease.fence, lease.is_held, lease.lost, lease.remaining_s()]

    @app.put("/h/{entity_id}")
    async def holding(entity_id: int) -> list[Any]:
        async with locks.hold("e:1", **options) as lease:
            return [lease.fence, lease.is_held, lease.lost, lease.remaining_s()]

    @app.put("/plain")
    async def plain() -> str:
        return "done"

    return app


GUARDED = ["/e/1", "/d/1", "/a/1", "/h/1"]


@pytest.mark.parametrize("port", ["closed_port", "stalled_port"])
def test_outage_of_a_server(port: str, request: pytest.FixtureRequest) -> None:
    """503 with Retry-After within the deadline; reads, also refusing ones, and unguarded routes are fine."""
    url = request.getfixturevalue(port)

    async def story() -> None:
        locks = ObjectLocks(url, timeout_s=0.2)
        app = _app(locks)
        try:
            for path in GUARDED * 3:
                began = time.monotonic()
                refused = await asking(app, path, method="PUT")
                # The deadline, and what a busy machine adds; a client's own timeouts begin at 5 s.
                assert time.monotonic() - began < 2
                assert json_of(refused) == UNAVAILABLE
                assert header(refused, b"retry-after") == [b"1"]
            assert (await asking(app, "/e/1", method="GET")).status == 200
            assert json_of(await asking(app, "/plain", method="PUT")) == DONE
            assert (await asking(app, "/e/x", method="PUT")).status == 400
        finally:
            await locks.aclose()

    asyncio.run(story())


@pytest.mark.parametrize("per", ["locks", "guard"])
def test_outage_that_is_allowed(per: str, closed_port: str) -> None:
    """It goes on without a lock, and the lease says so: a fenced table refuses its 0."""

    async def story() -> None:
        if per == "locks":
            locks = ObjectLocks(closed_port, timeout_s=0.2, on_outage="allow")
            app = _app(locks)
        else:
            locks = ObjectLocks(closed_port, timeout_s=0.2)
            app = _app(locks, on_outage="allow")
        try:
            for path in ("/e/1", "/a/1", "/h/1"):
                assert json_of(await asking(app, path, method="PUT")) == success([0, False, False, 0.0])
            assert json_of(await asking(app, "/d/1", method="PUT")) == DONE
        finally:
            await locks.aclose()

    asyncio.run(story())


def test_guard_may_deny_what_the_locks_allow() -> None:
    """The nearer word wins, in both directions."""
    for default, own, status in [("allow", "deny", 503), ("deny", "allow", 200), ("allow", "allow", 200)]:
        locks: Any = ObjectLocks(Silent(), on_outage=default)  # type: ignore[arg-type]
        app = _app(locks, on_outage=own)
        assert [ask(app, path, method="PUT").status for path in GUARDED] == [status] * 4


def test_reads_that_pass_do_not_ask_at_all() -> None:
    """A storage that is out of reach costs them nothing."""
    storage = Silent()
    locks = ObjectLocks(storage)

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        return JSONResponse("done")

    assert json_of(ask(starlette_of(locks, endpoint), method="GET")) == DONE
    assert storage.asked == []


def test_unguarded_lease_can_be_nested_and_released() -> None:
    """Code that runs under it need not know."""
    storage = Silent()
    locks = ObjectLocks(storage, on_outage="allow")

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request, lease: Lease) -> Response:
        async with locks.hold("e:1", "f:1") as held:
            acquired = await locks.acquire("e:1")
        await lease.release()
        await held.release()
        return JSONResponse([lease.key, list(held.keys), acquired.fence])

    assert json_of(ask(starlette_of(locks, endpoint))) == success(["e:1", ["e:1", "f:1"], 0])


def test_outage_at_the_release_changes_no_answer() -> None:
    """The work is done; the release is repeated in the background, and is nobody's error."""

    class Deaf(MemoryLocks):
        async def release(self, lease: LeaseClass) -> bool:
            return True

        def let_go(self, lease: LeaseClass) -> None:
            pass

    locks = ObjectLocks(Deaf(max_hold_s=120))

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        return JSONResponse("done")

    done = ask(starlette_of(locks, endpoint))

    assert (done.raised, json_of(done)) == (None, DONE)


def test_outage_of_one_of_several_does_not_keep_the_others() -> None:
    """What was taken before the storage went silent is given back with the 503."""
    locks, silent = slow_locks(), ObjectLocks(Silent())

    @locks.guarded("e:{entity_id}")
    @silent.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        raise AssertionError

    seen = watch(starlette_of(locks, endpoint), locks)

    assert (seen.status, seen.held, seen.is_busy_after) == (503, [True, False], False)
