"""The convention without FastAPI: plain Starlette, a database of its own, pydantic only where it is wanted.

python3 -m pip install uv && uv run examples/starlette_app.py
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from envelope import ApiError, BadRequestError, ConflictError, ErrorMap, NotFoundError, install

#: The greatest number that SQLite knows.
GREATEST = 2**63 - 1

SCHEMA = "CREATE TABLE IF NOT EXISTS entities (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"


class NoSuchEntityError(Exception):
    """The domain's own words; it has never heard of HTTP."""


class EntityIn(BaseModel):
    name: str = Field(min_length=1, max_length=100)


class Entities:
    """Entities in a SQLite file; one connection a call, because SQLite connections stay in their thread."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self._execute(SCHEMA)

    def create(self, name: str) -> int:
        (row,) = self._execute("INSERT INTO entities (name) VALUES (?) RETURNING id", name)
        return int(row[0])

    def find(self, entity_id: int) -> dict[str, Any]:
        rows = entity_id <= GREATEST and self._execute("SELECT id, name FROM entities WHERE id = ?", entity_id)
        if not rows:
            raise NoSuchEntityError(entity_id)
        return {"id": rows[0][0], "name": rows[0][1]}

    def _execute(self, statement: str, *values: object) -> list[Any]:
        connection = sqlite3.connect(self.database)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()


def describe_problems(error: ValidationError) -> BadRequestError:
    """Say what is wrong with a body; FastAPI's own validation errors need no such rule."""
    problems = [
        f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return BadRequestError(problems, error_code="invalid_input")


def create_app(database: Path) -> Starlette:
    """Build the service on a SQLite file."""
    entities = Entities(database)

    async def create_entity(request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise ApiError("send application/json", status_code=415)
        entity = EntityIn.model_validate_json(await request.body())
        entity_id = await run_in_threadpool(entities.create, entity.name)
        return JSONResponse({"id": entity_id}, 201, headers={"Location": f"/entities/{entity_id}"})

    async def get_entity(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(entities.find, request.path_params["entity_id"]))

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")  # not JSON: passes as it is

    app = Starlette(
        routes=[
            Route("/entities", create_entity, methods=["POST"]),
            Route("/entities/{entity_id:int}", get_entity),
            Route("/health", health),
        ]
    )
    install(
        app,
        errors=ErrorMap(
            {
                NoSuchEntityError: NotFoundError,
                ValidationError: describe_problems,
                sqlite3.IntegrityError: lambda _: ConflictError(
                    "the name is taken", error_code="resource_conflict"
                ),
            }
        ),
    )
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the Starlette example on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    url = f"http://127.0.0.1:{port}/entities"
    ada = '{"name": "Ada"}'
    print("Try, in another terminal:")
    print(f"  curl -i {url} -H 'content-type: application/json' -d '{ada}'")
    print(f"  curl -i {url}/1")
    print(f"  curl -i {url}/2", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        uvicorn.run(create_app(Path(folder) / "entities.db"), host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
