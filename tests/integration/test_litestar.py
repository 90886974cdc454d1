"""A Litestar application inside EnvelopeMiddleware: any ASGI application can speak the convention."""

from collections.abc import AsyncIterator
from typing import Any

import litestar
import pytest
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.params import FromQuery
from litestar.response import Redirect, Stream

from envelope import ConflictError, EnvelopeMiddleware, ErrorMap, NotFoundError, Shape
from tests.wire.apps import CRASH, client_of, exchange, failure, strict_json, success


class DomainError(Exception):
    """Knows nothing of HTTP."""


def _app(*handlers: Any, **options: Any) -> EnvelopeMiddleware:
    app: Any = litestar.Litestar(list(handlers), openapi_config=None, logging_config=None)
    return EnvelopeMiddleware(app, **options)


def test_success_of_litestar_is_wrapped() -> None:
    """A JSON answer is spliced, with one right length."""

    @litestar.get("/")
    async def root() -> dict[str, int]:
        return {"a": 1}

    done = exchange(_app(root))

    assert done.body == b'{"status":"success","content":{"a":1}}'
    assert dict(done.headers)[b"content-length"] == str(len(done.body)).encode()


def test_created_and_deleted_of_litestar_are_200() -> None:
    """Litestar answers POST with 201 and DELETE with an empty 204."""

    @litestar.post("/")
    async def create() -> int:
        return 1

    @litestar.delete("/")
    async def delete() -> None:
        return None

    client = client_of(_app(create, delete))
    created, deleted = client.post("/"), client.delete("/")

    assert (created.status_code, created.json()) == (200, success(1))
    assert (deleted.status_code, deleted.json()) == (200, success(None))


def test_kept_statuses_of_litestar_are_kept() -> None:
    """The same option as install's."""

    @litestar.post("/")
    async def create() -> int:
        return 1

    assert client_of(_app(create, success_status="keep")).post("/").status_code == 201


def test_failure_of_litestar_is_converted() -> None:
    """Litestar answers with {"status_code": ..., "detail": ...}; it is kept whole."""

    @litestar.get("/")
    async def root() -> None:
        raise HTTPException("no", status_code=409, extra={"field": "name"})

    response = client_of(_app(root)).get("/")

    assert response.status_code == 409
    assert response.json() == failure(409, {"status_code": 409, "detail": "no", "extra": {"field": "name"}})


def test_headers_of_a_litestar_failure_survive() -> None:
    """Protocol headers stay."""

    @litestar.get("/")
    async def root() -> None:
        raise NotAuthorizedException(headers={"WWW-Authenticate": "Bearer"})

    response = client_of(_app(root)).get("/")

    assert response.status_code == response.json()["code"] == 401
    assert response.headers["www-authenticate"] == "Bearer"


def test_unknown_path_of_litestar_is_an_envelope() -> None:
    """The router's own failures are failures of the service."""

    @litestar.get("/")
    async def root() -> int:
        return 1

    client = client_of(_app(root))

    assert client.get("/nowhere").json()["code"] == client.get("/nowhere").status_code == 404
    wrong_method = client.post("/")
    assert wrong_method.json()["code"] == wrong_method.status_code == 405
    assert "GET" in wrong_method.headers["allow"]


def test_validation_failure_of_litestar_is_an_envelope() -> None:
    """Litestar answers 400 with its own list."""

    @litestar.get("/")
    async def root(n: FromQuery[int]) -> int:
        return n

    response = client_of(_app(root)).get("/?n=x")

    assert response.status_code == response.json()["code"] == 400
    assert response.json()["status"] == "failure"


def test_crash_of_litestar_is_an_envelope() -> None:
    """Litestar answers crashes itself, with a 500 of its own."""

    @litestar.get("/")
    async def root() -> None:
        raise ZeroDivisionError

    response = client_of(_app(root)).get("/")

    assert response.status_code == response.json()["code"] == 500
    assert response.json()["status"] == "failure"


