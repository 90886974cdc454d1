"""The convention's own story, over real servers: uvicorn with connections that are kept alive, and Valkey."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Self

import pytest
import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from envelope import Lease, ObjectLocks, install
from tests.locks.api.asking import BUSY, DONE
from tests.servers.server import Server
from tests.wire.apps import success

Address = tuple[str, int]


@contextmanager
def serving(app: Any) -> Iterator[Address]:
    """Serve an application with its lifespan."""
    # By its name, because asyncio switches Nagle's algorithm off only where it reads TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="on", log_config=None))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive(), "uvicorn did not stop within 10 s"


class Client:
    """One connection that is kept alive."""

    def __init__(self, address: Address) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        response = self.begin(method, path)
        fields = {name.lower(): value for name, value in response.getheaders()}
        return response.status, fields, response.read()

    def begin(self, method: str, path: str) -> http.client.HTTPResponse:
        self._connection.request(method, path)
        return self._connection.getresponse()


class Gate:
    """Keeps an application's work inside until a test opens it; the two are in different threads."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def stay(self) -> None:
        self.entered.set()
        assert self.opened.wait(10)

    async def stay_async(self) -> None:
        await asyncio.to_thread(self.stay)


def service(url: str, gate: Gate | None = None) -> FastAPI:
    """Make one process's application: entities that are created, updated and worked on."""
    locks = ObjectLocks(url, timeout_s=2)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await locks.aclose()

    app = FastAPI(lifespan=lifespan)
    install(app, locks=locks, success_status="keep")
    gate = gate or Gate()

    @app.post("/entities/{entity_id}")
    async def create(entity_id: int) -> str:
        await locks.acquire(f"entity:{entity_id}")
        return "done"

    @app.patch("/entities/{entity_id}")
    @locks.guarded("entity:{entity_id}")
    async def update(entity_id: int, lease: Lease) -> int:
        return lease.fence

    @app.get("/entities/{entity_id}")
    @locks.guarded("entity:{entity_id}")
    async def read(entity_id: int) -> str:
        return "done"

    @app.post("/entities/{entity_id}/work")
    @locks.guarded("entity:{entity_id}", operation="update")
    def work(entity_id: int) -> str:
        gate.stay()
        return "done"

    @app.api_route("/entities/{entity_id}/{kind}", methods=["PUT", "HEAD"])
    async def answer(entity_id: int, kind: str, request: Request, tasks: BackgroundTasks) -> Response:
        await locks.acquire(f"entity:{entity_id}")

        async def slow(*parts: bytes) -> AsyncIterator[bytes]:
            for part in parts:
                yield part
            if kind == "length":
                await gate.stay_async()

        if kind == "length":
            return StreamingResponse(slow(b"a", b"b"), 200, {"content-length": "2"}, "text/plain")
        if kind == "chunked":
            return StreamingResponse(slow(b"a", b"b"), 200, None, "text/plain")
        tasks.add_task(gate.stay_async)
        if kind == "empty":
            return Response(status_code=204, background=tasks)
        return JSONResponse("done", background=tasks)

    @app.delete("/entities/{entity_id}")
    async def hand_off(entity_id: int) -> str:
        lease = await locks.acquire(f"entity:{entity_id}")
        return await lease.hand_off(claim_within_s=60)

    return app


@pytest.mark.timeout(90)
def test_serial_client_never_meets_a_423(valkey: Server) -> None:
    """Create, then update at once, 2,000 times: on one connection, on another, and at another process."""
    valkey.flush()
    with ExitStack() as stack:
        addresses = [stack.enter_context(serving(service(valkey.url))) for _ in range(2)]
        first, second, third = (stack.enter_context(Client(addresses[number])) for number in (0, 0, 1))
        others = (first, second, third)
        refused = []
        for number in range(2000):
            entity = f"/entities/{number % 7}"
            created = first.ask("POST", entity)[0]
            updated = others[number % 3].ask("PATCH", entity)[0]
            if (created, updated) != (200, 200):
                refused.append((number, created, updated))

    assert refused == []


def test_parallel_update_waits_as_told_and_succeeds(valkey: Server) -> None:
    """423 while the object is busy; reads pass; the fences of updates that succeed grow."""
    valkey.flush()
    gate = Gate()
    with ExitStack() as stack:
        address = stack.enter_context(serving(service(valkey.url, gate)))
        other = stack.enter_context(serving(service(valkey.url)))
        mine, busy, elsewhere = (stack.enter_context(Client(each)) for each in (address, address, other))
        fences = [json.loads(mine.ask("PATCH", "/entities/1")[2])["content"] for _ in range(20)]

        with_work = threading.Thread(target=busy.ask, args=("POST", "/entities/1/work"))
        with_work.start()
        assert gate.entered.wait(10)
        refusals = [client.ask("PATCH", "/entities/1") for client in (mine, elsewhere)]
        read, unrelated = mine.ask("GET", "/entities/1"), mine.ask("PATCH", "/entities/2")
        gate.opened.set()
        with_work.join(10)

        for status, fields, body in refusals:
            assert (status, json.loads(body)) == (423, BUSY)
            assert fields["cache-control"] == "no-store"
            assert 1 <= int(fields["retry-after"]) <= 3
        assert (read[0], unrelated[0]) == (200, 200)
        time.sleep(int(refusals[0][1]["retry-after"]))  # what the answer asked for
        last = [client.ask("PATCH", "/entities/1") for client in (mine, elsewhere)]

    assert [status for status, _, _ in last] == [200, 200]
    fences += [json.loads(body)["content"] for _, _, body in last]
    assert all(a < b for a, b in zip(fences, fences[1:], strict=False))


