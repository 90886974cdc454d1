"""The verification: several checks, each of which takes its time, and a risk score at the end.

It runs in whatever process has the lease, and knows neither HTTP nor the queue.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from uuid import UUID

from sqlalchemy.exc import NoResultFound

from envelope import Lease

from .database import Entity, OvertakenError, sessions, write
from .settings import settings

CHECKS = ("identity document", "sanctions lists", "address history", "adverse media")

#: Of 96.
RISKY = 60

logger = logging.getLogger("verification")


async def verify(entity_id: UUID, lease: Lease) -> None:
    """Verify an entity, and stop as soon as it turns out to be somebody else's.

    What is written is written with the fence. So it does not matter how long this process was frozen, nor whether
    it knows yet that its lease has ended: once a later lease has written, nothing of this one is written any more.
    """
    try:
        await _check_all(entity_id, lease)
    except (OvertakenError, NoResultFound) as error:
        logger.warning("the verification of entity %s stops, and writes nothing more: %s", entity_id, error)


async def _check_all(entity_id: UUID, lease: Lease) -> None:
    # The first write comes before the first read: from here on nobody with an earlier lease can change the name.
    entity = await _save(entity_id, lease, status="verifying", checks_done=0, risk_score=None)
    risk = 0
    for done, check in enumerate(CHECKS, start=1):
        await asyncio.sleep(settings.pause_s)  # a call to somebody who knows
        risk += zlib.crc32(f"{check}: {entity.name}".encode()) % 25
        await _save(entity_id, lease, checks_done=done)
    status = "needs_review" if risk >= RISKY else "verified"
    await _save(entity_id, lease, status=status, risk_score=risk)
    logger.info("entity %s is %s", entity_id, status)


async def _save(entity_id: UUID, lease: Lease, **values: object) -> Entity:
    async with sessions.begin() as session:
        return await write(session, entity_id, lease.fence, **values)
