"""What cannot lock anything is refused: at the decorator, at start-up, or at the first request, never in silence."""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from envelope import ConfigurationError, Lease, ObjectLocks, install
from tests.locks.api.asking import DONE, ask, json_of, slow_locks, watch


async def of_starlette(request: Request) -> Response:
    return JSONResponse("done")


async def of_fastapi(entity_id: int) -> str:
    return "done"


def start_up(app: Any) -> list[dict[str, Any]]:
    """Run the lifespan's start-up and give what was said; what is raised afterwards is the server's to log."""
    sent: list[dict[str, Any]] = []
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        except ConfigurationError:
            assert sent

    asyncio.run(run())
    return sent


# Without install


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("way", ["starlette", "fastapi", "guard", "function"])
def test_guard_in_an_application_without_locks(way: str, installed: bool) -> None:
    """Nobody would release what it takes, so it takes nothing and says what is missing."""
    locks = slow_locks()
    app: Any
    if way == "starlette":
        app = Starlette(
            routes=[Route("/e/{entity_id}", locks.guarded("e:{entity_id}")(of_starlette), methods=["POST"])]
        )
    else:
        app = FastAPI()
        guards = {"guard": [locks.guard("e:{entity_id}")], "function": [locks.guard(lambda: "e:1")]}.get(way, [])
        endpoint = locks.guarded("e:{entity_id}")(_copy_of(of_fastapi)) if way == "fastapi" else of_fastapi
        app.post("/e/{entity_id}", dependencies=[Depends(each) for each in guards])(endpoint)
    if installed:
        install(app)

    seen = watch(app, locks)

    assert isinstance(seen.raised, ConfigurationError)
    assert "install(app" in str(seen.raised)
    assert "locks=" in str(seen.raised)
    assert (seen.status, seen.was_taken) == (500, False)


def _copy_of(function: Any) -> Any:
    """Give the function anew, because where a decorated one may stand is remembered."""

    @functools.wraps(function)
    async def copy(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    del copy.__wrapped__
    copy.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return copy


def test_guard_beside_other_locks_than_the_installed_ones() -> None:
    """The request has a place for its leases, whosever they are."""
    locks, other = slow_locks(), slow_locks()
    app = FastAPI()
    install(app, locks=other)
    app.post("/e/{entity_id}", dependencies=[Depends(locks.guard("e:{entity_id}"))])(of_fastapi)

    seen = watch(app, locks)

    assert (seen.json, seen.held, seen.is_busy_after) == (DONE, [True, False], False)


def test_guarded_called_outside_of_requests() -> None:
    """There is no request whose answer would release it."""
    guarded = ObjectLocks().guarded("e:{entity_id}")(_copy_of(of_fastapi))

    with pytest.raises(ConfigurationError, match="hold"):
        asyncio.run(guarded(entity_id=1))


# In the wrong place


@pytest.mark.parametrize("kind", ["fastapi", "router", "starlette", "mount", "mounted application", "brackets"])
def test_guarded_above_the_route_decorator_is_refused_at_start_up(kind: str) -> None:
    """The route would be served without its lock: the application does not start, and says where."""
    locks = slow_locks()
    guarded = locks.guarded("e:{entity_id}")
    app: Any = FastAPI()
    path = "/e/1"

    if kind == "fastapi":

        @guarded
        @app.post("/e/{entity_id}")
        async def misplaced(entity_id: int) -> None: ...
    elif kind == "router":
        router = APIRouter()

        @guarded
        @router.post("/e/{entity_id}")
        async def misplaced_in_router(entity_id: int) -> None: ...

        app.include_router(router, prefix="/v1")
        path = "/v1/e/1"
    elif kind in ("starlette", "mount"):

        async def misplaced_of_starlette(request: Request) -> Response:
            raise AssertionError

        route = Route("/e/{entity_id}", misplaced_of_starlette, methods=["POST"])
        guarded(misplaced_of_starlette)
        app = Starlette(routes=[route] if kind == "starlette" else [Mount("/m", routes=[route])])
        path = "/e/1" if kind == "starlette" else "/m/e/1"
    elif kind == "mounted application":
        inner = FastAPI()

        @guarded
        @inner.post("/e/{entity_id}")
        async def misplaced_inside(entity_id: int) -> None: ...

        app.mount("/m", inner)
        path = "/m/e/1"
    else:

        async def without(request: Request) -> Response:
            raise AssertionError

        try:
            endpoint: Any = locks.guarded(without)  # type: ignore[arg-type]
        except ConfigurationError as error:
            assert "template" in str(error) or "brackets" in str(error)
            return
        app.router.routes.append(Route("/e/{entity_id}", endpoint, methods=["POST"]))
    install(app, locks=locks)

    (said,) = start_up(app)

    assert said["type"] == "lifespan.startup.failed"
    assert "guarded" in said["message"]
    assert "misplaced" in said["message"] or kind == "brackets"
    with pytest.raises(ConfigurationError, match="guarded"):
        raise_of(ask(app, path))


def raise_of(done: Any) -> None:
    if done.raised is not None:
        raise done.raised


def test_guarded_in_the_right_place_starts_up() -> None:
    """Below the route decorator, also beside a misplaced one of another application."""
    locks = slow_locks()
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{entity_id}")
    async def endpoint(entity_id: int) -> str:
        return "done"

    assert [each["type"] for each in start_up(app)] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert json_of(ask(app)) == DONE


# What it cannot stand at


def _generator(entity_id: int) -> Any:
    yield 1


async def _async_generator(entity_id: int) -> Any:
    yield 1


def _passing(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class _View(HTTPEndpoint):
    async def post(self, request: Request) -> Response:
        return JSONResponse("done")


class _Callable:
    async def __call__(self, request: Request) -> Response:
        return JSONResponse("done")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (_generator, ["_generator", "locks.hold("]),
        (_async_generator, ["_async_generator", "locks.hold("]),
        (_passing(_async_generator), ["_async_generator", "locks.hold("]),
        (_View, ["_View", "methods"]),
        (_Callable(), ["_Callable", "no function"]),
        (functools.partial(of_fastapi, 1), ["partial", "no function"]),
        (Router(), ["Router", "no function"]),
        ("e:{entity_id}", ["e:{entity_id}", "no function"]),
        (None, ["None", "no function"]),
    ],
)
def test_guarded_refuses_what_it_cannot_wrap(endpoint: Any, words: list[str]) -> None:
    """At the decorator, with what to do instead."""
    with pytest.raises(ConfigurationError) as refused:
        ObjectLocks().guarded("e")(endpoint)

    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize("template", ["e:{entity}", "e:{entity_id}:{nothing}", "e:{order.id}"])
