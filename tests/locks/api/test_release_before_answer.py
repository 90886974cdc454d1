"""The object is free before the client has its answer, and not earlier.

Each test notes, for every message that leaves the application, whether somebody else could have the object. The
storage's trips take time, so that a release which nobody waits for comes too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from envelope import ConflictError, ErrorMap, NotFoundError, ObjectLocks, install, raw_response
from tests.locks.api.asking import (
    DONE,
    Seen,
    apart,
    are_free,
    is_busy,
    posted,
    quick_locks,
    settle,
    slow_locks,
    starlette_of,
    watch,
)
from tests.wire.apps import CRASH, failure, scope_of, success


@pytest.fixture(params=["memory", "trips"])
def locks(request: pytest.FixtureRequest) -> ObjectLocks:
    return quick_locks() if request.param == "memory" else slow_locks()


def _guarded(locks: ObjectLocks, make: Callable[[], Any], **options: Any) -> Starlette:
    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        response: Response = make()
        return response

    return starlette_of(locks, endpoint, **options)


def _assert_released_with_answer(seen: Seen, locks: ObjectLocks, method: str = "POST") -> None:
    assert (seen.busy if method == "HEAD" else seen.held) == seen.held_until(method)
    assert not seen.is_busy_after
    assert are_free(locks)


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class _Raw(Response):
    """A response that sends these messages."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], *bodies: tuple[bytes, bool]) -> None:
        self.background = None
        self._head = (status, headers)
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, headers = self._head
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body, more in self._bodies:
            await send({"type": "http.response.body", "body": body, "more_body": more})


class _Trailing(Response):
    """A response with trailers, behind the part of the body that is the last."""

    def __init__(self, *parts: bytes) -> None:
        self.background = None
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [TEXT_PLAIN], "trailers": True})
        for number, part in enumerate(self._parts, 1):
            more = number < len(self._parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})


