"""Operations whose output is sent as it is, and what the document says of them."""
# endpoints that are only described have no body.
# mypy: disable-error-code="empty-body"

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel

from envelope import install, raw_response
from tests.openapi.reading import content_of, document_of, is_shared, response_of, schema_of, statuses
from tests.wire.apps import client_of


class Keys(BaseModel):
    keys: list[str]


def names_keys(document: dict[str, Any], operation: str, status: int = 200) -> bool:
    """Tell whether a success is the bare model."""
    schema: dict[str, Any] = schema_of(document, operation, status)
    return bool(schema["title"] == "Keys")


def test_raw_response_is_declared_as_it_is():
    """The mark stands above or below the route's decorator."""
    app = FastAPI()
    install(app)

    @app.get("/below")
    @raw_response
    def below() -> Keys: ...

    @raw_response
    @app.get("/above")
    def above() -> Keys: ...

    document = document_of(app)

    assert names_keys(document, "GET /below")
    assert names_keys(document, "GET /above")
    assert sorted(document["x-envelope"]["exempt"]) == ["GET /above", "GET /below"]


@pytest.mark.parametrize("status", [201, 202, 204])
def test_raw_response_keeps_its_status(status: int):
    """Nothing becomes a 200 there."""
    app = FastAPI()
    install(app)

    @app.post("/e", status_code=status)
    @raw_response
    def post(): ...

    document = document_of(app)

    assert {each for each in statuses(document, "POST /e") if each[0] == "2"} == {str(status)}
    assert ("content" in response_of(document, "POST /e", status)) == (status != 204)


def test_raw_response_is_marked_after_the_document_was_made_of_another_app():
    """The mark belongs to the function, whichever application serves it."""

    @raw_response
    def get() -> Keys: ...

    documents = []
    for _ in range(2):
        app = FastAPI()
        install(app)
        app.get("/e")(get)
        documents.append(document_of(app))

    assert documents[0] == documents[1]
    assert names_keys(documents[0], "GET /e")


@pytest.mark.parametrize(
    ("pattern", "path", "is_exempt"),
    [
        ("/hooks/*", "/hooks/stripe", True),
        ("/hooks/*", "/hooks", False),
        ("/hooks/*", "/hooks/{name}", True),
        ("/hooks", "/hooks", True),
        ("/hooks", "/hooks/", False),
        ("/hooks", "/hooks/a", False),
        ("/hooks/a", "/hooks/{name}", False),
        ("/*", "/anything", True),
    ],
)
def test_exempt_pattern_is_declared(pattern: str, path: str, is_exempt: bool):
    """Paths that a pattern covers whole are exempt; a template of which it covers one path is not."""
    app = FastAPI()
    install(app, exempt=[pattern])

    @app.get(path)
    def get(name: str = "") -> Keys:
        return Keys(keys=[])

    document = document_of(app)
    assert names_keys(document, f"GET {path}") is is_exempt
    assert document["x-envelope"]["exempt"] == [f"GET {path}"] * is_exempt
    wire = client_of(app).get(path.replace("{name}", "other")).json()
    assert ("keys" in wire) is is_exempt


def test_exempt_pattern_is_relative_to_the_root_path():
    """`root_path` stands before the paths of the application, not in its patterns."""
    app = FastAPI()
    app.root_path = "/api"
    install(app, exempt=["/hooks/*"])
    app.get("/hooks/a", response_model=Keys)(lambda: None)
    app.get("/other", response_model=Keys)(lambda: None)

    document = document_of(app)

    assert names_keys(document, "GET /hooks/a")
    assert content_of(document, "GET /other")


def test_exempt_pattern_covers_a_mounted_applications_operations():
    """The pattern is written for the outer application's paths."""
    sub = FastAPI()
    sub.get("/a", response_model=Keys)(lambda: {"keys": []})
    sub.get("/b", response_model=Keys)(lambda: {"keys": []})
    app = FastAPI()
    install(app, exempt=["/sub/a"])
    app.mount("/sub", sub)

    with client_of(app) as client:
        document = client.get("/sub/openapi.json").json()
        assert client.get("/sub/a").json() == {"keys": []}

    assert names_keys(document, "GET /a")
    assert content_of(document, "GET /b") == {"$ref": "#/components/schemas/Keys"}
    assert document["x-envelope"]["exempt"] == ["GET /a"]


@pytest.mark.parametrize("url", ["token", "/token", "./token"])
def test_token_url_is_declared_as_it_is(url: str):
    """RFC 6749 fixes the body of a token endpoint."""
    app = FastAPI()
    install(app)

    @app.post("/token")
    def token() -> Keys: ...

    @app.get("/token")
    def looked_at() -> Keys: ...

    @app.get("/me")
    def me(token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl=url))]) -> Keys: ...

    document = document_of(app)

    assert names_keys(document, "POST /token")
    assert content_of(document, "GET /token")
    assert document["x-envelope"]["exempt"] == ["POST /token"]


def test_token_url_under_a_root_path_and_a_prefix_is_declared_as_it_is():
    """Absolute with the root path, or relative to it."""
    for url in ("auth/token", "/api/auth/token"):
        app = FastAPI()
        app.root_path = "/api"
        install(app)
        router = APIRouter(prefix="/auth")

        @router.post("/token")
        def token() -> Keys: ...

        @app.get("/me")
        def me(token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl=url))]) -> Keys: ...

        app.include_router(router)

        assert document_of(app)["x-envelope"]["exempt"] == ["POST /auth/token"]


def test_token_url_of_a_late_scheme_is_declared_as_it_is():
    """A scheme that comes with a route added later makes its token endpoint exempt."""
    app = FastAPI()
    install(app)

    @app.post("/token")
    def token() -> Keys: ...

    assert content_of(document_of(app), "POST /token")

    @app.get("/me")
    def me(token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]) -> Keys: ...

    app.openapi_schema = None

    assert names_keys(document_of(app), "POST /token")


def test_failures_of_exempt_operations_are_declared():
    """What is raised or made by the framework there is an envelope all the same."""
    app = FastAPI()
    install(app)

    @app.get("/e/{i}")
    @raw_response
    def get(i: int) -> Keys: ...

    document = document_of(app)

    assert is_shared(document, "GET /e/{i}", 400)
    assert is_shared(document, "GET /e/{i}", 404)
    assert is_shared(document, "GET /e/{i}", 500)
    assert "422" not in statuses(document, "GET /e/{i}")


def test_documentation_is_served_as_it_is():
    """The document itself is no API output."""
    app = FastAPI()
    install(app)
    client = client_of(app)

    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert client.get("/docs").headers["content-type"].startswith("text/html")
    assert client.get("/redoc").headers["content-type"].startswith("text/html")
