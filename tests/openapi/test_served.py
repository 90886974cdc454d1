"""The document beside the bytes: every kind of route is asked on a real server, and the answer held to what is served."""

import asyncio
import http.client
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import jsonschema
import pytest
from fastapi import APIRouter, Depends, FastAPI, File, Form, Header, HTTPException, Query, Request, UploadFile
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, ConfigDict, Field, computed_field
from starlette.middleware.gzip import GZipMiddleware

from envelope import (
    ApiError,
    BadRequestError,
    ConflictError,
    ErrorMap,
    ForbiddenError,
    NotFoundError,
    ObjectLocks,
    RateLimiter,
    ServiceUnavailableError,
    Shape,
    failures,
    install,
    raw_response,
)
from tests.openapi.reading import Document, check_document, resolved
from tests.wire.asgi import served

T = TypeVar("T")


class Colour(StrEnum):
    RED = "red"


class EntityOut(BaseModel):
    id: int
    name: str | None = None
    made_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    amount: Decimal = Decimal("1.50")
    colour: Colour = Colour.RED
    key: UUID = UUID(int=7)
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.5

    @computed_field
    def label(self) -> str:
        return f"entity {self.id}"


class EntityIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=2, max_length=5, pattern="^[a-z]+$")]
    tags: list[str] = []


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    inner_value: int = Field(serialization_alias="innerValue")


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int


class Node(BaseModel):
    value: int
    children: list["Node"] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Problem(BaseModel):
    type: str


class FrozenError(ConflictError):
    error_code = "entity_frozen"


class NoSuchEntityError(NotFoundError):
    error_code = "no_such_entity"


class DomainError(Exception):
    pass


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection to a served application, and the document that it serves."""

    def __init__(self, address: tuple[str, int], document_at: str = "/openapi.json", prefix: str = "") -> None:
        self._address = address
        self._prefix = prefix
        self.document: Document = json.loads(self.send("GET", document_at).body)
        check_document(self.document)

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, self._prefix + path, content, {**kind, **(headers or {})})
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    def ask(self, operation: str, at: str = "", body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request of an operation and hold the answer to what the document says of it."""
        method, template = operation.split(" ")
        answer = self.send(method, at or template, body, headers)
        declared = fitting(self.document["paths"][template][method.lower()]["responses"], answer.status)
        assert declared is not None, f"{operation} does not declare {answer}"
        hold(self.document, resolved(self.document, declared), answer, is_head=method == "HEAD")
        return answer


def fitting(responses: dict[str, Any], status: int) -> Any:
    """Give what is declared for a status: itself, its range, or the default."""
    for key in (str(status), f"{status // 100}XX", "default"):
        if key in responses:
            return responses[key]
    return None


def hold(document: Document, declared: Any, answer: Answer, *, is_head: bool = False) -> None:
    """Check media type, body and headers of an answer against a response object."""
    for name, given in declared.get("headers", {}).items():
        header = resolved(document, given)
        value = answer.headers.get(name.lower())
        assert value is not None or not header.get("required"), f"{name} is required and missing: {answer}"
        if value is not None:
            typed: Any = int(value) if header["schema"].get("type") == "integer" else value
            check(document, typed, header["schema"])
    content = declared.get("content")
    if is_head:
        assert answer.body == b""
        return
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if not content:
        # OpenAPI: without content nothing is said about the body; FastAPI says that of files.
        assert media_type != "application/json" or not answer.body
        return
    assert media_type in content, f"{media_type} is not among {list(content)}: {answer}"
    if media_type.endswith("json"):
        check(document, json.loads(answer.body), content[media_type].get("schema", {}))


def check(document: Document, value: Any, schema: Any) -> None:
    """Validate a value, references followed into the document."""
    jsonschema.Draft202012Validator({**schema, "components": document.get("components", {})}).validate(value)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Keep the server's report of a crash that the test wants out of the output."""
    with caplog.at_level(logging.CRITICAL + 1, logger="uvicorn.error"):
        yield


