"""However a request ends, nothing stays locked: disconnects, cancellation, background tasks, tasks that go on."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

from envelope import Lease, ObjectLockedError, ObjectLocks, install
from tests.locks.api.asking import (
    BUSY,
    DONE,
    EMPTY,
    Door,
    are_free,
    ask,
    asking,
    is_busy,
    json_of,
    quick_locks,
    settle,
    slow_locks,
    starlette_of,
    watch,
)
from tests.servers.server import Server
from tests.wire.apps import scope_of, success

KEYS = ("e:1", "f:1", "g:1", "h:1")


@pytest.fixture(params=["memory", "trips"])
def locks(request: pytest.FixtureRequest) -> ObjectLocks:
    return quick_locks() if request.param == "memory" else slow_locks()


def _busy_app(locks: ObjectLocks) -> FastAPI:
    """Make an application that takes objects in every way before it streams its answer."""
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}"))])
    @locks.guarded("f:{entity_id}")
    async def endpoint(request: Request, entity_id: int, tasks: BackgroundTasks) -> Response:
        await request.body()
        await locks.acquire("g:1")
        await locks.acquire("e:1")
        tasks.add_task(_later, locks)

        async def stream() -> AsyncIterator[bytes]:
            yield b"a"
            async with locks.hold("h:1"), locks.hold("e:1"):
                yield b"b"
            yield b"c"

        return StreamingResponse(stream(), media_type="text/plain", background=tasks)

    return app


async def _later(locks: ObjectLocks) -> None:
    await locks.acquire("e:1")
    async with locks.hold("h:1"):
        await asyncio.sleep(0)


# The client goes away


@pytest.mark.parametrize("message", range(5))
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_send_that_fails_at_any_message(message: int, spec_version: str, locks: ObjectLocks) -> None:
    """``send`` raises OSError when the client is gone (ASGI 2.4)."""
    app = _busy_app(locks)

    watch(app, locks, fail_at=message, asgi={"version": "3.0", "spec_version": spec_version})

    settle(locks)
    assert are_free(locks, *KEYS)


@pytest.mark.parametrize("received", range(4))
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_client_that_disconnects_at_any_message(received: int, spec_version: str, locks: ObjectLocks) -> None:
    """``receive`` gives http.disconnect in the middle of the body, or while the answer is streamed."""
    parts: list[Message] = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": True},
        {"type": "http.request", "body": b"c", "more_body": False},
    ]

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        await locks.acquire("f:1")
        await request.body()
        await locks.acquire("g:1")

        async def endless() -> AsyncIterator[bytes]:
            while not await request.is_disconnected():
                yield b"a"

        return StreamingResponse(endless(), media_type="text/plain")

    app = starlette_of(locks, endpoint)
    incoming: list[Message] = [*parts[:received], *[{"type": "http.disconnect"}] * 3]

    seen = watch(app, locks, incoming=incoming, asgi={"version": "3.0", "spec_version": spec_version})

    assert seen.raised is None or isinstance(seen.raised, ClientDisconnect)
    settle(locks)
    assert are_free(locks, *KEYS)


def test_application_that_never_answers(locks: ObjectLocks) -> None:
    """It returns without a word, or with a head only."""
    for words in (
        [],
        [{"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/css")]}],
    ):

        class Silent:
            def __init__(self, words: Any) -> None:
                self.words = words

            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await locks.acquire("e:1")
                assert await is_busy(locks)
                for word in self.words:
                    await send(word)

        app = starlette_of(locks, PlainTextResponse("a"), Mount("/silent", Silent(words)))

        seen = watch(app, locks, "/silent")

        assert not seen.is_busy_after
        assert are_free(locks)


# Cancellation


def _steps(app: Any, locks: ObjectLocks, steps: int) -> bool:
    """Cancel a request after so many steps of the loop, and tell whether it was over before."""

    async def story() -> bool:
        sent: list[Message] = []
        incoming = iter([EMPTY])
        gone = asyncio.Event()

        async def receive() -> Message:
            await asyncio.sleep(0)
            message = next(incoming, None)
            if message is None:
                await gone.wait()
            return message or {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            await asyncio.sleep(0)
            sent.append(message)

        scope = scope_of("/e/1", method="POST")
        request = asyncio.create_task(app(scope, receive, send), context=contextvars.Context())
        for _ in range(steps):
            await asyncio.sleep(0)
        if request.done():
            await request
            return True
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        for _ in range(50):  # the loop closes a generator that nobody iterates any more
            await asyncio.sleep(0)
        settle(locks)
        assert [await is_busy(locks, key) for key in KEYS] == [False] * len(KEYS), f"after {steps} steps"
        return False

    return asyncio.run(story())


def test_cancellation_after_any_number_of_steps(locks: ObjectLocks) -> None:
    """Wherever the request waits when it is cancelled: in a trip, in ``send``, in a background task."""
    app = _busy_app(locks)

    steps = next(n for n in range(1000) if _steps(app, locks, n))

    assert steps > 5
    assert are_free(locks, *KEYS)


def test_cancellation_on_a_server(valkey: Server) -> None:
    """The same on Valkey: what a cancelled request has asked for is given back in the background."""
    valkey.flush()

    async def story() -> int:
        locks = ObjectLocks(valkey.url, timeout_s=2)
        app = _busy_app(locks)
        try:
            await asking(app)
            for steps in range(0, 400, 9):
                request = asyncio.create_task(
                    app(scope_of("/e/1", method="POST"), _body, _slow_send), context=contextvars.Context()
                )
                for _ in range(steps):
                    await asyncio.sleep(0)
                request.cancel()
                await asyncio.wait([request])
                async with asyncio.timeout(5):
                    while [key for key in KEYS if await locks.inspect(key) is not None]:
                        await asyncio.sleep(0.002)
            return (await asking(app)).status
        finally:
            await locks.aclose()

    assert asyncio.run(story()) == 200


async def _body() -> Message:
    return EMPTY


async def _slow_send(message: Message) -> None:
    await asyncio.sleep(0)


def test_cancelled_sync_endpoint_keeps_the_object_until_its_thread_is_done(locks: ObjectLocks) -> None:
    """No cancellation stops a thread, so what it changes stays its own as long as it runs."""

    async def story() -> None:
        entered, opened = threading.Event(), threading.Event()

        @locks.guarded("e:{entity_id}")
        def endpoint(request: Request) -> Response:
            entered.set()
            assert opened.wait(10)
            return JSONResponse("done")

        app = starlette_of(locks, endpoint)
        request = asyncio.create_task(asking(app))
        assert await asyncio.to_thread(entered.wait, 10)
        request.cancel()
        await asyncio.wait([request])
        settle(locks)
        assert await is_busy(locks)

        opened.set()
        async with asyncio.timeout(5):
            while await is_busy(locks):
                settle(locks)
                await asyncio.sleep(0.001)

    asyncio.run(story())


# Background tasks


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
@pytest.mark.parametrize(("background", "busy_in_task"), [(False, False), (True, True)])
@pytest.mark.parametrize("way", ["guarded", "guard", "acquire"])
def test_background_tasks(
    framework: str, way: str, background: bool, busy_in_task: bool, locks: ObjectLocks
) -> None:
    """They run when the client has its answer: without the object, unless that was asked for."""
    seen_by_task: list[bool] = []

    async def task() -> None:
        seen_by_task.append(await is_busy(locks))

    guarded = locks.guarded("e:{entity_id}", background=background) if way == "guarded" else lambda f: f

    app: Any
    if framework == "fastapi":
        app = FastAPI()
        install(app, locks=locks)
        guards = [Depends(locks.guard("e:{entity_id}", background=background))] if way == "guard" else []

        @app.post("/e/{entity_id}", dependencies=guards)
        @guarded
        async def endpoint(entity_id: int, tasks: BackgroundTasks) -> str:
            if way == "acquire":
                await locks.acquire("e:1", background=background)
            assert await is_busy(locks)
            tasks.add_task(task)
            return "done"
    else:
        if way == "guard":
            return  # FastAPI's

        @guarded
        async def starlette_endpoint(request: Request) -> Response:
            if way == "acquire":
                await locks.acquire("e:1", background=background)
            assert await is_busy(locks)
            return JSONResponse("done", background=BackgroundTask(task))

        app = starlette_of(locks, starlette_endpoint)

    seen = watch(app, locks)

    assert seen.json == DONE
    assert seen.held == [True, background]
    assert seen_by_task == [busy_in_task]
    assert not seen.is_busy_after


def test_guard_until_the_answer_beside_one_until_the_tasks_are_done(locks: ObjectLocks) -> None:
    """The longer of the two holds, whichever came first."""
    for first in (True, False):
        seen_by_task: list[bool] = []

        async def task(seen: list[bool]) -> None:
            seen.append(await is_busy(locks))

        @locks.guarded("e:{entity_id}", background=first)
        async def endpoint(request: Request, first: bool = first, seen: list[bool] = seen_by_task) -> Response:
            await locks.acquire("e:1", background=not first)
            return JSONResponse("done", background=BackgroundTask(task, seen))

        seen = watch(starlette_of(locks, endpoint), locks)

        assert (seen.held, seen_by_task, seen.is_busy_after) == ([True, True], [True], False)


def test_acquire_in_a_background_task_is_released_at_its_end(locks: ObjectLocks) -> None:
    """Taken after the answer, it lasts until the request is over; nobody has to release it."""
    noted: list[bool] = []

    async def first() -> None:
        await locks.acquire("e:1")
        noted.append(await is_busy(locks))

    async def second() -> None:
        noted.append(await is_busy(locks))

    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}")
    async def endpoint(tasks: BackgroundTasks) -> str:
        tasks.add_task(first)
        tasks.add_task(second)
        return "done"

    seen = watch(app, locks)

    assert (seen.busy, noted, seen.is_busy_after) == ([False, False], [True, True], False)


def test_acquire_between_the_clients_last_byte_and_the_last_message(locks: ObjectLocks) -> None:
    """The client has everything already; what is taken then lasts as in a background task."""
    noted: list[bool] = []

    async def task() -> None:
        noted.append(await is_busy(locks))

    async def stream() -> AsyncIterator[bytes]:
        yield b"ab"
        await locks.acquire("e:1")

    async def endpoint(request: Request) -> Response:
        headers = {"content-length": "2"}
        return StreamingResponse(stream(), 200, headers, "text/plain", background=BackgroundTask(task))

    seen = watch(starlette_of(locks, endpoint), locks)

    assert (seen.busy, noted, seen.is_busy_after) == ([False, False, True], [True], False)


def test_background_task_that_fails(locks: ObjectLocks) -> None:
    """Its objects are free all the same."""

    async def task() -> None:
        await locks.acquire("f:1")
        raise ZeroDivisionError

    @locks.guarded("e:{entity_id}", background=True)
    async def endpoint(request: Request) -> Response:
        return JSONResponse("done", background=BackgroundTask(task))

    seen = watch(starlette_of(locks, endpoint), locks)

    assert isinstance(seen.raised, ZeroDivisionError)
    settle(locks)
    assert are_free(locks, *KEYS)


def test_background_task_may_hold_what_the_request_had(locks: ObjectLocks) -> None:
    """It takes the object anew, with a greater fence."""
    fences: list[int] = []

    async def task() -> None:
        async with locks.hold("e:1") as lease:
            fences.append(lease.fence)
            assert await is_busy(locks)

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request, lease: Lease) -> Response:
        fences.append(lease.fence)
        return JSONResponse("done", background=BackgroundTask(task))

    seen = watch(starlette_of(locks, endpoint), locks)

    assert not seen.is_busy_after
    assert fences[0] < fences[1]


# Tasks and threads that the request starts


def test_task_that_outlives_its_request_keeps_what_it_holds(locks: ObjectLocks) -> None:
    """Its block is its own: the objects are its until the block ends, whatever the request does."""

    async def story() -> None:
        door = Door()
        spawned: list[asyncio.Task[None]] = []

        async def work() -> None:
            async with locks.hold("e:1", "f:1") as lease:
                await door.stay()
                assert lease.is_held

        async def endpoint(request: Request) -> Response:
            if request.method == "POST":
                spawned.append(asyncio.create_task(work()))
                await door.entered.wait()
            else:
                await locks.acquire("e:1")
            return JSONResponse("done")

        app = starlette_of(locks, endpoint)

        assert json_of(await asking(app)) == DONE
        assert await is_busy(locks, "e:1")
        assert await is_busy(locks, "f:1")
        assert json_of(await asking(app, method="PUT")) == BUSY
        door.opened.set()
        await spawned[0]
        assert json_of(await asking(app, method="PUT")) == DONE
        assert not await is_busy(locks, "f:1")

    asyncio.run(story())


def test_task_that_goes_on_with_its_requests_lease_keeps_it(locks: ObjectLocks) -> None:
    """A block on what the request has already is a share of it; the last one releases."""

    async def story() -> None:
        door = Door()
        spawned: list[asyncio.Task[None]] = []

        async def work() -> None:
            async with locks.hold("e:1") as lease:
                await door.stay()
                assert lease.is_held

        @locks.guarded("e:{entity_id}")
        async def endpoint(request: Request) -> Response:
            if not spawned:
                spawned.append(asyncio.create_task(work()))
                await door.entered.wait()
            return JSONResponse("done")

        app = starlette_of(locks, endpoint)

        assert json_of(await asking(app)) == DONE
        assert json_of(await asking(app)) == BUSY
        door.opened.set()
        await spawned[0]
        assert json_of(await asking(app)) == DONE

    asyncio.run(story())


def test_task_that_begins_when_its_request_is_over_stands_alone(locks: ObjectLocks) -> None:
    """It finds nothing of the request's, and two of them exclude each other."""

    async def story() -> list[str]:
        over, door = asyncio.Event(), Door()
        spawned: list[asyncio.Task[str]] = []

        async def work() -> str:
            await over.wait()
            try:
                async with locks.hold("e:1"):
                    await door.stay()
                    return "held"
            except ObjectLockedError:
                door.opened.set()
                return "refused"

        @locks.guarded("e:{entity_id}")
        async def endpoint(request: Request) -> Response:
            spawned.extend(asyncio.create_task(work()) for _ in range(2))
            return JSONResponse("done")

        assert json_of(await asking(starlette_of(locks, endpoint))) == DONE
        over.set()
        async with asyncio.timeout(5):
            return sorted(await asyncio.gather(*spawned))

    assert asyncio.run(story()) == ["held", "refused"]
    assert are_free(locks)


