"""install(): what it refuses, in which order it works, and what it leaves alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, Router
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from envelope import ConfigurationError, EnvelopeMiddleware, ErrorMap, NotFoundError, Shape, install
from tests.wire.apps import client_of, exchange, failure, serve, strict_json, success, throw


class DomainError(Exception):
    """Knows nothing of HTTP."""


async def _asgi(scope, receive, send) -> None:
    await JSONResponse(1)(scope, receive, send)


# Refusals


@pytest.mark.parametrize(
    "app",
    [_asgi, Router(), None, "module:app", EnvelopeMiddleware(_asgi)],
    ids=lambda app: type(app).__name__,
)
def test_what_is_no_starlette_application_is_refused(app: object) -> None:
    """The message names what to use instead."""
    with pytest.raises(ConfigurationError, match="EnvelopeMiddleware"):
        install(app)  # type: ignore[arg-type]


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_second_time_is_refused(framework: type[Starlette]) -> None:
    """Two envelopes around one answer would be a mistake that nobody sees."""
    app = framework()
    install(app)

    with pytest.raises(ConfigurationError, match="once"):
        install(app)


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_application_that_has_started_is_refused(framework: type[Starlette]) -> None:
    """The stack is built at the first request; after it, install would do nothing."""
    app = framework(routes=[Route("/", serve(JSONResponse(1)))])
    client_of(app).get("/")

    with pytest.raises(ConfigurationError, match="started"):
        install(app)


def test_application_whose_lifespan_runs_is_refused() -> None:
    """The lifespan is a start, too."""
    app = Starlette()

    with TestClient(app), pytest.raises(ConfigurationError, match="started"):
        install(app)


@pytest.mark.parametrize("errors", [{}, {DomainError: NotFoundError}, [DomainError], NotFoundError], ids=repr)
def test_errors_that_are_no_map_are_refused(errors: object) -> None:
    """A dict is what people try first; the message names ErrorMap."""
    with pytest.raises(ConfigurationError, match="ErrorMap"):
        install(Starlette(), errors=errors)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "exempt",
    [
        "/token",
        "token",
        ["token"],
        [""],
        ["/a", "b/"],
        ["/a/*/b"],
        ["/*/a"],
        ["/a**"],
        ["/a*"],
        ["*"],
        [None],
        [b"/a"],
        [1],
        None,
        7,
    ],
    ids=repr,
)
def test_exempt_that_is_no_list_of_paths_is_refused(exempt: object) -> None:
    """A string is a sequence of letters, and a star in the middle would never match what was meant."""
    with pytest.raises(ConfigurationError, match="exempt"):
        install(Starlette(), exempt=exempt)  # type: ignore[arg-type]


def test_refused_pattern_is_named() -> None:
    """The message says which of the patterns, and what a pattern looks like."""
    with pytest.raises(ConfigurationError, match=r"hooks/\*/x"):
        install(Starlette(), exempt=["/fine", "/hooks/*/x"])


@pytest.mark.parametrize("value", ["always", "200", 200, None, "Keep", True], ids=repr)
def test_unknown_success_status_is_refused(value: object) -> None:
    """The message names what was seen and what is known."""
    with pytest.raises(ConfigurationError, match="keep") as refused:
        install(Starlette(), success_status=value)  # type: ignore[arg-type]

    assert repr(value) in str(refused.value)
    assert "always-200" in str(refused.value)


@pytest.mark.parametrize("value", ["always", True, None, "Safe"], ids=repr)
def test_unknown_echo_values_is_refused(value: object) -> None:
    """The message names what was seen and what is known."""
    with pytest.raises(ConfigurationError, match="never") as refused:
        install(Starlette(), echo_values=value)  # type: ignore[arg-type]

    assert repr(value) in str(refused.value)


@pytest.mark.parametrize("value", [[], {}, ["keep"]], ids=repr)
def test_unhashable_choice_is_refused_like_any_other(value: object) -> None:
    """A wrong type is a ConfigurationError and not a TypeError from the inside."""
    with pytest.raises(ConfigurationError):
        install(Starlette(), success_status=value)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        install(Starlette(), echo_values=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [{"content": "data"}, "jsend", Shape, 0, object()], ids=repr)
def test_shape_that_is_no_shape_is_refused(shape: object) -> None:
    """The message names Shape."""
    with pytest.raises(ConfigurationError, match="Shape"):
        install(Starlette(), shape=shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "names",
    [
        {"content": "status"},
        {"status": "content"},
        {"code": "message"},
        {"message": "status"},
        {"code": "status"},
        {"content": ""},
        {"status": ""},
        {"success": ""},
        {"failure": ""},
        {"code": ""},
        {"content": None},
        {"code": 7},
        {"message": b"m"},
    ],
    ids=repr,
)
def test_shape_with_equal_or_empty_keys_is_refused(names: dict[str, object]) -> None:
    """Two keys of one body with the same name would lose one of them."""
    with pytest.raises(ConfigurationError, match="|".join(names)):
        Shape(**names)  # type: ignore[arg-type]


def test_shape_may_use_a_name_in_both_bodies() -> None:
    """content and message never stand in one body."""
    shape = Shape(content="data", message="data")
    app = Starlette(routes=[Route("/", serve(JSONResponse(1))), Route("/no", throw(NotFoundError("x")))])
    install(app, shape=shape)
    client = client_of(app)

    assert client.get("/").json() == {"status": "success", "data": 1}
    assert client.get("/no").json() == {"code": 404, "data": "x", "status": "failure"}


def test_middleware_that_was_added_before_is_refused_at_install() -> None:
    """Both are one envelope; the message says that install is enough."""
    app = Starlette()
    app.add_middleware(EnvelopeMiddleware)

    with pytest.raises(ConfigurationError, match="EnvelopeMiddleware"):
        install(app)


def test_middleware_that_is_added_later_is_refused_when_the_stack_is_built() -> None:
    """The first moment at which it can be seen."""
    app = fastapi.FastAPI()
    install(app)
    app.add_middleware(EnvelopeMiddleware)

    with pytest.raises(ConfigurationError, match="EnvelopeMiddleware"), TestClient(app):
        pass


def test_middleware_that_was_added_before_is_refused_in_a_subclass() -> None:
    """A subclass is the same middleware."""

    class OwnEnvelope(EnvelopeMiddleware):
        pass

    app = Starlette(middleware=[Middleware(OwnEnvelope)])

    with pytest.raises(ConfigurationError, match="EnvelopeMiddleware"):
        install(app)


@pytest.mark.parametrize(
    "options", [{"exempt": "x"}, {"errors": {}}, {"success_status": 1}, {"shape": {}}], ids=repr
)
def test_refused_install_changes_nothing(options: dict[str, object]) -> None:
    """A refusal can be corrected: the application is as it was, and install works the second time."""
    app = Starlette(routes=[Route("/", serve(JSONResponse(1)))])
    with pytest.raises(ConfigurationError):
        install(app, **options)  # type: ignore[arg-type]

    install(app)

    assert client_of(app).get("/").json() == success(1)


@pytest.mark.parametrize(
    "options",
    [{"errors": {}}, {"exempt": "/x"}, {"success_status": "x"}, {"echo_values": "x"}, {"shape": {}}],
    ids=repr,
)
def test_middleware_alone_refuses_the_same(options: dict[str, object]) -> None:
    """EnvelopeMiddleware has the same options, and checks them when it is made."""
    with pytest.raises(ConfigurationError, match=f"(?i){next(iter(options))}"):
        EnvelopeMiddleware(_asgi, **options)  # type: ignore[arg-type]


def test_options_are_keyword_only() -> None:
    """Nobody remembers the order of options."""
    with pytest.raises(TypeError):
        install(Starlette(), ErrorMap({}))  # type: ignore[call-arg]


# Order


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_routes_and_middleware_may_come_later(framework: type[Starlette]) -> None:
    """install takes part when the stack is built, so order does not matter."""
    app = framework()
    install(app)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.router.routes.append(Route("/", serve(JSONResponse([1]))))

    response = client_of(app).get("/", headers={"Origin": "https://x.test"})

    assert response.json() == success([1])
    assert response.headers["access-control-allow-origin"] == "*"


def test_routes_may_be_added_while_the_application_runs() -> None:
    """A late route is a route."""
    app = fastapi.FastAPI()
    install(app)
    client = client_of(app)
    before = client.get("/late")

    @app.get("/late")
    async def late() -> int:
        return 1

    assert before.json() == failure(404, "Not Found")
    assert client.get("/late").json() == success(1)


def test_applications_do_not_share_anything() -> None:
    """Two installed applications in one process have their own options."""
    first, second = (Starlette(routes=[Route("/", serve(JSONResponse(1, 201)))]) for _ in range(2))
    install(first, success_status="keep")
    install(second, shape=Shape(content="data"))

    assert exchange(first).status == 201
    assert strict_json(exchange(first).body) == success(1)
    assert strict_json(exchange(second).body) == {"status": "success", "data": 1}
    assert exchange(second).status == 200


def test_installed_applications_are_not_kept_alive() -> None:
    """Tests make thousands of applications."""
    import gc
    import weakref

    app = Starlette()
    install(app)
    reference = weakref.ref(app)
    del app
    gc.collect()

    assert reference() is None


def test_stack_is_what_the_framework_returns() -> None:
    """Instrumentation walks the stack by .app: the outermost layer is the framework's, and the router is reached."""
    app = fastapi.FastAPI()
    install(app)
    app.add_middleware(CORSMiddleware)

    stack = app.build_middleware_stack()
    layer: Any = stack
    kinds = []
    while layer is not None:
        kinds.append(type(layer).__name__)
        layer = getattr(layer, "app", None)

    assert isinstance(stack, ServerErrorMiddleware)
    assert kinds.count("EnvelopeMiddleware") == 1
    assert kinds.index("ServerErrorMiddleware") + 1 == kinds.index("FailureNet")
    assert kinds.index("CORSMiddleware") + 1 == kinds.index("EnvelopeMiddleware")
    assert kinds.index("EnvelopeMiddleware") + 1 == kinds.index("ExceptionMiddleware")


