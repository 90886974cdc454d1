"""Failures that a service makes on purpose: exceptions with a status, and bodies that it returns itself."""

import dataclasses
import datetime as dt
import decimal
import enum
import http
import json
import logging
import uuid

import fastapi
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from envelope import ApiError, BadRequestError, ConflictError, NotFoundError, UnauthorizedError, install
from tests.wire.apps import CRASH, client_of, exchange, failure, serve, strict_json, success, throw

TABLE = {
    400: "Bad Request -- Your request is invalid.",
    401: "Unauthorized -- Your client_id, client_secret, or access_token is invalid.",
    403: "Forbidden -- You do not have the permissions to access the requested resource.",
    404: "Not Found -- The specified resource could not be found.",
    405: "Method Not Allowed -- You tried to access a resource with an invalid method.",
    409: "Conflict -- Could not be completed due to a conflict with the target resource.",
    423: "The object is still being updated (locked). Try your request again later.",
    429: "You have reached the request rate limit. Try your request again later.",
    500: "Internal Server Error -- We had a problem with our server. Try again later.",
    503: "Service Unavailable -- We're temporarily offline for maintenance. Please try again later.",
}


# Exceptions with a status


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 418, 423, 429, 451, 500, 503])
def test_text_detail_is_the_message(status: int) -> None:
    """Case 41: an HTTPException keeps its status, and a text is the message."""
    app = Starlette(routes=[Route("/", throw(HTTPException(status, "the reason")))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == status
    assert response.json() == failure(status, "the reason")


def test_mapping_detail_is_the_message_as_it_is() -> None:
    """Case 41: a mapping is never dropped and never turned into str(dict)."""
    detail = {"reason": "duplicate", "fields": ["name"], "nested": {"n": 1, "none": None}}
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, detail)

    response = client_of(app).get("/")

    assert response.status_code == 409
    assert response.json() == failure(409, detail)


@pytest.mark.parametrize(
    ("status", "error_code"),
    [
        (400, "invalid_input"),
        (422, "invalid_input"),
        (404, "not_found"),
        (409, "conflict"),
        (429, "too_many_requests"),
    ],
)
def test_list_detail_becomes_problems_with_an_error_code(status: int, error_code: str) -> None:
    """Case 41: a list of problems stands beside an error code that names the failure."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(status, ["first", "second"])

    response = client_of(app).get("/")

    assert response.status_code == status
    assert response.json() == failure(status, {"error_code": error_code, "message": ["first", "second"]})


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_unknown_path_keeps_the_words_of_the_framework(framework: type[Starlette]) -> None:
    """Case 41: the router's own 404 is Starlette's HTTPException, also in FastAPI."""
    app = framework()
    install(app)

    response = client_of(app).get("/nowhere")

    assert response.status_code == 404
    assert response.json() == failure(404, "Not Found")


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_wrong_method_keeps_allow(framework: type[Starlette]) -> None:
    """Case 41: the router's own 405 keeps the header that says what is allowed."""
    app = framework(routes=[Route("/", serve(JSONResponse(1)), methods=["GET"])])
    install(app)

    response = client_of(app).post("/")

    assert response.status_code == 405
    assert response.json() == failure(405, "Method Not Allowed")
    assert set(response.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD"}


def test_exception_in_a_dependency_keeps_its_headers() -> None:
    """Case 41: what a dependency raises is answered like what an endpoint raises."""
    app = fastapi.FastAPI()
    install(app)

    def user() -> None:
        raise fastapi.HTTPException(401, "no token", headers={"WWW-Authenticate": 'Bearer realm="x"'})

    @app.get("/", dependencies=[fastapi.Depends(user)])
    async def root() -> str:
        return "never"

    response = client_of(app).get("/")

    assert response.json() == failure(401, "no token")
    assert response.headers["www-authenticate"] == 'Bearer realm="x"'


@pytest.mark.parametrize("status", sorted(TABLE))
def test_empty_failure_gets_the_text_of_the_table(status: int) -> None:
    """A failure about which nobody said anything is described by the convention."""
    app = Starlette(routes=[Route("/", serve(Response(status_code=status)))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == status
    assert response.json() == failure(status, TABLE[status])
    assert response.headers["content-type"] == "application/json"


def test_empty_failure_outside_the_table_gets_its_reason_phrase() -> None:
    """Case 63: a status outside the table has the same shape and its registered reason phrase."""
    app = Starlette(routes=[Route("/", serve(Response(status_code=428)))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(428, "Precondition Required")


def test_empty_detail_gets_the_text_of_the_table() -> None:
    """An empty text says as little as no text."""
    app = Starlette(routes=[Route("/", throw(HTTPException(409, "")))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(409, TABLE[409])


@pytest.mark.parametrize("status", [204, 304])
def test_exception_without_body_stays_without_body_if_statuses_are_kept(status: int) -> None:
    """Case 42: HTTPException(204) and HTTPException(304) have no body."""
    app = Starlette(routes=[Route("/", throw(HTTPException(status, headers={"ETag": '"1"'})))])
    install(app, success_status="keep")

    done = exchange(app)

    assert done.status == status
    assert done.body == b""
    assert (b"etag", b'"1"') in done.headers
    assert done.raised is None


def test_not_modified_stays_without_body() -> None:
    """Case 42: a 304 is no success and no failure, whatever successes are sent as."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(304)

    response = client_of(app).get("/")

    assert response.status_code == 304
    assert response.content == b""


def test_no_content_exception_is_a_success_without_content() -> None:
    """A 204 is sent as 200 with null, also when it was raised."""
    app = Starlette(routes=[Route("/", throw(HTTPException(204)))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 200
    assert response.json() == success(None)


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_redirect_exception_is_left_to_the_framework(framework: type[Starlette]) -> None:
    """An HTTPException below 400 is no failure: Location is its message."""
    app = framework(routes=[Route("/", throw(HTTPException(303, headers={"Location": "/there"})))])
    bare = framework(routes=[Route("/", throw(HTTPException(303, headers={"Location": "/there"})))])
    install(app)

    response, expected = client_of(app).get("/"), client_of(bare).get("/")

    assert response.status_code == 303
    assert response.headers["location"] == "/there"
    assert response.content == expected.content


@pytest.mark.parametrize("status", [412, 421, 425, 426, 428, 431, 451, 407, 416, 507])
def test_rare_status_is_kept(status: int) -> None:
    """Case 63: conditional, retry and legal statuses keep their number and their words."""
    app = Starlette(routes=[Route("/", throw(HTTPException(status, "words", headers={"Upgrade": "h2c"})))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == status
    assert response.json() == failure(status, "words")
    assert response.headers["upgrade"] == "h2c"


@pytest.mark.parametrize("status", [419, 499, 520, 599])
def test_unregistered_status_does_not_crash(status: int) -> None:
    """Case 63: a status that HTTPStatus does not know is answered like any other."""
    app = Starlette(
        routes=[
            Route("/raised", throw(HTTPException(status, "words"))),
            Route("/listed", throw(HTTPException(status, ["one"]))),  # type: ignore[arg-type]
            Route("/ours", throw(ApiError(status_code=status))),
            Route("/empty", serve(Response(status_code=status))),
        ]
    )
    install(app)
    client = client_of(app)

    raised, listed, ours, empty = (client.get(path) for path in ("/raised", "/listed", "/ours", "/empty"))

    assert raised.json() == failure(status, "words")
    assert listed.json()["message"]["message"] == ["one"]
    assert listed.json()["message"]["error_code"]
    for response in (ours, empty):
        assert response.status_code == response.json()["code"] == status
        assert isinstance(response.json()["message"], str)
        assert response.json()["message"]


@pytest.mark.parametrize(
    "exc",
    [
        HTTPException(423, "busy", headers={"X-One": "1"}),
        fastapi.HTTPException(409, {"a": [1]}),
        ConflictError("no", headers={"X-One": "1"}),
        NotFoundError(),
    ],
    ids=["starlette", "fastapi", "ours", "ours-default"],
)
def test_reused_exception_is_not_changed(exc: Exception) -> None:
    """Case 64: an exception that lives at module level gives the same answer every time."""
    app = Starlette(routes=[Route("/", throw(exc))])
    install(app)
    before, args = dict(vars(exc)), exc.args
    headers_before = dict(getattr(exc, "headers", None) or {})
    client = client_of(app)

    first, second = client.get("/"), client.get("/")

    assert first.content == second.content
    assert first.headers == second.headers
    assert (vars(exc), exc.args) == (before, args)
    assert dict(getattr(exc, "headers", None) or {}) == headers_before


# What details can hold


def test_not_a_number_in_a_detail_is_valid_json() -> None:
    """JSON has no NaN and no Infinity; a detail with them keeps its status."""
    detail = {"nan": float("nan"), "inf": float("inf"), "list": [float("-inf")], "one": 1.5}
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, detail)

    response = client_of(app).get("/")
    body = strict_json(response.content)

    assert response.status_code == body["code"] == 409
    assert body["message"]["one"] == 1.5
    assert set(body["message"]) == set(detail)


@pytest.mark.parametrize(
    "detail", ["a\ud800b", {"k\udfff": "v\ud800"}, ["\udc80", "fine"]], ids=["text", "dict", "list"]
)
def test_lone_surrogate_in_a_detail_is_valid_json(detail: object) -> None:
    """A lone surrogate cannot be UTF-8, but its JSON escape is valid."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, detail)

    response = client_of(app).get("/")

    assert response.status_code == strict_json(response.content)["code"] == 409


def test_surrogate_and_nan_together_are_valid_json() -> None:
    """What one encoder refuses and what the other one refuses can stand in the same detail."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, {"text": "\ud800", "number": float("nan")})

    response = client_of(app).get("/")

    assert response.status_code == strict_json(response.content)["code"] == 409
    assert strict_json(response.content)["message"]["text"] == "\ud800"


class _Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class _Point:
    x: int


class _Model(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC), "2024-05-01T12:00:00Z"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (decimal.Decimal("1.10"), "1.10"),
        (_Colour.RED, "red"),
        (_Point(3), {"x": 3}),
        (_Model(name="n"), {"name": "n"}),
        ((1, 2), [1, 2]),
        (b"bytes", "bytes"),
        (10**30, 10**30),
    ],
    ids=lambda value: type(value).__name__,
)
def test_python_value_in_a_detail_is_rendered(value: object, expected: object) -> None:
    """Case 41: details hold what services have at hand, not only what json.dumps knows."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, {"value": value})

    response = client_of(app).get("/")

    assert response.status_code == 409
    assert response.json() == failure(409, {"value": expected})


def _circular() -> dict[str, object]:
    circle: dict[str, object] = {}
    circle["self"] = circle
    return circle


@pytest.mark.parametrize(
    "detail",
    [_circular(), {("tuple",): 1}, {"deep": object()}, {1: "int key"}],
    ids=["circle", "key", "object", "int"],
)
def test_detail_that_cannot_be_rendered_is_still_answered(
    detail: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Case 59: a detail that JSON cannot hold gives an envelope, never a broken response or a recursion."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, detail)

    response = client_of(app).get("/")
    body = strict_json(response.content)

    assert body["status"] == "failure"
    assert body["code"] == response.status_code
    assert response.status_code == 409 or (body == CRASH and caplog.records)


# Request validation


@pytest.mark.parametrize(
    "target", ["/items/x", "/items/1?limit=many", "/items/1?limit=-1", "/items/1?limit=1&limit=x"], ids=str
)
def test_invalid_parameter_is_invalid_input(target: str) -> None:
    """Case 43: FastAPI's 422 is the convention's 400, with a list of texts."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/items/{item_id}")
    async def item(item_id: int, limit: int = fastapi.Query(10, ge=0)) -> int:
        return item_id

    response = client_of(app).get(target)

    assert response.status_code == 400
    _assert_invalid_input(response.json())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"name": 1}',
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b'{"size": -Infinity, "name": "x"}',
        b'{"size": NaN, "name": "x"}',
        b'{"name": ["\\ud800"]}',
        b'{"\\ud800": 1}',
    ],
    ids=repr,
)
def test_invalid_body_is_invalid_input(body: bytes) -> None:
    """Case 43: whatever is wrong with a body, the answer is a list of texts in valid JSON."""
    app = fastapi.FastAPI()
    install(app)

    class Item(BaseModel):
        name: str
        size: int = 1

    @app.post("/")
    async def create(item: Item) -> str:
        return item.name

    response = client_of(app).post("/", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 400
    _assert_invalid_input(strict_json(response.content))


def test_body_that_is_no_text_is_a_400() -> None:
    """Case 43: FastAPI answers bytes that are no UTF-8 with an HTTPException of its own."""
    app = fastapi.FastAPI()
    install(app)

    @app.post("/")
    async def create(item: dict[str, int]) -> int:
        return len(item)

    response = client_of(app).post("/", content=b'\xff\xfe{"a": 1}', headers={"Content-Type": "application/json"})

    assert response.status_code == 400
    assert response.json()["code"] == 400
    assert response.json()["message"]


def _assert_invalid_input(body: dict[str, object]) -> None:
    assert set(body) == {"code", "message", "status"}
    assert (body["code"], body["status"]) == (400, "failure")
    message = body["message"]
    assert isinstance(message, dict)
    assert set(message) == {"error_code", "message"}
    assert message["error_code"] == "invalid_input"
    assert message["message"]
    assert all(isinstance(text, str) for text in message["message"])


def test_plain_422_stays_a_422() -> None:
    """Case 43: only a list of FastAPI's problems is a validation failure; a service's own 422 keeps its number."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(422, "cannot be processed")

    response = client_of(app).get("/")

    assert response.status_code == 422
    assert response.json() == failure(422, "cannot be processed")


def test_returned_problem_list_is_invalid_input() -> None:
    """Case 43: a 422 with FastAPI's list of problems is the same failure when it comes as a response."""
    problems = [{"type": "missing", "loc": ["query", "offset"], "msg": "Field required", "input": None}]
    app = Starlette(routes=[Route("/", serve(JSONResponse({"detail": problems}, 422)))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 400
    _assert_invalid_input(response.json())


# Failures that are returned


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": "why"}, "why"),
        ({"detail": {"a": 1}}, {"a": 1}),
        ({"detail": ["x"]}, {"error_code": "conflict", "message": ["x"]}),
        ({"error": "why"}, {"error": "why"}),
        ({"detail": "why", "hint": "how"}, {"detail": "why", "hint": "how"}),
        ({}, {}),
        ("text", "text"),
    ],
    ids=repr,
)
def test_returned_json_failure_is_converted(body: object, message: object) -> None:
    """FastAPI's own form is taken by rule, all other JSON is kept whole."""
    app = Starlette(routes=[Route("/", serve(JSONResponse(body, 409)))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 409
    assert response.json() == failure(409, message)


@pytest.mark.parametrize(
    "body", ["[1, 2]", "7", "true", "null", "1.50", "[]", '["x"]', '{"detail": null}', '{"detail": 7}']
)
def test_returned_odd_json_failure_is_a_failure(body: str) -> None:
    """Any JSON is a failure with its code; what a list, a number or null says is not lost."""
    app = Starlette(routes=[Route("/", serve(Response(body, 409, media_type="application/json")))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 409
    assert (response.json()["code"], response.json()["status"]) == (409, "failure")
    assert "message" in response.json()


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8",
        "application/problem+json",
        "Application/JSON",
        "application/json;charset=UTF-8",
    ],
)
def test_returned_json_failure_is_recognised_by_its_type(media_type: str) -> None:
    """JSON and problem documents are failures that can be said in the convention."""
    problem = {"type": "about:blank", "title": "Conflict", "status": 409}
    app = Starlette(routes=[Route("/", serve(Response(json.dumps(problem), 409, {"Content-Type": media_type})))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(409, problem)
    assert response.headers["content-type"] == "application/json"


def test_returned_text_failure_is_converted() -> None:
    """A plain text is the message."""
    app = Starlette(routes=[Route("/", serve(PlainTextResponse("no such thing", 404)))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(404, "no such thing")
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain; charset=iso-8859-1", "déjà".encode("latin-1")),
        ("text/plain", "déjà".encode()),
        ("text/plain; charset=nonsense", b"abc"),
    ],
)
def test_returned_text_failure_is_read_in_its_charset(content_type: str, body: bytes) -> None:
    """A text arrives as the letters that were meant, also if the charset is not UTF-8 or unknown."""
    app = Starlette(routes=[Route("/", serve(Response(body, 404, {"Content-Type": content_type})))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 404
    assert strict_json(response.content)["message"] in {"déjà", "abc"}


def test_returned_text_failure_that_is_not_text_is_valid_json() -> None:
    """Bytes that are no UTF-8 never make an invalid envelope."""
    app = Starlette(routes=[Route("/", serve(Response(b"\xff\xfe\x80", 404, media_type="text/plain")))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 404
    if response.headers["content-type"] == "application/json":
        assert strict_json(response.content)["code"] == 404


@pytest.mark.parametrize("size", [0, 1, 4095, 4096])
def test_text_failure_up_to_4_kb_is_converted(size: int) -> None:
    """Case 48: a short text is a message."""
    app = Starlette(routes=[Route("/", serve(PlainTextResponse("x" * size, 418)))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(418, "x" * size or "I'm a Teapot")


@pytest.mark.parametrize("chunk", [4097, 50])
def test_text_failure_above_4_kb_passes(chunk: int) -> None:
    """Case 76: a long text is a document; it passes whole, in whatever pieces it comes."""
    text = "x" * 4097

    async def endpoint(request: object) -> Response:
        pieces = (text[i : i + chunk] for i in range(0, len(text), chunk))
        return StreamingResponse(pieces, 418, media_type="text/plain")

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 418
    assert response.text == text
    assert response.headers["content-type"].startswith("text/plain")


def test_json_failure_of_64_kb_is_converted() -> None:
    """A failure may carry a long list of problems."""
    body = json.dumps({"detail": "x" * (65536 - len('{"detail": ""}'))})
    app = Starlette(routes=[Route("/", serve(Response(body, 409, media_type="application/json")))])
    install(app)

    response = client_of(app).get("/")

    assert len(body) == 65536
    assert response.json()["status"] == "failure"


@pytest.mark.parametrize("chunk", [65537, 1000])
def test_json_failure_above_64_kb_passes(chunk: int) -> None:
    """Case 76: nobody's failure makes us buffer without end; a larger one passes as it is."""
    body = json.dumps({"detail": "x" * 65536})

    async def endpoint(request: object) -> Response:
        pieces = (body[i : i + chunk] for i in range(0, len(body), chunk))
        return StreamingResponse(pieces, 409, media_type="application/json")

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 409
    assert response.text == body


def test_chunked_json_failure_is_converted() -> None:
    """A failure that comes in pieces is one failure with one length."""
    app = Starlette(
        routes=[
            Route(
                "/",
                serve(
                    StreamingResponse(
                        iter([b'{"det', b"", b'ail": "x"', b"}"]), 409, media_type="application/json"
                    )
                ),
            )
        ]
    )
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(409, "x")
    assert done.is_complete
    assert [value for name, value in done.headers if name == b"content-length"] == [str(len(done.body)).encode()]


@pytest.mark.parametrize(
    "response",
    [
        HTMLResponse("<h1>gone</h1>", 404),
        Response("a,b", 409, media_type="text/csv"),
        Response(b"\x00\x01", 500, media_type="application/octet-stream"),
        Response("<x/>", 400, media_type="application/xml"),
        Response("{}", 400, media_type="application/vnd.api+json"),
    ],
    ids=lambda response: response.media_type,
)
def test_failure_for_other_readers_passes(response: Response) -> None:
    """A page, a table, bytes and documents of other specifications pass untouched."""
    app = Starlette(routes=[Route("/", serve(response))])
    install(app)

    got = client_of(app).get("/")

    assert got.status_code == response.status_code
    assert got.content == response.body
    assert got.headers["content-type"] == response.headers["content-type"]


def test_compressed_failure_passes() -> None:
    """Case 21: nobody can read into bytes that are compressed already."""
    app = Starlette(
        routes=[
            Route(
                "/",
                serve(Response(b"\x1f\x8b??", 409, {"Content-Encoding": "x-own"}, media_type="application/json")),
            )
        ]
    )
    install(app)

    done = exchange(app)

    assert done.status == 409
    assert done.body == b"\x1f\x8b??"


def test_failure_that_is_ours_already_passes() -> None:
    """Case 73: a body that is this convention's failure for this very status is left byte for byte."""
    body = b'{ "status":"failure", "code": 409,   "message": "spaced out"}'
    app = Starlette(
        routes=[Route("/", serve(Response(body, 409, {"ETag": '"1"'}, media_type="application/json")))]
    )
    install(app)

    response = client_of(app).get("/")

    assert response.content == body
    assert response.headers["etag"] == '"1"'


def test_failure_with_another_code_is_converted() -> None:
    """The code always equals the status; a body that says something else is only a message."""
    body = {"status": "failure", "code": 400, "message": "from upstream"}
    app = Starlette(routes=[Route("/", serve(JSONResponse(body, 502)))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(502, body)


def test_returned_422_is_kept_if_it_is_not_a_problem_list() -> None:
    """A service's own 422 keeps its number and its words."""
    app = Starlette(routes=[Route("/", serve(JSONResponse({"detail": "too odd"}, 422)))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 422
    assert response.json() == failure(422, "too odd")


def test_status_of_an_enumeration_is_a_number() -> None:
    """http.HTTPStatus is what many services write."""
    app = Starlette(
        routes=[
            Route("/http", throw(HTTPException(http.HTTPStatus.CONFLICT, "no"))),
            Route("/ours", throw(ApiError("no", status_code=http.HTTPStatus.CONFLICT))),
            Route("/response", serve(JSONResponse({"detail": "no"}, http.HTTPStatus.CONFLICT))),
        ]
    )
    install(app)
    client = client_of(app)

    assert [client.get(path).json() for path in ("/http", "/ours", "/response")] == [failure(409, "no")] * 3


def test_subclass_of_http_exception_is_answered() -> None:
    """Case 41: libraries subclass HTTPException with attributes of their own."""

    class Teapot(fastapi.HTTPException):
        def __init__(self, size: int) -> None:
            super().__init__(418, {"size": size})
            self.size = size

    app = fastapi.FastAPI(routes=[Route("/", throw(Teapot(3)))])
    install(app)

    assert client_of(app).get("/").json() == failure(418, {"size": 3})


def test_message_with_markup_and_other_letters_is_kept() -> None:
    """A message is a text: quotes, markup, percent signs and every alphabet arrive as they were written."""
    text = 'q"uote \\ <b>&amp;</b> 100%s %d {0} \u2028 漢字 🎉 \x00\n'
    app = Starlette(routes=[Route("/", throw(ConflictError(text)))])
    install(app)

    assert strict_json(exchange(app).body) == failure(409, text)


@pytest.mark.parametrize(
    "body", ['{"a": 1.10, "b": 12345678901234567890123, "a2": 1e2}', '{"b":1,"a":2}'], ids=str
)
def test_returned_json_is_kept_to_the_letter(body: str) -> None:
    """JSON that is kept whole is not rendered again: numbers and the order of keys stay."""
    app = Starlette(routes=[Route("/", serve(Response(body, 409, media_type="application/json")))])
    install(app)

    assert body.encode() in exchange(app).body


@pytest.mark.parametrize("body", [b"{not json", b'{"a": NaN}', b"\xff", b"[" * 5000, b'{"a":1}{"b":2}'], ids=len)
def test_failure_that_only_says_it_is_json_is_never_invalid_json(body: bytes) -> None:
    """Case 27: no splicing of what is not JSON."""
    app = Starlette(routes=[Route("/", serve(Response(body, 502, media_type="application/json")))])
    install(app)

    done = exchange(app)

    assert done.status == 502
    assert done.body == body or strict_json(done.body)["code"] == 502


@pytest.mark.parametrize("detail", [0, 7, 1.5, True, False], ids=repr)
def test_scalar_detail_is_not_lost(detail: object) -> None:
    """Case 41: nothing is ever lost."""
    app = fastapi.FastAPI(routes=[Route("/", throw(fastapi.HTTPException(409, detail)))])
    install(app)

    message = client_of(app).get("/").json()["message"]

    assert message in (detail, json.dumps(detail))


def test_empty_mapping_and_empty_list_are_not_lost() -> None:
    """Case 41: an empty structure is a structure."""
    app = fastapi.FastAPI(
        routes=[
            Route("/map", throw(fastapi.HTTPException(409, {}))),
            Route("/list", throw(fastapi.HTTPException(409, []))),
        ]
    )
    install(app)
    client = client_of(app)

    assert client.get("/map").json() == failure(409, {})
    assert client.get("/list").json() == failure(409, {"error_code": "conflict", "message": []})


@pytest.mark.parametrize("status", [100, 199, 600, 999])
def test_http_exception_outside_all_classes_is_one_response(status: int) -> None:
    """Case 63: nonsense is left to the framework, and nothing breaks."""
    app = Starlette(routes=[Route("/", throw(HTTPException(status, "odd")))])
    install(app)

    done = exchange(app)

    assert done.types().count("http.response.start") == 1
    assert done.status == status
    assert done.raised is None


# Headers


def test_headers_survive_conversion() -> None:
    """Case 30: protocol headers, cookies and the service's own headers stay, in order and number."""
    response = PlainTextResponse("no", 401)
    kept = [
        (b"www-authenticate", b"Basic"),
        (b"www-authenticate", b'Bearer realm="x"'),
        (b"set-cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2"),
        (b"link", b'<https://x/>; rel="help"'),
        (b"vary", b"Origin"),
        (b"x-request-id", b"42"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", b"*"),
        (b"deprecation", b"@1"),
    ]
    response.raw_headers.extend(kept)
    app = Starlette(routes=[Route("/", serve(response))])
    install(app)

    done = exchange(app)

    assert [pair for pair in done.headers if pair in kept] == kept


@pytest.mark.parametrize(
    "name",
    [
        "ETag",
        "Last-Modified",
        "Content-Disposition",
        "Content-Digest",
        "Repr-Digest",
        "Digest",
        "Content-MD5",
        "Content-Language",
    ],
)
def test_headers_of_the_replaced_body_are_dropped(name: str) -> None:
    """Case 30: what described the old bytes does not describe the new ones."""
    app = Starlette(routes=[Route("/", serve(PlainTextResponse("no", 404, {name: "old"})))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(404, "no")
    assert name not in response.headers


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [
        (405, "Allow", "GET"),
        (407, "Proxy-Authenticate", "Basic"),
        (413, "Retry-After", "120"),
        (416, "Content-Range", "bytes */100"),
        (426, "Upgrade", "HTTP/3"),
        (401, "WWW-Authenticate", "Basic"),
    ],
)
def test_protocol_header_survives(status: int, name: str, value: str) -> None:
    """Case 30: the header that a status is about is kept whether the failure is raised or returned."""
    app = Starlette(
        routes=[
            Route("/raised", throw(HTTPException(status, "no", headers={name: value}))),
            Route("/returned", serve(PlainTextResponse("no", status, {name: value}))),
            Route("/ours", throw(ApiError("no", status_code=status, headers={name: value}))),
        ]
    )
    install(app)
    client = client_of(app)

    for path in ("/raised", "/returned", "/ours"):
        response = client.get(path)
        assert response.json() == failure(status, "no")
        assert response.headers[name] == value


def test_head_failure_has_the_headers_of_get() -> None:
    """Case 6: HEAD gets the headers of the failure that GET would get, its length included."""
    app = Starlette(routes=[Route("/", throw(NotFoundError("no entity 42")))])
    install(app)
    client = client_of(app)

    head, get = client.head("/"), client.get("/")

    assert head.status_code == 404
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE"])
def test_failure_for_other_methods_is_one_response(method: str) -> None:
    """Case 62: a failure is one start and one end, whatever the method."""
    app = Starlette(routes=[Route("/", throw(NotFoundError()), methods=[method])])
    install(app)

    done = exchange(app, method=method)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert done.status == 404


# Our own errors


def test_own_error_says_its_message() -> None:
    """What a service raises is what the client reads."""
    app = Starlette(routes=[Route("/", throw(NotFoundError("no entity 42")))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(404, "no entity 42")


def test_own_error_with_code_is_structured() -> None:
    """An error code and the text stand together."""
    app = Starlette(
        routes=[Route("/", throw(ConflictError("Entity already exists", error_code="resource_conflict")))]
    )
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(409, {"error_code": "resource_conflict", "message": "Entity already exists"})


def test_own_error_of_the_convention_example() -> None:
    """The example of the convention, raised by hand."""
    problems = ["'offset' is a required property"]
    app = Starlette(routes=[Route("/", throw(BadRequestError(problems, error_code="invalid_input")))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(400, {"error_code": "invalid_input", "message": problems})


def test_own_error_of_a_domain_brings_its_attributes() -> None:
    """A subclass is a failure with the attributes of the service's domain."""

    class EntityFrozenError(ConflictError):
        error_code = "entity_frozen"
        headers = {"X-Frozen": "yes"}  # noqa: RUF012 - a class attribute is the documented way

    app = Starlette(routes=[Route("/", throw(EntityFrozenError()))])
    install(app)

    response = client_of(app).get("/")

    assert response.json() == failure(409, {"error_code": "entity_frozen", "message": TABLE[409]})
    assert response.headers["x-frozen"] == "yes"


def test_own_error_in_a_dependency_is_not_raised() -> None:
    """An ApiError is an answer, not a crash."""
    app = fastapi.FastAPI()
    install(app)

    def user() -> None:
        raise UnauthorizedError

    @app.get("/", dependencies=[fastapi.Depends(user)])
    async def root() -> str:
        return "never"

    done = exchange(app)

    assert strict_json(done.body) == failure(401, TABLE[401])
    assert done.raised is None


def test_own_error_caught_by_a_yield_dependency_is_seen_there() -> None:
    """Dependencies with yield see the exception before it becomes an answer."""
    seen: list[str] = []
    app = fastapi.FastAPI()
    install(app)

    async def transaction():
        try:
            yield
        except ConflictError as exc:
            seen.append(str(exc))
            raise

    @app.get("/", dependencies=[fastapi.Depends(transaction)])
    async def root() -> None:
        raise ConflictError("twice")

    response = client_of(app).get("/")

    assert response.json() == failure(409, "twice")
    assert seen == ["twice"]


def test_expected_failure_is_not_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Answers are not incidents."""
    app = Starlette(routes=[Route("/", throw(ConflictError("twice")))])
    install(app)

    client_of(app).get("/")

    assert not [
        record for record in caplog.records if record.levelno >= logging.WARNING and "envelope" in record.name
    ]


def test_failure_that_cannot_be_rendered_is_the_constant_500(caplog: pytest.LogCaptureFixture) -> None:
    """Case 59: a header that no wire can carry costs the client its answer, not its connection."""

    async def endpoint(request: object) -> Response:
        raise NotFoundError(headers={"x-price": "5 \u20ac"})

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == CRASH
    assert done.raised is None
    assert [record.name for record in caplog.records] == ["envelope.wire"]


@pytest.mark.parametrize("charset", ["idna", "undefined", "klingon"])
def test_text_in_a_charset_that_is_none_is_read_as_utf8(charset: str) -> None:
    """Case 48: a backend's label is no reason to crash."""
    app = Starlette(
        routes=[Route("/", serve(Response("nicht da", 404, media_type=f"text/plain; charset={charset}")))]
    )
    install(app)

    assert strict_json(exchange(app).body) == failure(404, "nicht da")


def test_infinity_as_a_detail_is_a_text() -> None:
    """Case 41: JSON has no such number."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> None:
        raise fastapi.HTTPException(409, float("inf"))

    assert strict_json(exchange(app).body) == failure(409, "Infinity")


def test_error_that_was_given_a_success_for_its_status_is_a_500() -> None:
    """Case 59: a failure never leaves with a status that is none."""
    error = NotFoundError()
    error.status_code = 200
    app = Starlette(routes=[Route("/", throw(error))])
    install(app)

    done = exchange(app)

    assert (done.status, strict_json(done.body)) == (500, CRASH)


@pytest.mark.parametrize("body", [b'{"a":' + b"9" * 5000 + b"}", b"[" * 100_000, b"\xff\xfeabc"])
def test_body_that_fastapi_cannot_parse_is_invalid_input(body: bytes) -> None:
    """Case 43: whatever is wrong with a body, the client gets a list of problems."""
    app = fastapi.FastAPI()
    install(app)

    @app.post("/")
    async def root(body: dict[str, int]) -> None: ...

    response = client_of(app).post("/", content=body, headers={"content-type": "application/json"})

    assert response.json() == failure(
        400, {"error_code": "invalid_input", "message": ["request body could not be parsed"]}
    )
