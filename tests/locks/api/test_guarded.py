"""``@locks.guarded(...)``: keys of validated values, in FastAPI and Starlette, sync and async."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import functools
import inspect
import uuid
from collections.abc import Callable
from datetime import date
from types import FunctionType
from typing import Annotated, Any

import pydantic
import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Header, Path, Query
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import envelope
from envelope import ForbiddenError, Lease, ObjectLocks, RateLimiter, UnauthorizedError, install
from tests.locks.api.asking import (
    BUSY,
    DONE,
    Door,
    apart,
    ask,
    asking,
    done,
    is_busy,
    json_of,
    posted,
    slow_locks,
    starlette_of,
    watch,
)
from tests.wire.apps import success


def _fastapi(locks: ObjectLocks, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    install(app, locks=locks)
    return app


def _ask_while_held(app: Any, locks: ObjectLocks, key: str, path: str, **options: Any) -> Any:
    """Send a request while somebody else has the object, and give what was answered."""

    async def story() -> Any:
        async def hold() -> Any:
            async with locks.hold(key):
                return (await asking(app, path, **options)).status

        return await apart(hold())

    return asyncio.run(story())


# The key


class Colour(enum.Enum):
    RED = "red"


class Name(enum.StrEnum):
    BLUE = "blue"


class Level(enum.IntEnum):
    HIGH = 3


class Order(pydantic.BaseModel):
    id: int
    customer: Customer


class Customer(pydantic.BaseModel):
    name: str


Order.model_rebuild()


async def by_int(entity_id: int) -> str:
    return "done"


def by_int_in_a_thread(entity_id: int) -> str:
    return "done"


async def by_text(entity_id: str) -> str:
    return "done"


async def by_uuid(entity_id: uuid.UUID) -> str:
    return "done"


async def by_enum(entity_id: Colour) -> str:
    return "done"


async def by_name(entity_id: Name) -> str:
    return "done"


async def by_level(entity_id: Level) -> str:
    return "done"


async def by_date(entity_id: date) -> str:
    return "done"


async def by_alias(number: Annotated[int, Path(alias="entity_id")]) -> str:
    return "done"


async def by_two(entity_id: str, part: Annotated[str, Query()]) -> str:
    return "done"


async def by_header(entity_id: str, x_tenant: Annotated[str, Header()]) -> str:
    return "done"


async def by_body(entity_id: int, order: Order) -> str:
    return "done"


async def by_dependency(entity_id: int, tenant: str = Depends(lambda: "t")) -> str:
    return "done"


async def by_rest(entity_id: int, **kwargs: Any) -> str:
    return "done"


UUID = "0A7E3C5D-1F2B-4C6D-8E9F-A0B1C2D3E4F5"
BODY = posted(b'{"id":7,"customer":{"name":"a"}}')
KEYS: list[tuple[Callable[..., Any], str, str, dict[str, Any], str]] = [
    (by_int, "e:{entity_id}", "/e/1", {}, "e:1"),
    (by_int, "e:{entity_id}", "/e/01", {}, "e:1"),
    (by_int, "e:{entity_id}", "/e/-0", {}, "e:0"),
    (by_int, "e:{entity_id}", "/e/1", {"raw_path": b"/e/%31"}, "e:1"),
    (by_int_in_a_thread, "e:{entity_id}", "/e/+1", {}, "e:1"),
    (by_int, "all entities", "/e/1", {}, "all entities"),
    (by_text, "e:{entity_id}", "/e/01", {}, "e:01"),
    (by_text, "e:{entity_id}", "/e/a:b%", {}, "e:a:b%"),
    (by_text, "{entity_id}", "/e/a", {}, "a"),
    (by_text, "{{{entity_id}}}", "/e/a", {}, "{a}"),
    (by_uuid, "e:{entity_id}", f"/e/{UUID}", {}, f"e:{UUID.lower()}"),
    (by_uuid, "e:{entity_id}", f"/e/{UUID.lower()}", {}, f"e:{UUID.lower()}"),
    (by_uuid, "e:{entity_id}", f"/e/{UUID.replace('-', '')}", {}, f"e:{UUID.lower()}"),
    (by_enum, "e:{entity_id.value}", "/e/red", {}, "e:red"),
    (by_name, "e:{entity_id}", "/e/blue", {}, "e:blue"),
    (by_level, "e:{entity_id}", "/e/3", {}, "e:3"),
    (by_date, "e:{entity_id}", "/e/2024-02-29", {}, "e:2024-02-29"),
    (by_alias, "e:{number}", "/e/01", {}, "e:1"),
    (by_two, "e:{entity_id}:{part}", "/e/a", {"query_string": b"part=b"}, "e:a:b"),
    (by_two, "e:{entity_id}:{part}", "/e/a:b", {"query_string": b"part=c%25"}, "e:a%3Ab:c%25"),
    (by_header, "{x_tenant}/e:{entity_id}", "/e/1", {"headers": {"x-tenant": "t"}}, "t/e:1"),
    (by_body, "o:{order.id}", "/e/1", BODY, "o:7"),
    (by_body, "c:{order.customer.name}", "/e/1", BODY, "c:a"),
    (by_dependency, "{tenant}:e:{entity_id}", "/e/1", {}, "t:e:1"),
    (by_rest, "e:{entity_id}", "/e/1", {}, "e:1"),
]


@pytest.mark.parametrize(("endpoint", "template", "path", "options", "key"), KEYS)
def test_key_is_made_of_validated_values(
    endpoint: Any, template: str, path: str, options: dict[str, Any], key: str
) -> None:
    """``hold(f"...")`` with the endpoint's own values means the same object, however the client spelled them."""
    locks = slow_locks()
    app = _fastapi(locks)
    app.post("/e/{entity_id}")(locks.guarded(template)(endpoint))
    if endpoint is by_rest:
        options = {**options, "query_string": b"kwargs=1"}

    seen = watch(app, locks, path, key, **options)

    assert (seen.json, seen.held, seen.is_busy_after) == (DONE, [True, False], False)
    assert _ask_while_held(app, locks, key, path, **options) == 423
    assert _ask_while_held(app, locks, key + "x", path, **options) == 200