def test_acquire_in_a_task_that_the_request_waits_for_is_the_requests(locks: ObjectLocks) -> None:
    """Work in parallel, one request."""

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        await asyncio.gather(locks.acquire("f:1"), locks.acquire("g:1"), locks.acquire("e:1"))
        return JSONResponse([await is_busy(locks, key) for key in ("e:1", "f:1", "g:1")])

    app = starlette_of(locks, endpoint)

    for key in ("e:1", "f:1", "g:1"):
        seen = watch(app, locks, key=key)
        assert (seen.json, seen.held) == (success([True] * 3), [True, False])


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
def test_sync_endpoint_is_locked_while_it_runs_in_its_thread(framework: str, locks: ObjectLocks) -> None:
    """The loop goes on meanwhile and refuses others."""

    async def story() -> None:
        entered, opened = threading.Event(), threading.Event()
        app: Any

        def work() -> None:
            entered.set()
            assert opened.wait(10)

        if framework == "fastapi":
            app = FastAPI()
            install(app, locks=locks)

            @app.post("/e/{entity_id}")
            @locks.guarded("e:{entity_id}")
            def endpoint(entity_id: int, lease: Lease) -> str:
                work()
                assert lease.is_held
                return "done"
        else:

            @locks.guarded("e:{entity_id}")
            def endpoint_of_starlette(request: Request, lease: Lease) -> Response:
                work()
                assert lease.is_held
                return JSONResponse("done")

            app = starlette_of(locks, endpoint_of_starlette)

        first = asyncio.create_task(asking(app))
        assert await asyncio.to_thread(entered.wait, 10)
        second = await asking(app)
        opened.set()

        assert json_of(second) == BUSY
        assert json_of(await first) == DONE
        assert not await is_busy(locks)

    asyncio.run(story())