TEXT_PLAIN = (b"content-type", b"text/plain")
#: What is answered, and how long the object is locked: at the head, at each part of the body.
ANSWERS: dict[str, tuple[Callable[[], Any], list[bool]]] = {
    "json": (lambda: JSONResponse({"id": 1}), [True, False]),
    "text": (lambda: PlainTextResponse("a"), [True, False]),
    "empty": (Response, [True, False]),  # it becomes the null
    "created": (lambda: JSONResponse({"id": 1}, 201, {"location": "/e/1"}), [True, False]),
    "not modified": (lambda: Response(status_code=304), [False, False]),
    "redirect": (lambda: RedirectResponse("/e/2"), [False, False]),
    "length 0": (lambda: _Raw(200, [TEXT_PLAIN, (b"content-length", b"0")], (b"", False)), [False, False]),
    "length 0, mixed case": (
        lambda: _Raw(200, [TEXT_PLAIN, (b"Content-Length", b"0")], (b"", True), (b"", False)),
        [False, False, False],
    ),
    "completed before its last message": (
        lambda: _Raw(200, [TEXT_PLAIN, (b"content-length", b"3")], (b"ab", True), (b"c", True), (b"", False)),
        [True, True, False, False],
    ),
    "whole in the first of several": (
        lambda: _Raw(200, [TEXT_PLAIN, (b"content-length", b"3")], (b"abc", True), (b"", True), (b"", False)),
        [True, False, False, False],
    ),
    "stream without length": (
        lambda: StreamingResponse(_parts(b"a", b"b"), media_type="text/plain"),
        [True, True, True, False],
    ),
    "stream with length": (
        lambda: StreamingResponse(_parts(b"a", b"b"), 200, {"content-length": "2"}, "text/plain"),
        [True, True, False, False],
    ),
    "events": (
        lambda: StreamingResponse(_parts(b"data: 1\n\n", b"data: 2\n\n"), media_type="text/event-stream"),
        [True, True, True, False],
    ),
    "lines": (
        lambda: StreamingResponse(_parts(b"1\n", b"2\n"), media_type="application/x-ndjson"),
        [True, True, True, False],
    ),
    "failure": (lambda: JSONResponse({"detail": "no"}, 404), [True, False]),
    "page of a failure": (lambda: HTMLResponse("<p>no", 404), [True, False]),
    "trailers": (lambda: _Trailing(b"a", b""), [True, True, False, False]),
    "trailers behind nothing": (lambda: _Trailing(b""), [True, False, False]),
    "partial content": (lambda: Response(b"abc", 206, media_type="application/json"), [True, False]),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_object_is_free_with_the_last_message_of_the_answer(kind: str, locks: ObjectLocks) -> None:
    """Whatever the framing: the head, the part that completes the length, or the last one."""
    make, expected = ANSWERS[kind]

    seen = watch(_guarded(locks, make), locks)

    assert seen.held == expected
    _assert_released_with_answer(seen, locks)


@pytest.mark.parametrize(
    ("make", "status", "expected"),
    [
        (lambda: JSONResponse({"id": 1}), 200, [True, False]),
        (lambda: JSONResponse({"id": 1}, 201), 201, [True, False]),
        (lambda: Response(status_code=204), 204, [False, False]),
        (lambda: Response(status_code=202), 202, [True, False]),
    ],
)
def test_kept_statuses(make: Any, status: int, expected: list[bool], locks: ObjectLocks) -> None:
    """A 204 that stays one is over with its head."""
    seen = watch(_guarded(locks, make, success_status="keep"), locks)

    assert (seen.status, seen.held) == (status, expected)
    _assert_released_with_answer(seen, locks)


def test_204_that_becomes_the_null_is_over_with_its_body(locks: ObjectLocks) -> None:
    """What counts is what goes out."""
    seen = watch(_guarded(locks, lambda: Response(status_code=204)), locks)

    assert (seen.status, seen.json, seen.held) == (200, success(None), [True, False])


@pytest.mark.parametrize("length", [None, 8])
def test_wrapped_stream_is_over_with_the_envelopes_last_byte(length: int | None, locks: ObjectLocks) -> None:
    """The length counts in what the envelope adds."""
    headers = {} if length is None else {"content-length": str(length)}
    app = _guarded(
        locks, lambda: StreamingResponse(_parts(b'{"id', b'":1}'), 200, headers, media_type="application/json")
    )

    seen = watch(app, locks)

    assert seen.json == success({"id": 1})
    assert seen.held[:-1] == [True] * (len(seen.held) - 1)
    _assert_released_with_answer(seen, locks)


@pytest.mark.parametrize("kind", ["exempt", "raw", "raw empty"])
def test_unwrapped_answers(kind: str, locks: ObjectLocks) -> None:
    """Exempt paths and raw routes end as the application's own messages do."""

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        return Response() if kind == "raw empty" else JSONResponse({"id": 1})

    options = {"exempt": ["/e/*"]} if kind == "exempt" else {}
    app = starlette_of(locks, endpoint if kind == "exempt" else raw_response(endpoint), **options)

    seen = watch(app, locks)

    assert seen.exchange.body == (b"" if kind == "raw empty" else b'{"id":1}')
    assert seen.held == ([False, False] if kind == "raw empty" else [True, False])
    assert are_free(locks)


@pytest.mark.parametrize("extensions", [{}, {"http.response.pathsend": {}}])
def test_files(extensions: dict[str, Any], locks: ObjectLocks, tmp_path: Path) -> None:
    """In parts, or by their path."""
    file = tmp_path / "file.bin"
    file.write_bytes(b"x" * 100_000)

    seen = watch(_guarded(locks, lambda: FileResponse(file)), locks, extensions=extensions)

    kinds = [message["type"] for message in seen.sent]
    assert ("http.response.pathsend" in kinds) == bool(extensions)
    assert len(kinds) == (2 if extensions else 3)
    _assert_released_with_answer(seen, locks)


@pytest.mark.parametrize(
    "kind", ["json", "stream without length", "length 0", "completed before its last message"]
)
def test_head(kind: str, locks: ObjectLocks) -> None:
    """HEAD is over with its head. It is a read, so it locks by ``acquire`` only."""
    make, _ = ANSWERS[kind]

    async def endpoint(request: Request) -> Response:
        await locks.acquire("e:1")
        assert await is_busy(locks)
        response: Response = make()
        return response

    seen = watch(starlette_of(locks, endpoint), locks, method="HEAD")

    assert not any(seen.busy)
    assert seen.status == 200
    _assert_released_with_answer(seen, locks, "HEAD")


class _Missing(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (HTTPException(409, "taken"), failure(409, "taken")),
        (ConflictError("taken"), failure(409, "taken")),
        (_Missing(), failure(404, NotFoundError.message)),
        (ZeroDivisionError(), CRASH),
    ],
)
def test_exceptions_before_the_answer(error: Exception, body: object, locks: ObjectLocks) -> None:
    """Answers and crashes alike."""

    def fail() -> Response:
        raise error

    seen = watch(_guarded(locks, fail, errors=ErrorMap({_Missing: NotFoundError})), locks)

    is_crash = isinstance(error, ZeroDivisionError)
    assert seen.json == body
    assert seen.held == [True, False]
    assert (seen.raised is error) is is_crash
    assert not seen.is_busy_after
    assert are_free(locks)


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_crash_in_debug_mode(accept: str, locks: ObjectLocks) -> None:
    """The framework's page is an answer too, with which the client has everything."""

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        raise ZeroDivisionError

    app = starlette_of(locks, endpoint)
    app.debug = True

    seen = watch(app, locks, headers={"accept": accept})

    assert seen.status == 500
    assert seen.held[-1] is False
    assert not seen.is_busy_after


