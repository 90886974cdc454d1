"""The pytest plugin, in runs of pytest of its own: what departs from the convention fails the test that showed it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from envelope import install
from envelope.testing import plugin
from envelope.testing.watching import Watch
from tests.wire import asgi

pytest_plugins = ["pytester"]

#: A service that keeps the convention but for ``/bare``, whose output is marked as its own, and ``/late``.
SERVICE = """
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from envelope import install, raw_response
from envelope.testing import UnwrappingClient

app = FastAPI()
install(app)

@app.get("/items/{number}")
async def get_item(number: int) -> dict[str, int]:
    if number == 404:
        raise HTTPException(404)
    return {"id": number}

@app.get("/liar")
async def liar() -> dict[str, int]:
    return JSONResponse({"id": "one"})

@app.get("/failing")
@raw_response
async def failing():
    return JSONResponse({"detail": "Traceback"}, 503)

class Bare:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope.get("path") == "/bare":
            await JSONResponse({"id": 1})(scope, receive, send)
        else:
            await self.app(scope, receive, send)

app.add_middleware(Bare)
client = TestClient(app)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give what runs tests of the service, and their report."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for variable in ("CI", "BUILD_NUMBER"):  # there pytest's summary repeats the reports in full
        monkeypatch.delenv(variable, raising=False)
    pytester.makeconftest("pytest_plugins = ['envelope.testing.plugin']")

    def run_tests(tests: str, **outcomes: int) -> str:
        pytester.makepyfile(SERVICE + tests)
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "anyio.pytest_plugin")
        result.assert_outcomes(**outcomes)
        return result.stdout.str()

    return run_tests


def test_responses_in_the_convention_pass(run: Any) -> None:
    """Successes, failures, and what the document says of them."""
    run(
        """
def test_items(keeps_convention):
    keeps_convention(app)
    for path in ("/items/1", "/items/404", "/items/x", "/nowhere", "/openapi.json"):
        client.get(path)
""",
        passed=1,
    )


def test_departure_fails_the_test_that_passed(run: Any) -> None:
    """With its id, the request, what was expected and what came; told once, however often it was seen."""
    report = run(
        """
def test_bare(keeps_convention):
    keeps_convention(app)
    assert client.get("/bare?page=2").json() == {"id": 1}
    assert client.get("/bare?page=3").json() == {"id": 1}

def test_other(keeps_convention):
    assert client.get("/bare").json() == {"id": 1}
""",
        failed=1,
        passed=1,
    )

    assert "The application departs from the convention." in report
    assert "ENV001 success is not wrapped: " in report
    assert "(2 times, the first of them:)" in report
    assert report.count("ENV001") == 1
    assert "expected: " in report
    assert "came:     " in report
    assert "curl -i " in report
    assert "http://testserver/bare?page=2" in report


def test_departure_from_the_document_fails_the_test(run: Any) -> None:
    """The body keeps the convention, and is not what the document says of it."""
    report = run(
        """
def test_liar(keeps_convention):
    keeps_convention(app)
    client.get("/liar")
""",
        failed=1,
    )

    assert "ENV058 body does not fit the document: GET /liar" in report


def test_operation_that_the_document_shows_wrongly_fails_the_test(run: Any) -> None:
    """What the document says of the operations that were asked is judged, and of no others."""
    report = run(
        """
document = app.openapi()
document["paths"]["/liar"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] = {"type": "object"}

def test_other(keeps_convention):
    keeps_convention(app)
    client.get("/items/1")

def test_liar(keeps_convention):
    keeps_convention(app)
    client.get("/liar")
""",
        passed=1,
        failed=1,
    )

    assert "ENV051 document shows a success without the envelope: GET /liar" in report


def test_unwrapping_client_is_watched_on_the_wire(run: Any) -> None:
    """What the test sees has no envelope; what is judged has."""
    run(
        """
def test_wire(keeps_convention):
    keeps_convention(app)
    assert UnwrappingClient(app).get("/items/1").json() == {"id": 1}
    assert UnwrappingClient(app).get("/items/x").status_code == 422

def test_bare(keeps_convention):
    keeps_convention(app)
    assert UnwrappingClient(app).get("/bare").json() == {"id": 1}
""",
        passed=1,
        failed=1,
    )


