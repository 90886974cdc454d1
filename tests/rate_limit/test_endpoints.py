"""Limits that stand at a route: ``Depends(limiter.limit(...))`` and ``@limiter.limited(...)``."""

from __future__ import annotations

import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Annotated, Any

import fastapi
import pydantic
import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Header, Query
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from envelope import ConfigurationError, ForbiddenError, RateLimiter, RouteLimit, install, raw_response
from envelope.rate_limit.verdicts import Verdict
from tests.rate_limit.asking import REFUSED, app_of, ask, by_header, cost_by_header, crash, limiter_of, one
from tests.wire.apps import failure, success

JSON = {"content-type": "application/json"}


def _fastapi(limiter: RateLimiter | None, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    install(app, rate_limiter=limiter)
    return app


def _posted(content: bytes) -> dict[str, Any]:
    return {"method": "POST", "headers": JSON, "incoming": [{"type": "http.request", "body": content}]}


# limit(), the dependency


def test_limit_of_a_route_is_charged_after_the_global_ones() -> None:
    """Two decisions: what the route refuses was counted by the globals."""
    limiter = limiter_of("9/minute")
    app = _fastapi(limiter)

    @app.get("/", dependencies=[Depends(limiter.limit("1/hour"))])
    async def endpoint() -> int:
        return 1

    admitted, refused, again = ask(app), ask(app), ask(app)

    assert (admitted.json, admitted.left) == (success(1), {"9/minute": 8, "1/hour /": 0})
    assert (refused.json, refused.left) == (REFUSED, {"9/minute": 7, "1/hour /": 0})
    assert (refused.x_ratelimit_limit, refused.cache_control, refused.retry_after) == ("1", "no-store", "3601")
    assert again.left["9/minute"] == 6


def test_limit_gives_its_verdict() -> None:
    """An endpoint can see what is left."""
    limiter = limiter_of()
    app = _fastapi(limiter)

    @app.get("/")
    async def endpoint(verdict: Verdict = Depends(limiter.limit("5/minute", "9/hour"))) -> list[int]:  # noqa: B008
        return [figure.remaining for figure in verdict.figures]

    assert ask(app).json == success([4, 8])


@pytest.mark.parametrize("place", ["app", "router", "include", "route", "parameter"])
def test_limit_holds_wherever_fastapi_takes_dependencies(place: str) -> None:
    """On the application, a router, its inclusion, a route or a parameter."""
    limiter = limiter_of()
    limit = Depends(limiter.limit("1/minute"))
    at = {name: [limit] if name == place else [] for name in ("app", "router", "include", "route")}
    app = _fastapi(limiter, dependencies=at["app"])
    router = APIRouter(dependencies=at["router"])

    if place == "parameter":

        @router.get("/x")
        async def endpoint(verdict: Any = limit) -> int:
            return 1
    else:
        router.get("/x", dependencies=at["route"])(_plain)
    app.include_router(router, prefix="/v1", dependencies=at["include"])

    answers = [ask(app, "/v1/x"), ask(app, "/v1/x")]

    assert [answer.status for answer in answers] == [200, 429]
    assert answers[0].left == {"1/minute /v1/x": 0}


async def _plain() -> int:
    return 1


def test_budget_is_that_of_the_whole_template() -> None:
    """Prefixes count in, parameters do not: one router that is included twice has two budgets."""
    limiter = limiter_of()
    inner, outer = APIRouter(prefix="/things"), APIRouter(prefix="/api")
    inner.get("/{n}", dependencies=[Depends(limiter.limit("1/minute"))])(_plain)
    outer.include_router(inner)
    app = _fastapi(limiter)
    app.include_router(outer, prefix="/v1")
    app.include_router(outer, prefix="/v2")

    answers = [ask(app, path) for path in ("/v1/api/things/1", "/v2/api/things/1", "/v1/api/things/2")]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].left == {"1/minute /v1/api/things/{n}": 0}


def test_one_dependency_on_two_routes_is_two_budgets() -> None:
    """Each route has its own."""
    limiter = limiter_of()
    limit = Depends(limiter.limit("1/minute"))
    app = _fastapi(limiter)
    for path in ("/a", "/b"):
        app.get(path, dependencies=[limit])(_plain)

    assert [ask(app, path).status for path in ("/a", "/b", "/a", "/b")] == [200, 200, 429, 429]


