"""What the guards can answer: 423, 429 and 503 stand at exactly the operations that have them."""
# endpoints that are only described have no body.
# mypy: disable-error-code="empty-body"

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel
from starlette.routing import Mount

from envelope import Lease, ObjectLocks, RateLimiter, RouteLimit, install
from tests.openapi.reading import (
    RATE_HEADERS,
    document_of,
    headers_of,
    is_shared,
    operations,
    response_of,
    statuses,
)

GUARDS = {"423", "429", "503"}


class EntityIn(BaseModel):
    name: str


def guards_of(app: FastAPI, operation: str) -> set[str]:
    """Give the statuses of guards that an operation declares."""
    return statuses(document_of(app), operation) & GUARDS


# Locks


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_423_stands_at_guarded_writes(method: str):
    """A write under a guard can meet a busy object; locks deny by default when their storage is down."""
    app, locks = FastAPI(), ObjectLocks()
    install(app, locks=locks)

    @locks.guarded("e:{i}")
    async def change(i: int): ...

    app.add_api_route("/e/{i}", change, methods=[method])

    document = document_of(app)

    assert statuses(document, f"{method} /e/{{i}}") & GUARDS == {"423", "503"}
    assert is_shared(document, f"{method} /e/{{i}}", 423)
    assert headers_of(document, f"{method} /e/{{i}}", 423) == {"Retry-After"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_423_does_not_stand_at_guarded_reads(method: str):
    """Reads lock nothing, also under a guard."""
    app, locks = FastAPI(), ObjectLocks()
    install(app, locks=locks)

    @locks.guarded("e:{i}")
    async def look(i: int): ...

    app.add_api_route("/e/{i}", look, methods=[method])

    assert guards_of(app, f"{method} /e/{{i}}") == set()


def test_423_stands_at_reads_that_are_refused():
    """`reads="refuse"` is for aggregates that nobody should see half written."""
    app, locks = FastAPI(), ObjectLocks()
    install(app, locks=locks)

    @app.get("/e/{i}")
    @locks.guarded("e:{i}", reads="refuse")
    async def look(i: int): ...

    assert "423" in guards_of(app, "GET /e/{i}")


def test_423_stands_at_the_writes_of_a_route_with_several_methods():
    """One route, two operations, of which one writes."""
    app, locks = FastAPI(), ObjectLocks()
    install(app, locks=locks)

    @app.api_route("/e/{i}", methods=["GET", "PUT"])
    @locks.guarded("e:{i}")
    async def both(i: int): ...

    with pytest.warns(UserWarning, match="Duplicate Operation ID"):
        item = app.openapi()["paths"]["/e/{i}"]

    assert "423" not in item["get"]["responses"]
    assert "423" in item["put"]["responses"]


@pytest.mark.parametrize("form", ["annotated", "default", "route", "router", "include", "app", "nested"])
def test_423_stands_where_a_dependency_guards(form: str):
    """`Depends(locks.guard(...))` counts wherever it stands."""
    locks = ObjectLocks()
    guard = Depends(locks.guard("e:{i}"))
    app = FastAPI(dependencies=[guard] if form == "app" else None)
    install(app, locks=locks)
    router = APIRouter(dependencies=[guard] if form == "router" else None)

    def nested(lease: Annotated[Lease, guard]) -> Lease:
        return lease

    async def plain(i: int): ...

    async def annotated(i: int, lease: Annotated[Lease, guard]): ...

    async def default(i: int, lease: Lease = guard): ...

    async def deeper(i: int, lease: Annotated[Lease, Depends(nested)]): ...

    endpoint = {"annotated": annotated, "default": default, "nested": deeper}.get(form, plain)
    router.add_api_route("/e/{i}", endpoint, methods=["POST"], dependencies=[guard] if form == "route" else None)
    router.add_api_route("/e/{i}", plain, methods=["GET"])
    app.include_router(router, dependencies=[guard] if form == "include" else None)

    assert guards_of(app, "POST /e/{i}") == {"423", "503"}
    assert guards_of(app, "GET /e/{i}") == set()


@pytest.mark.parametrize(("on_outage", "expected"), [("deny", {"423", "503"}), ("allow", {"423"})])
def test_503_stands_where_an_outage_denies(on_outage: Any, expected: set[str]):
    """Without a storage a lock is denied, or done without."""
    app, locks = FastAPI(), ObjectLocks(on_outage=on_outage)
    install(app, locks=locks)

    @app.put("/e/{i}")
    @locks.guarded("e:{i}")
    async def put(i: int): ...

    assert guards_of(app, "PUT /e/{i}") == expected


@pytest.mark.parametrize(("own", "expected"), [("deny", {"423", "503"}), ("allow", {"423"})])
@pytest.mark.parametrize("form", ["guarded", "guard"])
def test_503_follows_the_guards_own_choice(own: Any, expected: set[str], form: str):
    """Every guard can have its own `on_outage`."""
    other: Any = {"deny": "allow", "allow": "deny"}[own]
    app, locks = FastAPI(), ObjectLocks(on_outage=other)
    install(app, locks=locks)

    async def put(i: int): ...

    if form == "guarded":
        app.put("/e/{i}")(locks.guarded("e:{i}", on_outage=own)(put))
    else:
        app.put("/e/{i}", dependencies=[Depends(locks.guard("e:{i}", on_outage=own))])(put)

    assert guards_of(app, "PUT /e/{i}") == expected


def test_unguarded_operations_declare_no_guard():
    """That locks are installed says nothing about a route without one."""
    app, locks = FastAPI(), ObjectLocks()
    install(app, locks=locks)

    @app.put("/e/{i}")
    async def put(i: int): ...

    assert guards_of(app, "PUT /e/{i}") == set()


def test_guard_below_another_decorator_is_found():
    """functools.wraps keeps what stands below it."""
    import functools

    app, locks = FastAPI(), ObjectLocks()
    install(app, locks=locks)

    def timed(function):
        @functools.wraps(function)
        async def inner(*args, **kwargs):
            return await function(*args, **kwargs)

        return inner

    @app.put("/e/{i}")
    @timed
    @locks.guarded("e:{i}")
    async def put(i: int): ...

    assert "423" in guards_of(app, "PUT /e/{i}")


def test_lock_with_a_key_function_is_found():
    """The key may come from a dependency."""
    app, locks = FastAPI(), ObjectLocks()
    install(app, locks=locks)

    def key(i: int) -> str:
        return f"e:{i}"

    @app.put("/e/{i}")
    async def put(i: int, lease: Annotated[Lease | None, Depends(locks.guard(key))]): ...

    assert "423" in guards_of(app, "PUT /e/{i}")


# Limits


def test_429_stands_everywhere_under_limits_of_the_limiter():
    """The limiter's own limits are on each path."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter("20/second"))
    app.get("/a")(lambda: 1)
    app.post("/b")(lambda: 1)

    document = document_of(app)

    for operation, _ in operations(document):
        assert statuses(document, operation) & GUARDS == {"429"}
        assert is_shared(document, operation, 429)
        assert headers_of(document, operation, 429) == {"Retry-After", *RATE_HEADERS["both"]}
        assert headers_of(document, operation, 200) == RATE_HEADERS["both"]


def test_429_stands_at_the_routes_that_the_table_names():
    """Without limits of its own, a limiter limits only those."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(routes={"POST /e/{i}": ["5/minute"], "GET /b": [RouteLimit("1/day")]}))

    @app.post("/e/{i}")
    def post(i: int): ...

    @app.get("/e/{i}")
    def get(i: int): ...

    app.get("/b")(lambda: 1)
    document = document_of(app)

    assert statuses(document, "POST /e/{i}") & GUARDS == {"429"}
    assert statuses(document, "GET /e/{i}") & GUARDS == set()
    assert statuses(document, "GET /b") & GUARDS == {"429"}
    assert headers_of(document, "POST /e/{i}", 200) == RATE_HEADERS["both"]
    assert headers_of(document, "GET /e/{i}", 200) == set()


def test_429_does_not_stand_at_a_route_that_is_exempt():
    """None takes a route out of all limits."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter("20/second", routes={"GET /health": None}))
    app.get("/health")(lambda: 1)
    app.get("/other")(lambda: 1)
    document = document_of(app)

    assert statuses(document, "GET /health") & GUARDS == set()
    assert headers_of(document, "GET /health", 200) == set()
    assert statuses(document, "GET /other") & GUARDS == {"429"}


def test_429_of_an_exempt_route_with_a_limit_of_its_own():
    """What the table exempts may still ask for a limit itself."""
    limiter = RateLimiter("20/second", routes={"GET /health": None})
    app = FastAPI()
    install(app, rate_limiter=limiter)
    app.get("/health", dependencies=[Depends(limiter.limit("1/second"))])(lambda: 1)

    assert guards_of(app, "GET /health") == {"429"}


@pytest.mark.parametrize("form", ["route", "annotated", "nested", "router", "include", "app"])
def test_429_stands_where_a_dependency_limits(form: str):
    """`Depends(limiter.limit(...))` counts wherever it stands."""
    limiter = RateLimiter(routes={})
    limit = Depends(limiter.limit("5/minute"))
    app = FastAPI(dependencies=[limit] if form == "app" else None)
    install(app, rate_limiter=limiter)
    router = APIRouter(dependencies=[limit] if form == "router" else None)

    def nested(verdict: Annotated[Any, limit]): ...

    async def plain(): ...

    async def annotated(verdict: Annotated[Any, limit]): ...

    async def deeper(_: Annotated[Any, Depends(nested)]): ...

    endpoint = {"annotated": annotated, "nested": deeper}.get(form, plain)
    router.add_api_route("/search", endpoint, dependencies=[limit] if form == "route" else None)
    app.include_router(router, dependencies=[limit] if form == "include" else None)
    document = document_of(app)

    assert statuses(document, "GET /search") & GUARDS == {"429"}
    assert headers_of(document, "GET /search", 200) == RATE_HEADERS["both"]


def test_429_stands_where_a_decorator_limits():
    """`@limiter.limited(...)`, sync and async."""
    limiter = RateLimiter(routes={})
    app = FastAPI()
    install(app, rate_limiter=limiter)

    @app.post("/a")
    @limiter.limited("2/minute", cost=2)
    def a(pages: int) -> int:
        return pages

    @app.post("/b")
    @limiter.limited("2/minute")
    async def b(pages: int) -> int:
        return pages

    app.get("/c")(lambda: 1)

    assert guards_of(app, "POST /a") == guards_of(app, "POST /b") == {"429"}
    assert guards_of(app, "GET /c") == set()


def test_429_stands_where_a_guard_and_a_limit_stand_in_either_order():
    """Two decorators do not hide each other."""
    limiter, locks = RateLimiter(routes={}), ObjectLocks(on_outage="allow")
    app = FastAPI()
    install(app, rate_limiter=limiter, locks=locks)

    @app.put("/a/{i}")
    @limiter.limited("2/minute")
    @locks.guarded("e:{i}")
    async def a(i: int): ...

    @app.put("/b/{i}")
    @locks.guarded("e:{i}")
    @limiter.limited("2/minute")
    async def b(i: int): ...

    assert guards_of(app, "PUT /a/{i}") == guards_of(app, "PUT /b/{i}") == {"423", "429"}


@pytest.mark.parametrize(
    "limiter",
    [
        RateLimiter(RouteLimit("1/second", shadow=True)),
        RateLimiter(routes={"GET /e": RouteLimit("1/second", shadow=True)}),
    ],
    ids=["own", "route"],
)
def test_429_does_not_stand_where_all_limits_are_in_shadow(limiter: RateLimiter):
    """A limit in shadow never refuses."""
    app = FastAPI()
    install(app, rate_limiter=limiter)
    app.get("/e")(lambda: 1)

    assert guards_of(app, "GET /e") == set()


def test_429_stands_where_one_limit_is_not_in_shadow():
    """One that refuses is enough."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(RouteLimit("1/second", shadow=True), "5/day"))
    app.get("/e")(lambda: 1)

    assert guards_of(app, "GET /e") == {"429"}


def test_429_does_not_stand_where_a_dependency_in_shadow_limits():
    """Shadow holds for `limit` and `limited` too."""
    limiter = RateLimiter(routes={})
    app = FastAPI()
    install(app, rate_limiter=limiter)
    shadow = RouteLimit("1/second", shadow=True)
    app.get("/a", dependencies=[Depends(limiter.limit(shadow))])(lambda: 1)

    @app.get("/b")
    @limiter.limited(shadow)
    def b(): ...

    assert guards_of(app, "GET /a") == guards_of(app, "GET /b") == set()


def test_429_stands_where_a_limit_is_computed():
    """Nobody knows what a function is going to say."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(lambda request: None))
    app.get("/e")(lambda: 1)

    assert guards_of(app, "GET /e") == {"429"}


@pytest.mark.parametrize(
    ("on_outage", "expected"), [("local", {"429"}), ("allow", {"429"}), ("deny", {"429", "503"})]
)
def test_503_stands_where_a_limiter_denies_in_an_outage(on_outage: Any, expected: set[str]):
    """Only `deny` answers 503."""
    limiter = RateLimiter("20/second", on_outage=on_outage, routes={"GET /health": None})
    app = FastAPI()
    install(app, rate_limiter=limiter)
    app.get("/e")(lambda: 1)
    app.get("/health")(lambda: 1)

    assert guards_of(app, "GET /e") == expected
    assert guards_of(app, "GET /health") == set()


def test_503_stands_where_a_dependency_denies_in_an_outage():
    """A second decision asks the same storage."""
    limiter = RateLimiter(on_outage="deny", routes={})
    app = FastAPI()
    install(app, rate_limiter=limiter)
    app.get("/e", dependencies=[Depends(limiter.limit("1/second"))])(lambda: 1)

    assert guards_of(app, "GET /e") == {"429", "503"}


@pytest.mark.parametrize("style", RATE_HEADERS)
def test_header_style_is_declared(style: Any):
    """The fields are those that the limiter sends."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter("20/second", headers=style))
    app.get("/e")(lambda: 1)
    document = document_of(app)

    assert headers_of(document, "GET /e", 200) == RATE_HEADERS[style]
    assert headers_of(document, "GET /e", 429) == {"Retry-After", *RATE_HEADERS[style]}


def test_headers_stand_beside_those_of_the_user():
    """The user's headers stay, also one with the name of ours."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter("20/second"))
    own = {"X-Own": {"schema": {"type": "string"}}, "X-RateLimit-Limit": {"description": "Own", "schema": {}}}
    app.get("/e", responses={200: {"headers": own}})(lambda: 1)

    headers = response_of(document_of(app), "GET /e", 200)["headers"]

    assert set(headers) == {"X-Own", *RATE_HEADERS["both"]}
    assert headers["X-RateLimit-Limit"]["description"] == "Own"


def test_headers_of_the_user_in_other_letters_are_not_declared_twice():
    """Header names know no case (RFC 9110, 5.1)."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter("20/second"))
    app.get("/e", responses={200: {"headers": {"x-ratelimit-limit": {"schema": {}}}}})(lambda: 1)

    headers = headers_of(document_of(app), "GET /e", 200)

    assert len(headers) == len({name.lower() for name in headers})


def test_limits_of_a_limiter_that_is_not_installed_count_where_they_stand():
    """`limiter.limited` works without rate_limiter=; so does what it can answer."""
    limiter = RateLimiter("20/second")
    app = FastAPI()
    install(app)
    app.get("/e", dependencies=[Depends(limiter.limit("1/second"))])(lambda: 1)
    app.get("/f")(lambda: 1)

    assert guards_of(app, "GET /e") == {"429"}
    assert guards_of(app, "GET /f") == set()


# Where the routes come from


def test_table_names_routes_with_their_prefixes():
    """A key is the path as it is served."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(routes={"GET /api/v1/users/{user_id}": ["5/minute"]}))
    router, outer = APIRouter(prefix="/users"), APIRouter(prefix="/v1")

    @router.get("/{user_id}")
    def user(user_id: int): ...

    outer.include_router(router)
    app.include_router(outer, prefix="/api")
    app.include_router(outer, prefix="/other")

    document = document_of(app)

    assert statuses(document, "GET /api/v1/users/{user_id}") & GUARDS == {"429"}
    assert statuses(document, "GET /other/v1/users/{user_id}") & GUARDS == set()


def test_table_leaves_convertors_out_or_in():
    """`{name:path}` may be written without its convertor."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(routes={"GET /a/{p}": ["5/minute"], "GET /b/{p:path}": ["5/minute"]}))

    @app.get("/a/{p:path}")
    def a(p: str): ...

    @app.get("/b/{p:path}")
    def b(p: str): ...

    assert guards_of(app, "GET /a/{p}") == guards_of(app, "GET /b/{p}") == {"429"}


def test_table_speaks_for_head_as_for_get():
    """GET speaks for HEAD too."""
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(routes={"GET /a": ["5/minute"]}))
    app.get("/a")(lambda: 1)
    app.head("/a")(lambda: None)

    assert guards_of(app, "GET /a") == {"429"}


