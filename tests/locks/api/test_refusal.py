"""The 423: what is on the wire, who meets it and who does not."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from envelope import ConfigurationError, Lease, ObjectLockedError, ObjectLocks, Shape, install
from tests.locks.api.asking import (
    BUSY,
    DONE,
    TEXT,
    Door,
    apart,
    are_free,
    ask,
    asking,
    header,
    is_busy,
    json_of,
    slow_locks,
    starlette_of,
    watch,
    watching,
)
from tests.servers.server import Server
from tests.wire.apps import Exchange, failure, scope_of, success, talk

BODY = (
    b'{"code":423,"message":"The object is still being updated (locked). Try your request again later.",'
    b'"status":"failure"}'
)


def _app(locks: ObjectLocks, **options: Any) -> FastAPI:
    app = FastAPI()
    install(app, locks=locks, **options)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int) -> str:
        return "done"

    return app


def _refused(app: Any, locks: ObjectLocks, path: str = "/e/1", **options: Any) -> Exchange:
    async def story() -> Exchange:
        async def hold() -> Exchange:
            async with locks.hold("e:1", operation="somebody's secret work"):
                return await asking(app, path, **options)

        done: Exchange = await apart(hold())
        return done

    return asyncio.run(story())


def test_refusal_byte_for_byte() -> None:
    """The convention's text, when to come back, and not a word about who holds the object."""
    locks = slow_locks()

    refused = _refused(_app(locks), locks)

    start, body = refused.sent
    assert (start["status"], body["body"], refused.raised) == (423, BODY, None)
    (retry_after,) = header(refused, b"retry-after")
    assert retry_after in (b"2", b"3")  # nothing is known of this operation yet: 2 s, and up to a fifth more
    assert sorted(refused.headers) == [
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(BODY)),
        (b"content-type", b"application/json"),
        (b"retry-after", retry_after),
    ]


@pytest.mark.parametrize("way", ["guarded", "guard", "acquire", "hold"])
def test_refusal_is_the_same_whoever_refuses(way: str) -> None:
    """Guards and calls."""
    locks = slow_locks()
    app = FastAPI()
    install(app, locks=locks)

    async def plain(entity_id: int) -> str:
        if way == "acquire":
            await locks.acquire("e:1")
        async with locks.hold("e:1"):
            return "done"

    endpoint = locks.guarded("e:{entity_id}")(plain) if way == "guarded" else plain
    guards = [Depends(locks.guard("e:{entity_id}"))] if way == "guard" else []
    app.post("/e/{entity_id}", dependencies=guards)(endpoint)

    refused = _refused(app, locks)

    assert (refused.status, refused.body) == (423, BODY)
    assert header(refused, b"cache-control") == [b"no-store"]
    assert json_of(ask(app)) == DONE


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(failure="error"), {**BUSY, "status": "error"}),
        (Shape(code="status_code", message="error"), {"status_code": 423, "error": TEXT, "status": "failure"}),
    ],
)
def test_refusal_has_the_shape_of_the_installation(shape: Shape, expected: object) -> None:
    """Also where successes keep their statuses."""
    locks = slow_locks()

    assert json_of(_refused(_app(locks, shape=shape, success_status="keep"), locks)) == expected


def test_refusal_on_an_exempt_path_is_an_envelope() -> None:
    """Exempt is what an endpoint returns."""
    locks = slow_locks()

    assert _refused(_app(locks, exempt=["/e/*"]), locks).body == BODY


def test_refusal_passes_through_an_own_handler() -> None:
    """A user's own handler wins."""
    locks = slow_locks()
    app = _app(locks)

    async def handler(request: Request, error: Exception) -> Response:
        assert isinstance(error, ObjectLockedError)
        return PlainTextResponse("later", 423)

    app.add_exception_handler(ObjectLockedError, handler)

    assert json_of(_refused(app, locks)) == failure(423, "later")


def test_refusal_has_cors_headers() -> None:
    """A browser that may not read a 423 takes it for a network error."""
    locks = slow_locks()
    app = _app(locks)
    app.add_middleware(CORSMiddleware, allow_origins=["*"], expose_headers=["Retry-After"])

    refused = _refused(app, locks, headers={"origin": "https://a.example"})

    assert (refused.status, header(refused, b"access-control-allow-origin")) == (423, [b"*"])


