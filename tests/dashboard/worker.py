"""The worker beside the service: claims what it has handed off. It pauses while there is a file for that.

STORAGE=redis://localhost:6379/0 METRICS_PORT=9465 SERVICE=http://localhost:8000 python -m tests.dashboard.worker
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import httpx

from envelope import ApiError, LeaseLostError
from tests.dashboard.service import locks, measure

#: While this file is there, nothing is claimed: the worker is too slow, or dead.
PAUSED = Path("paused")


async def work(token: str) -> None:
    try:
        async with locks.claim(token):
            await asyncio.sleep(random.uniform(0.1, 1.2))
    except (LeaseLostError, ApiError):
        pass


async def live() -> None:
    tasks: set[asyncio.Task[None]] = set()
    waiting: list[str] = []
    async with httpx.AsyncClient(base_url=os.environ["SERVICE"], trust_env=False) as service:
        while True:
            await asyncio.sleep(0.2)
            try:
                jobs = (await service.get("/queue")).json()
            except httpx.TransportError:
                continue  # it is being deployed
            if isinstance(jobs, dict) and jobs["status"] == "success":
                waiting += jobs["content"]
            if PAUSED.exists():
                continue
            for token in waiting:
                # Queues deliver twice now and then.
                for _ in range(2 if random.random() < 0.05 else 1):
                    task = asyncio.create_task(work(token))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            waiting = []


if __name__ == "__main__":
    measure()
    asyncio.run(live())
