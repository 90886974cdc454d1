"""The service of the soak: everything on, and an endpoint for each thing that a request can do."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.routing import Mount, Route

from envelope import (
    ClientAddress,
    ConflictError,
    ErrorMap,
    Lease,
    Maintenance,
    NotFoundError,
    ObjectLocks,
    RateLimiter,
    install,
)
from envelope.telemetry import instrument

#: Names the server that counts and locks.
STORAGE = "SOAK_STORAGE"

#: Seconds; the longest that anything of ours may lie on the server follows from these.
WINDOW_S = 10
TTL_S = 6
CLAIM_WITHIN_S = 3

#: How often a client may ask for ``/tight`` in a window.
TIGHT = 2


class FrozenError(Exception):
    """The domain's own."""


class Thing(BaseModel):
    name: str
    secret: str
    amount: int


def make_service(storage: str) -> FastAPI:
    """Give the application.

    Args:
        storage: Of the limits and of the locks.
    """
    locks = ObjectLocks(storage, ttl_s=TTL_S, max_hold_s=20, namespace="soak")
    limiter = RateLimiter(
        f"1000/{WINDOW_S} seconds",
        storage=storage,
        namespace="soak",
        key_secret="of the soak",
        key=ClientAddress(trusted_proxies=["127.0.0.1"]),
        routes={"GET /tight": [f"{TIGHT}/{WINDOW_S} seconds"], "GET /state": None},
    )
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=2000)
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"])
    install(
        app,
        errors=ErrorMap({FrozenError: ConflictError}),
        rate_limiter=limiter,
        locks=locks,
        maintenance=make_switch(storage),
        exempt=["/state", "/raw/*"],
    )
    figures = InMemoryMetricReader()
    instrument(meter_provider=MeterProvider([figures], shutdown_on_exit=False))
    _add_answers(app, figures)
    _add_streams(app)
    _add_failures(app, limiter)
    _add_locked(app, locks)
    app.mount("/plain", Starlette(routes=[Mount("/deep", routes=[Route("/gone", _gone)])]))
    return app


def make_switch(storage: str) -> Maintenance:
    """Give the switch of the service's maintenance."""
    return Maintenance(storage, exempt=["/state"], namespace="soak")


def from_environment() -> FastAPI:
    """Give the application for the server that the environment names."""
    return make_service(os.environ[STORAGE])


def _add_answers(app: FastAPI, figures: InMemoryMetricReader) -> None:
    @app.get("/state")
    async def state() -> dict[str, int]:
        figures.get_metrics_data()  # as an exporter does
        return {"pid": os.getpid(), "tasks": len(asyncio.all_tasks())}

    @app.get("/rest")
    async def rest() -> int:
        # Some servers leave the connections of clients that have hung up to the collector.
        return gc.collect()

    @app.get("/things/{number}")
    async def read(number: int) -> dict[str, Any]:
        return {"number": number, "tags": ["a", "b"]}

    @app.get("/things/{number}/report")
    def report(number: int) -> list[int]:
        return list(range(number % 500))

    @app.post("/things", status_code=201)
    async def create(thing: Thing) -> Thing:
        return thing

    @app.get("/raw/{number}")
    async def raw(number: int) -> dict[str, int]:
        return {"raw": number}

    @app.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()


def _add_streams(app: FastAPI) -> None:
    async def parts(first: bytes, part: bytes, count: int, last: bytes) -> AsyncIterator[bytes]:
        yield first
        for _ in range(count):
            yield part
            await asyncio.sleep(0)
        yield last

    @app.get("/numbers")
    async def numbers() -> StreamingResponse:
        return StreamingResponse(parts(b"[0", b",1", 50, b"]"), media_type="application/json")

    @app.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(parts(b"", b"data: 1\n\n", 20, b""), media_type="text/event-stream")

    @app.get("/big")
    async def big() -> StreamingResponse:
        return StreamingResponse(parts(b"", bytes(16_384), 64, b""), media_type="application/octet-stream")

    @app.get("/breaks")
    async def breaks() -> StreamingResponse:
        async def broken() -> AsyncIterator[bytes]:
            yield b"[1"
            raise RuntimeError("in the middle of a stream")

        return StreamingResponse(broken(), media_type="application/json")


def _add_failures(app: FastAPI, limiter: RateLimiter) -> None:
    @app.get("/tight")
    async def tight() -> str:
        return "within the limit"

    @app.get("/limited", dependencies=[Depends(limiter.limit(f"{TIGHT}/{WINDOW_S} seconds"))])
    async def limited() -> str:
        return "within the limit"

    @app.get("/missing")
    async def missing() -> None:
        raise NotFoundError("there is no such thing")

    @app.get("/frozen")
    async def frozen() -> None:
        raise FrozenError

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, {"why": "it is one"})

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("nobody may read this")

    @app.get("/foreign")
    async def foreign() -> JSONResponse:
        return JSONResponse({"detail": "written by hand"}, 409)


def _add_locked(app: FastAPI, locks: ObjectLocks) -> None:
    @app.patch("/entities/{number}")
    @locks.guarded("entity:{number}")
    async def update(number: int, lease: Lease) -> int:
        await asyncio.sleep(0.03)
        return lease.fence

    @app.put("/entities/{number}")
    async def replace(number: int, lease: Annotated[Lease, Depends(locks.guard("entity:{number}"))]) -> int:
        await asyncio.sleep(0.3)  # long enough to hang up
        return lease.fence

    @app.post("/entities/{number}/work")
    async def work(number: int) -> dict[str, str]:
        lease = await locks.acquire(f"entity:{number}", f"account:{number}", operation="work")
        return {"token": await lease.hand_off(claim_within_s=CLAIM_WITHIN_S)}

    @app.delete("/entities/{number}")
    @locks.guarded("entity:{number}")
    def delete(number: int) -> None:
        raise NotFoundError


async def _gone(request: Request) -> PlainTextResponse:
    return PlainTextResponse("it was here yesterday", 410)
