"""UnwrappingTransport: bodies without envelopes over a real network, exact answers in process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from envelope import ConflictError, Shape, install
from envelope.testing import UnwrappingTransport
from tests.wire.asgi import served


def shop(**options: Any) -> Starlette:
    """Make an installed application with an answer of every kind."""

    async def conflict(_: Request) -> Response:
        raise ConflictError("frozen", error_code="entity_frozen")

    def answer(make: Callable[[], Response]) -> Callable[[Request], Any]:
        async def endpoint(_: Request) -> Response:
            return make()

        return endpoint

    answers: dict[str, Callable[[], Response]] = {
        "/created": lambda: Response(b'{"b": 1.0, "a":2}', 201, media_type="application/json"),
        "/long": lambda: JSONResponse(["long"] * 1000),
        "/lines": lambda: StreamingResponse(iter(["{}\n", "{}\n"]), media_type="application/x-ndjson"),
        "/text": lambda: PlainTextResponse("text"),
        "/old": lambda: RedirectResponse("/text"),
        "/list": lambda: Response(b"[1]", media_type="application/json", headers={"Content-Range": "items 0-0/1"}),
        "/no-json": lambda: Response(b"<>", media_type="application/json"),
        "/spaced": lambda: Response(
            b'{ "content": {"\xc3\xa9": 1},\n "status": "success" }',
            media_type="application/json",
            headers={"Content-Range": "items 0-0/1"},
        ),
        "/other": lambda: JSONResponse({"code": 400, "message": "m", "status": "failure", "more": 1}, 400),
    }
    app = Starlette(
        routes=[Route("/conflict", conflict), *(Route(path, answer(make)) for path, make in answers.items())],
        middleware=[Middleware(GZipMiddleware)],
    )
    install(app, **options)
    return app


def ask(app: Starlette, requests: Callable[[httpx.Client], Any], **options: Any) -> Any:
    """Serve an application, and let somebody ask it through the transport."""
    with served(app) as (host, port):
        transport = UnwrappingTransport(httpx.HTTPTransport(), **options)
        with httpx.Client(transport=transport, base_url=f"http://{host}:{port}") as client:
            return requests(client)


def test_success_over_the_network_is_its_content_byte_for_byte() -> None:
    """With its own length; the status is the one that was sent."""
    response = ask(shop(), lambda client: client.get("/created"))

    assert response.status_code == 200
    assert response.content == b'{"b": 1.0, "a":2}'
    assert response.headers["content-length"] == str(len(response.content))


def test_failure_over_the_network_is_a_detail() -> None:
    """The message of the envelope, with the status, as FastAPI would say it."""
    response = ask(shop(), lambda client: client.get("/conflict"))

    assert response.status_code == 409
    assert response.json() == {"detail": {"error_code": "entity_frozen", "message": "frozen"}}
    assert ask(shop(), lambda client: client.get("/nowhere")).json() == {"detail": "Not Found"}


def test_compressed_success_over_the_network_is_read() -> None:
    """httpx has decompressed it; nothing says any more that it is compressed."""
    response = ask(shop(), lambda client: client.get("/long"))

    assert response.json() == ["long"] * 1000
    assert "content-encoding" not in response.headers
    assert response.headers["vary"] == "Accept-Encoding"


def test_what_is_no_envelope_over_the_network_passes() -> None:
    """Text, lines, redirects, JSON of another form; HEAD has no body to read."""

    def requests(client: httpx.Client) -> None:
        assert client.get("/text").text == "text"
        assert client.get("/lines").text == "{}\n{}\n"
        assert client.get("/old").status_code == 307
        assert client.get("/list").json() == [1]
        assert client.get("/no-json").text == "<>"
        assert client.head("/created").headers["content-length"] == str(len(b'{"b": 1.0, "a":2}') + 31)

    ask(shop(), requests)


def test_stream_over_the_network_is_not_waited_for() -> None:
    """A response that is not JSON comes as the stream that it is."""

    def requests(client: httpx.Client) -> list[bytes]:
        with client.stream("GET", "/lines") as response:
            assert not response.is_stream_consumed
            return list(response.iter_bytes())

    assert b"".join(ask(shop(), requests)) == b"{}\n{}\n"


def test_envelope_in_other_words_is_unwrapped() -> None:
    """Another order and spaces, as other implementations write it; more keys are no envelope."""
    assert ask(shop(), lambda client: client.get("/spaced")).content == '{"é":1}'.encode()
    other = {"code": 400, "message": {"code": 400, "message": "m", "status": "failure", "more": 1}}
    assert ask(shop(exempt=["/other"]), lambda client: client.get("/other")).json() == {
        **other,
        "message": "m",
        "status": "failure",
        "more": 1,
    }


def test_shape_of_the_envelopes_is_given() -> None:
    """Over the network nobody says which it is."""
    shape = Shape(content="data", failure="error")

    assert ask(shop(shape=shape), lambda client: client.get("/created"), shape=shape).json() == {"b": 1.0, "a": 2}
    assert ask(shop(shape=shape), lambda client: client.get("/nowhere"), shape=shape).json() == {
        "detail": "Not Found"
    }
    assert "data" in ask(shop(shape=shape), lambda client: client.get("/created")).json()


def test_asynchronous_client_over_the_network_gets_the_same() -> None:
    """The transport is one for both."""

    async def get() -> list[Any]:
        with served(shop()) as (host, port):
            transport = UnwrappingTransport(httpx.AsyncHTTPTransport())
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:{port}") as client:
                return [(await client.get(path)).json() for path in ("/created", "/nowhere")]

    assert asyncio.run(get()) == [{"b": 1.0, "a": 2}, {"detail": "Not Found"}]


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_answers_in_process_are_exact(library: Any) -> None:
    """Around an ASGITransport of either library nothing is guessed: 201, and the list of problems."""

    def make() -> FastAPI:
        app = FastAPI()

        @app.post("/items/{number}", status_code=201)
        async def create(number: int) -> int:
            if not number:
                raise HTTPException(409, {"why": "zero"})
            return number

        return app

    installed = make()
    install(installed)
    given = library.ASGITransport(app=installed)

    async def post(path: str) -> Any:
        transport: Any = UnwrappingTransport(given)
        async with library.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.post(path)

    bare = TestClient(make())
    for path in ("/items/1", "/items/0", "/items/x"):
        response, expected = asyncio.run(post(path)), bare.post(path)
        assert (response.status_code, response.content) == (expected.status_code, expected.content)
    assert given.app is installed
