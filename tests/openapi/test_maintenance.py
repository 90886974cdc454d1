"""503 stands at every operation that is not exempt from maintenance."""
# endpoints that are only described have no body.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI

from envelope import Maintenance, ObjectLocks, RateLimiter, install, raw_response
from tests.openapi.reading import document_of, headers_of, is_shared, statuses
from tests.wire.apps import client_of


def test_503_stands_at_every_operation():
    """Also at those whose output is sent as it is; through the shared component."""
    app = FastAPI()
    install(app, maintenance=Maintenance())

    @app.get("/plain")
    def plain(): ...

    @app.post("/items/{item_id}", status_code=201)
    def create(item_id: int): ...

    @app.get("/raw")
    @raw_response
    def raw(): ...

    document = document_of(app)

    for operation in ("GET /plain", "POST /items/{item_id}", "GET /raw"):
        assert is_shared(document, operation, 503)
        assert headers_of(document, operation, 503) == {"Retry-After"}


def test_without_maintenance_it_does_not():
    """Nothing is declared that nobody answers."""
    app = FastAPI()
    install(app)
    app.get("/plain")(lambda: None)

    assert "503" not in statuses(document_of(app), "GET /plain")


@pytest.mark.parametrize(
    ("pattern", "path", "is_exempt"),
    [
        ("/health", "/health", True),
        ("/health", "/health/deep", False),
        ("/internal/*", "/internal/{name}", True),
        ("/internal/*", "/internal/.well-known", True),
        ("/internal/a", "/internal/{name}", False),
        ("/*", "/anything", True),
    ],
)
@pytest.mark.parametrize("root_path", ["", "/api"])
def test_exempt_paths_do_not_declare_it(pattern: str, path: str, is_exempt: bool, root_path: str):
    """The document and the wire agree."""
    app, maintenance = FastAPI(), Maintenance(exempt=[pattern])
    app.root_path = root_path
    install(app, maintenance=maintenance)

    @app.get(path)
    def get(name: str = "") -> int:
        return 1

    declared = "503" in statuses(document_of(app), f"GET {path}")
    maintenance.start()
    answered = client_of(app).get(path.replace("{name}", "other")).status_code

    assert declared is not is_exempt
    assert answered == (200 if is_exempt else 503)


def test_exempt_from_maintenance_is_not_exempt_from_the_envelope():
    """Two options, two meanings."""
    app = FastAPI()
    install(app, maintenance=Maintenance(exempt=["/health"]), exempt=["/hooks/*"])
    app.get("/health")(lambda: None)
    app.get("/hooks/a")(lambda: None)

    document = document_of(app)

    assert document["x-envelope"]["exempt"] == ["GET /hooks/a"]
    assert "503" in statuses(document, "GET /hooks/a")
    assert "503" not in statuses(document, "GET /health")


def test_exempt_operation_declares_the_503_of_its_guards():
    """A limiter or a lock without its storage answers it all the same."""
    app, locks = FastAPI(), ObjectLocks()
    install(
        app,
        maintenance=Maintenance(exempt=["/*"]),
        rate_limiter=RateLimiter("5/minute", on_outage="deny"),
        locks=locks,
    )
    app.get("/a")(lambda: None)

    assert "503" in statuses(document_of(app), "GET /a")


def test_own_503_keeps_its_description():
    """What a route has declared of it is said beside."""
    app = FastAPI()
    install(app, maintenance=Maintenance())

    @app.get("/a", responses={503: {"description": "The mainframe sleeps"}})
    def a(): ...

    document = document_of(app)

    assert document["paths"]["/a"]["get"]["responses"]["503"]["description"] == "The mainframe sleeps"
    assert headers_of(document, "GET /a", 503) == {"Retry-After"}


def test_mounted_application_declares_it_by_its_whole_path():
    """Patterns are relative to the one that was installed."""
    app, inner, router = FastAPI(), FastAPI(), APIRouter(prefix="/v1")
    install(app, maintenance=Maintenance(exempt=["/inner/health", "/v1/health"]))
    inner.get("/health")(lambda: None)
    inner.get("/other")(lambda: None)
    router.get("/health")(lambda: None)
    router.get("/other")(lambda: None)
    app.include_router(router)
    app.mount("/inner", inner)

    outer_document, inner_document = document_of(app), document_of(inner)

    assert "503" not in statuses(inner_document, "GET /health")
    assert "503" in statuses(inner_document, "GET /other")
    assert "503" not in statuses(outer_document, "GET /v1/health")
    assert "503" in statuses(outer_document, "GET /v1/other")