def test_stack_can_be_built_again() -> None:
    """Instrumentation and tests build it twice; nothing is doubled."""
    app = Starlette(routes=[Route("/", serve(JSONResponse(1)))])
    install(app)
    app.build_middleware_stack()
    app.middleware_stack = app.build_middleware_stack()

    assert exchange(app).body == b'{"status":"success","content":1}'
    assert app.user_middleware == []


def test_application_that_overrides_its_stack_keeps_its_own() -> None:
    """A subclass that wraps the stack is respected."""

    class Own(Starlette):
        def build_middleware_stack(self):
            return CORSMiddleware(super().build_middleware_stack(), allow_origins=["*"])

    app = Own(routes=[Route("/", serve(JSONResponse(1))), Route("/no", throw(ValueError()))])
    install(app)
    client = client_of(app)

    assert client.get("/").json() == success(1)
    assert client.get("/no").json()["code"] == 500


def test_same_application_can_be_mounted_in_a_plain_one() -> None:
    """install belongs to the application, wherever it is served."""
    inner = fastapi.FastAPI(routes=[Route("/", serve(JSONResponse(1)))])
    install(inner)
    outer = Starlette(routes=[Mount("/api", inner)])

    assert client_of(outer).get("/api/").json() == success(1)


def test_options_are_what_was_given_at_install() -> None:
    """A list that is changed afterwards changes nothing."""
    exempt = ["/raw"]
    app = Starlette(routes=[Route(path, serve(JSONResponse(1))) for path in ("/raw", "/other")])
    install(app, exempt=exempt)
    exempt.append("/other")

    assert exchange(app, "/raw").body == b"1"
    assert strict_json(exchange(app, "/other").body) == success(1)


