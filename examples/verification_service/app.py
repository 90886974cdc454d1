"""The HTTP side: every change of an entity holds its lock, and a verification keeps it until it is done.

uvicorn examples.verification_service.app:app
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import BackgroundTasks, FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from envelope import (
    ConflictError,
    ErrorMap,
    Lease,
    LeaseLostError,
    ObjectLockedError,
    ServiceUnavailableError,
    failures,
    install,
)

from .database import Entity, Job, OvertakenError, create_tables, engine, remove, sessions, write
from .settings import locks, settings
from .workflow import verify

#: Seconds after which an entity is free again if no worker has begun with it.
CLAIM_WITHIN_S = 60

#: What the lock is held for, whichever endpoint began it: clients that meet it are told how long it usually takes.
VERIFICATION = "verification"


class EntityIn(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=100)]


class NewEntity(EntityIn):
    #: A client that gives one can ask again after a lost answer: there will not be a second entity.
    id: UUID | None = None


class EntityOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    status: str
    checks_done: int
    risk_score: int | None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    await create_tables()
    yield
    await engine.dispose()


app = FastAPI(title="Verification", lifespan=lifespan)
# SQLAlchemy's own exceptions need no rule: NoResultFound is a 404, IntegrityError a 409.
install(app, locks=locks, errors=ErrorMap({OvertakenError: LeaseLostError}, libraries=["sqlalchemy"]))


@app.post(
    "/entities", status_code=201, responses=failures(ConflictError, ObjectLockedError, ServiceUnavailableError)
)
async def create_entity(
    entity: NewEntity, response: Response, background: BackgroundTasks, run_workflow: bool = False
) -> EntityOut:
    """Create an entity; with ``run_workflow`` it is born locked, so nothing gets between it and its workflow."""
    created = Entity(
        id=entity.id or uuid4(), name=entity.name, status="verifying" if run_workflow else "unverified"
    )
    key = f"entity:{created.id}"
    transaction: AbstractAsyncContextManager[AsyncSession]
    if run_workflow:
        lease = await locks.acquire(key, operation=VERIFICATION, background=True)
        transaction = followed_by_verification(created.id, lease, background)
    else:
        lease = await locks.acquire(key)
        transaction = sessions.begin()
    created.fence = lease.fence
    async with transaction as session:
        session.add(created)
    response.headers["Location"] = f"/entities/{created.id}"
    return EntityOut.model_validate(created)


@app.get("/entities/{entity_id}")
async def get_entity(entity_id: UUID) -> EntityOut:
    """Reads are never refused; while a verification is at work they show how far it is."""
    async with sessions() as session:
        return EntityOut.model_validate(await session.get_one(Entity, entity_id))


@app.patch("/entities/{entity_id}", responses=failures(LeaseLostError))
@locks.guarded("entity:{entity_id}")
async def update_entity(entity_id: UUID, change: EntityIn, lease: Lease) -> EntityOut:
    """Change an entity; what was verified was somebody with another name."""
    async with sessions.begin() as session:
        changed = await write(
            session, entity_id, lease.fence, name=change.name, status="unverified", checks_done=0, risk_score=None
        )
    return EntityOut.model_validate(changed)


@app.post("/entities/{entity_id}/verify", status_code=202, responses=failures(LeaseLostError))
@locks.guarded("entity:{entity_id}", operation=VERIFICATION, background=True)
async def verify_entity(entity_id: UUID, lease: Lease, background: BackgroundTasks) -> EntityOut:
    """Run the workflow on an entity, from the beginning; also on one whose workflow was interrupted."""
    async with followed_by_verification(entity_id, lease, background) as session:
        entity = await write(session, entity_id, lease.fence, status="verifying", checks_done=0, risk_score=None)
    return EntityOut.model_validate(entity)


@app.delete("/entities/{entity_id}", status_code=204, responses=failures(LeaseLostError))
@locks.guarded("entity:{entity_id}")
async def delete_entity(entity_id: UUID, lease: Lease) -> None:
    async with sessions.begin() as session:
        await remove(session, entity_id, lease.fence)


@asynccontextmanager
async def followed_by_verification(
    entity_id: UUID, lease: Lease, background: BackgroundTasks
) -> AsyncIterator[AsyncSession]:
    """Give a transaction, after which the entity is verified: by a worker, or without one in this process.

    The job is written in the same transaction, so there is neither an entity that waits for a job in vain nor a
    job without its entity.
    """
    if not settings.has_worker:
        async with sessions.begin() as session:
            yield session
        background.add_task(verify, entity_id, lease)  # which is held until the background tasks are done
        return

    # Outside of the transaction: the lock of the database does not wait for that of the entity.
    token = await lease.hand_off(claim_within_s=CLAIM_WITHIN_S)
    try:
        async with sessions.begin() as session:
            yield session
            session.add(Job(entity_id=entity_id, token=token))
    except BaseException:
        await lease.release()  # nobody will claim it
        raise
