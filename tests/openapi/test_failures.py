"""Failures that the document declares without anybody having said so."""
# endpoints that are only described have no body; FastAPI's way is to assign app.openapi.
# mypy: disable-error-code="empty-body, method-assign"

from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Security,
    UploadFile,
)
from fastapi.security import (
    APIKeyHeader,
    HTTPBearer,
    OAuth2PasswordBearer,
    SecurityScopes,
)
from pydantic import BaseModel

from envelope import install
from envelope.errors.tree import TABLE
from tests.openapi.reading import (
    NAMES,
    document_of,
    headers_of,
    is_shared,
    reference_of,
    resolved,
    response_of,
    responses_of,
    schema_of,
    statuses,
)


class EntityIn(BaseModel):
    name: str


class Problem(BaseModel):
    type: str


def installed(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    install(app)
    return app


# The table


@pytest.mark.parametrize("status", NAMES)
def test_each_failure_of_the_table_is_a_component(status: int):
    """The convention's table stands in the document, whether or not an operation refers to it."""
    app = installed()
    document = document_of(app)

    response = document["components"]["responses"][NAMES[status]]
    schema = resolved(document, response["content"]["application/json"]["schema"])

    assert response["description"] == str(TABLE[status].message)
    assert schema == document["components"]["schemas"][f"{NAMES[status]}Failure"]
    assert schema["properties"]["code"]["const"] == status
    assert schema["properties"]["status"]["const"] == "failure"
    assert sorted(schema["required"]) == ["code", "message", "status"]


def test_each_failure_of_the_table_is_a_component_of_an_empty_application():
    """An application without routes still has a valid document."""
    assert len(document_of(installed())["components"]["responses"]) == 10


def test_details_have_a_code_and_one_or_several_messages():
    """The object that `message` may be."""
    details = document_of(installed())["components"]["schemas"]["FailureDetails"]

    assert sorted(details["required"]) == ["error_code", "message"]
    assert details["properties"]["error_code"]["type"] == "string"
    assert details["properties"]["message"]["anyOf"] == [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
    ]


@pytest.mark.parametrize(
    ("status", "header"),
    [(423, "Retry-After"), (429, "Retry-After"), (503, "Retry-After"), (401, "WWW-Authenticate"), (405, "Allow")],
)
def test_failure_has_the_headers_that_the_wire_has(status: int, header: str):
    """Protocol headers are declared where they are sent."""
    document = document_of(installed())
    response = document["components"]["responses"][NAMES[status]]

    assert set(response["headers"]) == {header}


def test_retry_after_is_required_and_at_least_1():
    """The convention always sends it, in whole seconds."""
    document = document_of(installed())
    header = resolved(document, document["components"]["responses"]["Locked"]["headers"]["Retry-After"])

    assert header["required"] is True
    assert header["schema"] == {"type": "integer", "minimum": 1}


# 400


@pytest.mark.parametrize(
    "parameter",
    [
        Annotated[int, Path()],
        Annotated[int, Query()],
        Annotated[str, Header()],
        Annotated[str, Cookie()],
        Annotated[str, Form()],
        Annotated[bytes, File()],
        Annotated[EntityIn, Body()],
        UploadFile,
        EntityIn,
        Annotated[EntityIn, Query()],
    ],
    ids=str,
)
def test_400_stands_where_fastapi_has_422(parameter: Any):
    """Every operation that validates something can answer 400, and none 422."""
    app = installed()
    is_path = getattr(parameter, "__metadata__", (None,))[0].__class__ is Path().__class__

    @app.post("/e/{value}" if is_path else "/e")
    def post(value: parameter): ...

    document = document_of(app)
    operation = f"POST /e{'/{value}' * is_path}"

    assert is_shared(document, operation, 400)
    assert "422" not in statuses(document, operation)
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_400_stands_where_a_dependency_has_the_parameter():
    """Parameters of dependencies are parameters."""

    class Paging:
        def __init__(self, offset: int = 0) -> None: ...

    app = installed()

    @app.get("/e")
    def get(paging: Annotated[Paging, Depends()]): ...

    assert is_shared(document_of(app), "GET /e", 400)


def test_400_stands_where_a_router_depends_on_a_parameter():
    """Dependencies of routers are the routes' own."""

    def tenant(x_tenant: Annotated[str, Header()]) -> None: ...

    app = installed()
    router = APIRouter(dependencies=[Depends(tenant)])

    @router.get("/e")
    def get(): ...

    app.include_router(router, prefix="/v1")

    assert is_shared(document_of(app), "GET /v1/e", 400)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_400_is_not_there_without_anything_to_validate(method: str):
    """An operation without parameters and body has no 400."""
    app = installed()
    app.add_api_route("/e", lambda: 1, methods=[method])

    assert statuses(document_of(app), f"{method} /e") == {"200", "500"}


def test_400_stands_for_a_body_that_only_openapi_extra_names():
    """The body is declared, whoever reads it."""
    app = installed()

    @app.post(
        "/e", openapi_extra={"requestBody": {"content": {"application/x-yaml": {"schema": {"type": "object"}}}}}
    )
    async def post(request: Request): ...

    assert is_shared(document_of(app), "POST /e", 400)


def test_own_422_stays():
    """A 422 that the user declared is not FastAPI's."""
    app = installed()

    @app.post("/e", responses={422: {"model": Problem, "description": "Own"}})
    def post(entity: EntityIn): ...

    document = document_of(app)

    assert reference_of(document, "POST /e", 422) == "Problem"
    assert response_of(document, "POST /e", 422)["description"] == "Own"
    assert is_shared(document, "POST /e", 400)


def test_own_422_with_fastapis_schema_keeps_it():
    """Who refers to `HTTPValidationError` keeps it: the component must be there."""
    app = installed()
    mine = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}}}

    @app.post("/a")
    def a(entity: EntityIn): ...

    @app.post("/e", responses={418: mine})
    def post(entity: EntityIn): ...

    document = document_of(app)

    assert "HTTPValidationError" in document["components"]["schemas"]
    assert "ValidationError" in document["components"]["schemas"]
    assert "422" not in statuses(document, "POST /a")


