"""Two tables: the entities, whose writes are fenced, and the jobs, a small durable queue.

Nothing here knows HTTP, nor the locks: a fence is a number that grows.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, delete, event, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from .settings import settings

#: A job that is not finished after this time is delivered again. That it may still be at work does no harm: its
#: token can be claimed once.
REDELIVERED_AFTER_S = 30.0


class OvertakenError(Exception):
    """Somebody who came later has written the entity; whoever raises this has lost its lock without knowing."""


class Base(DeclarativeBase):
    pass


class Entity(Base):
    """A person whose identity is verified."""

    __tablename__ = "entities"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    #: unverified, verifying, verified, needs_review
    status: Mapped[str]
    checks_done: Mapped[int] = mapped_column(default=0)
    risk_score: Mapped[int | None]
    #: Of the lease under which the row was last written.
    fence: Mapped[int] = mapped_column(BigInteger)


class Job(Base):
    """A verification that a worker is to do."""

    __tablename__ = "jobs"
    # Whoever finishes a job late finishes none that came after it: no number is given twice.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's own notation

    id: Mapped[int] = mapped_column(primary_key=True)
    entity_id: Mapped[UUID]
    #: Whoever has it can claim the entity: never in a log, never in an answer.
    token: Mapped[str]
    #: When it is to be delivered, in seconds since 1970.
    due_at: Mapped[float] = mapped_column(default=time.time)


# Names of people are not for the log, where the exceptions' texts go.
engine = create_async_engine(f"sqlite+aiosqlite:///{settings.database}", hide_parameters=True)
sessions = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def _let_two_processes_share_the_file(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


async def create_tables() -> None:
    """Create what is not there; the server and the worker may both be first."""
    async with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            await connection.execute(CreateTable(table, if_not_exists=True))


async def write(session: AsyncSession, entity_id: UUID, fence: int, **values: object) -> Entity:
    """Change an entity, unless somebody with a later lease has.

    Args:
        session: In a transaction.
        entity_id: Of the entity.
        fence: Of the lease under which it is changed.
        values: The columns.

    Raises:
        OvertakenError: A later lease has written; nothing is changed.
        NoResultFound: There is no such entity.
    """
    changed = await session.scalars(
        update(Entity)
        .where(Entity.id == entity_id, Entity.fence <= fence)
        .values(fence=fence, **values)
        .returning(Entity)
    )
    entity = changed.one_or_none()
    return entity if entity is not None else await _explain(session, entity_id, fence)


async def remove(session: AsyncSession, entity_id: UUID, fence: int) -> None:
    """Delete an entity, unless somebody with a later lease has written it.

    Raises:
        OvertakenError: A later lease has written; nothing is deleted.
        NoResultFound: There is no such entity.
    """
    removed = await session.scalars(
        delete(Entity).where(Entity.id == entity_id, Entity.fence <= fence).returning(Entity.id)
    )
    if removed.one_or_none() is None:
        await _explain(session, entity_id, fence)


async def _explain(session: AsyncSession, entity_id: UUID, fence: int) -> Entity:
    """Say why a write has changed no row."""
    entity = await session.get_one(Entity, entity_id)
    raise OvertakenError(f"entity {entity_id} was written with fence {entity.fence}, after {fence}")


async def take_job() -> Job | None:
    """Give the next job, and nobody else for a while."""
    now = time.time()
    due = select(Job.id).where(Job.due_at <= now).order_by(Job.id).limit(1)
    async with sessions.begin() as session:
        taken = await session.scalars(
            update(Job)
            .where(Job.id == due.scalar_subquery())
            .values(due_at=now + REDELIVERED_AFTER_S)
            .returning(Job)
            .execution_options(synchronize_session=False)
        )
        return taken.one_or_none()


async def put_back(job: Job, *, for_s: float) -> None:
    """Let a job be delivered again, after some seconds."""
    async with sessions.begin() as session:
        await session.execute(update(Job).where(Job.id == job.id).values(due_at=time.time() + for_s))


async def finish(job: Job) -> None:
    """Forget a job."""
    async with sessions.begin() as session:
        await session.execute(delete(Job).where(Job.id == job.id))