def test_exempt_path_of_litestar_is_untouched() -> None:
    """The same option as install's, for successes and failures."""

    @litestar.get("/hooks/a")
    async def hook() -> int:
        return 1

    @litestar.get("/hooks/b")
    async def failing() -> litestar.Response[dict[str, str]]:
        return litestar.Response({"error": "x"}, status_code=400)

    client = client_of(_app(hook, failing, exempt=["/hooks/*"]))

    assert client.get("/hooks/a").json() == 1
    assert client.get("/hooks/b").json() == {"error": "x"}


def test_shape_counts_for_litestar() -> None:
    """The same option as install's."""

    @litestar.get("/")
    async def root() -> int:
        return 1

    assert client_of(_app(root, shape=Shape(content="data"))).get("/").json() == {"status": "success", "data": 1}


def test_stream_of_litestar_is_spliced() -> None:
    """A stream stays a stream."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"[1"
        yield b",2]"

    @litestar.get("/")
    async def root() -> Stream:
        return Stream(chunks(), media_type="application/json")

    done = exchange(_app(root))

    assert done.body == b'{"status":"success","content":[1,2]}'
    assert len([message for message in done.sent if message.get("body")]) >= 2


@pytest.mark.parametrize("media_type", ["text/html", "text/plain", "application/octet-stream"])
def test_other_answers_of_litestar_pass(media_type: str) -> None:
    """What is no JSON is not wrapped."""

    @litestar.get("/", media_type=media_type)
    async def root() -> bytes:
        return b"plain"

    assert exchange(_app(root)).body == b"plain"


def test_redirect_of_litestar_passes() -> None:
    """Location is the message."""

    @litestar.get("/")
    async def root() -> Redirect:
        return Redirect("/there")

    response = client_of(_app(root)).get("/")

    assert response.status_code == 302
    assert response.headers["location"] == "/there"


# Any ASGI application: exceptions reach the middleware, because nobody answered them inside.


@pytest.mark.parametrize(
    ("exc", "body", "is_crash"),
    [
        (ConflictError("no"), failure(409, "no"), False),
        (DomainError("secret"), failure(404, NotFoundError.message), False),
        (ZeroDivisionError("secret"), CRASH, True),
    ],
    ids=["ours", "mapped", "crash"],
)
def test_exception_of_a_plain_application_is_answered(
    exc: Exception, body: dict[str, object], is_crash: bool
) -> None:
    """The middleware alone answers what reaches it, and raises crashes again."""

    async def plain(scope, receive, send) -> None:
        raise exc

    done = exchange(EnvelopeMiddleware(plain, errors=ErrorMap({DomainError: NotFoundError})))

    assert strict_json(done.body) == body
    assert done.types() == ["http.response.start", "http.response.body"]
    assert done.raised is (exc if is_crash else None)


def test_own_error_in_litestar_keeps_an_envelope() -> None:
    """Litestar answers every exception itself; what it makes of ours is still an envelope."""

    @litestar.get("/")
    async def root() -> None:
        raise ConflictError("busy")

    response = client_of(_app(root)).get("/")

    assert response.status_code == response.json()["code"]
    assert response.json()["status"] == "failure"


def test_websocket_of_litestar_passes() -> None:
    """Other scopes are none of our business."""

    @litestar.websocket("/ws")
    async def ws(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_json({"a": 1})
        await socket.close()

    with client_of(_app(ws)).websocket_connect("/ws") as socket:
        assert socket.receive_json() == {"a": 1}


def test_lifespan_of_litestar_runs() -> None:
    """Startup and shutdown pass."""
    events: list[str] = []
    app: Any = litestar.Litestar(
        [],
        on_startup=[lambda: events.append("up")],
        on_shutdown=[lambda: events.append("down")],
        openapi_config=None,
        logging_config=None,
    )

    with client_of(EnvelopeMiddleware(app)):
        assert events == ["up"]

    assert events == ["up", "down"]
