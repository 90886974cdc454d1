"""A service whose objects are locked, on a real uvicorn in a process of its own.

It prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import redis.asyncio
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from envelope import ObjectLocks, install
from tests.faults.planted import planted


def make_ours(url: str) -> ASGIApp:
    """POST creates an object that is locked until the answer, PATCH changes it under its lock.

    What POST still does then, in the background, needs no lock, and the client does not wait for it.
    """
    locks = ObjectLocks(url, timeout_s=2)
    numbers = count(1)
    app = Starlette()
    install(app, locks=locks)

    async def create(_: Request) -> JSONResponse:
        number = next(numbers)
        await locks.acquire(f"entity:{number}")
        return JSONResponse(number, background=BackgroundTask(_greet))

    @locks.guarded("entity:{entity_id}")
    async def change(request: Request) -> JSONResponse:
        return JSONResponse(request.path_params["entity_id"])

    app.add_route("/entities", create, methods=["POST"])
    app.add_route("/entities/{entity_id:int}", change, methods=["PATCH"])
    return app


def make_redis_py(url: str) -> ASGIApp:
    """The same with redis-py's lock in dependencies with ``yield``, as one would write it."""
    client = redis.asyncio.Redis.from_url(url)
    numbers = count(1)
    app = FastAPI()

    async def locked(entity_id: int) -> AsyncIterator[None]:
        lock = client.lock(f"entity:{entity_id}", timeout=15, blocking=False)
        if not await lock.acquire():
            raise HTTPException(423)
        try:
            yield
        finally:
            await lock.release()

    async def new() -> AsyncIterator[int]:
        number = next(numbers)
        async with client.lock(f"entity:{number}", timeout=15, blocking=False):
            yield number

    @app.post("/entities")
    async def create(tasks: BackgroundTasks, number: int = Depends(new)) -> int:
        tasks.add_task(_greet)
        return number

    @app.patch("/entities/{entity_id}", dependencies=[Depends(locked)])
    async def change(entity_id: int) -> int:
        return entity_id

    return app


async def _greet() -> None:
    await asyncio.sleep(0.002)


APPS = {"envelope": make_ours, "redis-py": make_redis_py}


async def serve(options: dict[str, Any]) -> None:
    app = APPS[options["subject"]](options["url"])
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False))
    # With the protocol named, so that asyncio sends small answers at once (TCP_NODELAY).
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(listener.getsockname()[1], flush=True)
        ended = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
        serving = asyncio.create_task(server.serve([listener]))
        await ended.read()
        server.should_exit = True
        await serving


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    with ExitStack() as stack:
        if settings["bug"]:
            stack.enter_context(planted(settings["bug"]))
        asyncio.run(serve(settings))
