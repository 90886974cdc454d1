"""Token endpoints that a FastAPI application's OAuth2 schemes name: RFC 6749 fixes their bodies."""

from typing import Annotated

import fastapi
import pytest
from fastapi.security import OAuth2, OAuth2AuthorizationCodeBearer, OAuth2PasswordBearer
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount

from envelope import ConflictError, install
from tests.wire.apps import client_of, failure, success

TOKEN = {"access_token": "x", "token_type": "bearer"}


def _add_token_endpoint(app: fastapi.FastAPI | fastapi.APIRouter, path: str) -> None:
    @app.post(path)
    async def token() -> dict[str, str]:
        return TOKEN


def _add_secured_route(app: fastapi.FastAPI | fastapi.APIRouter, scheme: object, path: str = "/me") -> None:
    @app.get(path)
    async def me(credentials: Annotated[str, fastapi.Depends(scheme)]) -> str:
        return credentials


@pytest.mark.parametrize("url", ["token", "/token", "./token"])
def test_token_url_of_a_scheme_is_not_wrapped(url: str) -> None:
    """Case 71: relative as FastAPI's tutorial writes it, or an absolute path."""
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl=url))
    client = client_of(app)

    assert client.post("/token").json() == TOKEN
    assert client.get("/me", headers={"Authorization": "Bearer x"}).json() == success("x")


def test_failure_that_a_token_endpoint_returns_is_untouched() -> None:
    """Case 71: RFC 6749, 5.2 fixes the failure too."""
    app = fastapi.FastAPI()
    install(app)
    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl="token"))

    @app.post("/token")
    async def token() -> JSONResponse:
        return JSONResponse({"error": "invalid_grant"}, 400)

    response = client_of(app).post("/token")

    assert response.status_code == 400
    assert response.json() == {"error": "invalid_grant"}


def test_failure_that_a_token_endpoint_raises_is_an_envelope() -> None:
    """Case 71: what is raised there is an envelope."""
    app = fastapi.FastAPI()
    install(app)
    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl="token"))

    @app.post("/token")
    async def token() -> None:
        raise ConflictError("no")

    assert client_of(app).post("/token").json() == failure(409, "no")


def test_missing_credentials_of_a_scheme_are_an_envelope() -> None:
    """Case 41: the scheme's own 401 keeps its header."""
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl="token"))

    response = client_of(app).get("/me")

    assert response.json() == failure(401, "Not authenticated")
    assert response.headers["www-authenticate"] == "Bearer"


def test_token_url_of_another_server_names_nothing_here() -> None:
    """Case 71: an absolute URL belongs to somebody else, even if its path exists here."""
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl="https://login.test/token"))

    assert client_of(app).post("/token").json() == success(TOKEN)


def test_token_path_without_a_scheme_is_wrapped() -> None:
    """Case 71: never by the look of a path."""
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")

    assert client_of(app).post("/token").json() == success(TOKEN)


@pytest.mark.parametrize(
    "scheme",
    [
        OAuth2AuthorizationCodeBearer(authorizationUrl="authorize", tokenUrl="token"),
        OAuth2(flows={"clientCredentials": {"tokenUrl": "token"}}),
        OAuth2(flows={"password": {"tokenUrl": "token"}}),
    ],
    ids=["authorization code", "client credentials", "password"],
)
def test_token_url_of_every_flow_counts(scheme: object) -> None:
    """Case 71: every flow that has a token endpoint names it."""
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    _add_secured_route(app, scheme)

    assert client_of(app).post("/token").json() == TOKEN


def test_token_url_of_a_nested_dependency_counts() -> None:
    """Case 71: schemes are usually two dependencies deep."""
    scheme = OAuth2PasswordBearer(tokenUrl="token")

    async def user(credentials: Annotated[str, fastapi.Depends(scheme)]) -> str:
        return credentials

    async def active_user(name: Annotated[str, fastapi.Depends(user)]) -> str:
        return name

    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    _add_secured_route(app, active_user)

    assert client_of(app).post("/token").json() == TOKEN


@pytest.mark.parametrize("where", ["application", "router"])
def test_token_url_of_a_dependency_of_all_routes_counts(where: str) -> None:
    """Case 71: a scheme may be a dependency of the application or of a router."""
    scheme = fastapi.Depends(OAuth2PasswordBearer(tokenUrl="token", auto_error=False))
    app = fastapi.FastAPI(dependencies=[scheme] if where == "application" else [])
    install(app)
    _add_token_endpoint(app, "/token")
    router = fastapi.APIRouter(dependencies=[scheme] if where == "router" else [])

    @router.get("/x")
    async def x() -> int:
        return 1

    app.include_router(router)

    assert client_of(app).post("/token").json() == TOKEN


