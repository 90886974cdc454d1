"""What is measured: each work, and the same application dressed in several ways to do it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from envelope import ConflictError, EnvelopeMiddleware, ErrorMap, install
from tests.benchmarks.peers import ParseAndDump, SplicingFloor

BARE, FLOOR, PARSED = "bare", "floor", "parse and dump"
#: The inner layer alone, which wraps, and the two layers that an application gets.
ALONE, INSTALLED = "middleware alone", "install()"
OURS = (ALONE, INSTALLED)

Dress = Callable[[Starlette], object]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The most that ours may cost, in total time over that of another subject (design, section 4)."""

    ratio: float
    over: str


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of request, and who answers it.

    Attributes:
        build: Makes a fresh application.
        dresses: Subject -> what makes the application speak the convention.
        content: What a success carries; None for a failure.
        statuses: The status from the bare application, and from every other subject.
    """

    name: str
    build: Callable[[], Starlette]
    dresses: Mapping[str, Dress]
    bar: Bar
    content: Any = None
    statuses: tuple[int, int] = (200, 200)
    path: str = "/"
    method: str = "GET"
    body: bytes = b""

    def flaw(self, subject: str, status: int, body: bytes) -> str | None:
        """Tell what is wrong with a subject's answer."""
        expected = self.statuses[subject != BARE]
        if status != expected:
            return f"status {status} instead of {expected}: {body[:100]!r}"
        value = json.loads(body)
        if status >= 400:
            right = "detail" in value if subject == BARE else _is_failure(value, status)
        else:
            right = value == (self.content if subject == BARE else {"status": "success", "content": self.content})
        return None if right else f"wrong body: {body[:100]!r}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Works that share a table."""

    title: str
    works: list[Work]


def groups() -> list[Group]:
    """Give all that is measured, in the order of the design's table."""
    return [
        Group(title="Wrapping, Starlette (rows 1 and 2)", works=_wrapping()),
        Group(title="A route that returns a model, FastAPI (row 3)", works=[_model()]),
        Group(title="Failures, FastAPI (row 4)", works=_failures()),
    ]


def stream_of(chunks: list[bytes]) -> Starlette:
    """Make an application that sends JSON in chunks, without a length."""

    async def endpoint(_request: Request) -> Response:
        return StreamingResponse(_each(chunks), media_type="application/json")

    return Starlette(routes=[Route("/", endpoint)])


def json_of(size: int) -> bytes:
    """Make a JSON list of records, ``size`` bytes long."""
    record = b'{"id":42,"name":"a name","tags":["x","y"],"ratio":0.25}'
    count = max(0, (size - 12) // (len(record) + 1))
    records = b"".join(record + b"," for _ in range(count))
    return b"[" + records + b'"' + b"-" * (size - len(records) - 4) + b'"]'


SPLICED: dict[str, Dress] = {
    BARE: lambda app: None,
    FLOOR: lambda app: app.add_middleware(SplicingFloor),
    ALONE: lambda app: app.add_middleware(EnvelopeMiddleware),
    INSTALLED: install,
    PARSED: lambda app: app.add_middleware(ParseAndDump),
}


def _wrapping() -> list[Work]:
    works = [
        Work(
            name=name,
            build=partial(_one_body, json_of(size)),
            dresses=SPLICED,
            bar=Bar(ratio=ratio, over=FLOOR),
            content=json.loads(json_of(size)),
        )
        for name, size, ratio in (
            ("100 B", 100, 1.15),
            ("1 KB", 1024, 1.15),
            ("64 KB", 64 * 1024, 1.15),
            ("1 MB", 1024 * 1024, 1.5),
        )
    ]
    chunks = [b"[", *(json_of(99) + b"," for _ in range(98)), b"0]"]
    stream = Work(
        name="100 chunks of 100 B",
        build=lambda: stream_of(chunks),
        dresses=SPLICED,
        bar=Bar(ratio=1.15, over=FLOOR),
        content=json.loads(b"".join(chunks)),
    )
    return [*works, stream]


def _one_body(body: bytes) -> Starlette:
    async def endpoint(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/", endpoint)])


async def _each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class Entity(BaseModel):
    """What the FastAPI application returns and takes."""

    id: int
    name: str
    tags: list[str] = []


class EntityFrozenError(Exception):
    """An error of the domain, which knows nothing of HTTP."""


def _service() -> FastAPI:
    app = FastAPI()

    @app.get("/entities/{entity_id}")
    async def read(entity_id: int) -> Entity:
        if entity_id == 0:
            raise HTTPException(404, "no entity 0")
        return Entity(id=entity_id, name="a name", tags=["x", "y"])

    @app.post("/entities")
    async def create(entity: Entity) -> Entity:
        raise EntityFrozenError(entity.name)

    @app.get("/page")
    async def page(offset: int, limit: int = 10) -> list[int]:
        return [offset, limit]

    return app


def _model() -> Work:
    return Work(
        name="model",
        build=_service,
        dresses=SPLICED,
        bar=Bar(ratio=1.13, over=BARE),
        content={"id": 42, "name": "a name", "tags": ["x", "y"]},
        path="/entities/42",
    )


def _failures() -> list[Work]:
    return [
        _failure("404, raised", 404, 1.10, path="/entities/0"),
        _failure("404, no route", 404, 1.10, path="/nowhere"),
        _failure("domain error", 409, 1.10, path="/entities", method="POST", body=b'{"id":42,"name":"a name"}'),
        _failure("validation, query", 400, 1.0, path="/page"),
        _failure("validation, body", 400, 1.0, path="/entities", method="POST", body=b'{"id":"x"}'),
    ]


def _failure(name: str, status: int, ratio: float, *, path: str, method: str = "GET", body: bytes = b"") -> Work:
    return Work(
        name=name,
        build=_service,
        dresses={BARE: _answer_frozen, FLOOR: _answer_by_hand, INSTALLED: _install, PARSED: _parse},
        bar=Bar(ratio=ratio, over=BARE),
        statuses=(422 if status == 400 else status, status),
        path=path,
        method=method,
        body=body,
    )


def _install(app: Starlette) -> None:
    install(app, errors=ErrorMap({EntityFrozenError: lambda exc: ConflictError(f"{exc} is frozen")}))


def _answer_frozen(app: Starlette) -> None:
    async def frozen(_request: Request, exc: Exception) -> Response:
        return JSONResponse({"detail": f"{exc} is frozen"}, 409)

    app.add_exception_handler(EntityFrozenError, frozen)


def _parse(app: Starlette) -> None:
    _answer_frozen(app)
    app.add_middleware(ParseAndDump)


def _answer_by_hand(app: Starlette) -> None:
    """Add the least handlers that speak the convention, beside the floor's middleware."""

    async def http(_request: Request, exc: Any) -> Response:
        return _fail(exc.status_code, exc.detail)

    async def frozen(_request: Request, exc: Exception) -> Response:
        return _fail(409, f"{exc} is frozen")

    async def invalid(_request: Request, exc: Any) -> Response:
        messages = [f"{problem['loc'][-1]}: {problem['msg']}" for problem in exc.errors()]
        return _fail(400, {"error_code": "invalid_input", "message": messages})

    app.add_exception_handler(404, http)
    app.add_exception_handler(EntityFrozenError, frozen)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_middleware(SplicingFloor)


def _fail(status: int, message: Any) -> Response:
    return JSONResponse({"code": status, "message": message, "status": "failure"}, status)


def _is_failure(value: dict[str, Any], status: int) -> bool:
    return value.keys() == {"code", "message", "status"} and (value["code"], value["status"]) == (
        status,
        "failure",
    )