def test_guards_in_included_routers_are_found():
    """Decorators and dependencies survive nesting, and inclusion twice."""
    limiter, locks = RateLimiter(routes={}), ObjectLocks()
    app = FastAPI()
    install(app, rate_limiter=limiter, locks=locks)
    router = APIRouter(dependencies=[Depends(limiter.limit("1/second"))])

    @router.put("/e/{i}")
    @locks.guarded("e:{i}")
    async def put(i: int): ...

    outer = APIRouter()
    outer.include_router(router, prefix="/x")
    app.include_router(outer, prefix="/v1")
    app.include_router(outer, prefix="/v2")

    assert guards_of(app, "PUT /v1/x/e/{i}") == guards_of(app, "PUT /v2/x/e/{i}") == {"423", "429", "503"}


@pytest.mark.parametrize("form", ["mount", "Mount", "before"])
def test_limits_reach_mounted_applications(form: str):
    """The limiter's own limits and the table's entries hold in what is mounted."""
    sub = FastAPI()
    sub.get("/a")(lambda: 1)
    sub.get("/b")(lambda: 1)
    limiter = RateLimiter("20/second", routes={"GET /sub/b": None})
    app = FastAPI()
    if form == "before":
        app.mount("/sub", sub)
    install(app, rate_limiter=limiter)
    if form == "mount":
        app.mount("/sub", sub)
    if form == "Mount":
        app.router.routes.append(Mount("/sub", routes=[Mount("/", app=sub)]))
    from tests.wire.apps import client_of

    with client_of(app) as client:
        document = client.get("/sub/openapi.json").json()

    assert statuses(document, "GET /a") & GUARDS == {"429"}
    assert statuses(document, "GET /b") & GUARDS == set()


