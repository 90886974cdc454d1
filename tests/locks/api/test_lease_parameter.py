"""A parameter annotated ``Lease`` gets the lease, wherever it stands and however annotations are evaluated."""

from __future__ import annotations
import __future__

from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

import envelope
from envelope import Lease, ObjectLocks, install
from tests.locks.api.asking import ask, json_of, starlette_of
from tests.wire.apps import success

FUTURE = {"evaluated": 0, "text": __future__.annotations.compiler_flag}


def _compiled(parameters: str, answer: str, how: str, *, sync: bool = False) -> Any:
    """Write an endpoint as a user's module has it, with or without ``from __future__ import annotations``."""
    names: dict[str, Any] = {
        "Annotated": Annotated,
        "Any": Any,
        "JSONResponse": JSONResponse,
        "Lease": Lease,
        "L": Lease,
        "Request": Request,
        "envelope": envelope,
        "env": envelope,
        "__name__": "users_module",
    }
    source = f"{'' if sync else 'async '}def endpoint({parameters}):\n    return {answer}\n"
    exec(compile(source, "users_module.py", "exec", FUTURE[how], dont_inherit=True), names)
    return names["endpoint"]


@pytest.mark.parametrize("how", FUTURE)
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    "parameters",
    [
        "entity_id: int, lease: Lease",
        "lease: Lease, entity_id: int",
        "lease: Lease, request: Request, entity_id: int, q: str = 'd'",
        "entity_id: int, mine: Lease, q: str = 'd'",
        "entity_id: int, q: str = 'd', *, lease: Lease",
        "entity_id: int, lease: envelope.Lease",
        "other: Lease, entity_id: int, lease: Lease",
        "entity_id: int, lease: Lease = None",
    ],
)
def test_parameter_of_an_endpoint_of_fastapi(parameters: str, sync: bool, how: str) -> None:
    """It is the lease on the endpoint's object, and the document does not know it."""
    name = "mine" if "mine" in parameters else "lease"
    locks = ObjectLocks()
    endpoint = _compiled(parameters, f"[{name}.key, {name}.is_held, entity_id]", how, sync=sync)
    app, bare = FastAPI(), FastAPI()
    install(app, locks=locks)
    app.post("/e/{entity_id}")(locks.guarded("e:{entity_id}")(endpoint))
    rest = ", ".join(part for part in parameters.split(", ") if "Lease" not in part and part != "*")
    bare.post("/e/{entity_id}")(_compiled(rest, "None", how, sync=sync))

    assert json_of(ask(app)) == success(["e:1", True, 1])
    assert FastAPI.openapi(app) == bare.openapi()


@pytest.mark.parametrize("how", FUTURE)
@pytest.mark.parametrize("annotation", ["L", "env.Lease"])
def test_other_spellings(annotation: str, how: str) -> None:
    """An alias of the name or of the module is the same class."""
    locks = ObjectLocks()
    endpoint = _compiled(f"entity_id: int, lease: {annotation}", "[lease.key, lease.is_held]", how)
    app = FastAPI()
    install(app, locks=locks)
    app.post("/e/{entity_id}")(locks.guarded("e:{entity_id}")(endpoint))

    assert json_of(ask(app)) == success(["e:1", True])


@pytest.mark.parametrize("how", FUTURE)
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    "parameters",
    [
        "request: Request, lease: Lease",
        "lease: Lease, request: Request",
        "request, *, lease: Lease",
    ],
)
def test_parameter_of_an_endpoint_of_starlette(parameters: str, sync: bool, how: str) -> None:
    """The request comes by position, whatever stands before it."""
    locks = ObjectLocks()
    answer = "JSONResponse([lease.key, lease.is_held, request.method])"
    app = starlette_of(locks, locks.guarded("e:{entity_id}")(_compiled(parameters, answer, how, sync=sync)))

    assert json_of(ask(app)) == success(["e:1", True, "POST"])


@pytest.mark.parametrize(
    ("parameters", "call"),
    [
        ("entity_id: int, lease: Lease", "inner(5)"),
        ("entity_id: int, lease: Lease", "inner(entity_id=5)"),
        ("lease: Lease, entity_id: int", "inner(entity_id=5)"),
        ("lease: Lease, entity_id: int", "inner(5)"),
    ],
)
def test_direct_call_leaves_the_lease_out(parameters: str, call: str) -> None:
    """The signature that the decorator shows has no lease in it, so a call by position has none either."""
    locks = ObjectLocks()
    inner = locks.guarded("f:{entity_id}")(_compiled(parameters, "[lease.key, entity_id]", "evaluated"))
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}")
    async def outer(entity_id: int) -> Any:
        return await eval(call, {"inner": inner})

    assert json_of(ask(app)) == success(["f:5", 5])


def test_lease_of_nested_guards() -> None:
    """Each gets its own; a guard on the same object finds the same."""
    locks = ObjectLocks()
    other = locks.guarded("f:{entity_id}")(_compiled("entity_id: int, lease: Lease", "lease", "text"))
    same = locks.guarded("e:{entity_id}")(_compiled("entity_id: int, lease: Lease", "lease", "text"))
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def outer(entity_id: int, lease: Lease) -> Any:
        inner = await other(entity_id=entity_id)
        return [inner.keys, inner.fence > lease.fence, lease.keys, await same(entity_id=entity_id) is lease]

    assert json_of(ask(app)) == success([["f:1"], True, ["e:1"], True])