def broad_app(folder: Path, **options: Any) -> FastAPI:
    """Give an application with every kind of success that FastAPI knows."""
    (folder / "x.txt").write_text("0123456789")
    (folder / "x.json").write_text('{"a": 1}')
    app = FastAPI()
    install(app, exempt=["/hooks/*"], **options)
    entity = EntityOut(id=1)

    app.get("/model")(answering(entity, EntityOut))
    app.get("/list")(answering([entity], list[EntityOut]))
    app.get("/list/empty")(answering([], list[EntityOut]))
    app.get("/int")(answering(1, int))
    app.get("/str")(answering("x", str))
    app.get("/bool")(answering(False, bool))
    app.get("/float")(answering(1.5, float))
    app.get("/none")(answering(None, None))
    app.get("/strings")(answering(["a"], list[str]))
    app.get("/mapping")(answering({"a": 1}, dict[str, int]))
    app.get("/models")(answering({"a": entity}, dict[str, EntityOut]))
    app.get("/tuple")(answering((1, "a"), tuple[int, str]))
    app.get("/optional")(answering(None, EntityOut | None))
    app.get("/optional/there")(answering(entity, EntityOut | None))
    app.get("/union")(answering(Dog(), Cat | Dog))
    app.get("/discriminated")(answering(Dog(), Annotated[Cat | Dog, Field(discriminator="kind")]))
    app.get("/page")(answering(Page[EntityOut](items=[entity], total=1), Page[EntityOut]))
    app.get("/node")(answering(Node(value=1, children=[Node(value=2)]), Node))
    app.get("/aliased")(answering(Aliased(inner_value=1), Aliased))
    app.get("/literal")(answering("a", Literal["a", "b"]))
    app.get("/date")(answering(date(2026, 1, 1), date))
    app.get("/any")(lambda: {"any": [1, None]})
    app.get("/excluded", response_model=Page[int], response_model_exclude_none=True)(
        lambda: {"items": [], "total": 0}
    )
    app.post("/created", status_code=201)(answering(entity, EntityOut))
    app.post("/accepted", status_code=202)(answering({"job": "1"}, dict[str, str]))
    app.delete("/gone", status_code=204)(answering(None, None))
    app.post("/reset", status_code=205)(answering(None, None))

    @app.get("/response", response_model=EntityOut)
    def response() -> JSONResponse:
        return JSONResponse(entity.model_dump(mode="json"))

    @app.get("/empty", responses={204: {"description": "Nothing"}})
    def empty() -> Response:
        return Response(status_code=204)

    @app.put(
        "/either/{i}", responses={201: {"model": EntityOut, "description": "Made"}, 204: {"description": "Same"}}
    )
    def either(i: int, response: Response) -> Cat:
        if i == 204:
            return Response(status_code=204)  # type: ignore[return-value]
        if i == 201:
            return JSONResponse(entity.model_dump(mode="json"), 201)  # type: ignore[return-value]
        return Cat()

    @app.get("/lines")
    async def lines() -> AsyncIterator[Cat]:
        yield Cat()

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[Cat]:
        yield Cat()

    @app.get(
        "/file",
        response_class=FileResponse,
        responses={206: {"description": "Part", "content": {"text/plain": {}}}},
    )
    def file() -> FileResponse:
        return FileResponse(folder / "x.txt")

    @app.get("/file.json", response_class=FileResponse)
    def json_file() -> FileResponse:
        return FileResponse(folder / "x.txt", media_type="application/octet-stream")

    @app.get("/stream", response_class=StreamingResponse)
    def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]), media_type="text/csv")

    app.get("/html", response_class=HTMLResponse)(lambda: "<p>x</p>")
    app.get("/text", response_class=PlainTextResponse)(lambda: "x")
    app.get("/redirect", response_class=RedirectResponse)(lambda: "/int")
    app.get("/picture", response_class=Response, responses={200: {"content": {"image/png": {}}}})(
        lambda: Response(b"x", media_type="image/png")
    )

    @app.get("/jwks")
    @raw_response
    def jwks() -> dict[str, list[str]]:
        return {"keys": []}

    app.post("/hooks/a", status_code=202)(answering({"ok": 1}, dict[str, int]))
    app.head("/model")(lambda: None)
    app.options("/model")(answering(1, int))

    @app.get(
        "/shown", responses={200: {"headers": {"X-Total": {"required": True, "schema": {"type": "integer"}}}}}
    )
    def shown(response: Response) -> list[int]:
        response.headers["X-Total"] = "1"
        return [1]

    return app