def test_name_that_is_no_parameter(template: str) -> None:
    """At the decorator where that is known, else at the first request; nothing is locked."""
    locks = slow_locks()
    app = FastAPI()
    install(app, locks=locks)

    try:
        app.post("/e/{entity_id}")(locks.guarded(template)(_copy_of(of_fastapi)))
    except ConfigurationError as error:
        raised: Any = error
    else:
        seen = watch(app, locks)
        assert (seen.status, seen.was_taken) == (500, False)
        raised = seen.raised

    assert isinstance(raised, ConfigurationError)
    assert "of_fastapi" in str(raised)
    assert "entity_id" in str(raised)


def test_name_that_is_no_parameter_is_refused_at_the_decorator_if_annotations_are_evaluated() -> None:
    """The earlier the better."""
    names: dict[str, Any] = {}
    exec(
        compile("async def endpoint(entity_id: int): ...", "users_module.py", "exec", 0, dont_inherit=True), names
    )

    with pytest.raises(ConfigurationError, match=r"'entity'.*entity_id"):
        ObjectLocks().guarded("e:{entity}")(names["endpoint"])


def test_path_parameter_that_a_route_of_starlette_does_not_have() -> None:
    """It is known when the request comes."""
    locks = slow_locks()
    app = Starlette(
        routes=[Route("/e/{id}", locks.guarded("e:{entity_id}")(_copy_of(of_starlette)), methods=["POST"])]
    )
    install(app, locks=locks)

    seen = watch(app, locks)

    assert isinstance(seen.raised, ConfigurationError)
    assert "entity_id" in str(seen.raised)


@pytest.mark.parametrize(
    "template",
    ["", None, 5, "e:{", "e:}", "e:{}", "e:{0}", "e:{a!r}", "e:{a:>5}", "e:{a[0]}", "e:{a.}", "e:{a b}"],
)
def test_template_that_cannot_be_read(template: Any) -> None:
    """Both guards say so at once."""
    locks = ObjectLocks()
    for make in (locks.guarded, locks.guard):
        with pytest.raises(ConfigurationError):
            make(template)
        with pytest.raises(ConfigurationError):
            make("e", template)


def test_guards_without_a_key() -> None:
    """A guard that guards nothing is a slip."""
    locks = ObjectLocks()
    for make in (locks.guarded, locks.guard):
        with pytest.raises(ConfigurationError, match="entity_id"):
            make()


class Colour(enum.Enum):
    RED = "red"


class Loud(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [None, 1.5, b"a", [1], {"a": 1}, object(), Decimal("1.0"), datetime(2024, 2, 29), Colour.RED, Loud.RED],
)
def test_value_without_a_spelling_of_its_own(value: Any) -> None:
    """Two objects must not share a key, nor one object have two."""
    locks = slow_locks()
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/e/{entity_id}")
    @locks.guarded("e:{value}")
    async def endpoint(value: Any = Depends(lambda: value)) -> None:  # noqa: B008
        raise AssertionError

    seen = watch(app, locks)

    assert (seen.status, type(seen.raised)) == (500, ConfigurationError)


# Options


@pytest.mark.parametrize("locks", [5, "memory://", ObjectLocks, object()])
def test_install_takes_locks_only(locks: Any) -> None:
    """And says what to give."""
    with pytest.raises(ConfigurationError, match=r"ObjectLocks\("):
        install(FastAPI(), locks=locks)


@pytest.mark.parametrize("outage", ["local", "raise", True, 5])
def test_other_words_for_outages(outage: Any) -> None:
    """At every place where the option stands."""
    locks = ObjectLocks()
    makes: list[Any] = [
        lambda: ObjectLocks(on_outage=outage),
        lambda: locks.guarded("e", on_outage=outage),
        lambda: locks.guard("e", on_outage=outage),
        lambda: locks.hold("e", on_outage=outage),
        lambda: asyncio.run(locks.acquire("e", on_outage=outage)),
    ]
    for make in makes:
        with pytest.raises(ConfigurationError, match="'deny' or 'allow'"):
            make()


def test_guard_above_the_route_is_refused_without_locks_as_well() -> None:
    """The endpoint would be served unguarded, and nothing else would say so."""
    locks = ObjectLocks()
    app = FastAPI()
    install(app)

    @locks.guarded("e:{entity_id}")
    @app.post("/e/{entity_id}")
    async def endpoint(entity_id: int) -> None: ...

    raised = ask(app).raised

    assert isinstance(raised, ConfigurationError)
    assert "below the route decorator" in str(raised)


def test_lease_parameter_without_a_guard() -> None:
    """FastAPI would look for it in the request."""
    app = FastAPI()

    async def endpoint(entity_id: int, lease: Lease) -> None: ...

    with pytest.raises(ConfigurationError, match="below the route decorator"):
        app.post("/e/{entity_id}")(endpoint)
