"""``Depends(locks.guard(...))``: the lock stands where the dependency is written."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Path
from starlette.requests import Request

from envelope import ConfigurationError, Lease, ObjectLocks, UnauthorizedError, install
from tests.locks.api.asking import BUSY, DONE, ask, asking, is_busy, json_of, posted, slow_locks, watch
from tests.wire.apps import success

UUID = "0A7E3C5D-1F2B-4C6D-8E9F-A0B1C2D3E4F5"


def _fastapi(locks: ObjectLocks, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    install(app, locks=locks)
    return app


def _while_held(app: Any, locks: ObjectLocks, key: str, path: str = "/e/1", **options: Any) -> Any:
    """Send a request while somebody else has the object."""

    async def hold() -> Any:
        async with locks.hold(key):
            return await asking(app, path, **options)

    return asyncio.run(hold())


async def by_int(entity_id: int) -> str:
    return "done"


def sync_by_int(entity_id: int) -> str:
    return "done"


async def by_uuid(entity_id: uuid.UUID) -> str:
    return "done"


async def by_text(entity_id: str) -> str:
    return "done"


async def by_alias(number: Annotated[int, Path(alias="entity_id")]) -> str:
    return "done"


async def by_constraint(entity_id: Annotated[int, Path(ge=1, le=9)]) -> str:
    return "done"


async def _number(entity_id: int) -> int:
    return entity_id


async def by_dependency(number: int = Depends(_number)) -> str:
    return "done"


@pytest.mark.parametrize(
    ("endpoint", "path", "key"),
    [
        (by_int, "/e/1", "e:1"),
        (by_int, "/e/01", "e:1"),
        (sync_by_int, "/e/+1", "e:1"),
        (by_uuid, f"/e/{UUID}", f"e:{UUID.lower()}"),
        (by_text, "/e/01", "e:01"),
        (by_alias, "/e/01", "e:1"),
        (by_constraint, "/e/01", "e:1"),
        (by_dependency, "/e/01", "e:1"),
    ],
)
@pytest.mark.parametrize("place", ["app", "router", "include", "route"])
def test_values_are_those_of_the_routes_own_fields(endpoint: Any, path: str, key: str, place: str) -> None:
    """At every place where FastAPI takes dependencies, and under the path's own name for the parameter."""
    locks = slow_locks()
    guard = Depends(locks.guard("e:{entity_id}"))
    at = {name: [guard] if name == place else [] for name in ("app", "router", "include", "route")}
    app = _fastapi(locks, dependencies=at["app"])
    router = APIRouter(dependencies=at["router"])
    router.post("/e/{entity_id}", dependencies=at["route"])(endpoint)
    app.include_router(router, prefix="/v1", dependencies=at["include"])

    seen = watch(app, locks, f"/v1{path}", key)

    assert (seen.raised, seen.json, seen.held) == (None, DONE, [True, False])
    assert not seen.is_busy_after
    assert json_of(_while_held(app, locks, key, f"/v1{path}")) == BUSY
    assert _while_held(app, locks, f"{key}0", f"/v1{path}").status == 200


@pytest.mark.parametrize("endpoint", [by_int, by_uuid, by_constraint, by_dependency])
def test_invalid_path_parameter_locks_nothing(endpoint: Any) -> None:
    """The framework answers its 400, busy or not."""
    locks = slow_locks()
    app = _fastapi(locks)
    app.post("/e/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}"))])(endpoint)

    for key in ("e:x", "e:0", "e:10"):
        path = f"/e/{key[2:]}"
        if endpoint in (by_int, by_dependency) and key != "e:x":
            continue
        seen = watch(app, locks, path, key)
        held = _while_held(app, locks, key, path)
        assert (seen.status, seen.held, held.status) == (400, [False, False], 400)
        assert json_of(held)["message"]["error_code"] == "invalid_input"


