"""The service that is fuzzed: everything on, routes of all kinds, and endpoints that do what a script says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import BackgroundTasks, Body, Depends, FastAPI, Form, Header, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, SecretStr
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from envelope import (
    ClientAddress,
    ConflictError,
    ErrorMap,
    Lease,
    ObjectLocks,
    RateLimiter,
    install,
    raw_response,
)
from tests.fuzz.cases import SCRIPT, DomainError, Script, UnruledError

#: What the limiter lets every client do; so much that only ``/limited`` is ever refused.
AMOUNT = 1_000_000

CLIENT = ClientAddress(trusted_proxies=["10.0.0.0/8"])


class Nested(BaseModel):
    deep: list[int]


class Model(BaseModel):
    name: str
    amount: int
    secret: SecretStr = SecretStr("")
    kind: Literal["a", "b"] = "a"
    nested: Nested | None = None
    union: int | Nested | str = 0


class Service:
    """The application, and what can be asked about it afterwards.

    Attributes:
        app: The application.
        locks: In memory.
        limiter: In memory.
    """

    def __init__(self) -> None:
        self.locks = ObjectLocks(max_hold_s=600)
        self.limiter = RateLimiter(
            f"{AMOUNT}/hour",
            key=CLIENT,
            routes={
                "GET /unlimited": None,
                "GET /json": [f"{AMOUNT}/day"],
                "WEBSOCKET /socket": ["100000/minute"],
            },
        )
        self.app = FastAPI()
        self.app.add_middleware(GZipMiddleware, minimum_size=500)
        self.app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_credentials=True)
        install(
            self.app,
            errors=ErrorMap({DomainError: ConflictError, UnruledError: _fail}),
            rate_limiter=self.limiter,
            locks=self.locks,
            exempt=["/exempt/*"],
        )
        _add_answers(self.app)
        _add_inputs(self.app)
        _add_guarded(self.app, self.locks, self.limiter)
        inner = FastAPI()
        _add_answers(inner)
        self.app.mount("/sub", inner)
        self.app.mount("/starlette", Starlette(routes=[Route("/asgi", endpoint=RawEndpoint()), Mount("/m", _raw)]))


def _fail(_: Exception) -> ConflictError:
    raise ZeroDivisionError("hush-4711")


async def _raw(scope: Scope, receive: Receive, send: Send) -> None:
    script: Script = scope[SCRIPT]
    for message in script.messages:
        if isinstance(message, BaseException):
            raise _noted(script, message)
        await send(message)
    if script.raises_late is not None:
        raise _noted(script, script.raises_late)


class RawEndpoint:
    """An endpoint that speaks ASGI."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _raw(scope, receive, send)


def _noted(script: Script, error: BaseException) -> BaseException:
    script.raised.append(error)
    return error


def script_of(request: Request) -> Script:
    """Give the script, after what it raises at once."""
    script: Script = request.scope[SCRIPT]
    if script.raises is not None:
        raise _noted(script, script.raises)
    return script


def _response(script: Script, content: Any = None) -> Response:
    response = JSONResponse(script.value if content is None else content, script.status)
    response.raw_headers.extend(script.headers)
    return response


