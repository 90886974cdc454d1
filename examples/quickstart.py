"""A small identity-verification service that speaks the convention.

    python3 -m pip install uv && uv run examples/quickstart.py

Nothing below knows about envelopes but the one call of ``install``. The data lives in a SQLite file
that is made anew at every start.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, EmailStr, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from envelope import ConflictError, ErrorMap, NotFoundError, failures, install


class Base(DeclarativeBase):
    pass


class Entity(Base):
    """A person whose identity is verified."""

    __tablename__ = "entities"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    date_of_birth: Mapped[dt.date]
    status: Mapped[str] = mapped_column(default="unverified")


class EntityExistsError(Exception):
    """The domain's own words; it has never heard of HTTP."""

    def __init__(self, email: str) -> None:
        super().__init__(f"unique constraint on entities.email: {email}")


class ResourceConflictError(ConflictError):
    """What the client is told then."""

    message = "Entity already exists"
    error_code = "resource_conflict"


#: SQLite stores it, and every JSON parser reads it exactly.
GREATEST = 2**53 - 1

EntityId = Annotated[int, Field(ge=1, le=GREATEST)]


class EntityIn(BaseModel):
    email: EmailStr
    name: Annotated[str, Field(min_length=1, max_length=100)]
    date_of_birth: dt.date


class EntityOut(EntityIn):
    model_config = ConfigDict(from_attributes=True)

    id: EntityId
    status: str


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session)]


async def save(session: AsyncSession, entity: Entity) -> Entity:
    """Write an entity, or say in the domain's words why it cannot be."""
    email = entity.email
    session.add(entity)
    try:
        await session.commit()
    except IntegrityError as error:
        raise EntityExistsError(email) from error
    return entity


def create_app(database: Path) -> FastAPI:
    """Build the service on a SQLite file."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        yield
        await engine.dispose()

    app = FastAPI(title="Identity verification", lifespan=lifespan)
    install(app, errors=ErrorMap({EntityExistsError: ResourceConflictError, NoResultFound: NotFoundError}))

    @app.post("/entities", status_code=201, responses=failures(ResourceConflictError))
    async def create_entity(entity: EntityIn, session: Session, response: Response) -> EntityOut:
        created = await save(session, Entity(**entity.model_dump()))
        response.headers["Location"] = f"/entities/{created.id}"
        return EntityOut.model_validate(created)

    @app.get("/entities")
    async def list_entities(
        session: Session,
        offset: Annotated[int, Query(ge=0, le=GREATEST)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> list[EntityOut]:
        entities = await session.scalars(select(Entity).order_by(Entity.id).offset(offset).limit(limit))
        return [EntityOut.model_validate(entity) for entity in entities]

    @app.get("/entities/{entity_id}")
    async def get_entity(entity_id: EntityId, session: Session) -> EntityOut:
        return EntityOut.model_validate(await session.get_one(Entity, entity_id))

    @app.put("/entities/{entity_id}", responses=failures(ResourceConflictError))
    async def update_entity(entity_id: EntityId, changes: EntityIn, session: Session) -> EntityOut:
        entity = await session.get_one(Entity, entity_id)
        for field, value in changes.model_dump().items():
            setattr(entity, field, value)
        return EntityOut.model_validate(await save(session, entity))

    @app.delete("/entities/{entity_id}", status_code=204)
    async def delete_entity(entity_id: EntityId, session: Session) -> None:
        await session.delete(await session.get_one(Entity, entity_id))
        await session.commit()

    @app.get("/bug", include_in_schema=False)
    async def bug() -> None:
        raise RuntimeError("the database password is hunter2")  # stays in the log

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the quickstart on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    url = f"http://127.0.0.1:{port}/entities"
    print("Try, in another terminal:")
    ada = '{"email": "ada@example.com", "name": "Ada", "date_of_birth": "1815-12-10"}'
    print(f"  curl -i {url} -H 'content-type: application/json' -d '{ada}'")
    print(f"  curl -i {url}")
    print(f"  curl -i {url}/1", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        uvicorn.run(create_app(Path(folder) / "entities.db"), host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