def test_several_templates() -> None:
    """All or none, each with its values; one invalid value locks none of them."""
    locks = slow_locks()
    app = _fastapi(locks)

    @app.post("/e/{entity_id}/p/{part}")
    async def endpoint(
        entity_id: int,
        part: str,
        lease: Lease = Depends(locks.guard("e:{entity_id}", "p:{entity_id}:{part}")),  # noqa: B008
    ) -> list[str]:
        return list(lease.keys)

    assert json_of(ask(app, "/e/01/p/a:b")) == success(["e:1", "p:1:a%3Ab"])
    assert _while_held(app, locks, "p:1:a%3Ab", "/e/1/p/a:b").status == 423
    assert not watch(app, locks, "/e/x/p/a", "p:x:a").held[0]


def test_value_is_the_lease() -> None:
    """With a fence and all that a lease has."""
    locks = slow_locks()
    app = _fastapi(locks)

    @app.post("/e/{entity_id}")
    async def endpoint(entity_id: int, lease: Any = Depends(locks.guard("e:{entity_id}"))) -> list[Any]:  # noqa: B008
        assert isinstance(lease, Lease)
        return [lease.key, lease.is_held, lease.lost, lease.fence > 0, 100 < lease.remaining_s() <= 120]

    assert json_of(ask(app)) == success(["e:1", True, False, True, True])


# Key functions


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("e:1", ["e:1"]),
        (["e:1", "f:1"], ["e:1", "f:1"]),
        (("e:1", "f:1", "e:1"), ["e:1", "f:1"]),
        (None, []),
    ],
)
def test_key_function(given: Any, keys: list[str], sync: bool) -> None:
    """A dependency like any other: it gives one key, several or none."""
    locks = slow_locks()

    def key_sync(request: Request) -> Any:
        return given

    async def key_async(request: Request) -> Any:
        return given

    app = _fastapi(locks)

    @app.post("/e/{entity_id}")
    async def endpoint(lease: Any = Depends(locks.guard(key_sync if sync else key_async))) -> Any:  # noqa: B008
        return [lease.is_held, list(lease.keys)]

    assert json_of(ask(app)) == success([bool(keys), keys])
    for key in ("e:1", "f:1"):
        seen = watch(app, locks, key=key)
        assert seen.held == [key in keys, False]
        assert _while_held(app, locks, key).status == (423 if key in keys else 200)


@pytest.mark.parametrize("given", ["", [""], [], (), ["e:1", ""], 42, 0, False, [42], ["e:1", None]])
def test_key_function_that_gives_no_key_is_a_crash(given: Any) -> None:
    """It is never taken for nothing to lock."""
    locks = slow_locks()

    async def key() -> Any:
        return given

    app = _fastapi(locks)
    called: list[int] = []

    @app.post("/e/{entity_id}", dependencies=[Depends(locks.guard(key))])
    async def endpoint() -> None:
        called.append(1)

    seen = watch(app, locks)

    assert (seen.status, called) == (500, [])
    assert isinstance(seen.raised, (ValueError, TypeError, ConfigurationError))
    assert not seen.is_busy_after


def test_key_function_with_dependencies_of_its_own() -> None:
    """The key may depend on the user, validated parameters and the body."""
    locks = slow_locks()

    async def user(x_user: Annotated[str, Header()] = "") -> str:
        if not x_user:
            raise UnauthorizedError
        return x_user

    def key(entity_id: int, body: dict[str, int], name: str = Depends(user)) -> list[str]:
        return [f"{name}:e:{entity_id}", f"n:{body['n']}"]

    app = _fastapi(locks)

    @app.post("/e/{entity_id}", dependencies=[Depends(locks.guard(key))])
    async def endpoint(entity_id: int, body: dict[str, int]) -> str:
        return "done"

    mine = posted(b'{"n":5}')
    mine["headers"] = {**mine["headers"], "x-user": "a"}
    assert watch(app, locks, "/e/01", "a:e:1", **mine).held == [True, False]
    assert watch(app, locks, "/e/01", "n:5", **mine).held == [True, False]
    assert _while_held(app, locks, "n:5", **mine).status == 423
    assert _while_held(app, locks, "n:5", **posted(b'{"n":5}')).status == 401
    assert _while_held(app, locks, "b:e:1", **mine).status == 200
    invalid = {**mine, "incoming": posted(b'{"n":"x"}')["incoming"]}
    assert _while_held(app, locks, "a:e:1", **invalid).status == 400