def test_several_values_cannot_pass_for_others() -> None:
    """``a:b`` and ``c`` is not ``a`` and ``b:c``."""
    locks = slow_locks()
    app = _fastapi(locks)
    app.post("/e/{entity_id}")(locks.guarded("e:{entity_id}:{part}")(by_two))

    async def story() -> list[int]:
        async def hold() -> list[int]:
            async with locks.hold("e:a%3Ab:c"):
                pairs = [("a:b", b"c"), ("a", b"b:c"), ("a%3Ab", b"c")]
                return [(await asking(app, f"/e/{a}", query_string=b"part=" + b)).status for a, b in pairs]

        statuses: list[int] = await apart(hold())
        return statuses

    assert asyncio.run(story()) == [423, 200, 200]


def test_several_templates_are_taken_all_or_none() -> None:
    """If one object is busy, the others stay free."""
    locks = slow_locks()
    app = _fastapi(locks)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}", "all", "e:{entity_id}")
    async def endpoint(entity_id: int, lease: Lease) -> list[str]:
        return list(lease.keys)

    async def story() -> None:
        async def hold(key: str, other: str) -> None:
            async with locks.hold(key):
                assert json_of(await asking(app)) == BUSY
                assert not await is_busy(locks, other)

        await apart(hold("e:1", "all"))
        await apart(hold("all", "e:1"))

    asyncio.run(story())

    assert json_of(ask(app)) == success(["e:1", "all"])


@pytest.mark.parametrize("path", ["/e/x", "/e/1"])
def test_invalid_request_locks_nothing(path: str) -> None:
    """400 comes before 423, whether the path or the body is wrong; a busy object makes no difference."""
    locks = slow_locks()
    app = _fastapi(locks)
    called: list[int] = []

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int, order: Order) -> None:
        called.append(entity_id)

    invalid = posted(b'{"id":"x"}')

    assert watch(app, locks, path, **invalid).held == [False, False]
    assert _ask_while_held(app, locks, "e:1", path, **invalid) == 400
    assert called == []


