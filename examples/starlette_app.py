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
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from envelope import BadRequestError, ConflictError, ErrorMap, NotFoundError, install

SCHEMA = "CREATE TABLE IF NOT EXISTS entities (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"


class NoSuchEntityError(Exception):
    """The domain's own words; it has never heard of HTTP."""


class Entities:
    """Entities in a SQLite file; one connection a call, because SQLite connections stay in their thread."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self._execute(SCHEMA)

    def create(self, name: str) -> int:
        (row,) = self._execute("INSERT INTO entities (name) VALUES (?) RETURNING id", name)
        return int(row[0])

    def find(self, entity_id: int) -> dict[str, Any]:
        rows = self._execute("SELECT id, name FROM entities WHERE id = ?", entity_id)
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


def create_app(database: Path) -> Starlette:
    """Build the service on a SQLite file."""
    entities = Entities(database)

    async def create_entity(request: Request) -> Response:
        try:
            body = await request.json()
        except ValueError:
            raise BadRequestError("the body is not JSON", error_code="invalid_input") from None
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            raise BadRequestError(["'name' is a required property"], error_code="invalid_input")
        entity_id = await run_in_threadpool(entities.create, body["name"])
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