def test_exception_in_the_middle_of_a_stream(locks: ObjectLocks) -> None:
    """The client never has everything; the object is free when the application has returned."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    seen = watch(_guarded(locks, lambda: StreamingResponse(broken(), media_type="text/plain")), locks)

    assert (seen.held, type(seen.raised)) == ([True, True], ZeroDivisionError)
    settle(locks)
    assert are_free(locks)


def test_validation_error_after_the_guard(locks: ObjectLocks) -> None:
    """FastAPI collects errors of parameters and runs the dependencies all the same."""
    app = FastAPI()
    install(app, locks=locks)
    entered: list[bool] = []

    async def noting(lease: Any = Depends(locks.guard("e:{entity_id}"))) -> None:  # noqa: B008
        entered.append(lease.is_held)

    @app.post("/e/{entity_id}", dependencies=[Depends(noting)])
    async def endpoint(entity_id: int, body: dict[str, int]) -> None:
        raise AssertionError

    seen = watch(app, locks, **posted(b'{"a":"x"}'))

    assert (seen.status, entered) == (400, [True])
    _assert_released_with_answer(seen, locks)


class _Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-own"] = "1"
        return response


class _Copying:
    """A middleware that hands a copy of the scope inward."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(dict(scope), receive, send)


MIDDLEWARE: dict[str, list[Middleware]] = {
    "gzip": [Middleware(GZipMiddleware, minimum_size=1)],
    "cors": [Middleware(CORSMiddleware, allow_origins=["*"])],
    "base": [Middleware(_Passing)],
    "copied scope": [Middleware(_Copying)],
    "all": [
        Middleware(GZipMiddleware, minimum_size=1),
        Middleware(_Passing),
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(_Copying),
    ],
}
STREAMS = ["json", "stream without length", "stream with length", "failure", "created", "redirect"]


@pytest.mark.parametrize("place", ["application", "mount", "route"])
@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("middleware", MIDDLEWARE)
def test_middleware_of_the_application_in_between(middleware: str, kind: str, place: str) -> None:
    """Outside of the guard or inside, they see the answer before the client does, and do not keep the object."""
    locks = slow_locks()
    make, _ = ANSWERS[kind]

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        response: Response = make()
        return response

    mine = MIDDLEWARE[middleware]
    route = Route("/e/{entity_id}", endpoint, methods=["POST"], middleware=mine if place == "route" else None)
    app = Starlette(
        routes=[Mount("/m", routes=[route], middleware=mine)] if place == "mount" else [route],
        middleware=mine if place == "application" else None,
    )
    install(app, locks=locks)

    seen = watch(
        app,
        locks,
        "/m/e/1" if place == "mount" else "/e/1",
        headers={"accept-encoding": "gzip", "origin": "https://a.example"},
    )

    last = last_free(seen)
    assert not seen.held[last]
    assert not seen.is_busy_after
    if kind == "stream without length":
        assert seen.held[0] is True
    assert are_free(locks)


def last_free(seen: Seen) -> int:
    """Give the number of the message by which the object has to be free."""
    return seen.held_until().index(False)


def _endpoint(locks: ObjectLocks) -> Any:
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int) -> str:
        assert await is_busy(locks, f"e:{entity_id}")
        return "done"

    return endpoint


def _direct(locks: ObjectLocks) -> tuple[Any, str]:
    app = FastAPI()
    app.post("/e/{entity_id}")(_endpoint(locks))
    install(app, locks=locks)
    return app, "/e/1"