def test_key_function_that_refuses() -> None:
    """What it raises answers the request, and nothing is locked."""
    locks = slow_locks()

    async def key() -> str:
        raise HTTPException(404, "no entity 1")

    app = _fastapi(locks)
    app.post("/e/{entity_id}", dependencies=[Depends(locks.guard(key))])(by_int)

    seen = watch(app, locks)

    assert (seen.status, seen.held) == (404, [False, False])


# The order


@pytest.mark.parametrize("guard_first", [True, False])
def test_guard_runs_in_the_order_of_dependencies(guard_first: bool) -> None:
    """Behind authentication, whom that refuses sees 401 and locks nothing; before it, he sees 423."""
    locks = slow_locks()
    noted: list[bool] = []

    async def user(x_user: Annotated[str, Header()] = "") -> None:
        noted.append(await is_busy(locks))
        if not x_user:
            raise UnauthorizedError

    guard = Depends(locks.guard("e:{entity_id}"))
    app = _fastapi(locks)
    app.post("/e/{entity_id}", dependencies=[guard, Depends(user)] if guard_first else [Depends(user), guard])(
        by_int
    )

    seen = watch(app, locks)

    assert (seen.status, noted) == (401, [guard_first])
    assert seen.held == [guard_first, False]
    assert _while_held(app, locks, "e:1").status == (423 if guard_first else 401)
    assert ask(app, headers={"x-user": "a"}).status == 200


def test_dependencies_after_the_guard_run_under_it() -> None:
    """Those with ``yield`` clean up when the client has its answer: the object is free by then."""
    locks = slow_locks()
    noted: list[tuple[str, bool]] = []

    async def session() -> Any:
        noted.append(("enter", await is_busy(locks)))
        yield 1
        noted.append(("exit", await is_busy(locks)))

    app = _fastapi(locks)

    @app.post("/e/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}")), Depends(session)])
    async def endpoint(entity_id: int) -> str:
        noted.append(("endpoint", await is_busy(locks)))
        return "done"

    seen = watch(app, locks)

    assert seen.held == [True, False]
    assert noted == [("enter", True), ("endpoint", True), ("exit", False)]


def test_dependency_of_function_scope_cleans_up_under_the_lock() -> None:
    """``scope="function"`` ends before the answer: a commit there is made while the object is locked."""
    locks = slow_locks()
    noted: list[bool] = []

    async def session() -> Any:
        yield 1
        noted.append(await is_busy(locks))

    app = _fastapi(locks)
    guard = Depends(locks.guard("e:{entity_id}"))
    app.post("/e/{entity_id}", dependencies=[guard, Depends(session, scope="function")])(by_int)

    seen = watch(app, locks)

    assert (noted, seen.held) == ([True], [True, False])


def test_one_guard_on_several_routes() -> None:
    """Each with its own path, type and parameters."""
    locks = slow_locks()
    guard = Depends(locks.guard("e:{entity_id}"))
    app = _fastapi(locks)
    app.post("/a/{entity_id}", dependencies=[guard])(by_int)
    app.post("/b/{entity_id}/c", dependencies=[guard])(by_text)
    app.post("/c/{entity_id}", dependencies=[guard])(by_uuid)
    app.put("/c/{entity_id}", dependencies=[guard])(by_text)

    for path, key, method in [
        ("/a/01", "e:1", "POST"),
        ("/b/01/c", "e:01", "POST"),
        (f"/c/{UUID}", f"e:{UUID.lower()}", "POST"),
        (f"/c/{UUID}", f"e:{UUID}", "PUT"),
    ]:
        assert watch(app, locks, path, key, method=method).held == [True, False]


