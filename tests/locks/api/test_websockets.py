"""Websockets: a guard refuses the handshake, and the object is free when the connection has ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.routing import WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from envelope import Lease, ObjectLocks, install
from tests.locks.api.asking import (
    BUSY,
    TEXT,
    apart,
    are_free,
    asking,
    done,
    is_busy,
    settle,
    slow_locks,
    starlette_of,
)
from tests.rate_limit.asking import websocket_scope
from tests.wire.apps import strict_json

WAYS = ["guarded", "guard", "function", "hold", "acquire", "starlette"]


async def _talk(locks: ObjectLocks, websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(f"{await is_busy(locks)}")
    while await websocket.receive_text() != "end":
        await websocket.send_text(f"{await is_busy(locks)}")
    await websocket.close(1000)


def _key(entity_id: int) -> str:
    return f"e:{entity_id}"


def _app(locks: ObjectLocks, way: str) -> Any:
    if way == "starlette":

        @locks.guarded("e:{entity_id}")
        async def of_starlette(websocket: WebSocket, lease: Lease) -> None:
            assert lease.is_held
            await _talk(locks, websocket)

        app = starlette_of(locks, done, WebSocketRoute("/ws/{entity_id:int}", of_starlette))
        return app
    fast = FastAPI()
    install(fast, locks=locks)

    if way == "guarded":

        @fast.websocket("/ws/{entity_id}")
        @locks.guarded("e:{entity_id}")
        async def guarded(websocket: WebSocket, entity_id: int, lease: Lease) -> None:
            assert lease.is_held
            await _talk(locks, websocket)
    elif way in ("guard", "function"):
        keys = _key if way == "function" else "e:{entity_id}"

        @fast.websocket("/ws/{entity_id}", dependencies=[Depends(locks.guard(keys))])
        async def dependent(websocket: WebSocket, entity_id: int) -> None:
            await _talk(locks, websocket)
    else:

        @fast.websocket("/ws/{entity_id}")
        async def taking(websocket: WebSocket, entity_id: int) -> None:
            if way == "acquire":
                await locks.acquire(f"e:{entity_id}")
                await _talk(locks, websocket)
            else:
                async with locks.hold(f"e:{entity_id}"):
                    await _talk(locks, websocket)

    return fast


def _connect(app: Any, *said: str, path: str = "/ws/01", **options: Any) -> list[Message]:
    return asyncio.run(_connecting(app, *said, path=path, **options))


async def _connecting(
    app: Any, *said: str, path: str = "/ws/01", fails: bool = False, **options: Any
) -> list[Message]:
    received: list[Message] = [{"type": "websocket.connect"}]
    received += [{"type": "websocket.receive", "text": text} for text in said]
    incoming = iter([*received, {"type": "websocket.disconnect", "code": 1001}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        if fails and len(sent) == 2:
            raise OSError("the client is gone")
        sent.append(message)

    try:
        await apart(app(websocket_scope(path, **options), receive, send))
    except (WebSocketDisconnect, OSError):
        pass
    return sent


@pytest.mark.parametrize("way", WAYS)
def test_object_is_locked_as_long_as_the_connection(way: str) -> None:
    """From the handshake to the end, with the validated value."""
    locks = slow_locks()

    sent = _connect(_app(locks, way), "a", "b", "end")

    assert [message.get("text") for message in sent] == [None, "True", "True", "True", None]
    assert are_free(locks)


@pytest.mark.parametrize("ending", ["disconnect", "failure of send", "refused value"])
@pytest.mark.parametrize("way", WAYS)
def test_object_is_free_however_the_connection_ends(way: str, ending: str) -> None:
    """The client goes away in the middle, or says what is not valid."""
    locks = slow_locks()
    app = _app(locks, way)

    if ending == "refused value":
        _connect(app, path="/ws/x", denial=True)
    else:
        _connect(app, "a", fails=ending == "failure of send")

    settle(locks)
    assert are_free(locks)


@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_busy_object_denies_the_handshake(way: str, denial: bool) -> None:
    """With the envelope where the server can send a response, else with the close code of policy violations."""
    locks = slow_locks()
    app = _app(locks, way)

    async def story() -> list[Message]:
        async with locks.hold("e:1"):
            return await _connecting(app, "end", denial=denial)

    sent = asyncio.run(story())

    if denial:
        start, body = sent
        headers = dict(start["headers"])
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 423)
        assert strict_json(body["body"]) == BUSY
        assert headers[b"retry-after"].isdigit()
        assert headers[b"cache-control"] == b"no-store"
    else:
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": TEXT}]
    assert are_free(locks)


def test_two_connections_never_share() -> None:
    """Nor do a connection and a request."""
    locks = slow_locks()
    app = _app(locks, "guarded")

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int) -> str:
        return "done"

    async def story() -> None:
        opened = asyncio.Event()
        incoming: asyncio.Queue[Message] = asyncio.Queue()
        incoming.put_nowait({"type": "websocket.connect"})

        async def send(message: Message) -> None:
            if message["type"] == "websocket.send":
                opened.set()

        connection = asyncio.create_task(app(websocket_scope("/ws/1"), incoming.get, send))
        await opened.wait()
        assert (await _connecting(app))[0]["code"] == 1008
        assert (await asking(app)).status == 423
        incoming.put_nowait({"type": "websocket.receive", "text": "end"})
        await connection
        assert (await asking(app)).status == 200

    asyncio.run(story())


def test_cancelled_connection() -> None:
    """A server that shuts down cancels what is open."""
    locks = slow_locks()
    app = _app(locks, "guard")

    async def story() -> None:
        opened = asyncio.Event()
        incoming: asyncio.Queue[Message] = asyncio.Queue()
        incoming.put_nowait({"type": "websocket.connect"})

        async def send(message: Message) -> None:
            if message["type"] == "websocket.send":
                opened.set()

        connection = asyncio.create_task(app(websocket_scope("/ws/1"), incoming.get, send))
        await opened.wait()
        connection.cancel()
        await asyncio.wait([connection])
        settle(locks)
        assert not await is_busy(locks)

    asyncio.run(story())