# Choices


def test_kept_statuses_are_kept() -> None:
    """success_status="keep" leaves the status alone."""
    app = fastapi.FastAPI()
    install(app, success_status="keep")

    @app.post("/", status_code=201)
    async def create() -> int:
        return 1

    @app.delete("/", status_code=204)
    async def delete() -> None:
        return None

    client = client_of(app)

    assert (client.post("/").status_code, client.post("/").json()) == (201, success(1))
    assert (client.delete("/").status_code, client.delete("/").content) == (204, b"")


def test_statuses_are_200_otherwise() -> None:
    """The convention knows one success."""
    app = fastapi.FastAPI()
    install(app)

    @app.post("/", status_code=201)
    async def create(response: fastapi.Response) -> int:
        response.headers["Location"] = "/1"
        return 1

    @app.delete("/", status_code=204)
    async def delete() -> None:
        return None

    client = client_of(app)
    created, deleted = client.post("/"), client.delete("/")

    assert (created.status_code, created.json(), created.headers["location"]) == (200, success(1), "/1")
    assert (deleted.status_code, deleted.json()) == (200, success(None))


def test_jsend_is_a_shape() -> None:
    """A near relative of the convention, in both bodies."""
    app = fastapi.FastAPI()
    install(app, shape=Shape(content="data", failure="error"))

    @app.get("/")
    async def root(n: int) -> int:
        return n

    client = client_of(app)

    assert client.get("/?n=1").json() == {"status": "success", "data": 1}
    assert client.get("/?n=x").json()["status"] == "error"
    assert client.get("/nowhere").json() == {"code": 404, "message": "Not Found", "status": "error"}