@pytest.mark.parametrize("place", ["app", "route", "parameter"])
def test_unauthorised_request_locks_nothing(place: str) -> None:
    """Whom authentication refuses sees its 401 although the object is busy."""
    locks = slow_locks()

    async def user(x_user: Annotated[str, Header()] = "") -> str:
        if not x_user:
            raise UnauthorizedError
        if x_user == "b":
            raise ForbiddenError
        return x_user

    app = _fastapi(locks, dependencies=[Depends(user)] if place == "app" else [])

    @app.post("/e/{entity_id}", dependencies=[Depends(user)] if place == "route" else [])
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int, u: str = Depends(user) if place == "parameter" else "") -> str:
        return "done"

    for headers, status in ({}, 401), ({"x-user": "b"}, 403):
        seen = watch(app, locks, headers=headers)
        assert (seen.status, seen.held) == (status, [False, False])
        assert _ask_while_held(app, locks, "e:1", "/e/1", headers=headers) == status
    assert _ask_while_held(app, locks, "e:1", "/e/1", headers={"x-user": "a"}) == 423


# How the endpoint is called


class Thing(pydantic.BaseModel):
    name: str = "n"


async def parameters(
    entity_id: int, q: str = "d", *, flag: bool = False, x_head: Annotated[str, Header()] = "h"
) -> list[Any]:
    """Do this.

    And that.
    """
    return [entity_id, q, flag, x_head]


def sync_body(entity_id: int, thing: Thing, many: Annotated[list[int], Query()] = []) -> list[Any]:  # noqa: B006
    return [thing.name, many]


async def own_request(request: Request, entity_id: int) -> list[Any]:
    return [request.url.path, entity_id]


async def request_last(entity_id: int, *, request: Request) -> list[Any]:
    return [request.url.path, entity_id]


async def dependent(
    response: Response, entity_id: int, tasks: BackgroundTasks, q: int = Depends(lambda: 3)
) -> int:
    response.headers["x-own"] = "1"
    return q


async def typed_return(entity_id: int, thing: Thing = Body(Thing())) -> Thing:  # noqa: B008
    return thing


ENDPOINTS: list[tuple[Any, bytes]] = [
    (parameters, b""),
    (sync_body, b'{"name":"a"}'),
    (sync_body, b'{"name":1}'),
    (own_request, b""),
    (request_last, b""),
    (dependent, b""),
    (typed_return, b'{"name":"a"}'),
    (by_int, b""),
    (by_int_in_a_thread, b""),
]


@pytest.mark.parametrize(("endpoint", "content"), ENDPOINTS)
def test_guarded_endpoint_is_called_as_without_guard(endpoint: Any, content: bytes) -> None:
    """Parameters, defaults, bodies, dependencies, validation and headers are the framework's as before."""
    locks = ObjectLocks()
    app, bare = _fastapi(locks), FastAPI()
    install(bare)
    # Of a copy, because a function that is guarded somewhere is not served without its guard.
    same = FunctionType(endpoint.__code__, endpoint.__globals__, endpoint.__name__, endpoint.__defaults__)
    same.__kwdefaults__, same.__annotations__ = endpoint.__kwdefaults__, endpoint.__annotations__
    bare.post("/e/{entity_id}")(same)
    app.post("/e/{entity_id}")(locks.guarded("e:{entity_id}")(endpoint))

    expected, answered = ask(bare, **posted(content)), ask(app, **posted(content))

    assert answered.sent == expected.sent
    assert _ask_while_held(app, locks, "e:1", "/e/1", **posted(content)) == (
        423 if expected.status == 200 else 400
    )


def test_document_does_not_know_of_the_guard() -> None:
    """The lease is nobody's parameter; names and texts stay."""
    locks = ObjectLocks()
    documents = []
    decorators: list[Any] = [lambda f: f, locks.guarded("e:{entity_id}", reads="refuse", background=True)]
    for decorate in decorators:
        app = FastAPI()
        for number, (endpoint, _) in enumerate(ENDPOINTS):
            app.put(f"/{number}/{{entity_id}}")(decorate(endpoint))
            app.get(f"/{number}/{{entity_id}}/read")(decorate(endpoint))
        documents.append(app.openapi())

    assert documents[0] == documents[1]


def test_guarded_keeps_the_functions_identity() -> None:
    """Name, docstring, module and annotations, for documentation and tracing."""
    guarded = ObjectLocks().guarded("e:{entity_id}")(parameters)

    assert inspect.unwrap(guarded) is parameters
    assert (guarded.__name__, guarded.__doc__, guarded.__module__) == ("parameters", parameters.__doc__, __name__)
    assert inspect.iscoroutinefunction(guarded)
    assert list(inspect.signature(guarded).parameters) == ["entity_id", "q", "flag", "x_head"]