def _mounted(locks: ObjectLocks) -> tuple[Any, str]:
    inner = FastAPI()
    inner.post("/e/{entity_id}")(_endpoint(locks))
    app = Starlette(routes=[Mount("/m", inner)])
    install(app, locks=locks)
    return app, "/m/e/1"


def _mounted_in_fastapi(locks: ObjectLocks) -> tuple[Any, str]:
    inner, app = FastAPI(), FastAPI()
    inner.post("/e/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}"))])(_endpoint(locks))
    app.mount("/m", inner)
    install(app, locks=locks)
    return app, "/m/e/1"


def _installed_in_installed(locks: ObjectLocks) -> tuple[Any, str]:
    inner = FastAPI()
    inner.post("/e/{entity_id}")(_endpoint(locks))
    install(inner, locks=locks)
    app = Starlette(routes=[Mount("/m", inner)])
    install(app, locks=locks)
    return app, "/m/e/1"


def _installed_without_locks_in_installed(locks: ObjectLocks) -> tuple[Any, str]:
    inner = FastAPI()
    inner.post("/e/{entity_id}")(_endpoint(locks))
    install(inner)
    app = Starlette(routes=[Mount("/m", inner)])
    install(app, locks=locks)
    return app, "/m/e/1"


def _installed_thrice(locks: ObjectLocks) -> tuple[Any, str]:
    inner, middle, app = FastAPI(), FastAPI(), FastAPI()
    inner.post("/e/{entity_id}")(_endpoint(locks))
    for each in (inner, middle, app):
        install(each, locks=locks)
    middle.mount("/b", inner)
    app.mount("/a", middle)
    return app, "/a/b/e/1"


def _included(locks: ObjectLocks) -> tuple[Any, str]:
    inner, outer, app = APIRouter(prefix="/e"), APIRouter(prefix="/in"), FastAPI()
    inner.post("/{entity_id}")(_endpoint(locks))
    outer.include_router(inner)
    app.include_router(outer, prefix="/v1")
    install(app, locks=locks)
    return app, "/v1/in/e/1"


def _router_level(locks: ObjectLocks) -> tuple[Any, str]:
    async def plain(entity_id: int) -> str:
        assert await is_busy(locks, f"e:{entity_id}")
        return "done"

    router = APIRouter(prefix="/e", dependencies=[Depends(locks.guard("e:{entity_id}"))])
    router.post("/{entity_id}")(plain)
    app = FastAPI()
    app.include_router(router, prefix="/v1")
    install(app, locks=locks)
    return app, "/v1/e/1"


def _sub_dependency(locks: ObjectLocks) -> tuple[Any, str]:
    async def inner(lease: Any = Depends(locks.guard("e:{entity_id}"))) -> Any:  # noqa: B008
        return lease

    async def outer(lease: Any = Depends(inner)) -> Any:  # noqa: B008
        return lease

    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}")
    async def endpoint(entity_id: int, lease: Any = Depends(outer)) -> str:  # noqa: B008
        assert lease.is_held
        assert await is_busy(locks)
        return "done"

    return app, "/e/1"


def _router_of_starlette(locks: ObjectLocks) -> tuple[Any, str]:
    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        assert await is_busy(locks)
        return JSONResponse("done")

    inner = Router([Route("/{entity_id:int}", endpoint, methods=["POST"])])
    app = Starlette(routes=[Mount("/e", inner)])
    install(app, locks=locks)
    return app, "/e/1"


PLACES = [
    _direct,
    _mounted,
    _mounted_in_fastapi,
    _installed_in_installed,
    _installed_without_locks_in_installed,
    _installed_thrice,
    _included,
    _router_level,
    _sub_dependency,
    _router_of_starlette,
]


@pytest.mark.parametrize("place", PLACES)
def test_wherever_the_route_stands(place: Any, locks: ObjectLocks) -> None:
    """Mounts, installed applications inside of installed ones, included routers, dependencies of dependencies."""
    app, path = place(locks)

    seen = watch(app, locks, path)

    assert (seen.raised, seen.json, seen.held) == (None, DONE, [True, False])
    _assert_released_with_answer(seen, locks)


