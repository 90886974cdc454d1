"""What happens to the service while it is measured: some minutes with everything that the dashboard shows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx

from envelope import Maintenance, ObjectLocks
from tests.dashboard.processes import Measured, Service
from tests.servers.server import Server

#: What happens when, in seconds from the beginning; the page below the picture tells the same.
LASTS_S = 240
#: Clients ask before that already, so that the picture does not begin with nothing.
WARM_UP_S = 10
BURST = range(40, 70)
CONTENTION = range(80, 125)
WORKER_PAUSED = range(95, 112)
BEFORE_OUTAGE = range(133, 135)
STORAGE_SUSPENDED = range(135, 147)
MAINTENANCE = range(175, 190)


class Load:
    """Clients, and what goes wrong.

    Args:
        service: What they ask.
        worker: Claims what the service hands off.
        storage: Of both.
    """

    def __init__(self, service: Service, worker: Measured, storage: Server) -> None:
        self._service, self._worker, self._storage = service, worker, storage
        self._locks = ObjectLocks(storage.url, namespace="dashboard")
        self._maintenance = Maintenance(storage.url, namespace="dashboard")
        self._created = 10_000

    async def run(self) -> None:
        """Last as long as the picture."""
        limits = httpx.Limits(max_connections=200)
        self._begun = time.monotonic() + WARM_UP_S
        async with httpx.AsyncClient(
            base_url=self._service.url, trust_env=False, limits=limits, timeout=15
        ) as self._http:
            await asyncio.gather(
                *(self._usual(f"usual {number}") for number in range(6)),
                *(self._repeat(BURST, "batch", 0.03, self._read) for _ in range(2)),
                *(self._repeat(CONTENTION, f"eager {number}", 0.4, self._contend) for number in range(8)),
                self._repeat(CONTENTION, "operator", 7, self._hold_too_long),
                self._repeat(CONTENTION, "operator", 11, self._break_lock),
                self._repeat(BEFORE_OUTAGE, "operator", 0.5, self._hold_over_outage),
                self._at(WORKER_PAUSED, self._pause_worker, self._resume_worker),
                self._at(STORAGE_SUSPENDED, self._storage.suspend, self._storage.resume),
                self._at(MAINTENANCE, self._begin_maintenance, self._end_maintenance),
                return_exceptions=False,
            )
        await self._locks.aclose()

    def _now_s(self) -> float:
        return time.monotonic() - self._begun

    async def _at(self, phase: range, begin: Callable[[], object], end: Callable[[], object]) -> None:
        await asyncio.sleep(phase.start - self._now_s())
        await asyncio.to_thread(begin)
        await asyncio.sleep(phase.stop - self._now_s())
        await asyncio.to_thread(end)

    async def _repeat(
        self, phase: range, client: str, pause_s: float, act: Callable[[str], Awaitable[None]]
    ) -> None:
        await asyncio.sleep(phase.start - self._now_s() + random.uniform(0, min(pause_s, 1)))
        while self._now_s() < phase.stop:
            await act(client)
            await asyncio.sleep(pause_s * random.uniform(0.7, 1.3))

    async def _ask(self, client: str, method: str, path: str, **parameters: float) -> httpx.Response | None:
        with suppress(httpx.TransportError):  # it is being deployed
            return await self._http.request(method, path, params=parameters, headers={"x-client": client})
        return None

    async def _usual(self, client: str) -> None:
        while self._now_s() < LASTS_S:
            await asyncio.sleep(random.uniform(0.05, 0.3))
            entity_id = random.randrange(100, 500)
            chance = random.random()
            if chance < 0.45:
                await self._ask(client, "GET", f"/entities/{entity_id}")
            elif chance < 0.7:
                await self._ask(client, "PATCH", f"/entities/{entity_id}", work_s=0.03)
            elif chance < 0.78:
                await self._ask(client, "POST", f"/entities/{entity_id}/import", work_s=0.3)
            elif chance < 0.92:
                await self._create(client)
            elif chance < 0.95:
                await self._ask(client, "GET", "/entities/1000")
            elif chance < 0.97:
                await self._ask(client, "GET", "/entities/x")
            elif chance < 0.995:
                await self._ask(client, "PATCH", "/entities/13")
            else:
                await self._ask(client, "GET", "/crash")

    async def _read(self, client: str) -> None:
        await self._ask(client, "GET", f"/entities/{random.randrange(100)}")

    async def _create(self, client: str) -> None:
        self._created += 1
        is_queue_full = random.random() < 0.04
        await self._ask(
            client, "POST", "/entities", entity_id=self._created, is_queue_full=is_queue_full, claim_within_s=8
        )

    async def _contend(self, client: str) -> None:
        """Change one of few objects; whoever is refused comes back when he was told to."""
        entity_id = random.randrange(2)
        path, work_s = random.choice([("", 0.3), ("", 0.3), ("/import", 0.8)])
        method = "POST" if path else "PATCH"
        work_s *= random.choice([1, 1, 1, 4])
        for _ in range(3):
            answer = await self._ask(client, method, f"/entities/{entity_id}{path}", work_s=min(work_s, 2.4))
            if answer is None or answer.status_code != 423:
                return
            await asyncio.sleep(int(answer.headers["retry-after"]))

    async def _hold_too_long(self, client: str) -> None:
        await self._ask(client, "POST", "/entities/77/import", work_s=7)

    async def _hold_over_outage(self, client: str) -> None:
        await self._ask(client, "POST", f"/entities/{random.randrange(80, 90)}/import", work_s=12)

    async def _break_lock(self, client: str) -> None:
        """Do what an operator does with a lock that seems stuck."""
        working = asyncio.create_task(self._ask(client, "PATCH", "/entities/78", work_s=3))
        await asyncio.sleep(0.5)
        info = await self._locks.inspect("entity:78")
        if info is not None:
            await self._locks.break_lock("entity:78", fence=info.fence)
        await working

    def _pause_worker(self) -> None:
        (self._worker.directory / "paused").touch()

    def _resume_worker(self) -> None:
        (self._worker.directory / "paused").unlink()

    def _begin_maintenance(self) -> None:
        self._maintenance.start(retry_after_s=MAINTENANCE.stop - MAINTENANCE.start)

    def _end_maintenance(self) -> None:
        """Deploy the service, and let clients in again."""
        self._service.stop()
        self._service.start()
        self._maintenance.stop()