def answering(value: Any, annotation: Any) -> Any:
    """Give an endpoint that returns a value, annotated."""

    async def endpoint():
        return value

    endpoint.__annotations__["return"] = annotation
    endpoint.__name__ = f"answer_{re.sub(r'[^a-z]+', '_', str(annotation).lower())}"
    return endpoint


SIMPLE = [
    *("GET /" + path for path in (
        "model list list/empty int str bool float none strings mapping models tuple optional optional/there union"
        " discriminated page node aliased literal date any excluded response empty lines events file file.json stream"
        " html text redirect picture jwks shown"
    ).split()),
    "POST /created", "POST /accepted", "DELETE /gone", "POST /reset", "POST /hooks/a", "HEAD /model", "OPTIONS /model",
]  # fmt: skip


@pytest.mark.parametrize("options", [
    {},
    {"success_status": "keep"},
    {"shape": Shape(content="data", failure="error")},
    {"rate_limiter": RateLimiter("10000/second")},
], ids=["plain", "keep", "shape", "limited"])  # fmt: skip
def test_every_success_is_what_the_document_says(tmp_path: Path, options: dict[str, Any]):
    """More than forty routes of all kinds, asked on a real server."""
    with served(broad_app(tmp_path, **options)) as address:
        client = Client(address)
        for operation in SIMPLE:
            answer = client.ask(operation)
            assert answer.status < 400, operation
        for i in (200, 201, 204):
            client.ask("PUT /either/{i}", f"/either/{i}")
        part = client.ask("GET /file", headers={"Range": "bytes=2-3"})

    assert (part.status, part.body) == (206, b"23")


def test_no_operation_of_the_broad_application_is_forgotten(tmp_path: Path):
    """The list above is all of the document."""
    document = broad_app(tmp_path).openapi()
    listed = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}

    assert listed == {*SIMPLE, "PUT /either/{i}"}


def test_success_through_gzip_is_what_the_document_says(tmp_path: Path):
    """A middleware of the user's own between us and the server."""
    app = broad_app(tmp_path)
    app.add_middleware(GZipMiddleware, minimum_size=100_000)

    with served(app) as address:
        client = Client(address)
        for operation in SIMPLE:
            client.ask(operation)