def _add_answers(app: FastAPI) -> None:
    methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "QUERY", "PROPFIND", "gEt"]

    @app.api_route("/json", methods=methods)
    async def json_(request: Request) -> Any:
        return script_of(request).value

    @app.api_route("/plain", methods=methods)
    async def plain(request: Request) -> PlainTextResponse:
        script = script_of(request)
        return PlainTextResponse(str(script.value), script.status)

    @app.api_route("/raw", methods=methods)
    @raw_response
    async def raw(request: Request) -> Response:
        return _response(script_of(request))

    @app.get("/exempt/{rest:path}")
    async def exempt(request: Request, rest: str) -> Response:
        return _response(script_of(request))

    @app.api_route("/stream", methods=methods)
    async def stream(request: Request) -> StreamingResponse:
        script = script_of(request)

        async def parts() -> AsyncIterator[bytes]:
            for part in script.chunks:
                yield part
            if script.raises_late is not None:
                raise _noted(script, script.raises_late)

        return StreamingResponse(parts(), script.status, media_type="application/json")

    @app.api_route("/background", methods=methods)
    async def background(request: Request, tasks: BackgroundTasks) -> Any:
        script = script_of(request)

        async def late() -> None:
            if script.raises_late is not None:
                raise _noted(script, script.raises_late)

        tasks.add_task(late)
        return script.value

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        script: Script = websocket.scope[SCRIPT]
        if script.raises is not None:
            raise _noted(script, script.raises)
        await websocket.accept()
        await websocket.receive()
        if script.raises_late is not None:
            raise _noted(script, script.raises_late)
        await websocket.close()

    app.mount("/asgi", RawEndpoint())
    app.router.routes.append(Route("/class", _Class))


class _Class(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return _response(script_of(request))


def _add_inputs(app: FastAPI) -> None:
    async def yielding(request: Request) -> AsyncIterator[Script]:
        script: Script = request.scope[SCRIPT]
        yield script
        if script.raises_late is not None:
            raise _noted(script, script.raises_late)

    @app.api_route("/model", methods=["POST", "PUT", "QUERY"])
    async def model(
        request: Request, model: Model, number: int = 0, x_number: Annotated[int, Header()] = 0
    ) -> Any:
        return [script_of(request).value, model, number, x_number]

    @app.post("/form")
    async def form(request: Request, name: Annotated[str, Form()], amount: Annotated[int, Form()] = 0) -> Any:
        return script_of(request).value

    @app.api_route("/yield", methods=["GET", "POST"])
    async def yields(script: Annotated[Script, Depends(yielding)], any_body: Annotated[Any, Body()] = None) -> Any:
        return script.value

    @app.get("/sync")
    def sync(request: Request, number: int = 0) -> Any:
        return script_of(request).value

    @app.get("/unlimited")
    def unlimited() -> list[int]:
        return [1, 2]


def _add_guarded(app: FastAPI, locks: ObjectLocks, limiter: RateLimiter) -> None:
    @app.api_route("/guarded/{number}", methods=["POST", "PATCH", "DELETE", "GET", "QUERY"])
    @locks.guarded("entity:{number}")
    async def guarded(request: Request, number: int, lease: Lease) -> Any:
        script = script_of(request)
        await asyncio.sleep(0)
        return _response(script, [lease.fence, script.value])

    @app.api_route("/depends/{number}", methods=["POST", "DELETE"])
    async def depends(
        request: Request, number: int, lease: Annotated[Lease, Depends(locks.guard("entity:{number}"))]
    ) -> Any:
        return [lease.key, script_of(request).value]

    @app.api_route("/held", methods=["POST", "GET"])
    async def held(request: Request, tasks: BackgroundTasks) -> Any:
        script: Script = request.scope[SCRIPT]
        for key in script.keys:
            await locks.acquire(key, background=len(script.keys) > 1)
        async with locks.hold("block"):
            script = script_of(request)
        if not script.keys:
            await locks.acquire("streamed")

        async def parts() -> AsyncIterator[bytes]:
            for part in script.chunks:
                async with locks.hold("part"):
                    yield part
            if script.raises_late is not None:
                raise _noted(script, script.raises_late)

        return StreamingResponse(parts(), script.status, media_type="application/json", background=tasks)

    @app.api_route("/limited", methods=["GET", "POST"], dependencies=[Depends(limiter.limit("1/day"))])
    async def limited(request: Request) -> Any:
        return script_of(request).value

    @app.websocket("/socket-guarded/{number}")
    async def socket_guarded(websocket: WebSocket, number: int) -> None:
        async with locks.hold(f"entity:{number}"):
            await websocket.accept()
            await websocket.receive()
            script: Script = websocket.scope[SCRIPT]
            if script.raises_late is not None:
                raise _noted(script, script.raises_late)
            await websocket.close()