def test_autouse_fixture_watches_every_test(run: Any) -> None:
    """One fixture in a suite that knows nothing of it; also in tests that are coroutines."""
    report = run(
        """
import httpx

@pytest.fixture(autouse=True)
def convention(keeps_convention):
    keeps_convention(app)

@pytest.fixture
def anyio_backend():
    return "asyncio"

def test_good():
    client.get("/items/1")

def test_bad():
    client.get("/bare")

@pytest.mark.anyio
async def test_asynchronous():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as client:
        await client.get("/bare")

def test_nothing():
    pass
""",
        passed=2,
        failed=2,
    )

    assert report.count("ENV001") == 2


def test_exempt_and_ignored_departures_pass(run: Any) -> None:
    """By operation, by path, by id; by the marks of the document without being told."""
    run(
        """
def test_exempt(keeps_convention):
    keeps_convention(app, exempt=["GET /bare"])
    client.get("/bare")

def test_exempt_path(keeps_convention):
    keeps_convention(app, exempt=["/bare"])
    client.get("/bare")

def test_ignored(keeps_convention):
    keeps_convention(app, ignore=["ENV001", "ENV056", "ENV058"])
    client.get("/bare")
    client.get("/liar")

def test_ignored_other(keeps_convention):
    keeps_convention(app, ignore=["ENV058"])
    client.get("/bare")
""",
        passed=3,
        failed=1,
    )


def test_shape_is_the_documents_or_given(run: Any) -> None:
    """A Starlette application has no document that says it."""
    run(
        """
from envelope import Shape
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute

shape = Shape(content="data")
plain = Starlette(routes=[Route("/", lambda _: JSONResponse([1]))])
install(plain, shape=shape)

def test_given(keeps_convention):
    keeps_convention(plain, shape=shape)
    TestClient(plain).get("/")

def test_not_given(keeps_convention):
    keeps_convention(plain)
    TestClient(plain).get("/")
""",
        passed=1,
        failed=1,
    )


def test_failure_of_the_test_itself_comes_first(run: Any) -> None:
    """The departures stand beside it; a skip stays one."""
    report = run(
        """
def test_fails(keeps_convention):
    keeps_convention(app)
    client.get("/bare")
    assert "own" == "reason"

def test_skips(keeps_convention):
    keeps_convention(app)
    client.get("/bare")
    pytest.skip("later")
""",
        failed=1,
        skipped=1,
    )

    assert "assert 'own' == 'reason'" in report
    assert "ENV001" in report


def test_request_of_a_fixture_after_the_test_is_judged(run: Any) -> None:
    """The test has passed by then: its end is in error."""
    report = run(
        """
@pytest.fixture
def cleanup(keeps_convention):
    keeps_convention(app)
    yield
    client.get("/bare")

def test_clean(cleanup):
    pass
""",
        passed=1,
        errors=1,
    )

    assert "ENV001" in report


def test_many_departures_are_counted(run: Any) -> None:
    """Ten are told in full."""
    report = run(
        """
def test_many(keeps_convention):
    keeps_convention(app)
    for number in range(13):
        client.request(f"METHOD{number}", "/bare")
""",
        failed=1,
    )

    assert report.count("expected: ") == 10
    assert "and 3 more" in report