def test_holder_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, for those who operate the service: which object, for what, where, since when."""
    locks = slow_locks()
    app = _app(locks)

    with caplog.at_level(logging.INFO, logger="envelope.locks"):
        _refused(app, locks)

    (record,) = [each for each in caplog.records if each.name == "envelope.locks"]
    text = record.getMessage()
    assert record.levelno == logging.INFO
    for part in ("e:1", "somebody's secret work", f"{socket.gethostname()}:{os.getpid()}"):
        assert part in text


def test_retry_after_is_learned_from_the_holders_operation() -> None:
    """Short holds make short waits: never below a second."""
    locks = ObjectLocks()
    app = _app(locks)

    async def story() -> bytes:
        for _ in range(16):
            async with locks.hold("e:1", operation="quick"):
                pass

        async def hold() -> bytes:
            async with locks.hold("e:1", operation="quick"):
                return header(await asking(app), b"retry-after")[0]

        waits: bytes = await apart(hold())
        return waits

    assert asyncio.run(story()) == b"1"


# Re-entry


def test_nested_guards_and_blocks_of_one_request_are_one_lease() -> None:
    """A guard, a dependency, a block and a call on one object: the last share releases, with the answer."""
    locks = slow_locks()
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def endpoint(
        entity_id: int,
        lease: Lease,
        given: Any = Depends(locks.guard("e:{entity_id}")),  # noqa: B008
    ) -> list[bool]:
        noted = []
        async with locks.hold("e:1") as held, locks.hold("e:1") as again:
            acquired = await locks.acquire("e:1")
            noted.append(lease is given is held is again is acquired)
        noted.append(await is_busy(locks))
        async with locks.hold("e:1"):
            pass
        return [*noted, lease.is_held, await is_busy(locks)]

    seen = watch(app, locks)

    assert (seen.json, seen.held) == (success([True, True, True, True]), [True, False])
    assert are_free(locks)


def test_block_around_a_call_leaves_the_object_to_the_request() -> None:
    """What ``acquire`` took inside of a block is the request's, not the block's."""
    locks = slow_locks()

    async def endpoint(request: Request) -> Response:
        async with locks.hold("e:1"):
            await locks.acquire("e:1")
        return JSONResponse(await is_busy(locks))

    seen = watch(starlette_of(locks, endpoint), locks)

    assert (seen.json, seen.held) == (success(True), [True, False])


@pytest.mark.parametrize("held_before", [["e:1"], ["f:1"], ["e:1", "f:1"]])
@pytest.mark.parametrize("way", ["hold", "acquire"])
def test_several_objects_of_which_some_are_held(way: str, held_before: list[str]) -> None:
    """No single fence would be right for all: it is refused aloud, takes nothing, and what was held stays held."""
    locks = slow_locks()

    async def endpoint(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            for key in held_before:
                await stack.enter_async_context(locks.hold(key))
            try:
                if way == "acquire":
                    await locks.acquire("e:1", "f:1")
                else:
                    await stack.enter_async_context(locks.hold("e:1", "f:1"))
            except ConfigurationError as error:
                assert all(key in str(error) for key in held_before)
                return JSONResponse([key for key in ("e:1", "f:1") if await is_busy(locks, key)])
        raise AssertionError

    seen = watch(starlette_of(locks, endpoint), locks)

    assert (seen.json, seen.is_busy_after) == (success(held_before), False)
    assert are_free(locks, "e:1", "f:1")


def test_several_objects_that_one_lease_has() -> None:
    """Any of them, in any order, are found as that lease."""
    locks = slow_locks()

    async def endpoint(request: Request) -> Response:
        lease = await locks.acquire("e:1", "f:1", "g:1")
        found = []
        for keys in (["f:1"], ["g:1", "e:1"], ["e:1", "f:1", "g:1"]):
            async with locks.hold(*keys) as held:
                found.append(held is lease)
        return JSONResponse([*found, await is_busy(locks, "f:1")])

    for key in ("e:1", "g:1"):
        seen = watch(starlette_of(locks, endpoint), locks, key=key)
        assert (seen.json, seen.held) == (success([True] * 4), [True, False])


def test_refusal_of_several_leaves_what_was_held() -> None:
    """The lease that the request has already stays its own; nothing new is taken."""
    locks = slow_locks()

    async def endpoint(request: Request) -> Response:
        await locks.acquire("e:1")
        try:
            await locks.acquire("g:1", "f:1")
        except ObjectLockedError:
            return JSONResponse([await is_busy(locks, key) for key in ("e:1", "f:1", "g:1")])
        raise AssertionError

    async def story() -> Any:
        async def hold() -> Any:
            async with locks.hold("f:1"):
                return json_of(await asking(starlette_of(locks, endpoint)))

        return await apart(hold())

    assert asyncio.run(story()) == success([True, True, False])
    assert are_free(locks, "e:1", "f:1", "g:1")


def test_explicit_release_is_final() -> None:
    """However many share it; the next one takes the object anew."""
    locks = slow_locks()

    @locks.guarded("e:{entity_id}")
    async def endpoint(request: Request, lease: Lease) -> Response:
        again = await locks.acquire("e:1")
        await lease.release()
        noted = [again is lease, lease.is_held, lease.lost, await is_busy(locks)]
        async with locks.hold("e:1") as anew:
            noted += [anew.fence > lease.fence, await is_busy(locks)]
        return JSONResponse([*noted, await is_busy(locks)])

    seen = watch(starlette_of(locks, endpoint), locks)

    assert seen.json == success([True, False, False, False, True, True, False])
    assert seen.busy == [False, False]


def test_two_requests_never_share() -> None:
    """Not if one client sends them in one task, nor if one asks its own application for the other."""
    locks = slow_locks()

    async def story() -> None:
        app = FastAPI()
        install(app, locks=locks)
        refused: list[Exchange] = []

        @app.post("/e/{entity_id}")
        @locks.guarded("e:{entity_id}")
        async def endpoint(entity_id: int, inner: bool = False) -> str:
            if not inner:
                # In this very context, as an ASGI transport of an HTTP client does it.
                refused.append(await talk(app, scope_of("/e/1", method="POST", query_string=b"inner=1")))
                assert await is_busy(locks)
            return "done"

        assert json_of(await asking(app)) == DONE
        assert (refused[0].status, refused[0].body) == (423, BODY)
        assert not await is_busy(locks)

    asyncio.run(story())


def test_request_from_within_a_block_does_not_share_it() -> None:
    """A test, or a job, that holds an object and calls the application in the same context."""
    locks = slow_locks()
    app = _app(locks)

    async def story() -> int:
        async with locks.hold("e:1") as lease:
            status = (await talk(app, scope_of("/e/1", method="POST"))).status
            assert lease.is_held
            async with locks.hold("e:1") as again:
                assert again is lease
        return status

    assert asyncio.run(story()) == 423
    assert are_free(locks)


def test_same_client_in_parallel_is_refused() -> None:
    """Identity is no ownership: not the address, not the credentials, not the connection."""
    locks = slow_locks()

    async def story() -> None:
        door = Door()

        @locks.guarded("e:{entity_id}")
        async def endpoint(request: Request) -> Response:
            await door.stay()
            return JSONResponse("done")

        app = starlette_of(locks, endpoint)
        mine: dict[str, Any] = {"headers": {"authorization": "Bearer a"}, "client": ("192.0.2.1", 7)}
        first = asyncio.create_task(asking(app, **mine))
        await door.entered.wait()
        second = await asking(app, **mine)
        door.opened.set()

        assert second.body == BODY
        assert json_of(await first) == DONE

    asyncio.run(story())


# A lease that is lost


@pytest.mark.parametrize("way", ["guarded", "acquire"])
def test_request_whose_lease_was_broken_finishes_and_warns(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its answer is its own; the log says that somebody else may have been at work."""
    locks = slow_locks()

    async def plain(request: Request) -> Response:
        if way == "acquire":
            await locks.acquire("e:1")
        info = await locks.inspect("e:1")
        assert info is not None
        assert await locks.break_lock("e:1", fence=info.fence)
        assert not await is_busy(locks)
        return JSONResponse("done")

    app = starlette_of(locks, locks.guarded("e:{entity_id}")(plain) if way == "guarded" else plain)

    with caplog.at_level(logging.WARNING, logger="envelope.locks"):
        seen = watch(app, locks)

    assert (seen.raised, seen.json) == (None, DONE)
    assert [each.levelname for each in caplog.records if "lost" in each.getMessage()] == ["WARNING"]
    assert "e:1" in caplog.text


