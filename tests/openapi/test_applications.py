"""How applications are put together: routers, mounts, root paths, late routes, documents of the user's own."""
# endpoints that are only described have no body; FastAPI's way is to assign app.openapi.
# mypy: disable-error-code="empty-body, method-assign"

import copy
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from openapi_spec_validator import validate
from pydantic import BaseModel, computed_field
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Host, Mount, Route, Router

from envelope import ObjectLocks, RateLimiter, Shape, install, raw_response
from tests.openapi.reading import (
    content_of,
    document_of,
    is_shared,
    operations,
    reference_of,
    responses_of,
    statuses,
)
from tests.wire.apps import client_of


class EntityIn(BaseModel):
    name: str = "x"
    tags: list[str] = []

    @computed_field
    def length(self) -> int:
        return len(self.name)


class EntityOut(BaseModel):
    id: int


Document = dict[str, Any]


def with_route(app: FastAPI, path: str = "/e") -> FastAPI:
    """Give the application one route that takes a parameter and returns a model."""

    @app.get(path)
    def get(offset: int = 0) -> EntityOut:
        return EntityOut(id=offset)

    return app


def is_described(document: Document, operation: str = "GET /e") -> bool:
    """Tell whether the route is in its envelope once, with the convention's failures."""
    return (
        reference_of(document, operation) == "EntityOutEnvelope"
        and content_of(document, operation) == {"$ref": "#/components/schemas/EntityOut"}
        and is_shared(document, operation, 400)
        and is_shared(document, operation, 500)
        and "422" not in statuses(document, operation)
    )


def served_document(app: Any, path: str = "/openapi.json", **options: Any) -> Document:
    """Give the document as a client gets it from an application that has started."""
    with client_of(app, **options) as client:
        document: Document = client.get(path).json()
    validate(document)
    return document


# Routers


def test_router_that_is_included_twice_is_described_twice():
    """One router under two prefixes, nested."""
    app = FastAPI()
    install(app)
    inner, outer = APIRouter(), APIRouter()

    @inner.get("/e")
    def get(offset: int = 0) -> EntityOut: ...

    outer.include_router(inner, prefix="/inner")
    app.include_router(outer, prefix="/v1")
    app.include_router(outer, prefix="/v2")
    document = document_of(app)

    assert is_described(document, "GET /v1/inner/e")
    assert is_described(document, "GET /v2/inner/e")
    assert len(document["paths"]) == 2


def test_router_that_two_applications_include_is_described_in_each():
    """One is installed, the other is not."""
    router = APIRouter()

    @router.get("/e")
    def get(offset: int = 0) -> EntityOut: ...

    wrapped, bare = FastAPI(), FastAPI()
    install(wrapped)
    wrapped.include_router(router)
    bare.include_router(router)

    before = json.dumps(bare.openapi())
    assert is_described(document_of(wrapped))
    bare.openapi_schema = None
    assert json.dumps(bare.openapi()) == before
    assert "422" in before


def test_route_class_of_the_user_is_described():
    """A subclass of APIRoute is a route as well (wire case 72)."""

    class Own(APIRoute):
        def get_route_handler(self) -> Callable[..., Any]:
            return super().get_route_handler()

    app = FastAPI()
    install(app)
    router = APIRouter(route_class=Own)

    @router.get("/e")
    def get(offset: int = 0) -> EntityOut: ...

    app.include_router(router)

    assert is_described(document_of(app))


def test_starlette_routes_and_mounts_beside_are_not_in_the_document():
    """Only FastAPI's routes are; others do not disturb."""
    app = with_route(FastAPI())
    install(app)
    app.router.routes.append(Route("/plain", lambda request: JSONResponse(1)))
    app.mount("/x", Starlette(routes=[Route("/y", lambda request: JSONResponse(1))]))
    app.router.routes.append(Host("api.example.org", Router()))

    assert list(document_of(app)["paths"]) == ["/e"]


# Late


def test_late_route_is_described():
    """A route that comes after the first document is in the next."""
    app = with_route(FastAPI())
    install(app)
    assert is_described(document_of(app))

    with_route(app, "/late")
    document = document_of(app)

    assert is_described(document)
    assert is_described(document, "GET /late")


def test_late_route_of_a_started_application_is_described():
    """Also while it serves."""
    app = with_route(FastAPI())
    install(app)

    with client_of(app) as client:
        assert list(client.get("/openapi.json").json()["paths"]) == ["/e"]
        with_route(app, "/late")
        document = client.get("/openapi.json").json()

    assert is_described(document)
    assert is_described(document, "GET /late")


def test_late_route_of_an_included_router_is_as_in_fastapi():
    """What FastAPI lists is described."""
    app, bare, router, other = FastAPI(), FastAPI(), APIRouter(), APIRouter()
    install(app)
    app.include_router(router, prefix="/v1")
    bare.include_router(other, prefix="/v1")
    app.openapi(), bare.openapi()
    for each in (router, other):

        @each.get("/late")
        def get(offset: int = 0) -> EntityOut: ...

    document = document_of(app)

    assert list(document["paths"]) == list(bare.openapi()["paths"])
    assert all(is_described(document, operation) for operation, _ in operations(document))