def test_budget_in_a_mounted_application_counts_the_mount_in() -> None:
    """The same application in two places."""
    limiter = limiter_of()
    inner = FastAPI()
    inner.get("/x", dependencies=[Depends(limiter.limit("1/minute"))])(_plain)
    app = app_of(limiter, Mount("/a", inner), Mount("/b", inner))

    assert [ask(app, path).status for path in ("/a/x", "/b/x", "/a/x", "/b/x")] == [200, 200, 429, 429]


def test_path_that_no_route_has_is_not_charged_by_a_dependency() -> None:
    """Dependencies run in routes; a scanner is the global limits' business."""
    limiter = limiter_of("9/minute")
    app = _fastapi(limiter, dependencies=[Depends(limiter.limit("1/minute"))])

    assert [ask(app, path).left for path in ("/a", "/b")] == [{"9/minute": 8}, {"9/minute": 7}]


def test_limit_runs_in_the_order_of_dependencies() -> None:
    """Behind authentication, whom that refuses is not charged."""
    limiter = limiter_of()
    seen: list[str] = []

    async def user(x_user: Annotated[str, Header()] = "") -> None:
        seen.append(x_user)
        if not x_user:
            raise ForbiddenError

    app = _fastapi(limiter)
    app.get("/", dependencies=[Depends(user), Depends(limiter.limit("1/minute"))])(_plain)

    refused = [ask(app).status for _ in range(3)]

    assert refused == [403] * 3
    assert [ask(app, headers={"x-user": "a"}).status for _ in range(2)] == [200, 429]


def test_key_cost_and_functions_of_a_limit() -> None:
    """What ``RateLimiter`` takes, ``limit`` takes for itself."""
    limiter = limiter_of(key=lambda request: "never", cost=3)
    app = _fastapi(limiter)

    def tier(request: Request) -> str:
        return "9/minute" if request.headers.get("x-account") == "paid" else "4/minute"

    limit = limiter.limit(
        tier, RouteLimit("8/hour", cost=1, name="n"), key=by_header("x-account"), cost=cost_by_header
    )
    app.get("/{n}", dependencies=[Depends(limit)])(_plain)

    assert ask(app, "/1", headers={"x-account": "paid", "x-cost": "2"}).left == {
        "9/minute /{n}": 7,
        "8/hour /{n} n": 7,
    }
    assert ask(app, "/1", headers={"x-account": "free", "x-cost": "2"}).left == {
        "4/minute /{n}": 2,
        "8/hour /{n} n": 7,
    }
    assert ask(app, "/1").ratelimit is None


def test_limits_own_key_and_cost_are_the_limiters() -> None:
    """Nothing said is nothing changed."""
    limiter = limiter_of(key=by_header("x-account"), cost=2)
    app = _fastapi(limiter)
    app.get("/", dependencies=[Depends(limiter.limit("5/minute"))])(_plain)

    assert ask(app, headers={"x-account": "a"}).left == {"5/minute /": 3}
    assert ask(app).ratelimit is None


def test_key_of_a_limit_sees_the_path_parameters() -> None:
    """It runs after routing."""
    limiter = limiter_of()
    app = _fastapi(limiter)
    limit = limiter.limit("1/minute", key=lambda request: request.path_params["name"])
    app.get("/{name}", dependencies=[Depends(limit)])(_plain)

    assert [ask(app, path).status for path in ("/a", "/b", "/a")] == [200, 200, 429]


def test_key_of_a_limit_may_read_the_body_and_leaves_it_to_the_endpoint() -> None:
    """A limit by the user name of a login form's JSON."""
    limiter = limiter_of()
    app = _fastapi(limiter)

    async def name(request: Request) -> str:
        return str((await request.json())["name"])

    @app.post("/", dependencies=[Depends(limiter.limit("1/minute", key=name))])
    async def login(given: Annotated[dict[str, str], Body()]) -> str:
        return given["name"]

    a, b, again = (ask(app, **_posted(b'{"name":"%b"}' % text)) for text in (b"a", b"b", b"a"))

    assert (a.json, b.json, again.json) == (success("a"), success("b"), REFUSED)


def test_computed_cost_above_the_limit_of_a_route_is_a_crash() -> None:
    """As for the global limits."""
    limiter = limiter_of()
    app = _fastapi(limiter)
    app.get("/", dependencies=[Depends(limiter.limit("1/minute", cost=lambda request: 2))])(_plain)

    answer, raised = crash(app)

    assert (answer.status, type(raised)) == (500, ValueError)


