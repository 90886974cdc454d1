"""What a client writes into a request is data wherever it comes out again."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse

from envelope import BadRequestError, NotFoundError, ObjectLocks, install
from envelope.wire.exemptions import Exemptions
from tests.wire.apps import exchange, strict_json, success
from tests.wire.asgi import exchange as ask_bytes
from tests.wire.asgi import served


@pytest.mark.parametrize(
    "path",
    [
        "//hooks/a",
        "/hooks",
        "/HOOKS/a",
        "/hooks%2Fa",
        "/admin",
        "/admin/../hooks/a",
        "/hooks/../admin",
        "/hooks/./../admin",
        "/hooks/..",
        "/hooksa",
        "/oauth/token/",
        "/oauth/token\n",
        "/OAuth/token",
        "/oauth//token",
        "/oauth/token;x",
        "\\hooks\\a",
        "",
    ],
)
def test_path_that_only_resembles_an_exempt_one_is_not_exempt(path: str) -> None:
    """Paths are compared as the router compares them: letter by letter, after the server has decoded them once."""
    exemptions = Exemptions(["/hooks/*", "/oauth/token"])

    assert not exemptions.cover_path({"type": "http", "path": path, "root_path": ""})
    assert exemptions.cover_path({"type": "http", "path": "/hooks/..a", "root_path": ""})


def test_dots_in_a_path_lead_nowhere() -> None:
    """Neither the pattern nor the router resolves them, so what lies elsewhere is not served under an exempt path."""
    app = FastAPI()
    install(app, exempt=["/hooks/*"])

    @app.get("/admin")
    async def admin() -> str:
        return "served"

    assert exchange(app, "/admin").status == 200
    assert exchange(app, "/hooks/../admin").status == 404
    assert "code" in strict_json(exchange(app, "/hooks/../admin").body)


@given(st.text(max_size=60))
def test_message_is_data_whatever_is_in_it(text: str) -> None:
    """Quotes, line breaks, other envelopes: a JSON parser gets the text, and the head stays as it is."""
    app = FastAPI()
    install(app)

    @app.get("/")
    async def endpoint() -> None:
        raise NotFoundError(text, error_code=text or "x")

    done = exchange(app)

    assert strict_json(done.body)["message"] == {"error_code": text or "x", "message": text}
    assert [name for name, _ in done.headers] == [b"content-length", b"content-type"]


def test_text_of_a_client_is_no_header_on_the_wire() -> None:
    """A real server sends one response for a request whose values are quoted in a failure."""
    app = FastAPI()
    install(app)

    @app.get("/")
    async def endpoint(name: int) -> None:
        """Quoted by the validation."""

    @app.get("/raise")
    async def raising(name: str) -> None:
        raise BadRequestError(name, error_code=name)

    with served(app) as address:
        for path in ("/", "/raise"):
            target = f"{path}?name=a%0d%0aSet-Cookie:%20b=c%0d%0a%0d%0aHTTP/1.1%20200%20OK"
            request = f"GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            head, _, body = ask_bytes(address, request.encode()).partition(b"\r\n\r\n")

            assert head.startswith(b"HTTP/1.1 400")
            assert b"set-cookie" not in head.lower()
            assert json.loads(body)["status"] == "failure"


@pytest.mark.parametrize("content", [[1, 2], "text", 7, None])
def test_success_is_an_object_that_calls_itself_json(content: Any) -> None:
    """An array as a script (JSON hijacking) or a text read as a page has nothing to run."""
    app = FastAPI()
    install(app)

    @app.get("/")
    async def endpoint() -> Any:
        return content

    done = exchange(app, headers={"accept": "text/html"})

    assert strict_json(done.body) == success(content)
    assert dict(done.headers)[b"content-type"] == b"application/json"


def test_failure_of_markup_is_json() -> None:
    """What a client wrote is never sent as a page, whatever it accepts."""
    app = FastAPI()
    install(app)

    @app.get("/{name}")
    async def endpoint(name: str) -> None:
        raise HTTPException(404, f"<script>{name}</script>")

    done = exchange(app, "/x", headers={"accept": "text/html"})

    assert dict(done.headers)[b"content-type"] == b"application/json"


def test_failure_inside_of_a_failure_keeps_its_own_code() -> None:
    """A body that an application copies from a client is no failure of the convention by its looks alone."""
    app = FastAPI()
    install(app)

    @app.post("/")
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await request.json(), 404)

    forged = b'{"code":200,"message":"all is well","status":"failure"}'
    done = exchange(app, method="POST", incoming=[{"type": "http.request", "body": forged}])

    assert strict_json(done.body)["code"] == done.status == 404


async def _refuse(locks: ObjectLocks, key: str) -> None:
    async with locks.hold(key, operation=key):
        info = await locks.inspect(key)
        assert info is not None
        await locks.break_lock(key, fence=info.fence)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_name_of_an_object_adds_no_line_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Clients choose parts of names: line breaks and escapes in them are spelled out."""
    locks = ObjectLocks()
    caplog.set_level(logging.DEBUG, "envelope")
    key = "entity:1\nERROR forged \x1b[31m\u2028"

    with pytest.raises(Exception, match="given to somebody else"):
        await _refuse(locks, key)
    await locks.acquire(key)
    with pytest.raises(Exception, match="being updated"):
        await locks.acquire(key, operation=key)

    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) >= 3
    assert not [text for text in texts if set("\n\x1b\u2028") & set(text)]