def test_block_whose_lease_was_broken_is_a_conflict() -> None:
    """409 with an error code: what was done may have been done beside somebody else's work."""
    locks = slow_locks()

    async def endpoint(request: Request) -> Response:
        async with locks.hold("e:1") as lease:
            assert await locks.break_lock("e:1", fence=lease.fence)
        return JSONResponse("done")

    seen = watch(starlette_of(locks, endpoint), locks)

    assert (seen.status, seen.json["message"]["error_code"]) == (409, "lease_lost")


def test_broken_lease_does_not_free_the_next_holder() -> None:
    """What the first one releases at its end is its own lease only."""
    locks = slow_locks()

    async def story() -> None:
        door = Door()

        @locks.guarded("e:{entity_id}")
        async def endpoint(request: Request) -> Response:
            await door.stay()
            return JSONResponse("done")

        app = starlette_of(locks, endpoint)
        first = asyncio.create_task(asking(app))
        await door.entered.wait()
        info = await locks.inspect("e:1")
        assert info is not None
        await locks.break_lock("e:1", fence=info.fence)

        async with locks.hold("e:1") as lease:
            door.opened.set()
            assert json_of(await first) == DONE
            assert lease.is_held
            assert await is_busy(locks)

    asyncio.run(story())


def test_refusal_and_release_on_a_server(valkey: Server) -> None:
    """The same bytes, and the same moment of release, with the state in Valkey."""
    valkey.flush()

    async def story() -> None:
        mine, other = (ObjectLocks(valkey.url, timeout_s=2) for _ in range(2))
        app = _app(mine)
        try:
            async with other.hold("e:1", operation="somebody's secret work"):
                refused = await asking(app)
                assert (refused.status, refused.body) == (423, BODY)
                assert b"secret" not in repr(refused.sent).encode()
            for _ in range(20):
                seen = await watching(app, other, scope_of("/e/1", method="POST"))
                assert seen.json == DONE
                assert seen.busy[-1] is False
                assert not seen.is_busy_after
        finally:
            await mine.aclose()
            await other.aclose()

    asyncio.run(story())