@pytest.mark.parametrize("key", ["4XX", "default"])
def test_range_that_the_user_declared_stays(key: str):
    """FastAPI leaves its 422 out for a range; the range is kept as it is."""
    app = installed()

    @app.post("/e/{i}", responses={key: {"model": Problem}})
    def post(i: int, entity: EntityIn): ...

    assert reference_of(document_of(app), "POST /e/{i}", key) == "Problem"


# 401 and 403


@pytest.mark.parametrize(
    "scheme",
    [HTTPBearer(), APIKeyHeader(name="x-key"), OAuth2PasswordBearer(tokenUrl="/token")],
    ids=lambda scheme: type(scheme).__name__,
)
def test_401_and_403_stand_where_security_is(scheme: Any):
    """Who has to prove who they are can fail to."""
    app = installed()

    @app.get("/secret")
    def secret(credentials: Annotated[Any, Depends(scheme)]): ...

    @app.get("/open")
    def open_to_all(): ...

    document = document_of(app)

    assert is_shared(document, "GET /secret", 401)
    assert is_shared(document, "GET /secret", 403)
    assert headers_of(document, "GET /secret", 401) == {"WWW-Authenticate"}
    assert statuses(document, "GET /open") == {"200", "500"}


def test_401_stands_where_a_dependency_of_a_dependency_has_security():
    """Scopes and nested dependencies count."""
    oauth = OAuth2PasswordBearer(tokenUrl="token", scopes={"me": "Me"})

    def user(scopes: SecurityScopes, token: Annotated[str, Depends(oauth)]) -> str: ...

    app = installed()

    @app.get("/me")
    def me(user: Annotated[str, Security(user, scopes=["me"])]): ...

    document = document_of(app)

    assert {"401", "403"} <= statuses(document, "GET /me")
    assert document["paths"]["/me"]["get"]["security"] == [{"OAuth2PasswordBearer": ["me"]}]


@pytest.mark.parametrize("place", ["app", "router", "include"])
def test_401_stands_where_an_outer_place_has_security(place: str):
    """Security of the application, a router or its inclusion holds for the routes."""
    guard = [Depends(HTTPBearer())]
    app = installed(dependencies=guard if place == "app" else None)
    router = APIRouter(dependencies=guard if place == "router" else None)
    router.get("/e")(lambda: 1)
    app.include_router(router, dependencies=guard if place == "include" else None)

    assert {"401", "403"} <= statuses(document_of(app), "GET /e")