def test_wrong_use_is_told(run: Any) -> None:
    """Ids that there are not, a text for a list, something that is no application."""
    report = run(
        """
def test_unknown(keeps_convention):
    keeps_convention(app, ignore=["ENV999"])

def test_text(keeps_convention):
    keeps_convention(app, ignore="ENV056")

def test_client(keeps_convention):
    keeps_convention(client)
""",
        failed=3,
    )

    assert "ignore has ['ENV999']; give ids of departures: ignore=['ENV056']" in report
    assert "give a Starlette or FastAPI application" in report


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which module, and what to install."""
    monkeypatch.delitem(sys.modules, "envelope.conformance.contracts.contract", raising=False)
    monkeypatch.delitem(sys.modules, "envelope.conformance.contracts.schemas", raising=False)
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)

    with pytest.raises(pytest.fail.Exception, match=r"needs jsonschema_rs.*asgi-envelope\[check\]"):
        plugin._check_extra()


def test_watch_leaves_the_application_as_it_was() -> None:
    """Before its start and after it, installed or not, one watch inside the other."""
    for is_installed in (False, True):
        app = FastAPI()
        if is_installed:
            install(app)
        before = vars(app).get("build_middleware_stack")
        with Watch(app) as early, Watch(app) as inner:
            TestClient(app).get("/nowhere")
        assert vars(app).get("build_middleware_stack") is before
        stack = app.middleware_stack
        with Watch(app) as late:
            TestClient(app).get("/nowhere")
        assert app.middleware_stack is stack
        TestClient(app).get("/nowhere")

        assert [len(watch.take()) for watch in (early, inner, late)] == [1, 1, 1]
        assert late.take() == []


def test_install_inside_a_watch_stays() -> None:
    """The watch sees the wire, and its end takes nothing back."""
    app = FastAPI()
    with Watch(app) as watch:
        install(app)
        TestClient(app).get("/nowhere")
    response = TestClient(app).get("/nowhere")

    assert watch.take()[0].json == {"code": 404, "message": "Not Found", "status": "failure"}
    assert response.json() == {"code": 404, "message": "Not Found", "status": "failure"}
    assert watch.take() == []


def test_watch_writes_down_the_exchange() -> None:
    """Method, URL, path below the root path as it was sent, fields, bodies without compression."""

    async def echo(request: Request) -> Response:
        body = await request.body()
        return Response(body * 100, 201, {"X-A": "b"})

    app = Starlette(routes=[Route("/a b/{rest}", echo, methods=["POST"])], middleware=[Middleware(GZipMiddleware)])
    with Watch(app) as watch:
        client = TestClient(app, root_path="/root")
        client.post("/root/a%20b/%C3%A9?q=1", content=b"0123456789", headers={"X-C": "d"})
        client.head("/a%20b/c")

    posted, asked = watch.take()
    assert (posted.request.method, posted.request.path) == ("POST", "/a%20b/%C3%A9")
    assert posted.request.url.endswith("?q=1")
    assert ("x-c", "d") in posted.request.headers
    assert posted.request.body == b"0123456789"
    assert (posted.status, posted.body) == (201, b"0123456789" * 100)
    assert posted.header("x-a") == "b"
    assert asked.request.body is None


def test_watch_without_a_raw_path_spells_the_path() -> None:
    """Not every server says how it was sent (ASGI: raw_path is optional)."""

    async def read(_: Request) -> Response:
        return Response()

    app = Starlette(routes=[Route("/a b", read)])
    with Watch(app) as watch:
        asgi.run(app, asgi.http_scope(path="/a b", raw_path=None))

    assert watch.take()[0].request.path == "/a%20b"


def test_response_that_breaks_off_is_not_written_down() -> None:
    """The server cuts it off, so nobody takes it for a response; nor is a websocket one."""

    def parts() -> Any:
        yield b"["
        raise ZeroDivisionError

    async def broken(_: Request) -> Response:
        return StreamingResponse(parts(), media_type="application/json")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def chat(websocket: Any) -> None:
        await websocket.accept()
        await websocket.close()

    app = Starlette(
        routes=[Route("/broken", broken), WebSocketRoute("/chat", chat), Mount("/silent", app=silent)],
    )
    with Watch(app) as watch, TestClient(app, raise_server_exceptions=False) as client:
        with client.websocket_connect("/chat"):
            pass
        client.get("/broken")
        client.get("/silent/x")

    assert watch.take() == []


def test_layer_that_others_hold_notes_nothing_after_the_watch() -> None:
    """A watch that ends before the one inside it cannot take its layer out; the layer is silent then."""
    app = FastAPI()
    outer, inner = Watch(app), Watch(app)
    TestClient(app).get("/nowhere")
    outer.__enter__()
    with inner:
        outer.__exit__()
        TestClient(app).get("/nowhere")

    assert (len(outer.take()), len(inner.take())) == (0, 1)


def test_file_that_the_server_sends_is_not_written_down() -> None:
    """Its bytes do not pass here (ASGI: http.response.pathsend)."""

    async def send_file(scope: Any, receive: Any, send: Any) -> None:
        await send(asgi.start(200))
        await send({"type": "http.response.pathsend", "path": __file__})

    app = Starlette(routes=[Mount("/", app=send_file)])
    with Watch(app) as watch:
        sent = asgi.run(app, asgi.http_scope())

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.pathsend"]
    assert watch.take() == []