def test_operation_is_the_endpoints_name() -> None:
    """``inspect`` says what an object is busy with; ``operation=`` says it otherwise."""
    locks = ObjectLocks()
    app = _fastapi(locks)

    async def look() -> Any:
        info = await locks.inspect("e:1")
        assert info is not None
        return info.operation

    class Things(HTTPEndpoint):
        @locks.guarded("e:{entity_id}")
        async def post(self, request: Request) -> Response:
            return JSONResponse(await look())

    @app.put("/e/{entity_id}")
    @locks.guarded("e:{entity_id}", operation="own")
    async def other(entity_id: int, lease: Lease) -> Any:
        return [await look(), lease.operation]

    @app.patch("/e/{entity_id}")
    async def taking(entity_id: int) -> Any:
        return [(await locks.acquire("e:1")).operation, (await locks.acquire("e:2", operation="own")).operation]

    @app.delete("/e/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}"))])
    async def dependent(entity_id: int) -> Any:
        return await look()

    app.post("/e/{entity_id}")(locks.guarded("e:{entity_id}")(functools.wraps(update)(lambda **_: look())))
    app.router.routes.append(Route("/t/{entity_id:int}", Things))

    assert json_of(ask(app)) == success("update")
    assert json_of(ask(app, method="PUT")) == success(["own", "own"])
    assert json_of(ask(app, method="PATCH"))["content"][0].endswith("taking")
    assert json_of(ask(app, method="PATCH"))["content"][1] == "own"
    assert json_of(ask(app, method="DELETE"))["content"].endswith("dependent")
    assert json_of(ask(app, "/t/1"))["content"].endswith("Things.post")


async def update(entity_id: int) -> Any: ...


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_sync_endpoint_sees_context_variables() -> None:
    """What a dependency put there, as without a guard."""
    locks = ObjectLocks()
    app = _fastapi(locks)

    async def setting() -> None:
        variable.set("set")

    @app.post("/e/{entity_id}", dependencies=[Depends(setting)])
    @locks.guarded("e:{entity_id}")
    def endpoint(entity_id: int) -> str:
        return variable.get()

    assert json_of(ask(app)) == success("set")