@pytest.mark.parametrize("kind", ["length", "chunked", "empty", "json"])
def test_object_is_free_when_the_client_has_everything(kind: str, valkey: Server) -> None:
    """Although the application is still at work behind its answer."""
    valkey.flush()
    gate = Gate()
    with ExitStack() as stack:
        address = stack.enter_context(serving(service(valkey.url, gate)))
        client, other = (stack.enter_context(Client(address)) for _ in range(2))
        if kind == "chunked":
            gate.opened.set()
        for number in range(5):
            status, _, body = client.ask("PUT", f"/entities/{number}/{kind}")
            assert (status, body) in [
                (200, b"ab"),
                (204, b""),
                (200, json.dumps(DONE, separators=(",", ":")).encode()),
            ]
            # The first connection may still be busy with what comes behind the answer.
            assert other.ask("PATCH", f"/entities/{number}")[0] == 200
            gate.opened.set()
            client.ask("GET", "/entities/9")


def test_head_frees_the_object_with_its_head(valkey: Server) -> None:
    """The client has everything then."""
    valkey.flush()
    gate = Gate()
    with ExitStack() as stack:
        address = stack.enter_context(serving(service(valkey.url, gate)))
        client, other = (stack.enter_context(Client(address)) for _ in range(2))

        assert client.ask("HEAD", "/entities/1/json")[0] == 200
        assert other.ask("PATCH", "/entities/1")[0] == 200
        gate.opened.set()


def test_client_that_hangs_up(valkey: Server) -> None:
    """The object is free when the work is done, and nobody waits for a lease to run out."""
    valkey.flush()
    gate = Gate()
    with ExitStack() as stack:
        address = stack.enter_context(serving(service(valkey.url, gate)))
        other = stack.enter_context(Client(address))
        with socket.create_connection(address) as gone:
            gone.sendall(b"POST /entities/1/work HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
            assert gate.entered.wait(10)
        assert other.ask("PATCH", "/entities/1")[0] == 423
        gate.opened.set()
        status, until = 423, time.monotonic() + 5
        while status == 423 and time.monotonic() < until:
            status = other.ask("PATCH", "/entities/1")[0]

    assert status == 200


def test_work_that_is_handed_to_a_worker_keeps_the_object(valkey: Server) -> None:
    """Longer than the request: until the worker, another process, has done it."""
    valkey.flush()
    worker = ObjectLocks(valkey.url, timeout_s=2)
    with ExitStack() as stack:
        client = stack.enter_context(Client(stack.enter_context(serving(service(valkey.url)))))
        _, _, body = client.ask("DELETE", "/entities/1")
        token = json.loads(body)["content"]

        assert client.ask("PATCH", "/entities/1")[0] == 423
        with worker.claim_sync(token) as lease:
            assert lease.is_held
            assert client.ask("PATCH", "/entities/1")[0] == 423
        status, _, body = client.ask("PATCH", "/entities/1")

    assert status == 200
    assert json.loads(body)["content"] > lease.fence
    assert json.loads(body) == success(json.loads(body)["content"])
    asyncio.run(worker.aclose())


class Notes(logging.Handler):
    """Keeps what was logged, and no traceback that would keep connections alive."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage().strip())


def test_shutdown_closes_the_connections(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed application does it by itself, before the server takes the shutdown for complete."""
    valkey.flush()
    unclosed: list[str] = []
    logger, notes = logging.getLogger("uvicorn.error"), Notes()
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [notes])
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unclosed.append(str(args.exc_value)))

    def serve_once() -> None:
        locks = ObjectLocks(valkey.url, timeout_s=2)
        app = FastAPI()
        install(app, locks=locks)

        @app.post("/e/{entity_id}")
        @locks.guarded("e:{entity_id}")
        async def endpoint(entity_id: int) -> str:
            return "done"

        with serving(app) as address, Client(address) as client:
            assert client.ask("POST", "/e/1")[0] == 200

    serve_once()
    for _ in range(3):  # a connection that nobody closed says so when it is collected
        gc.collect()

    assert (notes.messages, unclosed) == ([], [])