def test_limits_of_the_table_for_a_whole_mount():
    """A method that a mounted application takes, but that no entry names, has only the limiter's own limits."""
    from tests.wire.apps import client_of

    sub = FastAPI()
    sub.get("/a")(lambda: 1)
    sub.get("/b")(lambda: 1)
    app = FastAPI()
    install(app, rate_limiter=RateLimiter(routes={"GET /sub/a": ["5/minute"]}))
    app.mount("/sub", sub)

    with client_of(app) as client:
        document = client.get("/sub/openapi.json").json()
        assert "x-ratelimit-limit" in client.get("/sub/a").headers
        assert "x-ratelimit-limit" not in client.get("/sub/b").headers

    assert statuses(document, "GET /a") & GUARDS == {"429"}
    assert statuses(document, "GET /b") & GUARDS == set()


def test_guarded_endpoint_of_a_mounted_application_is_found():
    """Locks work in mounted applications, so the document says so."""
    from tests.wire.apps import client_of

    locks = ObjectLocks()
    sub = FastAPI()

    @sub.put("/e/{i}")
    @locks.guarded("e:{i}")
    async def put(i: int): ...

    app = FastAPI()
    install(app, locks=locks)
    app.mount("/sub", sub)

    with client_of(app) as client:
        document = client.get("/sub/openapi.json").json()

    assert statuses(document, "PUT /e/{i}") & GUARDS == {"423", "503"}


def test_unexposed_limits_have_no_fields():
    """`expose=False` keeps a limit out of the header fields; alone, nothing is sent."""
    from tests.wire.apps import client_of

    app = FastAPI()
    install(app, rate_limiter=RateLimiter(RouteLimit("20/second", expose=False)))
    app.get("/e")(lambda: 1)

    answer = client_of(app).get("/e")
    document = document_of(app)
    sent = {name for name in RATE_HEADERS["both"] if name.lower() in answer.headers}

    assert headers_of(document, "GET /e", 200) >= sent
    assert all(
        not document["components"]["headers"][name].get("required") for name in headers_of(document, "GET /e", 200)
    )


def test_raw_and_exempt_operations_are_limited_too():
    """Exempt is the output, not the request: a 429 there is an envelope, and declared."""
    from envelope import raw_response

    app = FastAPI()
    install(app, rate_limiter=RateLimiter("20/second"), exempt=["/b"])

    @app.get("/a")
    @raw_response
    def a(request: Request): ...

    app.get("/b")(lambda: 1)

    assert guards_of(app, "GET /a") == guards_of(app, "GET /b") == {"429"}