def test_end_of_the_application_closes_the_locks(valkey: Server) -> None:
    """Connections to the server are closed in the lifespan's loop, after the application's own shutdown."""
    valkey.flush()
    steps: list[str] = []

    class Closing(ObjectLocks):
        async def aclose(self) -> None:
            steps.append("closed")
            await super().aclose()

    locks = Closing(valkey.url, timeout_s=2)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with locks.hold("e:1"):
            yield
        async with locks.hold("e:2"):
            steps.append("held at shutdown")

    app = Starlette(lifespan=lifespan)
    install(app, locks=locks)
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message["type"])
        steps.append(message["type"])

    asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))

    # A server ends its loop when it was told that the shutdown is complete.
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert steps == ["lifespan.startup.complete", "held at shutdown", "closed", "lifespan.shutdown.complete"]


def test_other_locks_of_the_same_names_are_others(locks: ObjectLocks) -> None:
    """Two ``ObjectLocks`` in memory know nothing of each other, within a request as well."""
    other = slow_locks()

    @locks.guarded("e:{entity_id}")
    @other.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        return JSONResponse([await is_busy(locks), await is_busy(other)])

    app = starlette_of(locks, endpoint)

    assert [watch(app, each).held for each in (locks, other)] == [[True, False]] * 2
    assert ask(app).status == 200
    assert are_free(locks)
    assert are_free(other)