def failing_app(**options: Any) -> FastAPI:
    """Give an application that fails in every way."""
    locks = ObjectLocks()
    app = FastAPI()
    limiter = RateLimiter(routes={"GET /limited": ["1/day"]})
    install(app, locks=locks, rate_limiter=limiter, errors=ErrorMap({DomainError: ConflictError}), **options)
    bearer = HTTPBearer()

    @app.post(
        "/entities/{i}",
        responses=failures(FrozenError, NoSuchEntityError, ConflictError("Exists", error_code="exists")),
    )
    def make(
        i: Annotated[int, Field(gt=0)], entity: EntityIn, limit: Annotated[int, Query(le=10)] = 1
    ) -> EntityOut:
        raise {
            1: FrozenError(),
            2: NoSuchEntityError(),
            3: ConflictError("Exists", error_code="exists"),
            4: NotFoundError(),
            5: NotFoundError("no 5"),
            6: FrozenError(["one", "two"]),
            7: HTTPException(404),
            8: HTTPException(404, "no 8"),
        }[i]

    @app.get("/secret")
    def secret(credentials: Annotated[Any, Depends(bearer)]) -> str:
        raise ForbiddenError

    @app.get("/token")
    def token(credentials: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="t"))]) -> str:
        raise HTTPException(403, "no")

    @app.get("/crash")
    def crash() -> int:
        raise RuntimeError("secret")

    @app.get("/wrong-output")
    def wrong() -> int:
        return "x"  # type: ignore[return-value]

    app.get("/limited")(answering(1, int))

    @app.get("/limited-here", dependencies=[Depends(limiter.limit("1/day"))])
    def here() -> int:
        return 1

    @app.put("/locked/{i}")
    @locks.guarded("e:{i}")
    async def locked(i: int, inside: bool = False) -> int:
        async with asyncio.timeout(5):
            if not inside:
                entered.set()
                await release.wait()
        return i

    entered, release = asyncio.Event(), asyncio.Event()

    @app.get("/entered", include_in_schema=False)
    async def wait() -> int:
        async with asyncio.timeout(5):
            await entered.wait()
        return 1

    @app.get("/release", include_in_schema=False)
    async def let_go() -> int:
        release.set()
        return 1

    @app.post("/form")
    def form(name: Annotated[str, Form()], upload: UploadFile) -> str:
        return name

    @app.get("/header")
    def header(x_number: Annotated[int, Header()]) -> int:
        return x_number

    @app.get("/mapped", responses=failures(ConflictError))
    def mapped() -> int:
        raise DomainError

    @app.get("/maintenance", responses=failures(ServiceUnavailableError))
    def maintenance() -> int:
        raise ServiceUnavailableError

    @app.get("/gone", responses=failures(ApiError("gone", status_code=410, error_code="gone")))
    def gone() -> int:
        raise ApiError("gone", status_code=410, error_code="gone")

    @app.get("/described", responses={418: {"description": "Teapot"}})
    def described() -> int:
        raise HTTPException(418)

    @app.get("/range", responses={"4XX": {"description": "Something"}})
    def ranged() -> int:
        raise HTTPException(451)

    @app.get("/default", responses={"default": {"description": "Something"}})
    def default() -> int:
        raise HTTPException(507, "full")

    @app.get("/own", responses={409: {"model": Problem}})
    @raw_response
    def own() -> JSONResponse:
        return JSONResponse({"type": "x"}, 409)

    return app


