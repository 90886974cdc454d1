"""Nothing is found in what an installed application sends and shows."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer, OAuth2PasswordBearer, OAuth2PasswordRequestForm
from fastapi.testclient import TestClient
from pydantic import BaseModel

from envelope import RateLimiter, install, raw_response
from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Exchange, Request
from envelope.conformance.judging import judge, judge_document


class Thing(BaseModel):
    id: int
    name: str | None = None


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/things/{thing_id}")
    def get_thing(thing_id: int) -> Thing:
        if thing_id == 404:
            raise HTTPException(404)
        if thing_id == 500:
            raise RuntimeError("the password is hunter2")
        return Thing(id=thing_id)

    @app.post("/things", status_code=201)
    def make_thing(thing: Thing) -> Thing:
        return thing

    @app.delete("/things/{thing_id}", status_code=204)
    def delete_thing(thing_id: int) -> None:
        pass

    @app.get("/report", response_class=PlainTextResponse)
    def get_report() -> str:
        return "[]"

    @app.get("/files/{path:path}")
    def get_file(path: str) -> dict[str, str]:
        return {"path": path}

    @app.get("/keys")
    @raw_response
    def get_keys() -> dict[str, list[str]]:
        return {"keys": []}

    @app.get("/secret")
    def get_secret(user: Annotated[Any, Depends(HTTPBearer())]) -> list[Thing]:
        return []

    @app.post("/token")
    def make_token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
        return {"access_token": "a", "token_type": "bearer"}

    @app.get("/me")
    def get_me(token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]) -> Thing:
        return Thing(id=1)

    return app


REQUESTS: list[tuple[str, str, int, dict[str, Any]]] = [
    ("GET", "/things/1", 200, {}),
    ("GET", "/things/x", 400, {}),
    ("GET", "/things/404", 404, {}),
    ("GET", "/things/500", 500, {}),
    ("POST", "/things", 200, {"json": {"id": 1}}),
    ("POST", "/things", 400, {"content": b"{"}),
    ("DELETE", "/things/1", 200, {}),
    ("GET", "/report", 200, {}),
    ("HEAD", "/report", 405, {}),
    ("GET", "/files/a/b", 200, {}),
    ("GET", "/keys", 200, {}),
    ("GET", "/secret", 401, {}),
    ("GET", "/secret", 200, {"headers": {"Authorization": "Bearer a"}}),
    ("POST", "/token", 200, {"data": {"username": "a", "password": "b"}}),
    ("POST", "/token", 400, {}),
    ("GET", "/me", 401, {}),
    ("PUT", "/report", 405, {}),
    ("GET", "/nothing", 404, {}),
    ("GET", "/openapi.json", 200, {}),
    ("GET", "/docs", 200, {}),
    ("OPTIONS", "/things", 405, {}),
]


def exchanged(client: TestClient, method: str, path: str, **options: Any) -> Exchange:
    response = client.request(method, path, **options)
    request = Request(
        method=method,
        url=str(response.request.url),
        path=path,
        headers=tuple(response.request.headers.items()),
        body=response.request.content or None,
    )
    return Exchange(request, response.status_code, tuple(response.headers.multi_items()), response.content)


@pytest.mark.parametrize("success_status", ["always-200", "keep"])
def test_installed_application_has_no_departure(success_status: Any) -> None:
    """Neither in its document nor in its answers, limited or not."""
    app = make_app()
    install(
        app, success_status=success_status, rate_limiter=RateLimiter("100/minute", "1000/day", storage="memory://")
    )
    client = TestClient(app, raise_server_exceptions=False)
    contract = Contract(app.openapi())
    kept = {("POST", "/things", 200): 201, ("DELETE", "/things/1", 200): 204} if success_status == "keep" else {}

    assert judge_document(app.openapi()) == []
    for method, path, status, options in REQUESTS:
        seen = exchanged(client, method, path, **options)
        found = [(finding.rule.id, finding.came) for finding in judge(seen, contract)]

        assert (method, path, seen.status, found) == (method, path, kept.get((method, path, status), status), [])


def test_limited_application_has_no_departure() -> None:
    """The 429 is in the document, and its figures are true."""
    app = make_app()
    install(app, rate_limiter=RateLimiter("2/minute", storage="memory://"))
    client = TestClient(app)
    contract = Contract(app.openapi())

    seen = [exchanged(client, "GET", "/report") for _ in range(3)]

    assert [each.status for each in seen] == [200, 200, 429]
    assert [judge(each, contract) for each in seen] == [[], [], []]


def test_application_that_was_not_installed_has_departures() -> None:
    """The same requests, so that the tests above can fail."""
    app = make_app()
    client = TestClient(app, raise_server_exceptions=False)
    contract = Contract(app.openapi())

    found = {
        finding.rule.id
        for method, path, _, options in REQUESTS
        for finding in judge(exchanged(client, method, path, **options), contract)
    }

    assert found == {"ENV001", "ENV002", "ENV005", "ENV010", "ENV056"}
    assert {finding.rule.id for finding in judge_document(app.openapi())} == {
        "ENV051",
        "ENV052",
        "ENV053",
        "ENV054",
    }
