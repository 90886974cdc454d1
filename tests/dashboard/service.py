"""The service that the picture is about: everything on, and measured. Served by uvicorn, scraped by Prometheus.

STORAGE=redis://localhost:6379/0 METRICS_PORT=9464 python -m tests.dashboard.service --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random

import uvicorn
from fastapi import FastAPI, Request
from opentelemetry.exporter.prometheus import PrometheusMetricReader  # type: ignore[import-not-found]  # uv run --with
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server  # type: ignore[import-not-found]  # uv run --with

from envelope import (
    ConflictError,
    ErrorMap,
    Lease,
    Maintenance,
    NotFoundError,
    ObjectLocks,
    RateLimiter,
    RouteLimit,
    install,
)
from envelope.telemetry import instrument

STORAGE = os.environ.get("STORAGE", "memory://")

#: Short, so that the run of some minutes shows what otherwise takes some.
locks = ObjectLocks(STORAGE, ttl_s=4, max_hold_s=6, namespace="dashboard")
maintenance = Maintenance(STORAGE, exempt=["/health"], namespace="dashboard")


class EntityFrozenError(ConflictError):
    """What the domain refuses."""

    error_code = "entity_frozen"
    message = "The entity is frozen until its review ends."


class NoSuchEntity(Exception):
    """An exception that has never heard of HTTP."""


def client_of(request: Request) -> str | None:
    return request.headers.get("x-client")


limiter = RateLimiter(
    "20/second",
    RouteLimit("12/second", shadow=True),
    key=client_of,
    storage=STORAGE,
    namespace="dashboard",
    routes={"POST /entities": ["90/minute"], "GET /health": None},
)

#: Of everybody together; what it cannot count, it admits.
imports = RateLimiter("600/minute", storage=STORAGE, namespace="imports", on_outage="allow")

app = FastAPI()
install(
    app,
    errors=ErrorMap({NoSuchEntity: NotFoundError}),
    rate_limiter=limiter,
    locks=locks,
    maintenance=maintenance,
)

#: The queue between the service and its worker.
queue: list[str] = []


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/entities/{entity_id}")
async def show(entity_id: int) -> dict[str, int]:
    if entity_id >= 1000:
        raise NoSuchEntity
    return {"id": entity_id}


@app.patch("/entities/{entity_id}")
@locks.guarded("entity:{entity_id}")
async def update(entity_id: int, work_s: float = 0.02) -> dict[str, int]:
    if entity_id == 13:
        raise EntityFrozenError
    await asyncio.sleep(work_s * random.uniform(0.5, 2))
    return {"id": entity_id}


@app.post("/entities/{entity_id}/import")
async def import_(entity_id: int, work_s: float = 0.2) -> dict[str, int]:
    await imports.check("everybody", scope="import")
    async with locks.hold(f"entity:{entity_id}", operation="import"):
        await asyncio.sleep(work_s * random.uniform(0.5, 2))
    return {"id": entity_id}


@app.post("/entities")
async def create(entity_id: int, claim_within_s: float = 10, is_queue_full: bool = False) -> dict[str, int]:
    lease: Lease = await locks.acquire(f"entity:{entity_id}", operation="verify")
    token = await lease.hand_off(claim_within_s=claim_within_s)
    if is_queue_full:
        await lease.release()
    else:
        queue.append(token)
    return {"id": entity_id}


@app.get("/crash")
async def crash() -> None:
    raise RuntimeError("a bug of the service")


@app.get("/queue")
async def take_jobs() -> list[str]:
    """Give the worker its jobs; a real service has a queue for that."""
    jobs = queue[:]
    queue.clear()
    return jobs


def measure() -> MeterProvider:
    """Show what the library measures on METRICS_PORT."""
    provider = MeterProvider([PrometheusMetricReader()])
    instrument(meter_provider=provider)
    start_http_server(int(os.environ["METRICS_PORT"]), addr="127.0.0.1")
    return provider


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    FastAPIInstrumentor.instrument_app(app, meter_provider=measure())
    uvicorn.run(app, port=parser.parse_args().port, log_level="warning", access_log=False)