@pytest.mark.parametrize("key", ['a"b', "%s", "{}", "é", "\\", "%%d"])
def test_key_of_a_shape_may_be_any_text(key: str) -> None:
    """Names are written as JSON, whatever letters they have."""
    app = Starlette(routes=[Route("/", serve(JSONResponse(1))), Route("/no", throw(NotFoundError("100%d")))])
    install(app, shape=Shape(content=key, code=key, failure=key))

    assert strict_json(exchange(app).body) == {"status": "success", key: 1}
    assert strict_json(exchange(app, "/no").body) == {key: 404, "message": "100%d", "status": key}


@pytest.mark.parametrize("install_first", [True, False])
def test_order_of_install_and_middleware_does_not_matter(install_first: bool) -> None:
    """Case 65: middleware is outside the wrapping layer whenever it was added, so GZip compresses envelopes."""
    app = Starlette(routes=[Route("/", serve(JSONResponse("x" * 1000)))])
    if install_first:
        install(app)
    app.add_middleware(GZipMiddleware, minimum_size=10)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    if not install_first:
        install(app)

    response = client_of(app).get("/", headers={"Accept-Encoding": "gzip", "Origin": "https://x.test"})

    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.json() == success("x" * 1000)


def test_stack_that_leaves_us_out_is_refused() -> None:
    """An application that builds its stack without its middleware would silently go unwrapped."""

    class Own(Starlette):
        def build_middleware_stack(self) -> ASGIApp:
            return self.router

    app = Own()
    install(app)

    with pytest.raises(ConfigurationError, match="Own.build_middleware_stack"), TestClient(app):
        pass


def test_application_that_is_wrong_does_not_start(tmp_path: Path) -> None:
    """A real server prints why and exits; it takes an exception alone for an application without a lifespan."""
    (tmp_path / "wrong.py").write_text(
        "from fastapi import FastAPI\n"
        "from envelope import RateLimiter, install\n"
        "app = FastAPI()\n"
        "install(app, rate_limiter=RateLimiter(routes={'GET /nosuch': ['5/minute']}))\n"
    )

    server = subprocess.run(
        [sys.executable, "-m", "uvicorn", "wrong:app", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert server.returncode == 3
    assert "routes names 'GET /nosuch', which is no route of the application" in server.stderr


def test_application_that_is_wrong_answers_nothing() -> None:
    """Without a lifespan the first request says why."""
    app = Starlette()
    install(app)
    app.add_middleware(EnvelopeMiddleware)

    with pytest.raises(ConfigurationError, match="EnvelopeMiddleware"):
        TestClient(app).get("/")


def test_class_in_the_place_of_an_application_is_refused() -> None:
    """A missing pair of parentheses is named."""
    with pytest.raises(ConfigurationError, match="the class FastAPI; call it"):
        install(fastapi.FastAPI)  # type: ignore[arg-type]


@pytest.mark.parametrize("exempt", [None, {"/x"}, ["/x?y=1"], ["/x#y"]])
def test_paths_that_are_none_are_refused(exempt: object) -> None:
    """The message shows how the list is written, or what a path does not have."""
    with pytest.raises(ConfigurationError, match=r"exempt=\['/hooks/\*'\]|no query and no fragment"):
        install(Starlette(), exempt=exempt)  # type: ignore[arg-type]
