"""The worker: takes jobs from the queue, and verifies entities under the lease that came with the job.

ENVELOPE_STORAGE=redis://localhost:6379/0 python -m examples.verification_service.worker

Start as many as you like. SIGTERM lets the job at hand be finished.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress

from envelope import LeaseLostError, ServiceUnavailableError

from .database import Job, create_tables, engine, finish, put_back, take_job
from .settings import locks
from .workflow import verify

#: How often the queue is looked at, in seconds.
POLLED_EVERY_S = 0.1

logger = logging.getLogger("verification")


async def work(stopped: asyncio.Event) -> None:
    """Do jobs, one after the other, until told to stop."""
    while not stopped.is_set():
        job = await take_job()
        if job is not None:
            await do(job)
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(POLLED_EVERY_S):
                await stopped.wait()


async def do(job: Job) -> None:
    """Do a job once, however often it is delivered."""
    try:
        async with locks.claim(job.token) as lease:
            logger.info("job %d: verifying entity %s (fence %d)", job.id, job.entity_id, lease.fence)
            await verify(job.entity_id, lease)
    except LeaseLostError:
        # Another delivery of it was claimed, it comes too late, or the lease was lost on the way.
        logger.warning("job %d is dropped: it has no lease on entity %s", job.id, job.entity_id)
    except ServiceUnavailableError:
        logger.warning("job %d is put back: the locks are out of reach", job.id)
        await put_back(job, for_s=1)
        return
    except Exception:
        # The token is spent, so another attempt has to be asked for: POST /entities/{entity_id}/verify
        logger.exception("job %d failed on entity %s", job.id, job.entity_id)
    await finish(job)


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await create_tables()
    logger.info("worker %d waits for jobs", os.getpid())
    try:
        await work(stopped)
    finally:
        await locks.aclose()
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