def test_one_endpoint_on_two_routes_with_different_dependencies() -> None:
    """The fields are those of the route that is at work."""
    locks = slow_locks()

    async def number(entity_id: int) -> None: ...

    async def text(entity_id: str) -> None: ...

    async def endpoint() -> str:
        return "done"

    guard = Depends(locks.guard("e:{entity_id}"))
    app = _fastapi(locks)
    app.post("/a/{entity_id}", dependencies=[Depends(number), guard])(endpoint)
    app.post("/b/{entity_id}", dependencies=[Depends(text), guard])(endpoint)

    assert watch(app, locks, "/a/01", "e:1").held == [True, False]
    assert watch(app, locks, "/b/01", "e:01").held == [True, False]
    assert watch(app, locks, "/a/01", "e:1").held == [True, False]


@pytest.mark.parametrize("template", ["e:{nothing}", "e:{q}", "{entity_id}:{nothing}"])
def test_name_that_is_no_declared_path_parameter_is_a_configuration_error(template: str) -> None:
    """Without a declared type the raw text would be the key; nothing is locked and the endpoint is not called."""
    locks = slow_locks()
    called: list[str] = []
    app = _fastapi(locks)

    @app.post("/e/{entity_id}/{nothing}", dependencies=[Depends(locks.guard(template))])
    async def endpoint(entity_id: int, q: str = "") -> None:
        called.append("endpoint")

    seen = watch(app, locks, "/e/1/2")

    assert (seen.status, called) == (500, [])
    assert isinstance(seen.raised, ConfigurationError)
    assert "path parameter" in str(seen.raised)


def test_route_that_does_not_declare_what_an_application_wide_guard_names() -> None:
    """It fails aloud; the others work."""
    locks = slow_locks()
    app = _fastapi(locks, dependencies=[Depends(locks.guard("e:{entity_id}"))])
    app.post("/e/{entity_id}")(by_int)

    @app.post("/f")
    async def other() -> None: ...

    assert ask(app).status == 200
    assert isinstance(ask(app, "/f").raised, ConfigurationError)


def test_document_has_the_key_functions_parameters_and_nothing_else() -> None:
    """The guard itself asks the client for nothing."""
    locks = ObjectLocks()

    async def key(x_key: Annotated[str, Header()]) -> str:
        return x_key

    documents = []
    for function in (None, locks.guard("e:{entity_id}"), key, locks.guard(key)):
        app = FastAPI()
        app.post("/e/{entity_id}", dependencies=[Depends(function)] if function else [])(by_int)
        documents.append(app.openapi())

    assert documents[0] == documents[1]
    assert documents[2] == documents[3] != documents[0]


def test_guard_by_a_user_of_the_same_dependency() -> None:
    """A dependency that both the key and the endpoint want is asked once."""
    locks = slow_locks()
    asked: list[int] = []

    async def user() -> str:
        asked.append(1)
        return "u"

    def key(name: str = Depends(user)) -> str:
        return f"e:{name}"

    app = _fastapi(locks)

    @app.post("/e/{entity_id}", dependencies=[Depends(locks.guard(key))])
    async def endpoint(name: str = Depends(user)) -> str:
        return "done"

    assert (watch(app, locks, key="e:u").held, asked) == ([True, False], [1])


def test_router_that_is_included_twice() -> None:
    """Each time with a dependency that reads the path in its own way: the one of the route at work counts."""
    locks = slow_locks()
    app = _fastapi(locks)
    router = APIRouter()

    @router.post("/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}"))])
    async def endpoint() -> str:
        return "done"

    app.include_router(router, prefix="/numbers", dependencies=[Depends(by_int)])
    app.include_router(router, prefix="/texts", dependencies=[Depends(by_text)])

    for path, key in (("/numbers/01", "e:1"), ("/texts/01", "e:01")):
        assert _while_held(app, locks, key, path).status == 423
        assert json_of(ask(app, path)) == DONE