def test_401_stands_where_openapi_extra_has_security():
    """A gateway in front may do the checking; the operation's security says so."""
    app = installed()
    app.get("/e", openapi_extra={"security": [{"key": []}]})(lambda: 1)

    assert {"401", "403"} <= set(app.openapi()["paths"]["/e"]["get"]["responses"])


def test_401_does_not_stand_where_openapi_extra_takes_security_away():
    """An empty list means no security (OpenAPI 3.1, Operation Object)."""
    app = installed()
    app.get("/e", openapi_extra={"security": []})(lambda: 1)

    assert "401" not in statuses(document_of(app), "GET /e")


def test_401_stands_where_the_whole_document_has_security():
    """Security at the root holds for operations that say nothing; real projects set it in a custom `openapi`."""
    app = FastAPI()
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        document.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        return document

    app.openapi = openapi
    install(app)
    app.get("/e")(lambda: 1)
    app.get("/open", openapi_extra={"security": []})(lambda: 1)

    document = document_of(app)

    assert {"401", "403"} <= statuses(document, "GET /e")
    assert "401" not in statuses(document, "GET /open")


# 404 and the rest


@pytest.mark.parametrize("path", ["/e/{i}", "/e/{i:path}", "/{i}/e"])
def test_404_stands_where_the_path_has_a_parameter(path: str):
    """What is named in the path may not exist."""
    app = installed()

    @app.get(path)
    def get(i: str): ...

    document = document_of(app)
    (template,) = document["paths"]

    assert is_shared(document, f"GET {template}", 404)


def test_404_stands_where_the_prefix_has_the_parameter():
    """The prefix of an inclusion belongs to the path."""
    app = installed()
    router = APIRouter()

    @router.get("/e")
    def get(tenant: str): ...

    app.include_router(router, prefix="/{tenant}")

    assert is_shared(document_of(app), "GET /{tenant}/e", 404)


def test_405_and_409_are_declared_by_nobody():
    """A method that is declared is allowed, and conflicts are the service's own."""
    app = installed()

    @app.put("/e/{i}")
    def put(i: int, entity: EntityIn): ...

    assert not {"405", "409", "423", "429", "503"} & statuses(document_of(app), "PUT /e/{i}")


def test_500_stands_at_each_operation():
    """Everything can crash."""
    app = installed()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"):
        app.add_api_route(f"/{method.lower()}", lambda: 1, methods=[method], operation_id=method)

    document = document_of(app)

    for path, item in document["paths"].items():
        for method in item:
            assert is_shared(document, f"{method.upper()} {path}", 500)


# What the user declared


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_failure_with_a_model_stays(status: int):
    """A model is what the user says that comes."""
    app, bare = installed(), FastAPI()
    for each in (app, bare):

        @each.get("/e/{i}", responses={status: {"model": Problem}}, dependencies=[Depends(HTTPBearer())])
        def get(i: int): ...

    document = document_of(app)

    assert (
        responses_of(document, "GET /e/{i}")[str(status)]
        == responses_of(bare.openapi(), "GET /e/{i}")[str(status)]
    )


@pytest.mark.parametrize("media_type", ["application/json", "application/problem+json", "text/plain"])
def test_failure_with_content_stays(media_type: str):
    """Content of any kind is kept, without one of ours beside it."""
    app = installed()

    @app.get("/e/{i}", responses={404: {"content": {media_type: {"example": "x"}}}})
    def get(i: int): ...

    assert response_of(document_of(app), "GET /e/{i}", 404)["content"] == {media_type: {"example": "x"}}


@pytest.mark.parametrize(("status", "code"), [(404, 404), (409, 409), (418, 418), (410, 410), (502, 502)])
def test_failure_with_a_description_keeps_it_and_gets_the_body(status: int, code: int):
    """FastAPI's shortest form says why; the body is the convention's."""
    app = installed()

    @app.get("/e/{i}", responses={status: {"description": "No such entity"}})
    def get(i: int): ...

    document = document_of(app)
    response = response_of(document, "GET /e/{i}", status)
    schema = schema_of(document, "GET /e/{i}", status)

    assert response["description"] == "No such entity"
    assert schema["properties"]["status"]["const"] == "failure"
    assert schema["properties"]["code"] in (
        {"type": "integer", "const": code, "title": "Code"},
        {"type": "integer", "title": "Code"},
    )