@pytest.mark.parametrize("moment", ["before install", "after install"])
def test_mounted_application_is_described(moment: str):
    """A sub-application that was not installed speaks through ours, and says so."""
    sub = with_route(FastAPI())
    app = FastAPI()
    if moment == "before install":
        app.mount("/sub", sub)
    install(app)
    if moment == "after install":
        app.mount("/sub", sub)
    with client_of(app) as client:
        document = client.get("/sub/openapi.json").json()
        assert client.get("/sub/e").json() == {"status": "success", "content": {"id": 0}}

    assert is_described(document)
    assert document["servers"] == [{"url": "/sub"}]


def test_mounted_application_that_is_installed_is_described_once():
    """Two installs, one envelope."""
    sub = with_route(FastAPI())
    install(sub)
    app = FastAPI()
    install(app)
    app.mount("/sub", sub)

    with client_of(app) as client:
        document = client.get("/sub/openapi.json").json()
        assert client.get("/sub/e").json() == {"status": "success", "content": {"id": 0}}

    assert is_described(document)


def test_mounted_application_that_is_installed_otherwise_is_as_on_the_wire():
    """Its own shape is what it sends; its document must not be described by the outer one's."""
    sub = with_route(FastAPI())
    install(sub, shape=Shape(content="data"))
    app = FastAPI()
    install(app)
    app.mount("/sub", sub)

    with client_of(app) as client:
        wire = client.get("/sub/e").json()
        document = client.get("/sub/openapi.json").json()

    name = document["paths"]["/e"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert set(document["components"]["schemas"][name.rpartition("/")[2]]["properties"]) == set(wire)


def test_application_mounted_in_a_mounted_one_is_described():
    """Two levels down."""
    inmost, middle, app = with_route(FastAPI()), with_route(FastAPI()), FastAPI()
    install(app)
    middle.mount("/inmost", inmost)
    app.mount("/middle", middle)

    assert is_described(served_document(app, "/middle/inmost/openapi.json"))
    assert is_described(served_document(app, "/middle/openapi.json"))


def test_application_mounted_in_an_installed_starlette_is_described():
    """The outer application need not be FastAPI."""
    app = Starlette(routes=[Mount("/api", app=with_route(FastAPI()))])
    install(app)

    assert is_described(served_document(app, "/api/openapi.json"))


@pytest.mark.parametrize("kind", ["middleware", "nested", "host", "router", "wrapped"])
def test_application_behind_other_things_is_described(kind: str):
    """A mount with middleware, a mount in a mount, a host, a router, an application wrapped by hand."""
    sub = with_route(FastAPI())
    cors = Middleware(CORSMiddleware, allow_origins=["*"])
    place: Any = {
        "middleware": Mount("/api", app=sub, middleware=[cors]),
        "nested": Mount("/api", routes=[Mount("/", app=sub)]),
        "host": Host("testserver", app=Router([Mount("/api", app=sub)])),
        "router": Mount("/api", app=Router([Mount("/", app=sub)])),
        "wrapped": Mount("/api", app=CORSMiddleware(sub, allow_origins=["*"])),
    }[kind]
    app = Starlette(routes=[place])
    install(app)

    with client_of(app) as client:
        assert client.get("/api/e").json() == {"status": "success", "content": {"id": 0}}
        document = client.get("/api/openapi.json").json()

    assert is_described(document)


def test_application_mounted_in_an_included_router_is_described():
    """`router.mount` is not carried over by FastAPI's include; what is served decides."""
    sub = with_route(FastAPI())
    app = FastAPI(routes=[Mount("/api", app=sub)])
    install(app)

    assert is_described(served_document(app, "/api/openapi.json"))


def test_mounted_application_without_an_install_around_stays_bare():
    """A sub-application is described for the one that serves it, not for ever: tests may serve it alone."""
    sub = with_route(FastAPI())
    alone = json.dumps(sub.openapi())

    assert "Envelope" not in alone
    assert "HTTPValidationError" in alone


def test_application_in_two_installed_ones_is_described_once():
    """The same sub-application mounted in two places."""
    sub = with_route(FastAPI())
    app, other = FastAPI(), FastAPI()
    install(app)
    install(other)
    app.mount("/a", sub)
    app.mount("/b", sub)
    other.mount("/c", sub)

    for outer, path in ((app, "/a"), (app, "/b"), (other, "/c"), (app, "/a")):
        assert is_described(served_document(outer, f"{path}/openapi.json"))


def test_outer_document_does_not_list_the_mounted_operations():
    """FastAPI does not, and neither do we."""
    app = with_route(FastAPI())
    install(app)
    app.mount("/sub", with_route(FastAPI(), "/inner"))

    assert list(served_document(app)["paths"]) == ["/e"]


# Root path


def test_document_has_the_server_of_its_root_path():
    """A proxy's prefix is the server, the operations stay (wire case 74)."""
    app = with_route(FastAPI())
    install(app)

    one = served_document(app, root_path="/one")
    two = served_document(app, root_path="/two")
    none = served_document(app)

    assert one["servers"] == [{"url": "/one"}]
    assert two["servers"] == [{"url": "/two"}]
    assert "servers" not in none
    for document in (one, two, none):
        assert is_described(document)


def test_servers_and_tags_and_docs_of_the_user_stay():
    """Nothing else of the document is touched."""
    options: dict[str, Any] = {
        "title": "T",
        "version": "7",
        "summary": "S",
        "description": "D",
        "servers": [{"url": "https://a.example.org", "description": "A"}],
        "openapi_tags": [{"name": "x", "description": "X", "externalDocs": {"url": "https://x.example.org"}}],
        "contact": {"name": "C"},
        "license_info": {"name": "MIT", "identifier": "MIT"},
        "terms_of_service": "https://t.example.org",
        "openapi_external_docs": {"url": "https://d.example.org"},
    }
    app, bare = with_route(FastAPI(**options)), with_route(FastAPI(**options))
    install(app)

    document, original = document_of(app), bare.openapi()

    for key in original:
        if key not in ("paths", "components"):
            assert document[key] == original[key]
    assert set(document) - set(original) == {"x-envelope"}


# A document of the user's own


def described_by_hand(app: FastAPI) -> Document:
    document: Document = get_openapi(title="Own", version="9", routes=app.routes)
    document["info"]["x-logo"] = {"url": "https://example.org/logo.png"}
    return document


def cached(app: FastAPI) -> Callable[[], Document]:
    """FastAPI's own advice (How To, Extending OpenAPI)."""

    def custom_openapi() -> Document:
        if app.openapi_schema:
            return app.openapi_schema
        app.openapi_schema = described_by_hand(app)
        return app.openapi_schema

    return custom_openapi


def uncached(app: FastAPI) -> Callable[[], Document]:
    return lambda: described_by_hand(app)


def around(app: FastAPI) -> Callable[[], Document]:
    original = app.openapi

    def custom_openapi() -> Document:
        document = original()
        document["info"]["x-logo"] = {"url": "https://example.org/logo.png"}
        return document

    return custom_openapi


def copied(app: FastAPI) -> Callable[[], Document]:
    original = app.openapi

    def custom_openapi() -> Document:
        document = copy.deepcopy(original())
        document["info"]["x-logo"] = {"url": "https://example.org/logo.png"}
        return document

    return custom_openapi


def through_the_class(app: FastAPI) -> Callable[[], Document]:
    def custom_openapi() -> Document:
        document = FastAPI.openapi(app)
        document["info"]["x-logo"] = {"url": "https://example.org/logo.png"}
        return document

    return custom_openapi


def kept_outside(app: FastAPI) -> Callable[[], Document]:
    kept: list[Document] = []

    def custom_openapi() -> Document:
        if not kept:
            kept.append(described_by_hand(app))
        return kept[0]

    return custom_openapi


CUSTOM = [cached, uncached, around, copied, through_the_class, kept_outside]


@pytest.mark.parametrize("custom", CUSTOM, ids=lambda custom: custom.__name__)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_document_of_the_users_own_is_composed(custom: Callable[[FastAPI], Any], moment: str):
    """Wire case 74: composed with, not replaced; twice the same; also served."""
    app = with_route(FastAPI())
    if moment == "before":
        app.openapi = custom(app)
        install(app)
    else:
        install(app)
        app.openapi = custom(app)

    served = served_document(app)
    first, second = app.openapi(), app.openapi()

    assert is_described(served)
    assert first == second == served
    assert served["info"]["x-logo"] == {"url": "https://example.org/logo.png"}


@pytest.mark.parametrize("custom", CUSTOM, ids=lambda custom: custom.__name__)
def test_document_of_the_users_own_is_composed_after_a_first_document(custom: Callable[[FastAPI], Any]):
    """Something has asked for the document before the custom one was put in its place."""
    app = with_route(FastAPI())
    install(app)
    app.openapi()
    app.openapi = custom(app)

    assert is_described(served_document(app))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_method_of_a_subclass_is_composed(moment: str):
    """Some override `openapi` in a class."""

    class Own(FastAPI):
        def openapi(self) -> Document:
            document = super().openapi()
            document["info"]["x-logo"] = 1
            return document

    app = Own()
    if moment == "before":
        with_route(app)
    install(app)
    if moment == "after":
        with_route(app)

    document = document_of(app)

    assert is_described(document)
    assert document["info"]["x-logo"] == 1


def test_document_that_is_reset_is_made_again():
    """`app.openapi_schema = None` is how projects throw a document away."""
    app = with_route(FastAPI())
    install(app)
    first = json.dumps(app.openapi())
    app.openapi_schema = None

    assert json.dumps(app.openapi()) == first
    assert is_described(app.openapi())


def test_document_that_was_changed_by_the_user_stays_changed():
    """Some change what `app.openapi()` returned, once, at start-up."""
    app = with_route(FastAPI())
    install(app)
    document = app.openapi()
    document["info"]["x-own"] = 1
    document["paths"]["/e"]["get"]["responses"]["200"]["description"] = "Mine"

    served = served_document(app)

    assert served["info"]["x-own"] == 1
    assert responses_of(served, "GET /e")["200"]["description"] == "Mine"
    assert is_described(served)


def test_document_that_was_made_before_install_is_described():
    """FastAPI caches; a document that was asked for too early must not stay bare."""
    app = with_route(FastAPI())
    app.openapi()
    install(app)

    assert is_described(document_of(app))


def test_document_that_the_user_set_is_described():
    """`app.openapi_schema = {...}`: a document from a file."""
    app = with_route(FastAPI())
    app.openapi_schema = described_by_hand(app)
    install(app)

    document = served_document(app)

    assert is_described(document)


def test_document_is_cached():
    """The same object comes again, and stands where FastAPI keeps it."""
    app = with_route(FastAPI())
    install(app)

    document = app.openapi()

    assert app.openapi() is document
    assert app.openapi_schema is document


def test_custom_document_that_returns_something_new_each_time_is_current():
    """A function that does not cache decides when it changes."""
    app = with_route(FastAPI())
    count = iter(range(10))

    def openapi() -> Document:
        document: Document = described_by_hand(app)
        document["info"]["x-count"] = next(count)
        return document

    app.openapi = openapi
    install(app)

    counts = [app.openapi()["info"]["x-count"] for _ in range(3)]

    assert counts == sorted(set(counts))
    assert is_described(app.openapi())


def test_custom_document_that_drops_operations_is_described():
    """Some hide operations from the public document."""
    app = with_route(with_route(FastAPI()), "/internal")
    original = app.openapi

    def openapi() -> Document:
        document = copy.deepcopy(original())
        document["paths"].pop("/internal")
        return document

    app.openapi = openapi
    install(app)

    assert list(document_of(app)["paths"]) == ["/e"]


def test_custom_document_with_operations_that_no_route_stands_behind_leaves_them():
    """Paths that a proxy serves, written by hand, are not ours to describe."""
    app = with_route(FastAPI())
    theirs = {"get": {"responses": {"200": {"description": "x", "content": {"application/json": {"schema": {}}}}}}}

    def openapi() -> Document:
        document: Document = described_by_hand(app)
        document["paths"]["/elsewhere"] = copy.deepcopy(theirs)
        return document

    app.openapi = openapi
    install(app)

    document = document_of(app)

    assert document["paths"]["/elsewhere"] == theirs
    assert is_described(document)


def test_custom_document_with_a_prefix_before_each_path_is_valid():
    """Some write the proxy's prefix into the paths; whatever becomes of them, the document stays valid."""
    app = with_route(FastAPI())

    def openapi() -> Document:
        document: Document = described_by_hand(app)
        document["paths"] = {f"/api{path}": item for path, item in document["paths"].items()}
        return document

    app.openapi = openapi
    install(app)

    assert list(document_of(app)["paths"]) == ["/api/e"]


@pytest.mark.parametrize("version", ["3.0.2", "3.0.3", "3.1.0", "3.1.1"])
def test_document_of_another_version_is_valid(version: str):
    """`app.openapi_version = "3.0.2"` is FastAPI's own way out for old tools: no `const`, no type `null` there."""
    app = FastAPI()
    app.openapi_version = version
    install(app)

    @app.get("/e")
    def get() -> EntityOut: ...

    @app.delete("/e", status_code=204)
    def delete() -> None: ...

    assert document_of(app)["openapi"] == version


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"paths": {}},
        {"paths": {"/e": {}}},
        {"paths": {"/e": {"get": {}}}},
        {"paths": {"/e": {"get": {"responses": {}, "summary": "x", "parameters": []}}}},
    ],
    ids=str,
)
def test_custom_document_without_components_or_paths_is_survived(made: Document):
    """Hand-made documents leave things out."""
    app = with_route(FastAPI())

    def openapi() -> Document:
        return copy.deepcopy({"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, **made})

    app.openapi = openapi
    install(app)

    assert app.openapi()["openapi"] == "3.1.0"


def place_of(document: Document, steps: tuple[str, ...]) -> Document:
    """Give the object in which the last step leads somewhere."""
    place = document
    for step in steps[:-1]:
        place = place[step]
    assert steps[-1] in place
    return place


def without(document: Document, *steps: str) -> Document:
    """Put null in one place of a document."""
    place_of(document, steps)[steps[-1]] = None
    return document


def described(made: Document) -> Document:
    """Give the document of an installed application whose own is this one."""
    app = with_route(FastAPI())
    app.openapi = lambda: made
    install(app)
    return app.openapi()


def full_document() -> Document:
    """Make a document that has something in every place that is looked into."""
    media = {"schema": {"type": "integer"}, "examples": {"one": {"value": None}, "two": {"value": 2}}}
    response = {
        "description": "x",
        "content": {"application/json": media},
        "headers": {"X-A": {"schema": {"type": "string"}}},
        "links": {"l": {"operationId": "get"}},
    }
    operation = {
        "operationId": "get",
        "parameters": [{"name": "q", "in": "query", "schema": {"type": "string"}}],
        "requestBody": {"content": {}},
        "security": [{"key": []}],
        "responses": {"200": response, "201": copy.deepcopy(response), "409": {"description": "x"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "x", "version": "1"},
        "security": [],
        "paths": {"/e": {"parameters": [], "get": operation}},
        "components": {
            "schemas": {
                "HTTPValidationError": {"properties": {"detail": {}}},
                "ValidationError": {"properties": {"loc": {}, "msg": {}, "type": {}}},
            },
            "responses": {"Own": {"description": "x", "headers": {}}},
            "headers": {"Own": {"schema": {}}},
            "examples": {"own": {"value": None}},
            "parameters": {},
        },
    }


OPERATION = ("paths", "/e", "get")
RESPONSE = (*OPERATION, "responses", "200")

#: Null stays where nothing of ours stands.
NOT_OURS = (
    ("paths", "/e"),
    ("paths", "/e", "parameters"),
    OPERATION,
    ("components", "schemas", "HTTPValidationError", "properties"),
)


@pytest.mark.parametrize(
    "steps",
    [
        ("paths",),
        ("paths", "/e"),
        ("paths", "/e", "parameters"),
        OPERATION,
        *((*OPERATION, key) for key in ("operationId", "parameters", "requestBody", "security", "responses")),
        RESPONSE,
        (*OPERATION, "responses", "409"),
        *((*RESPONSE, key) for key in ("description", "content", "headers", "links")),
        (*RESPONSE, "headers", "X-A"),
        (*RESPONSE, "headers", "X-A", "schema"),
        (*RESPONSE, "content", "application/json"),
        *((*RESPONSE, "content", "application/json", key) for key in ("schema", "examples")),
        (*RESPONSE, "content", "application/json", "examples", "one"),
        ("security",),
        ("components",),
        *(("components", key) for key in ("schemas", "responses", "headers", "examples", "parameters")),
        ("components", "schemas", "HTTPValidationError"),
        ("components", "schemas", "HTTPValidationError", "properties"),
        ("components", "responses", "Own"),
        ("components", "responses", "Own", "headers"),
        ("components", "headers", "Own"),
    ],
    ids="/".join,
)
def test_custom_document_with_null_for_an_object_is_as_without_it(steps: tuple[str, ...]):
    """FastAPI serves null as it is, and whoever writes YAML leaves values out."""
    with_null = described(without(full_document(), *steps))
    left_out = without(full_document(), *steps)
    del place_of(left_out, steps)[steps[-1]]
    if steps in NOT_OURS:
        assert place_of(with_null, steps).pop(steps[-1]) is None

    assert with_null == described(left_out)


def test_custom_document_keeps_null_where_it_is_a_value():
    """Examples, extensions, schemas, and operations that are not described."""
    made = full_document()
    made["x-own"] = {"a": None}
    made["components"]["x-own"] = {"a": None}
    made["components"]["schemas"]["Own"] = {"default": None, "enum": [None]}
    operation = made["paths"]["/e"]["get"]
    operation["x-own"] = None
    operation["responses"]["409"]["content"] = {"application/json": {"example": None}}
    made["paths"]["/other"] = {"get": {"responses": None}}

    document = described(made)

    operation = document["paths"]["/e"]["get"]
    assert document["x-own"] == document["components"]["x-own"] == {"a": None}
    assert document["components"]["schemas"]["Own"] == {"default": None, "enum": [None]}
    assert document["components"]["examples"] == {"own": {"value": None}}
    assert operation["x-own"] is None
    assert operation["responses"]["409"]["content"] == {"application/json": {"example": None}}
    examples = operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert examples["one"] == {"value": {"status": "success", "content": None}}
    assert document["paths"]["/other"] == {"get": {"responses": None}}


def test_custom_document_with_dates_and_decimals_is_described():
    """YAML makes dates of what looks like them."""
    app = with_route(FastAPI())
    made = app.openapi()
    made["info"] |= {"x-since": dt.date(2026, 11, 23), "x-price": Decimal("1.50")}
    app.openapi = lambda: made
    install(app)

    document = served_document(app)

    assert is_described(document)
    assert document["info"]["x-since"] == "2026-11-23"
    assert document["info"]["x-price"] == "1.50"


@pytest.mark.parametrize(
    ("name", "escaped", "own"), [("a/b", "a~1b", "a_b"), ("a~b", "a~0b", "a_b"), ("~1", "~01", "_1")]
)
def test_custom_document_with_escaped_references_is_described(name: str, escaped: str, own: str):
    """JSON Pointer writes / as ~1 and ~ as ~0 (RFC 6901)."""

    def change(document: Document) -> None:
        responses = document["paths"]["/e"]["get"]["responses"]
        responses["200"]["content"]["application/json"]["schema"] = {"$ref": f"#/components/schemas/{escaped}"}
        document["components"]["schemas"][name] = {"type": "object"}
        document["components"]["responses"] = {name: responses["200"]}
        responses["200"] = {"$ref": f"#/components/responses/{escaped}"}

    document = hand_made(change).openapi()

    assert reference_of(document, "GET /e") == f"{own}Envelope"
    assert content_of(document, "GET /e") == {"$ref": f"#/components/schemas/{escaped}"}


# FastAPI's options


@pytest.mark.parametrize("separate", [True, False])
def test_separate_input_and_output_schemas(separate: bool):
    """A model that goes in and out has one component or two; the envelope refers to the one that comes out."""
    documents = []
    for is_installed in (True, False):
        app = FastAPI(separate_input_output_schemas=separate)
        if is_installed:
            install(app)

        @app.post("/e")
        def post(entity: EntityIn) -> EntityIn: ...

        documents.append(app.openapi())
    described, bare = documents
    validate(described)
    returned = bare["paths"]["/e"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]

    assert content_of(described, "POST /e") == returned
    assert described["paths"]["/e"]["post"]["requestBody"] == bare["paths"]["/e"]["post"]["requestBody"]
    if separate:
        assert returned == {"$ref": "#/components/schemas/EntityIn-Output"}


def test_callbacks_are_left_alone():
    """What the service sends to others is not its own wire (wire case 74)."""
    callbacks = APIRouter()

    @callbacks.post("{$request.body#/url}/events")
    def event(body: EntityIn) -> EntityOut: ...

    documents = []
    for is_installed in (True, False):
        app = FastAPI()
        if is_installed:
            install(app)

        @app.post("/subscribe", callbacks=callbacks.routes)
        def subscribe(url: str) -> EntityOut: ...

        documents.append(app.openapi())
    described, bare = documents
    validate(described)

    assert (
        described["paths"]["/subscribe"]["post"]["callbacks"] == bare["paths"]["/subscribe"]["post"]["callbacks"]
    )
    assert "HTTPValidationError" in described["components"]["schemas"]  # the callback's 422 refers to it


def test_webhooks_are_left_alone():
    """They are answered by others."""
    documents = []
    for is_installed in (True, False):
        app = with_route(FastAPI())
        if is_installed:
            install(app)

        @app.webhooks.post("entity-changed")
        def changed(body: EntityIn) -> EntityOut: ...

        documents.append(app.openapi())
    described, bare = documents
    validate(described)

    assert described["webhooks"] == bare["webhooks"]
    assert is_described(described)
    assert "ValidationError" in described["components"]["schemas"]


def test_hidden_routes_are_hidden():
    """include_in_schema=False on routes, routers and inclusions."""
    app = with_route(FastAPI())
    install(app)
    with_route(app, "/shown")
    app.get("/hidden", include_in_schema=False)(lambda: 1)
    router = APIRouter(include_in_schema=False)
    router.get("/hidden2")(lambda: 1)
    app.include_router(router)

    assert list(document_of(app)["paths"]) == ["/e", "/shown"]


def test_application_without_documentation_serves():
    """openapi_url=None: nothing is served, `app.openapi()` still describes."""
    app = with_route(FastAPI(openapi_url=None))
    install(app)
    with client_of(app) as client:
        assert client.get("/openapi.json").status_code == 404
        assert client.get("/e").json() == {"status": "success", "content": {"id": 0}}

    assert is_described(document_of(app))


def test_document_at_another_url_is_served():
    """openapi_url= and a prefix."""
    app = with_route(FastAPI(openapi_url="/api/v1/schema.json"))
    install(app)

    assert is_described(served_document(app, "/api/v1/schema.json"))


def test_document_that_the_user_serves_is_described():
    """A route of the user's own that returns `app.openapi()`, behind a login."""
    app = with_route(FastAPI(openapi_url=None))
    install(app)

    @app.get("/my-openapi.json", include_in_schema=False)
    @raw_response
    def own() -> JSONResponse:
        return JSONResponse(app.openapi())

    assert is_described(served_document(app, "/my-openapi.json"))


def test_unique_ids_of_the_user_name_the_envelopes():
    """generate_unique_id_function makes short operation ids, and short names of components."""
    app = FastAPI(generate_unique_id_function=lambda route: f"api-{route.name}")
    install(app)

    @app.get("/names")
    def list_names() -> list[str]: ...

    document = document_of(app)

    assert document["paths"]["/names"]["get"]["operationId"] == "api-list_names"
    assert reference_of(document, "GET /names") == "ApiListNamesEnvelope"


def test_operation_without_an_id_has_a_name():
    """A custom document may drop the ids."""
    app = FastAPI()

    @app.get("/names/{i}")
    def list_names(i: int) -> list[str]: ...

    original = app.openapi

    def openapi() -> Document:
        document = original()
        for item in document["paths"].values():
            for operation in item.values():
                operation.pop("operationId", None)
        return document

    app.openapi = openapi
    install(app)

    assert content_of(document_of(app), "GET /names/{i}")["type"] == "array"


def test_several_methods_of_one_route_are_described():
    """api_route makes one operation of each."""
    app = FastAPI()
    install(app)

    @app.api_route("/e", methods=["GET", "POST", "PUT"])
    def every(offset: int = 0) -> EntityOut: ...

    with pytest.warns(UserWarning, match="Duplicate Operation ID"):
        document = app.openapi()

    for method in ("GET", "POST", "PUT"):
        assert is_described(document, f"{method} /e")


def test_several_methods_with_a_primitive_are_described():
    """Three operations with one id; their envelopes are of the same schema."""
    app = FastAPI()
    install(app)

    @app.api_route("/e", methods=["GET", "POST"])
    def every() -> int: ...

    with pytest.warns(UserWarning, match="Duplicate Operation ID"):
        document = app.openapi()

    assert content_of(document, "GET /e")["type"] == content_of(document, "POST /e")["type"] == "integer"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE"])
def test_operations_of_rare_methods_are_described(method: str):
    """FastAPI writes them down like others."""
    app = FastAPI()
    install(app)
    app.add_api_route("/e", lambda offset=0: 1, methods=[method], response_model=EntityOut)

    document = document_of(app)

    assert is_shared(document, f"{method} /e", 500)


def test_route_that_is_declared_twice_is_described_as_the_one_that_is_listed():
    """FastAPI lists the last of two routes with one path, and serves the first; the document is what FastAPI lists."""
    app = FastAPI()
    install(app)

    @app.get("/e", operation_id="one")
    def one() -> EntityOut: ...

    @app.get("/e", operation_id="two")
    def two() -> int: ...

    assert content_of(document_of(app), "GET /e")["type"] == "integer"


def test_path_that_an_earlier_route_takes_is_described_as_itself():
    """`/e/{i}` and `/e/me`: each is described as itself."""
    app = FastAPI()
    install(app)

    @app.get("/e/{i}")
    @raw_response
    def one(i: str) -> EntityOut: ...

    @app.get("/e/me")
    def me() -> EntityOut: ...

    document = document_of(app)

    assert document["x-envelope"]["exempt"] == ["GET /e/{i}"]
    assert content_of(document, "GET /e/me")


def test_class_as_dependency_and_as_endpoint_is_described():
    """Callable objects, methods and classes stand behind operations."""

    class Filters:
        def __init__(self, offset: int = 0) -> None:
            self.offset = offset

    class Entities:
        def __init__(self, filters: Annotated[Filters, Depends()]) -> None: ...

        def __call__(self, offset: int = 0) -> EntityOut: ...

    class Service:
        def get(self, offset: int = 0) -> EntityOut: ...

    app = FastAPI()
    install(app)

    @app.get("/e")
    def get(entities: Annotated[Entities, Depends()]) -> EntityOut: ...

    app.get("/method")(Service().get)
    app.get("/object", response_model=EntityOut)(Entities(Filters()))
    document = document_of(app)

    for path in ("/e", "/method", "/object"):
        assert is_described(document, f"GET {path}")


def test_openapi_extra_is_kept():
    """Extensions and hand-written responses of an operation stay."""
    app = FastAPI()
    install(app)
    extra: dict[str, Any] = {
        "x-own": 1,
        "responses": {
            "200": {"content": {"application/json": {"schema": {"type": "object"}}}},
            "410": {"description": "Gone"},
        },
    }

    @app.get("/e", openapi_extra=extra)
    def get(): ...

    document = document_of(app)

    assert document["paths"]["/e"]["get"]["x-own"] == 1
    assert content_of(document, "GET /e")["type"] == "object"
    assert responses_of(document, "GET /e")["410"]["description"] == "Gone"
    assert extra["responses"]["200"] == {"content": {"application/json": {"schema": {"type": "object"}}}}


# More documents of the user's own


def hand_made(change: Callable[[Document], object]) -> FastAPI:
    """Give an installed application whose own document was changed by hand before it is described."""
    app = with_route(FastAPI())

    def openapi() -> Document:
        document: Document = described_by_hand(app)
        change(document)
        return document

    app.openapi = openapi
    install(app)
    return app


def test_custom_document_with_whole_numbers_for_statuses_is_described():
    """In Python `responses[410]` is written easily; JSON makes strings of it."""

    def change(document: Document) -> None:
        operation = document["paths"]["/e"]["get"]
        operation["responses"] = {200: operation["responses"]["200"], 410: {"description": "Gone"}}

    served = served_document(hand_made(change))

    assert content_of(served, "GET /e") == {"$ref": "#/components/schemas/EntityOut"}
    assert "410" in responses_of(served, "GET /e")
    assert is_shared(served, "GET /e", 500)


def test_custom_document_with_things_beside_the_methods_is_described():
    """A path item also has a summary, parameters, servers and extensions."""

    def change(document: Document) -> None:
        item = document["paths"]["/e"]
        item |= {
            "summary": "E",
            "servers": [{"url": "/x"}],
            "parameters": [{"name": "h", "in": "header", "schema": {"type": "string"}}],
            "x-own": {"get": {"responses": {"200": {"description": "x"}}}},
        }
        document["paths"]["x-own"] = 1

    app = hand_made(change)
    document = app.openapi()

    assert is_described(document)
    assert document["paths"]["/e"]["x-own"] == {"get": {"responses": {"200": {"description": "x"}}}}
    assert document["paths"]["x-own"] == 1


def test_custom_document_with_shared_responses_is_described():
    """Successes by reference are shared; they are wrapped once, for all."""

    def change(document: Document) -> None:
        document["components"]["responses"] = {
            "One": copy.deepcopy(document["paths"]["/e"]["get"]["responses"]["200"])
        }
        document["paths"]["/e"]["get"]["responses"]["200"] = {"$ref": "#/components/responses/One"}

    document = document_of(hand_made(change))

    assert content_of(document, "GET /e") == {"$ref": "#/components/schemas/EntityOut"}


def test_custom_document_whose_parts_are_the_same_object_is_described():
    """Python shares what JSON copies: two operations with one dictionary of responses."""
    app = with_route(with_route(FastAPI()), "/f")

    def openapi() -> Document:
        document: Document = described_by_hand(app)
        document["paths"]["/f"]["get"]["responses"] = document["paths"]["/e"]["get"]["responses"]
        return document

    app.openapi = openapi
    install(app)
    document = document_of(app)

    assert is_described(document, "GET /e")
    assert is_described(document, "GET /f")


def test_document_that_a_custom_function_keeps_is_not_changed():
    """What the user keeps is the user's: it is copied before it is described, or at least not described twice."""
    kept: Document = {}
    app = with_route(FastAPI())

    def openapi() -> Document:
        if not kept:
            kept.update(described_by_hand(app))
        return kept

    app.openapi = openapi
    install(app)
    one = json.dumps(app.openapi())
    app.openapi_schema = None

    assert json.dumps(app.openapi()) == one


# More mounts


def test_application_mounted_at_the_root_is_described():
    """`app.mount("", sub)` takes what is left."""
    sub = with_route(FastAPI())
    app = FastAPI(openapi_url=None)
    install(app)
    app.mount("", sub)

    assert is_described(served_document(app))


def test_application_mounted_in_itself_is_described():
    """`/v1` beside the paths without it, a while."""
    app = with_route(FastAPI())
    app.mount("/v1", app)
    install(app)

    assert is_described(document_of(app))


@pytest.mark.xfail(
    strict=True, raises=RecursionError, reason="envelope.routing.places walks a mount of itself without end"
)
def test_application_mounted_in_itself_starts_where_a_guard_is():
    """At its start the application looks for endpoints that nobody guards, and for the routes of its limits."""
    locks = ObjectLocks(storage="memory://")
    app = FastAPI()
    app.mount("/v1", app)
    install(app, locks=locks)

    @app.put("/e/{entity_id}")
    @locks.guarded("entity:{entity_id}")
    def put(entity_id: int): ...

    assert served_document(app)


def test_applications_mounted_in_each_other_are_described():
    """And a router that is behind itself."""
    one, two, router = with_route(FastAPI()), with_route(FastAPI()), Router()
    one.mount("/two", two)
    two.mount("/one", one)
    router.mount("/again", router)
    router.mount("/two", two)
    one.mount("/router", router)
    install(one)

    assert is_described(one.openapi())
    assert is_described(two.openapi())


def test_application_mounted_below_a_parameter_is_described():
    """`/tenants/{tenant}` before the sub-application."""
    sub = with_route(FastAPI())
    app = FastAPI()
    install(app)
    app.mount("/tenants/{tenant}", sub)

    assert is_described(served_document(app, "/tenants/7/openapi.json"))


def test_custom_document_of_a_mounted_application_is_composed():
    """A sub-application may have a document of its own."""
    sub = with_route(FastAPI())
    sub.openapi = cached(sub)
    app = FastAPI()
    install(app)
    app.mount("/sub", sub)

    document = served_document(app, "/sub/openapi.json")

    assert is_described(document)
    assert document["info"]["title"] == "Own"


def test_late_route_of_a_mounted_application_is_described():
    """A sub-application grows, too."""
    sub, app = with_route(FastAPI()), FastAPI()
    install(app)
    app.mount("/sub", sub)

    with client_of(app) as client:
        client.get("/sub/openapi.json")
        with_route(sub, "/late")
        document = client.get("/sub/openapi.json").json()

    assert is_described(document, "GET /late")
    assert is_described(document, "GET /e")


def test_exempt_mount_of_an_installed_application_is_as_on_the_wire():
    """The outer one leaves it alone; the inner one has its own convention, and says so."""
    sub = with_route(FastAPI())
    install(sub)
    app = FastAPI()
    install(app, exempt=["/sub/*"])
    app.mount("/sub", sub)

    with client_of(app) as client:
        wire = client.get("/sub/e").json()
        document = client.get("/sub/openapi.json").json()

    assert ("content" in wire) == ("GET /e" not in document["x-envelope"]["exempt"])
    assert ("content" in wire) == (reference_of(document, "GET /e") == "EntityOutEnvelope")


def test_table_of_an_installed_and_mounted_application_names_its_own_paths():
    """The inner limiter knows the paths inside of the mount."""
    sub = with_route(with_route(FastAPI()), "/f")
    install(sub, rate_limiter=RateLimiter(routes={"GET /e": ["1/day"]}))
    app = FastAPI()
    app.mount("/sub", sub)

    with client_of(app) as client:
        statuses_sent = [client.get("/sub/e").status_code for _ in range(2)]
        document = client.get("/sub/openapi.json").json()

    assert ("429" in statuses(document, "GET /e")) == (429 in statuses_sent)
    assert "429" not in statuses(document, "GET /f")


# Without FastAPI


def test_starlette_application_is_not_affected():
    """Nothing is put on an application that has no document; nothing imports fastapi."""
    script = (
        "import sys\n"
        "from starlette.applications import Starlette\n"
        "from starlette.routing import Route, Mount\n"
        "from starlette.responses import JSONResponse\n"
        "from starlette.testclient import TestClient\n"
        "from envelope import install, RateLimiter, ObjectLocks, failures, NotFoundError\n"
        "app = Starlette(routes=[Mount('/m', routes=[Route('/', lambda r: JSONResponse(1))])])\n"
        "before = set(vars(app))\n"
        "install(app, rate_limiter=RateLimiter('5/second'), locks=ObjectLocks())\n"
        "failures(NotFoundError)\n"
        "with TestClient(app) as client:\n"
        "    assert client.get('/m/').json() == {'status': 'success', 'content': 1}\n"
        "assert not any(name.partition('.')[0] == 'fastapi' for name in sys.modules), 'fastapi was imported'\n"
        "print(sorted(set(vars(app)) - before))\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "openapi" not in done.stdout


def test_nothing_is_looked_for_before_fastapi_is_imported(monkeypatch: pytest.MonkeyPatch):
    """The same in process: an application of Starlette's has no openapi afterwards either."""
    monkeypatch.delitem(sys.modules, "fastapi")
    app = Starlette()

    install(app)

    assert not hasattr(app, "openapi")


def test_starlette_application_with_a_schema_of_its_own_keeps_it():
    """Starlette's SchemaGenerator, or a method `openapi` of somebody's subclass, is not FastAPI's."""

    class Own(Starlette):
        def openapi(self) -> str:
            return "mine"

    app = Own()
    install(app)

    assert app.openapi() == "mine"