def test_refusal_by_a_route_passes_through_an_own_handler() -> None:
    """It is raised inside, so the application's handler for it is asked (design: a user's own handler wins)."""
    limiter = limiter_of()
    app = _fastapi(limiter)
    app.add_exception_handler(429, lambda request, exc: PlainTextResponse("later", 429))
    app.get("/", dependencies=[Depends(limiter.limit("1/minute"))])(_plain)
    ask(app)

    answer = ask(app)

    assert answer.json in (failure(429, "later"), REFUSED)
    assert answer.wait_s >= 1


def test_limits_without_numbers_is_a_configuration_error() -> None:
    """A limit that limits nothing is a slip."""
    limiter = limiter_of("9/minute")

    for make in (limiter.limit, limiter.limited):
        with pytest.raises(ConfigurationError, match="5/minute"):
            make()
        with pytest.raises(ConfigurationError, match="often"):
            make("often")
        with pytest.raises(ConfigurationError, match="twice"):
            make("1/minute", "1/minute")
        with pytest.raises(ConfigurationError, match="cost of 2"):
            make("1/minute", cost=2)


# limited(), the decorator


class Thing(pydantic.BaseModel):
    name: str = "n"


def _dependency(q: int = 3) -> int:
    return q


def sync_nothing():
    return "sync"


async def nothing():
    return "async"


async def parameters(n: int, q: str = "d", *, flag: bool = False, x_head: Annotated[str, Header()] = "h"):
    return [n, q, flag, x_head]


def sync_body(thing: Thing, many: Annotated[list[int], Query()] = []):  # noqa: B006
    return [thing.name, many]


async def own_request(request: Request, n: int):
    return [request.url.path, n]


async def request_last(n: int, *, request: Request):
    return [request.url.path, n]


async def dependent(response: Response, tasks: BackgroundTasks, q: Annotated[int, Depends(_dependency)]):
    response.headers["x-own"] = "1"
    return q


async def rest(**kwargs: Any):
    return sorted(kwargs)


async def typed_return(thing: Thing = Body(Thing())) -> Thing:  # noqa: B008
    return thing


ENDPOINTS: list[tuple[Any, str, str, bytes]] = [
    (sync_nothing, "/", "/", b""),
    (nothing, "/", "/", b""),
    (parameters, "/{n}", "/7", b""),
    (parameters, "/{n}", "/x", b""),
    (sync_body, "/", "/", b'{"name":"a"}'),
    (sync_body, "/", "/", b'{"name":1}'),
    (own_request, "/{n}", "/7", b""),
    (request_last, "/{n}", "/7", b""),
    (dependent, "/", "/", b""),
    (rest, "/", "/", b""),
    (typed_return, "/", "/", b'{"name":"a"}'),
    (raw_response(typed_return), "/", "/", b""),
]


@pytest.mark.parametrize(("endpoint", "template", "path", "content"), ENDPOINTS)
def test_limited_endpoint_of_fastapi_is_called_as_without_limit(
    endpoint: Any, template: str, path: str, content: bytes
) -> None:
    """Parameters, defaults, bodies, dependencies and validation are FastAPI's as before, and the limit holds."""
    limiter = limiter_of(headers="none")
    app, bare = _fastapi(limiter), _fastapi(limiter_of(headers="none"))
    bare.post(template)(endpoint)
    app.post(template)(limiter.limited("2/minute")(endpoint))
    expected = ask(bare, path, **_posted(content))

    answers = [ask(app, path, **_posted(content)) for _ in range(3)]

    assert (answers[0].status, answers[0].body, answers[0].fields) == (
        expected.status,
        expected.body,
        expected.fields,
    )
    # What is not valid never comes to the endpoint, and so to its limit.
    assert answers[2].status == (429 if expected.status == 200 else expected.status)


def test_document_does_not_know_of_the_limit() -> None:
    """The parameter through which the request comes is nobody's business; names and texts stay."""
    limiter = limiter_of()
    documents = []
    decorators: list[Any] = [lambda endpoint: endpoint, limiter.limited("5/minute")]
    for decorate in decorators:
        app = FastAPI()
        for number, (endpoint, template, _, _) in enumerate(ENDPOINTS):
            app.post(f"/{number}{template}")(decorate(endpoint))
        documents.append(app.openapi())

    assert documents[0] == documents[1]
    assert "envelope" not in str(documents[1])