def test_failure_with_a_description_gets_the_headers():
    """A 423 that only says why still carries Retry-After."""
    app = installed()

    @app.put("/e", responses={423: {"description": "Under review", "headers": {"X-Why": {"schema": {}}}}})
    def put(): ...

    assert headers_of(document_of(app), "PUT /e", 423) == {"Retry-After", "X-Why"}


@pytest.mark.parametrize("key", ["4XX", "5XX", "default"])
def test_range_with_a_description_gets_the_body(key: str):
    """A range says nothing about the code, but much about the shape."""
    app = installed()

    @app.get("/e", responses={key: {"description": "Something is wrong"}})
    def get(): ...

    document = document_of(app)
    schema = schema_of(document, "GET /e", key)

    assert response_of(document, "GET /e", key)["description"] == "Something is wrong"
    assert schema["properties"]["status"]["const"] == "failure" or key == "default"
    assert "const" not in schema["properties"]["code"]


def test_default_of_the_application_stays_beside_ours():
    """FastAPI(responses=) reaches every route."""
    app = installed(responses={404: {"description": "Gone fishing"}})

    @app.get("/e/{i}")
    def get(i: int): ...

    assert response_of(document_of(app), "GET /e/{i}", 404)["description"] == "Gone fishing"


def test_redirect_that_the_user_declared_stays():
    """3xx is neither success nor failure."""
    app = installed()

    @app.get("/e", responses={307: {"description": "Elsewhere", "headers": {"Location": {"schema": {}}}}})
    def get(): ...

    assert responses_of(document_of(app), "GET /e")["307"] == {
        "description": "Elsewhere",
        "headers": {"Location": {"schema": {}}},
    }


def test_users_own_response_object_is_left_alone():
    """The mappings that routes were given may be shared, and stay what they were."""
    shared: dict[int | str, dict[str, Any]] = {
        404: {"description": "No"},
        200: {"content": {"application/json": {"example": 1}}},
    }
    app = installed()

    @app.get("/a/{i}", responses=shared)
    def a(i: int): ...

    @app.get("/b/{i}", responses=shared)
    def b(i: int): ...

    document_of(app)

    assert shared == {404: {"description": "No"}, 200: {"content": {"application/json": {"example": 1}}}}


def test_response_by_reference_stays():
    """Some write `$ref` into `responses`, to components that their custom `openapi` adds."""
    app = FastAPI()
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        components = document.setdefault("components", {})
        components.setdefault("responses", {})["Gone"] = {"description": "Gone"}
        for item in document["paths"].values():
            for operation in item.values():
                operation["responses"]["410"] = {"$ref": "#/components/responses/Gone"}
        return document

    app.openapi = openapi
    install(app)
    app.get("/e")(lambda: 1)

    document = document_of(app)

    assert responses_of(document, "GET /e")["410"] == {"$ref": "#/components/responses/Gone"}
    assert document["components"]["responses"]["Gone"]["description"] == "Gone"


def test_users_component_with_the_name_of_ours_is_not_overwritten():
    """A custom document may have a response `NotFound` of its own."""
    app = FastAPI()
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        document.setdefault("components", {})["responses"] = {"NotFound": {"description": "Own"}}
        document["components"]["headers"] = {"Retry-After": {"description": "Own", "schema": {"type": "string"}}}
        for operation in document["paths"]["/own"].values():
            operation["responses"]["404"] = {"$ref": "#/components/responses/NotFound"}
        return document

    app.openapi = openapi
    install(app)
    app.get("/own")(lambda: 1)

    @app.get("/e/{i}")
    def get(i: int):
        raise HTTPException(404)

    document = document_of(app)

    assert response_of(document, "GET /own", 404)["description"] == "Own"
    assert response_of(document, "GET /e/{i}", 404)["description"] == str(TABLE[404].message)
    assert document["components"]["headers"]["Retry-After"]["description"] == "Own"
    locked = next(r for n, r in document["components"]["responses"].items() if n.startswith("Locked"))
    assert resolved(document, locked["headers"]["Retry-After"])["schema"]["type"] == "integer"