def _passing(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def _awaiting(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("guard_first", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        _passing,
        _awaiting,
        envelope.raw_response,
        RateLimiter("9/minute").limited("5/minute"),
        ObjectLocks().guarded("e:{entity_id}"),
    ],
)
def test_guard_beside_another_decorator(other: Any, guard_first: bool) -> None:
    """Above or below it."""
    locks = slow_locks()

    async def endpoint(entity_id: int) -> str:
        assert await is_busy(locks)
        return "done"

    guarded = locks.guarded("e:{entity_id}")
    app = FastAPI()
    install(app, locks=locks, rate_limiter=RateLimiter("1000/second"))
    app.post("/e/{entity_id}")(guarded(other(endpoint)) if guard_first else other(guarded(endpoint)))

    seen = watch(app, locks)

    assert (seen.status, seen.held) == (200, [True, False])
    assert _ask_while_held(app, locks, "e:1", "/e/1") == 423


def test_two_guards_on_one_endpoint() -> None:
    """Both hold; the outer one is asked first, and given back if the inner one refuses."""
    locks = slow_locks()
    app = _fastapi(locks)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    @locks.guarded("f:{entity_id}")
    async def endpoint(entity_id: int) -> list[bool]:
        return [await is_busy(locks, "e:1"), await is_busy(locks, "f:1")]

    for key in ("e:1", "f:1"):
        seen = watch(app, locks, key=key)
        assert (seen.json, seen.held) == (success([True, True]), [True, False])
    assert _ask_while_held(app, locks, "f:1", "/e/1") == 423
    assert not watch(app, locks).is_busy_after


# Starlette


async def starlette_async(request: Request) -> Response:
    return JSONResponse("done")


def starlette_sync(request: Request) -> Response:
    return JSONResponse("done")


async def starlette_other_name(r: Any) -> Response:
    return JSONResponse("done")


@pytest.mark.parametrize("endpoint", [starlette_async, starlette_sync, starlette_other_name])
@pytest.mark.parametrize(
    ("path", "at", "key"),
    [
        ("/{entity_id}", "/01", "e:01"),
        ("/{entity_id:int}", "/01", "e:1"),
        ("/{entity_id:uuid}", f"/{UUID}", f"e:{UUID.lower()}"),
        ("/{entity_id:path}", "/a/b", "e:a/b"),
    ],
)
def test_function_of_starlette(endpoint: Any, path: str, at: str, key: str) -> None:
    """The values are the convertors'."""
    locks = slow_locks()
    app = starlette_of(locks, done, Route(path, locks.guarded("e:{entity_id}")(endpoint), methods=["PUT"]))

    seen = watch(app, locks, at, key, method="PUT")

    assert (seen.json, seen.held) == (DONE, [True, False])
    assert _ask_while_held(app, locks, key, at, method="PUT") == 423


def test_methods_of_an_endpoint_class() -> None:
    """Each method may have its own guard, sync or async, with the lease or without."""
    locks = slow_locks()

    class Things(HTTPEndpoint):
        @locks.guarded("e:{entity_id}")
        async def put(self, request: Request) -> Response:
            return JSONResponse([type(self).__name__, await is_busy(locks)])

        @locks.guarded("e:{entity_id}")
        def delete(self, request: Request, lease: Lease) -> Response:
            return JSONResponse(lease.keys)

        @locks.guarded("e:{entity_id}")
        async def get(self, request: Request) -> Response:
            return JSONResponse(await is_busy(locks))

        async def patch(self, request: Request) -> Response:
            return JSONResponse(await is_busy(locks))

    app = starlette_of(locks, Things)

    assert json_of(ask(app, method="PUT")) == success(["Things", True])
    assert json_of(ask(app, method="DELETE")) == success(["e:1"])
    assert json_of(ask(app, method="PATCH")) == success(False)
    assert json_of(ask(app, method="GET")) == success(False)
    assert [_ask_while_held(app, locks, "e:1", "/e/1", method=m) for m in ("PUT", "DELETE", "PATCH", "GET")] == [
        423,
        423,
        200,
        200,
    ]


def test_bound_methods() -> None:
    """Services that keep their endpoints on an object."""
    locks = slow_locks()

    class Service:
        async def endpoint(self, entity_id: int) -> str:
            return "done"

        @locks.guarded("f:{entity_id}")
        async def other(self, entity_id: int) -> str:
            return "done"

        async def of_starlette(self, request: Request) -> Response:
            return JSONResponse("done")

    app = _fastapi(locks)
    app.post("/e/{entity_id}")(locks.guarded("e:{entity_id}")(Service().endpoint))
    app.post("/f/{entity_id}")(Service().other)
    app.router.routes.append(
        Route("/g/{entity_id:int}", locks.guarded("g:{entity_id}")(Service().of_starlette), methods=["POST"])
    )

    for name in "efg":
        seen = watch(app, locks, f"/{name}/1", f"{name}:1")
        assert (seen.json, seen.held) == (DONE, [True, False])


# Direct calls


def test_direct_call_by_another_endpoint() -> None:
    """It locks for the request that is at work, until that one's answer, with values by name or by position."""
    locks = slow_locks()
    app = _fastapi(locks)
    calls: list[Callable[[], Any]] = []

    @app.put("/f/{entity_id}")
    @locks.guarded("f:{entity_id}")
    async def inner(entity_id: int, text: str = "t") -> list[Any]:
        return [entity_id, text, await is_busy(locks, f"f:{entity_id}")]

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def outer(entity_id: int) -> Any:
        return await calls[0]()

    for call, expected in [
        (lambda: inner(entity_id=5), [5, "t", True]),
        (lambda: inner(5), [5, "t", True]),
        (lambda: inner(5, "u"), [5, "u", True]),
        (lambda: inner(5, text="u"), [5, "u", True]),
        (lambda: inner(text="u", entity_id=5), [5, "u", True]),
    ]:
        calls[:] = [call]
        seen = watch(app, locks, key="f:5")
        assert (seen.json, seen.held) == (success(expected), [True, False])
    assert _ask_while_held(app, locks, "f:5", "/e/1") == 423


def test_direct_call_leaves_a_parameter_to_its_default() -> None:
    """As any Python call may."""
    locks = slow_locks()
    app = _fastapi(locks)

    @locks.guarded("f:{number}:{kind}")
    async def inner(number: int, kind: str = "k") -> str:
        return "done"

    @app.post("/e/{entity_id}")
    async def outer(entity_id: int, by_name: bool = False) -> Any:
        return await (inner(number=5) if by_name else inner(5))

    for query in (b"", b"by_name=1"):
        seen = watch(app, locks, key="f:5:k", query_string=query)
        assert (seen.raised, seen.held) == (None, [True, False])


def test_direct_call_with_the_request_locks_what_it_names() -> None:
    """The arguments of the call count, not the path of the request that makes it."""
    locks = slow_locks()
    app = _fastapi(locks)

    @app.put("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def update(request: Request, entity_id: int) -> list[bool]:
        return [await is_busy(locks, "e:1"), await is_busy(locks, "e:2")]

    @app.post("/e/{entity_id}")
    async def outer(request: Request, entity_id: int, by_name: bool = False) -> Any:
        return await (update(request=request, entity_id=2) if by_name else update(request, 2))

    assert json_of(ask(app, query_string=b"by_name=1")) == success([False, True])
    assert json_of(ask(app)) == success([False, True])


def test_direct_call_by_an_endpoint_of_starlette() -> None:
    """With the same request."""
    locks = slow_locks()
    guarded = locks.guarded("e:{entity_id}")(starlette_async)

    async def outer(request: Request) -> Response:
        response: Response = await guarded(request)
        assert await is_busy(locks)
        return response

    seen = watch(starlette_of(locks, outer), locks)

    assert (seen.json, seen.held) == (DONE, [True, False])


# The lease


def test_every_method_of_one_route() -> None:
    """``api_route`` with a read and a write: the read takes nothing, and its lease says so."""
    locks = slow_locks()
    app = _fastapi(locks)

    @app.api_route("/e/{entity_id}", methods=["GET", "PUT"])
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int, lease: Lease) -> list[Any]:
        return [lease.is_held, lease.lost, lease.fence > 0, lease.remaining_s() > 0, await is_busy(locks)]

    assert json_of(ask(app, method="PUT")) == success([True, False, True, True, True])
    assert json_of(ask(app, method="GET")) == success([False, False, False, False, False])
    assert _ask_while_held(app, locks, "e:1", "/e/1", method="PUT") == 423
    assert _ask_while_held(app, locks, "e:1", "/e/1", method="GET") == 200


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_lease_of_a_read_can_be_looked_at_and_released(method: str) -> None:
    """An endpoint for both need not ask which it is; the names of the objects are the same."""
    locks = slow_locks()
    app = _fastapi(locks)

    @app.api_route("/e/{entity_id}", methods=["GET", "PUT"])
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int, lease: Lease) -> list[Any]:
        text = repr(lease)
        await lease.release()
        await lease.release()
        return [lease.key, lease.keys, bool(text)]

    assert json_of(ask(app, method=method)) == success(["e:1", ["e:1"], True])