def test_token_url_in_an_included_router_counts() -> None:
    """Case 71: both the scheme and the endpoint may be in routers of routers."""
    auth, users, v1 = (
        fastapi.APIRouter(prefix="/auth"),
        fastapi.APIRouter(prefix="/users"),
        fastapi.APIRouter(prefix="/v1"),
    )
    _add_token_endpoint(auth, "/token")
    _add_secured_route(users, OAuth2PasswordBearer(tokenUrl="v1/auth/token"))
    v1.include_router(auth)
    v1.include_router(users)
    app = fastapi.FastAPI()
    install(app)
    app.include_router(v1)
    client = client_of(app)

    assert client.post("/v1/auth/token").json() == TOKEN
    assert client.get("/v1/users/me", headers={"Authorization": "Bearer x"}).json() == success("x")


@pytest.mark.parametrize("url", ["token", "/sub/token", "/token"])
def test_token_url_of_a_mounted_application_is_relative_to_its_mount(url: str) -> None:
    """Case 71: a relative URL is relative to the FastAPI application that answered."""
    inner = fastapi.FastAPI()
    _add_token_endpoint(inner, "/token")
    _add_secured_route(inner, OAuth2PasswordBearer(tokenUrl=url))
    app = Starlette(routes=[Mount("/sub", inner)])
    install(app)

    assert client_of(app).post("/sub/token").json() == TOKEN


def test_token_url_of_an_installed_mount_is_not_wrapped() -> None:
    """Case 71: the inner application exempts its own token endpoint, and the outer one stands down."""
    inner = fastapi.FastAPI()
    install(inner)
    _add_token_endpoint(inner, "/token")
    _add_secured_route(inner, OAuth2PasswordBearer(tokenUrl="token"))
    app = fastapi.FastAPI()
    app.mount("/sub", inner)
    install(app)

    assert client_of(app).post("/sub/token").json() == TOKEN


def test_token_url_of_a_mounted_application_is_not_one_of_the_outer() -> None:
    """Case 71: a scheme in one application exempts nothing in another."""
    inner = fastapi.FastAPI()
    _add_secured_route(inner, OAuth2PasswordBearer(tokenUrl="token"))
    app = fastapi.FastAPI()
    app.mount("/sub", inner)
    install(app)
    _add_token_endpoint(app, "/token")

    assert client_of(app).post("/token").json() == success(TOKEN)


@pytest.mark.parametrize("url", ["token", "/token", "/api/token"])
@pytest.mark.parametrize("path", ["/api/token", "/token"])
def test_token_url_under_a_root_path_is_not_wrapped(url: str, path: str) -> None:
    """Case 71: behind a proxy's prefix, which the proxy may strip or keep."""
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl=url))

    assert client_of(app, root_path="/api").post(path).json() == TOKEN


def test_token_url_of_a_route_that_is_added_late_is_seen() -> None:
    """Case 71: routes may be added while the application runs."""
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    client = client_of(app)
    before = client.post("/token").json()

    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl="token"))
    after = client.post("/token").json()

    assert before == success(TOKEN)
    assert after == TOKEN


def test_token_url_of_a_late_route_in_an_included_router_is_seen() -> None:
    """Case 71: FastAPI no longer copies the routes of an included router, so it may grow later."""
    router = fastapi.APIRouter()
    app = fastapi.FastAPI()
    install(app)
    _add_token_endpoint(app, "/token")
    app.include_router(router)
    client = client_of(app)
    client.get("/me")

    _add_secured_route(router, OAuth2PasswordBearer(tokenUrl="token"))

    assert client.get("/me", headers={"Authorization": "Bearer x"}).json() == success("x")
    assert client.post("/token").json() == TOKEN


def test_token_endpoint_that_is_added_late_is_seen() -> None:
    """Case 71: the endpoint may come after the scheme and after the first request."""
    router = fastapi.APIRouter()
    app = fastapi.FastAPI()
    install(app)
    _add_secured_route(app, OAuth2PasswordBearer(tokenUrl="token"))
    app.include_router(router)
    client = client_of(app)
    client.post("/token")

    _add_token_endpoint(app, "/token")

    assert client.post("/token").json() == TOKEN


def test_starlette_application_with_a_mounted_fastapi_wraps_its_own_token_path() -> None:
    """Case 71: a Starlette application has no schemes."""

    async def token(request: object) -> JSONResponse:
        return JSONResponse(TOKEN)

    app = Starlette()
    app.add_route("/token", token, methods=["POST"])
    install(app)

    assert client_of(app).post("/token").json() == success(TOKEN)