def test_limited_keeps_the_functions_identity() -> None:
    """Name, docstring, module and annotations, for documentation and tracing."""
    limited = limiter_of().limited("5/minute")(parameters)

    assert inspect.unwrap(limited) is parameters
    assert (limited.__name__, limited.__doc__, limited.__module__) == ("parameters", None, __name__)
    assert list(inspect.signature(limited).parameters)[:4] == ["n", "q", "flag", "x_head"]


def test_sync_endpoint_runs_in_a_thread_with_its_context() -> None:
    """A sync endpoint may block, and sees what middleware put into context variables."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    limiter = limiter_of()
    app = _fastapi(limiter)
    loop_threads: list[int] = []

    class Setting:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            loop_threads.append(threading.get_ident())
            variable.set("set")
            await self.app(scope, receive, send)

    app.add_middleware(Setting)

    @app.get("/")
    @limiter.limited("5/minute")
    def endpoint() -> list[Any]:
        return [variable.get(), threading.get_ident()]

    value, thread = ask(app).json["content"]

    assert value == "set"
    assert thread not in loop_threads


def test_refused_endpoint_is_not_called() -> None:
    """Nor is the globals' budget given back."""
    limiter = limiter_of("9/minute")
    app = _fastapi(limiter)
    called: list[int] = []

    @app.get("/{n}")
    @limiter.limited("1/hour")
    async def endpoint(n: int) -> int:
        called.append(n)
        return n

    answers = [ask(app, f"/{n}") for n in (1, 2)]

    assert [answer.status for answer in answers] == [200, 429]
    assert called == [1]
    assert answers[1].left == {"9/minute": 7, "1/hour /{n}": 0}


async def starlette_async(request: Request) -> Response:
    return JSONResponse(request.url.path)


def starlette_sync(request: Request) -> Response:
    return JSONResponse(request.url.path)


async def starlette_other_name(r: Request) -> Response:
    return JSONResponse(r.url.path)


@pytest.mark.parametrize("endpoint", [starlette_async, starlette_sync, starlette_other_name])
def test_limited_function_of_starlette(endpoint: Any) -> None:
    """The request is the first argument, whatever its name."""
    limiter = limiter_of()
    app = app_of(limiter, Route("/x", limiter.limited("1/minute")(endpoint)))

    answers = [ask(app, "/x"), ask(app, "/x")]

    assert [answer.json for answer in answers] == [success("/x"), REFUSED]
    assert answers[0].left == {"1/minute /x": 0}


def test_limited_methods_of_an_endpoint_class() -> None:
    """Each method may have its own limit, sync or async."""
    limiter = limiter_of()

    class Things(HTTPEndpoint):
        @limiter.limited("1/minute")
        async def get(self, request: Request) -> Response:
            return JSONResponse(type(self).__name__)

        @limiter.limited("2/hour")
        def post(self, request: Request) -> Response:
            return JSONResponse(2)

        async def put(self, request: Request) -> Response:
            return JSONResponse(3)

    app = app_of(limiter, Route("/", Things))

    statuses = [ask(app, method=method).status for method in ("GET", "POST", "GET", "POST", "POST", "PUT")]

    assert statuses == [200, 200, 429, 200, 429, 200]


def test_limited_bound_method() -> None:
    """Services that keep their endpoints on an object."""
    limiter = limiter_of()

    class Service:
        async def endpoint(self, n: int) -> int:
            return n

    app = _fastapi(limiter)
    app.get("/{n}")(limiter.limited("1/minute")(Service().endpoint))

    assert [ask(app, "/7").json, ask(app, "/7").json] == [success(7), REFUSED]


def test_limited_reads_the_body_of_a_starlette_request_without_swallowing_it() -> None:
    """The key and the endpoint have the same request, which keeps its body."""
    limiter = limiter_of()

    async def key(request: Request) -> str:
        return (await request.body()).decode()

    @limiter.limited("1/minute", key=key)
    async def endpoint(request: Request) -> Response:
        return JSONResponse((await request.body()).decode())

    app = app_of(limiter, Route("/", endpoint, methods=["POST"]))

    assert [ask(app, **_posted(text)).status for text in (b"a", b"b", b"a")] == [200, 200, 429]
    assert ask(app, **_posted(b"c")).json == success("c")