def test_fence_grows_from_request_to_request() -> None:
    """Below 2**53, so JavaScript reads it as well."""
    locks = ObjectLocks()
    app = _fastapi(locks)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int, lease: Lease) -> int:
        return lease.fence

    fences = [json_of(ask(app))["content"] for _ in range(20)]

    assert all(a < b for a, b in zip(fences, fences[1:], strict=False))
    assert fences[-1] < 2**53


def test_parallel_requests_for_one_object() -> None:
    """One is at work, all others are refused at once, whoever asks; another object is free."""
    locks = slow_locks()
    called: list[int] = []

    async def story() -> None:
        door = Door()
        app = _fastapi(locks)

        @app.post("/e/{entity_id}")
        @locks.guarded("e:{entity_id}")
        async def endpoint(entity_id: int) -> str:
            called.append(entity_id)
            if entity_id == 1:
                await door.stay()
            return "done"

        first = asyncio.create_task(asking(app))
        await door.entered.wait()
        others = await asyncio.gather(*[asking(app) for _ in range(20)], asking(app, "/e/2"))
        assert [other.status for other in others] == [423] * 20 + [200]
        door.opened.set()
        assert json_of(await first) == DONE
        assert json_of(await asking(app)) == DONE

    asyncio.run(story())

    assert called == [1, 2, 1]


def test_endpoint_in_a_router_that_is_included_twice() -> None:
    """One object, whichever way leads to it."""
    locks = slow_locks()
    router = APIRouter()
    router.post("/e/{entity_id}")(locks.guarded("e:{entity_id}")(by_int))
    app = _fastapi(locks)
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")

    assert [_ask_while_held(app, locks, "e:1", f"/{version}/e/1") for version in ("v1", "v2")] == [423, 423]