FAILING: list[tuple[str, str, Any, dict[str, str], int]] = [
    ("POST /entities/{i}", "/entities/x", {"name": "abc"}, {}, 400),
    ("POST /entities/{i}", "/entities/0", {"name": "abc"}, {}, 400),
    ("POST /entities/{i}", "/entities/1", None, {}, 400),
    ("POST /entities/{i}", "/entities/1", b"{", {}, 400),
    ("POST /entities/{i}", "/entities/1", b"[1,", {"Content-Type": "text/plain"}, 400),
    ("POST /entities/{i}", "/entities/1", {"name": 1, "more": 2}, {}, 400),
    ("POST /entities/{i}", "/entities/1?limit=99", {"name": "a"}, {}, 400),
    ("POST /entities/{i}", "/entities/1", {"name": "abc"}, {}, 409),
    ("POST /entities/{i}", "/entities/2", {"name": "abc"}, {}, 404),
    ("POST /entities/{i}", "/entities/3", {"name": "abc"}, {}, 409),
    ("POST /entities/{i}", "/entities/4", {"name": "abc"}, {}, 404),
    ("POST /entities/{i}", "/entities/5", {"name": "abc"}, {}, 404),
    ("POST /entities/{i}", "/entities/6", {"name": "abc"}, {}, 409),
    ("POST /entities/{i}", "/entities/7", {"name": "abc"}, {}, 404),
    ("POST /entities/{i}", "/entities/8", {"name": "abc"}, {}, 404),
    ("GET /secret", "/secret", None, {}, 401),
    ("GET /secret", "/secret", None, {"Authorization": "Basic x"}, 401),
    ("GET /secret", "/secret", None, {"Authorization": "Bearer x"}, 403),
    ("GET /token", "/token", None, {}, 401),
    ("GET /token", "/token", None, {"Authorization": "Bearer x"}, 403),
    ("GET /crash", "/crash", None, {}, 500),
    ("GET /wrong-output", "/wrong-output", None, {}, 500),
    ("GET /limited", "/limited", None, {}, 200),
    ("GET /limited", "/limited", None, {}, 429),
    ("GET /limited-here", "/limited-here", None, {}, 200),
    ("GET /limited-here", "/limited-here", None, {}, 429),
    ("POST /form", "/form", b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
    ("POST /form", "/form", b"\xff", {"Content-Type": "multipart/form-data; boundary=x"}, 400),
    ("GET /header", "/header", None, {}, 400),
    ("GET /header", "/header", None, {"x-number": "x"}, 400),
    ("GET /mapped", "/mapped", None, {}, 409),
    ("GET /maintenance", "/maintenance", None, {}, 503),
    ("GET /gone", "/gone", None, {}, 410),
    ("GET /described", "/described", None, {}, 418),
    ("GET /range", "/range", None, {}, 451),
    ("GET /default", "/default", None, {}, 507),
    ("GET /own", "/own", None, {}, 409),
]


@pytest.mark.parametrize(
    "shape",
    [Shape(), Shape(content="data", failure="error", message="detail", code="number")],
    ids=["ours", "jsend"],
)
def test_every_failure_is_what_the_document_says(shape: Shape):
    """Each kind of failure, provoked on a real server, by status, media type, schema and headers."""
    with served(failing_app(shape=shape)) as address:
        client = Client(address)
        for operation, at, body, headers, status in FAILING:
            answer = client.ask(operation, at, body, headers)
            assert answer.status == status, (operation, at, answer)
            if status in (423, 429, 503):
                assert int(answer.headers["retry-after"]) >= 1
            if status == 401:
                assert answer.headers["www-authenticate"]


def test_locked_object_is_what_the_document_says():
    """A real 423, while another request holds the object."""
    from concurrent.futures import ThreadPoolExecutor

    with served(failing_app()) as address, ThreadPoolExecutor(1) as pool:
        client = Client(address)
        first = pool.submit(client.ask, "PUT /locked/{i}", "/locked/1")
        client.send("GET", "/entered")
        refused = client.ask("PUT /locked/{i}", "/locked/1?inside=1")
        client.send("GET", "/release")
        assert first.result(timeout=10).status == 200

    assert refused.status == 423
    assert int(refused.headers["retry-after"]) >= 1


def test_failure_with_a_mapping_is_what_the_document_says():
    """`HTTPException(detail={...})` is FastAPI's own documented way to say more; its body must fit what is served."""
    app = FastAPI()
    install(app)

    @app.get("/e/{i}")
    def get(i: int) -> int:
        raise HTTPException(404, {"reason": "moved", "to": 7}) if i else NotFoundError({"reason": "moved"})

    with served(app) as address:
        client = Client(address)
        for i in (0, 1):
            assert client.ask("GET /e/{i}", f"/e/{i}").status == 404


def test_failure_with_a_list_is_what_the_document_says():
    """`HTTPException(detail=[...])`, and a list of problems without a code."""
    app = FastAPI()
    install(app)

    @app.get("/e/{i}")
    def get(i: int) -> int:
        raise [
            NotFoundError(["one", "two"]),
            HTTPException(404, ["one", "two"]),
            HTTPException(404, [1, {"a": 2}]),
            HTTPException(404, 7),
        ][i]

    with served(app) as address:
        client = Client(address)
        for i in range(4):
            assert client.ask("GET /e/{i}", f"/e/{i}").status == 404


def test_bad_request_of_the_service_is_what_the_document_says():
    """A 400 that the service raises, with and without a code."""
    app = FastAPI()
    install(app)

    @app.get("/e/{i}")
    def get(i: int) -> int:
        raise [
            BadRequestError(),
            BadRequestError("no"),
            BadRequestError("no", error_code="nope"),
            BadRequestError(["a"]),
        ][i]

    with served(app) as address:
        client = Client(address)
        for i in (0, 1, 2, 3, "x"):
            assert client.ask("GET /e/{i}", f"/e/{i}").status == 400


def test_oversized_body_is_what_the_document_says():
    """FastAPI's own limit of the body answers 413; nobody declared it, so the document may be silent but not wrong."""
    app = FastAPI(max_body_size=10)
    install(app)

    @app.post("/e", responses={413: {"description": "Too large"}})
    def post(entity: EntityIn) -> int:
        return 1

    with served(app) as address:
        assert Client(address).ask("POST /e", body={"name": "abcde", "tags": ["x" * 50]}).status == 413


def test_mounted_application_is_what_its_document_says(tmp_path: Path):
    """Successes and failures of a sub-application, at its own document."""
    app = FastAPI()
    sub = FastAPI()
    router = APIRouter(prefix="/v1")

    @router.get("/e/{i}")
    def get(i: int) -> EntityOut:
        return EntityOut(id=i)

    @router.delete("/e/{i}", status_code=204)
    def delete(i: int) -> None: ...

    sub.include_router(router)
    install(app, rate_limiter=RateLimiter("1000/second"))
    app.mount("/sub", sub)

    with served(app) as address:
        client = Client(address, prefix="/sub")
        assert client.document["servers"] == [{"url": "/sub"}]
        assert client.ask("GET /v1/e/{i}", "/v1/e/1").status == 200
        assert client.ask("GET /v1/e/{i}", "/v1/e/x").status == 400
        assert client.ask("DELETE /v1/e/{i}", "/v1/e/1").status == 200


def test_paths_and_methods_that_nobody_declared_are_the_shared_responses():
    """404 and 405 of the router belong to no operation; the components say what they look like."""
    app = FastAPI()
    install(app)
    app.get("/e")(answering(1, int))

    with served(app) as address:
        client = Client(address)
        for method, path, status, name in (
            ("GET", "/nothing", 404, "NotFound"),
            ("PUT", "/e", 405, "MethodNotAllowed"),
        ):
            answer = client.send(method, path)
            assert answer.status == status
            hold(client.document, client.document["components"]["responses"][name], answer)


def test_examples_of_the_document_fit_their_schemas(tmp_path: Path):
    """Every example that the document shows is one that its own schema admits."""
    for app in (failing_app(), broad_app(tmp_path), failing_app(shape=Shape(code="number", status="state"))):
        document = app.openapi()
        found = 0
        for item in document["paths"].values():
            for operation in item.values():
                for response in operation["responses"].values():
                    for media in resolved(document, response).get("content", {}).values():
                        shown = [each["value"] for each in media.get("examples", {}).values()]
                        for example in [*shown, *([media["example"]] if "example" in media else [])]:
                            found += 1
                            check(document, example, media["schema"])
        assert found or "/entities/{i}" not in document["paths"]


def test_request_body_and_parameters_are_as_in_fastapi(tmp_path: Path):
    """What clients send is not touched."""
    app, bare = failing_app(), FastAPI()
    for route in app.routes:
        bare.router.routes.append(route)
    document, original = app.openapi(), bare.openapi()

    for path, item in original["paths"].items():
        for method, operation in item.items():
            ours = document["paths"][path][method]
            for key in set(operation) - {"responses"}:
                assert ours[key] == operation[key]


@pytest.mark.parametrize("upload", [Annotated[bytes, File()], UploadFile], ids=["bytes", "upload"])
def test_upload_is_what_the_document_says(upload: Any):
    """A form that arrives, and the request body's schema component as FastAPI names it."""
    app = FastAPI()
    install(app)

    @app.post("/e")
    def post(request: Request, file: upload) -> int:
        return 1

    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nabc\r\n--x--\r\n'
    with served(app) as address:
        client = Client(address)
        assert (
            client.ask("POST /e", body=body, headers={"Content-Type": "multipart/form-data; boundary=x"}).status
            == 200
        )
        assert (
            client.ask("POST /e", body=b"", headers={"Content-Type": "multipart/form-data; boundary=x"}).status
            == 400
        )