def test_two_limits_on_one_endpoint() -> None:
    """Stacked decorators hold both, the outer first."""
    limiter = limiter_of()

    @limiter.limited("5/minute")
    @limiter.limited("1/hour", key=by_header("x-account"))
    async def endpoint(n: int) -> int:
        return n

    app = _fastapi(limiter)
    app.get("/{n}")(endpoint)

    answers = [ask(app, "/7", headers={"x-account": account}) for account in ("a", "b", "a")]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].left == {"5/minute /{n}": 2, "1/hour /{n}": 0}


def test_two_limits_on_one_endpoint_of_starlette() -> None:
    """The same where the request is an argument."""
    limiter = limiter_of()
    endpoint = limiter.limited("5/minute")(limiter.limited("1/hour")(starlette_async))
    app = app_of(limiter, Route("/x", endpoint))

    assert [ask(app, "/x").status for _ in range(2)] == [200, 429]


def test_limits_of_two_limiters_on_one_endpoint() -> None:
    """One for clients, one for accounts, in different storages."""
    first, second = limiter_of(), limiter_of()

    @first.limited("5/minute")
    @second.limited("1/hour")
    async def endpoint() -> int:
        return 1

    app = _fastapi(first)
    app.get("/")(endpoint)

    assert [ask(app).status for _ in range(2)] == [200, 429]


def _traced(endpoint: Any) -> Any:
    @functools.wraps(endpoint)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await endpoint(*args, **kwargs)

    return wrapper


def _passing(endpoint: Any) -> Any:
    @functools.wraps(endpoint)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        answer = endpoint(*args, **kwargs)
        if inspect.iscoroutine(answer):
            _handed_on.append(answer)
        return answer

    return wrapper


#: Coroutines that a plain decorator handed on, and that somebody should have awaited.
_handed_on: list[Coroutine[Any, Any, Any]] = []


@pytest.fixture(autouse=True)
def no_coroutine_is_left() -> Iterator[None]:
    """Close what nobody awaited, so that its warning does not turn up in another test."""
    yield
    for coroutine in _handed_on:
        coroutine.close()
    _handed_on.clear()


@pytest.mark.parametrize(
    ("other", "limit_first"),
    [
        (_traced, True),
        (_traced, False),
        (_passing, True),
        (_passing, False),
    ],
)
def test_limited_beside_another_decorator(other: Any, limit_first: bool) -> None:
    """Decorators that wrap as ``functools`` says stand above or below; the plain one hands the coroutine on."""
    limiter = limiter_of()
    limited = limiter.limited("1/minute")
    app = _fastapi(limiter)
    app.get("/{n}")(other(limited(parameters)) if limit_first else limited(other(parameters)))

    answers = [ask(app, "/7"), ask(app, "/7")]

    assert [answer.status for answer in answers] == [200, 429]
    assert answers[0].json == success([7, "d", False, "h"])


def test_limited_function_on_two_routes_has_two_budgets() -> None:
    """The template is the bucket, not the function."""
    limiter = limiter_of()
    app = _fastapi(limiter)
    limited = limiter.limited("1/minute")(nothing)
    for path in ("/a", "/b"):
        app.get(path)(limited)

    assert [ask(app, path).status for path in ("/a", "/b", "/a", "/b")] == [200, 200, 429, 429]


def test_exception_of_a_limited_endpoint_passes_unchanged() -> None:
    """Crashes stay crashes."""
    error = ZeroDivisionError()
    limiter = limiter_of()
    app = _fastapi(limiter)

    @app.get("/")
    @limiter.limited("5/minute")
    def endpoint() -> None:
        raise error

    answer, raised = crash(app)

    assert raised is error
    assert (answer.status, answer.left) == (500, {"5/minute /": 4})


def _generator() -> Iterator[int]:
    yield 1


async def _async_generator() -> AsyncIterator[int]:
    yield 1


class _Callable:
    async def __call__(self, request: Request) -> Response:
        return JSONResponse(1)


class _View(HTTPEndpoint):
    pass


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (_generator, ["_generator", "Depends(limiter.limit("]),
        (_async_generator, ["_async_generator", "Depends(limiter.limit("]),
        (_passing(_async_generator), ["_async_generator", "Depends(limiter.limit("]),
        (_View, ["_View", "methods"]),
        (_Callable(), ["_Callable", "routes="]),
        (functools.partial(parameters, 1), ["partial", "routes="]),
        (Router(), ["Router", "routes="]),
        ("/path", ["'/path'"]),
        (None, ["None"]),
    ],
)
def test_limited_refuses_what_it_cannot_wrap(endpoint: Any, words: list[str]) -> None:
    """At the decorator, with what to do instead."""
    with pytest.raises(ConfigurationError) as refused:
        limiter_of().limited("5/minute")(endpoint)

    assert all(word in str(refused.value) for word in words)