def test_acquired_while_the_answer_is_under_way(locks: ObjectLocks) -> None:
    """What is taken after the head belongs to the request like what was taken before."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"a"
        await locks.acquire("e:1")
        yield b"b"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(stream(), media_type="text/plain")

    seen = watch(starlette_of(locks, endpoint), locks)

    assert seen.held == [False, False, True, False]
    assert are_free(locks)


def test_acquired_after_a_head_with_a_length(locks: ObjectLocks) -> None:
    """The part that completes the length is the last one for its client, whenever the object was taken."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"a"
        await locks.acquire("e:1")
        yield b"b"
        yield b"c"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(stream(), 200, {"content-length": "3"}, media_type="text/plain")

    seen = watch(starlette_of(locks, endpoint), locks)

    assert seen.held == [False, False, True, False, False]
    assert are_free(locks)


def test_middleware_that_tries_a_request_again(locks: ObjectLocks) -> None:
    """The second try has its own lease, which is released like the first one's."""
    attempts: list[int] = []

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request) -> Response:
        attempts.append(1)
        assert await is_busy(locks)
        return JSONResponse("done", 503 if len(attempts) == 1 else 200)

    class Again:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return

            async def drop(message: Any) -> None:
                pass

            await self.app(scope, receive, drop)
            await self.app(scope, receive, send)

    app = starlette_of(locks, endpoint)
    app.add_middleware(Again)

    seen = watch(app, locks)

    assert (seen.json, len(attempts)) == (DONE, 2)
    assert seen.held == [True, False]
    assert are_free(locks)


def test_all_objects_of_a_request_are_free_with_its_answer(locks: ObjectLocks) -> None:
    """However many guards and calls took them."""
    app = FastAPI()
    install(app, locks=locks)
    keys = ("e:1", "f:1", "g:1", "g:2", "h:1")

    @app.post("/e/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}"))])
    @locks.guarded("f:{entity_id}")
    async def endpoint(entity_id: int) -> list[bool]:
        await locks.acquire("g:1", "g:2")
        async with locks.hold("h:1"):
            return [await is_busy(locks, key) for key in keys]

    for key in keys:
        seen = watch(app, locks, key=key)

        assert seen.json == success([True] * 5)
        assert (seen.was_taken, seen.busy[-1]) == (True, False)
    assert are_free(locks, *keys)


def test_hold_ends_with_its_block_not_with_the_answer(locks: ObjectLocks) -> None:
    """It is the block's."""
    after: list[bool] = []

    async def endpoint(request: Request) -> Response:
        async with locks.hold("e:1"):
            assert await is_busy(locks)
        after.append(await is_busy(locks))
        return JSONResponse("done")

    seen = watch(starlette_of(locks, endpoint), locks)

    assert (after, seen.busy, seen.json) == ([False], [False, False], DONE)


def test_hold_in_a_stream_lasts_as_long_as_its_block(locks: ObjectLocks) -> None:
    """The generator's own block is around what it yields."""

    async def stream() -> AsyncIterator[bytes]:
        async with locks.hold("e:1"):
            yield b"a"
        yield b"b"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(stream(), media_type="text/plain")

    seen = watch(starlette_of(locks, endpoint), locks)

    # The head waits for the first part.
    assert seen.held == [True, True, False, False]


def test_released_lease_is_free_at_once(locks: ObjectLocks) -> None:
    """An endpoint may give it back before its answer, and take it again."""

    async def endpoint(request: Request) -> Response:
        lease = await locks.acquire("e:1")
        await lease.release()
        free = not await is_busy(locks)
        again = await locks.acquire("e:1")
        return JSONResponse([free, await is_busy(locks), again.fence > lease.fence])

    seen = watch(starlette_of(locks, endpoint), locks)

    assert (seen.json, seen.held) == (success([True, True, True]), [True, False])
    assert are_free(locks)


def test_serial_client_in_one_process_never_meets_its_own_lock() -> None:
    """Create, then update at once, as soon as the last message came, while the first call still cleans up."""
    locks = slow_locks()
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e")
    async def create() -> str:
        await locks.acquire("e:1")
        return "done"

    @app.patch("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def update(entity_id: int) -> str:
        return "done"

    async def client(method: str, path: str) -> int:
        status = 0
        answered = asyncio.Event()

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                answered.set()

        request = asyncio.create_task(app(scope_of(path, method=method), receive, send))
        requests.append(request)
        await answered.wait()
        return status

    requests: list[asyncio.Task[None]] = []

    async def story() -> list[int]:
        statuses = [await apart(client(*call)) for _ in range(100) for call in (("POST", "/e"), ("PATCH", "/e/1"))]
        await asyncio.gather(*requests)
        return statuses

    assert asyncio.run(story()) == [200] * 200
