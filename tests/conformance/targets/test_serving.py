"""Applications that are imported and served for as long as they are checked."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from contextlib import asynccontextmanager

import pytest
import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from envelope.conformance.targets import serving
from envelope.conformance.targets.serving import TargetError, import_app, served

MODULE = """
from starlette.applications import Starlette

app = Starlette()

class Holder:
    app = app

def factory():
    return app

def factory_with_options(debug=False, *args, **kwargs):
    return app

def broken():
    raise LookupError("no settings\\nsecond line")

def leaving():
    raise SystemExit("usage: ...")

async def plain(scope, receive, send):
    pass

def needs(path):
    return app

number = 1
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the working directory, which is not on ``sys.path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "a_service.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "a_service", raising=False)
    yield "a_service"
    sys.modules.pop("a_service", None)


@pytest.mark.parametrize("name", ["app", "factory", "factory()", "factory_with_options", "Holder.app"])
def test_application_is_found_as_uvicorn_finds_it(module, name) -> None:
    """By name, by attribute of a name, and from a factory; twice, because the folder stays on the path."""
    assert isinstance(import_app(f"{module}:{name}"), Starlette)
    assert isinstance(import_app(f"{module}:{name}"), Starlette)


def test_plain_asgi_function_is_an_application(module) -> None:
    """A function with arguments is no factory."""
    assert import_app(f"{module}:plain").__name__ == "plain"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a_service", "'a_service' is no target; give a URL"),
        (":app", "':app' is no target"),
        ("a_service:", "'a_service:' is no target"),
        ("a_service:nothing", "module 'a_service' has no 'nothing'"),
        ("a_service:Holder.nothing", "module 'a_service' has no 'nothing'"),
        ("a_service:number", "a_service:number is no ASGI application, .*: its type is int$"),
        ("./shop/main.py:app", "is a file, not a module; give shop.main:app$"),
        ("shop/main:create()", r"is a file, not a module; give shop.main:create\(\)$"),
        ("main.py:app", "is a file, not a module; give main:app$"),
        ("a_service:leaving", r"calling a_service:leaving\(\) raised SystemExit: usage: ..."),
        ("a_service:needs", "a_service:needs is no ASGI application"),
        ("a_service:broken", r"calling a_service:broken\(\) raised LookupError: no settings$"),
        ("a_service:broken()", r"calling a_service:broken\(\) raised LookupError: no settings$"),
        ("no_such_service:app", "there is no module 'no_such_service'"),
        ("no_such_package.service:app", "there is no module 'no_such_package.service'"),
    ],
)
def test_what_is_not_there_is_named(module, text, words) -> None:
    """One line says what was looked for and what to do."""
    with pytest.raises(TargetError, match=words) as raised:
        import_app(text)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "import no_such_dependency",
            "importing 'a_service' raised ModuleNotFoundError: No module named 'no_such_",
        ),
        ("1 / 0", "importing 'a_service' raised ZeroDivisionError: division by zero"),
        ("raise SystemExit", "importing 'a_service' raised SystemExit: SystemExit"),
        ("def f(:", "importing 'a_service' raised SyntaxError"),
    ],
)
def test_module_that_cannot_be_imported_is_named(module, tmp_path, source, words) -> None:
    """Not as one that is not there: what it imports is missing, or it fails."""
    (tmp_path / "a_service.py").write_text(source)

    with pytest.raises(TargetError, match=words):
        import_app("a_service:app")


def test_application_lives_as_long_as_the_block() -> None:
    """Its lifespan begins before the first request and has ended after the block; nothing is left."""
    life: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette):
        life.append("begun")
        yield
        life.append("ended")

    def answer(_):
        return PlainTextResponse(" ".join(life))

    with served(Starlette(routes=[Route("/", answer)], lifespan=lifespan), "test") as url:
        assert requests.get(url, timeout=5).text == "begun"

    assert life == ["begun", "ended"]
    assert "envelope-check-target" not in {thread.name for thread in threading.enumerate()}
    assert logging.getLogger("uvicorn.error").propagate


def test_application_without_lifespan_is_served() -> None:
    """ASGI allows applications that know no lifespan."""

    async def app(scope, receive, send) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("fine")(scope, receive, send)

    with served(app, "test") as url:
        assert requests.get(url, timeout=5).text == "fine"


def test_application_that_does_not_start_says_why() -> None:
    """The exception of its lifespan, without the traceback."""

    @asynccontextmanager
    async def lifespan(_: Starlette):
        raise RuntimeError("no database at db:5432")
        yield

    with (
        pytest.raises(TargetError, match="main:app did not start: RuntimeError: no database at db:5432$"),
        served(Starlette(lifespan=lifespan), "main:app"),
    ):
        pytest.fail("it was served")


def test_application_that_does_not_say_why_it_does_not_start(capfd) -> None:
    """A message of blanks is none."""

    async def app(scope, receive, send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": " "})

    with (
        pytest.raises(TargetError, match="main:app did not start: Application startup failed. Exiting.$"),
        served(app, "main:app"),
    ):
        pytest.fail("it was served")
    assert capfd.readouterr() == ("", "")


def test_application_that_takes_too_long_to_start_is_given_up(monkeypatch) -> None:
    """It may start later, when nobody waits for it any more: then it ends."""
    release = threading.Event()

    @asynccontextmanager
    async def lifespan(_: Starlette):
        await asyncio.to_thread(release.wait)
        yield

    monkeypatch.setattr(serving, "_START_S", 0.1)
    try:
        with (
            pytest.raises(TargetError, match="main:app did not start: it took more than 0.1 s$"),
            served(Starlette(lifespan=lifespan), "main:app"),
        ):
            pytest.fail("it was served")
    finally:
        release.set()

    for thread in threading.enumerate():
        if thread.name == "envelope-check-target":
            thread.join(10)
            assert not thread.is_alive()


def test_crash_of_an_application_is_not_printed(capfd) -> None:
    """What the client saw of it is in the report; tracebacks would stand in the middle of it."""

    def crash(_):
        raise RuntimeError("boom")

    with served(Starlette(routes=[Route("/", crash)]), "test") as url:
        assert requests.get(url, timeout=5).status_code == 500

    assert capfd.readouterr() == ("", "")