def test_limited_without_brackets_is_never_served() -> None:
    """``@limiter.limited`` takes the function for a limit; it must not become an endpoint without one."""
    limiter = limiter_of()
    app = app_of(limiter, Route("/", limiter.limited(starlette_async)))  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match="no brackets"):
        ask(app)


@pytest.mark.parametrize("kind", ["fastapi", "starlette", "late"])
def test_limited_above_the_route_decorator_is_a_configuration_error(kind: str) -> None:
    """The route would be served without its limit, so the application does not start."""
    limiter = limiter_of()
    app = _fastapi(limiter)

    if kind == "fastapi":

        @limiter.limited("5/minute")
        @app.get("/")
        async def endpoint() -> int:
            return 1
    elif kind == "late":
        router = APIRouter()
        limiter.limited("5/minute")(router.get("/")(_plain_again))
        app.include_router(router, prefix="/v1")
    else:
        app.router.routes.append(Route("/", starlette_async))
        limiter.limited("5/minute")(starlette_async)

    with pytest.raises(ConfigurationError, match="limited"):
        ask(app, "/v1/" if kind == "late" else "/")


async def _plain_again() -> int:
    return 1


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_limited_route_in_an_application_without_install_is_a_configuration_error(framework: Any) -> None:
    """Its refusal would be a crash with a plain 500; better it never works."""
    limiter = limiter_of("9/minute")
    app = framework(routes=[Route("/", limiter.limited("5/minute")(starlette_async))])

    _, raised = crash(app)

    assert isinstance(raised, ConfigurationError)
    assert "install(app" in str(raised)


def test_limit_in_an_application_without_install_is_a_configuration_error() -> None:
    """The same for the dependency."""
    app = FastAPI()
    app.get("/", dependencies=[Depends(limiter_of().limit("5/minute"))])(_plain)

    assert "install(app" in str(crash(app)[1])


def test_limited_called_as_a_function_is_a_configuration_error() -> None:
    """There is nobody to charge; silently running it would be a way around."""
    limited: Any = limiter_of().limited("5/minute")(nothing)

    coroutine = limited()
    with pytest.raises(ConfigurationError, match="check"):
        coroutine.send(None)


def test_limit_in_an_application_that_was_installed_without_the_limiter_holds() -> None:
    """Global limits are one thing, limits of routes another."""
    limiter = limiter_of()
    app = _fastapi(None)
    app.get("/", dependencies=[Depends(limiter.limit("1/minute"))])(_plain)

    answers = [ask(app), ask(app)]

    assert [answer.json for answer in answers] == [success(1), REFUSED]
    assert answers[1].left == {"1/minute /": 0}


def test_limit_of_a_route_whose_table_entry_exempts_it_still_holds() -> None:
    """``None`` in the table is about the limiter's own limits; who writes a limit at the endpoint means it."""
    limiter = limiter_of("9/minute", routes={"GET /": None})
    app = _fastapi(limiter)
    app.get("/", dependencies=[Depends(limiter.limit("1/minute"))])(_plain)

    answers = [ask(app), ask(app)]

    assert [answer.status for answer in answers] == [200, 429]
    assert [answer.left for answer in answers] == [{"1/minute /": 0}] * 2


def test_route_in_the_table_and_at_the_endpoint_are_two_budgets() -> None:
    """The same numbers in both places do not charge one counter twice."""
    limiter = limiter_of(routes={"GET /": ["3/minute"]})
    app = _fastapi(limiter)
    app.get("/", dependencies=[Depends(limiter.limit("3/minute"))])(_plain)

    assert ask(app).left == {"3/minute GET /": 2, "3/minute /": 2}


def test_unmatched_route_of_a_one_route_app() -> None:
    """``one`` is a route like the others."""
    limiter = limiter_of()
    app = app_of(limiter, Route("/", limiter.limited("1/minute")(one)))

    assert [ask(app).status for _ in range(2)] == [200, 429]
    assert fastapi.__version__
