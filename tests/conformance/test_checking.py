"""A whole check: of services that keep the convention, and of some that do not."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Header, Query, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from envelope import NotFoundError, install
from envelope.conformance.checking import INTERRUPTED, Options, check
from envelope.conformance.targets.serving import served
from tests.conformance.services import OK, answering, document

#: Whichever comes first imports schemathesis, and this machine may be busy.
pytestmark = pytest.mark.timeout(60)

FEW = Options(max_examples=4)


class Thing(BaseModel):
    name: str = Field(min_length=1, max_length=20)


def things() -> FastAPI:
    """Make a service with a collection."""
    app = FastAPI(title="Things", version="7")
    install(app)
    known: dict[int, Thing] = {}

    @app.get("/things")
    async def list_things(offset: int = Query(ge=0)) -> list[dict[str, Any]]:
        return [{"id": number, "name": thing.name} for number, thing in known.items()][offset : offset + 5]

    @app.post("/things", status_code=201)
    async def create_thing(thing: Thing) -> dict[str, Any]:
        known[len(known)] = thing
        return {"id": len(known) - 1}

    @app.get("/things/{thing_id}")
    async def get_thing(thing_id: int) -> Thing:
        if thing_id not in known:
            raise NotFoundError
        return known[thing_id]

    @app.delete("/things/{thing_id}", status_code=204)
    async def delete_thing(thing_id: int) -> None:
        if known.pop(thing_id, None) is None:
            raise NotFoundError

    return app


@pytest.fixture
def checked(monkeypatch):
    """Check an application as ``module:app``."""

    def run(app, options: Options = FEW, **more):
        module = type(sys)("a_checked_service")
        vars(module)["app"] = app
        monkeypatch.setitem(sys.modules, "a_checked_service", module)
        return check("a_checked_service:app", options, **more)

    return run


def ids(report) -> set[str]:
    return {each.finding.rule.id for each in report.findings}


def test_service_that_keeps_the_convention_has_no_finding(checked) -> None:
    """Its writes are exercised when that is allowed, and everything that was made is found again."""
    report = checked(things(), Options(max_examples=4, writes=True))

    assert [(each.finding.rule.id, each.finding.operation, each.finding.came) for each in report.findings] == []
    assert (report.target, report.title, report.version) == ("a_checked_service:app", "Things", "7")
    assert report.tested == ("POST /things", "GET /things", "GET /things/{thing_id}", "DELETE /things/{thing_id}")
    assert report.left_out == ()
    assert report.stopped is None
    assert report.requests_sent > 40


def test_only_reads_are_sent_unless_writes_are_allowed(checked) -> None:
    """No request with another method than a safe one arrives."""
    app, methods = things(), set()

    @app.middleware("http")
    async def note(request, call_next):
        methods.add(request.method)
        return await call_next(request)

    report = checked(app)

    assert methods == {"GET", "HEAD", "PROPFIND"}
    reason = "it may change something; allow it with --writes"
    assert ("POST /things", reason) in report.left_out
    assert ("DELETE /things/{thing_id}", reason) in report.left_out
    assert report.tested == ("GET /things", "GET /things/{thing_id}")


def test_service_without_the_library_has_findings(checked) -> None:
    """Bare successes and FastAPI's own failures, on the wire and in the document."""
    app = FastAPI()

    @app.get("/things")
    async def list_things(offset: int) -> list[int]:
        return [offset]

    report = checked(app)

    assert {"ENV001", "ENV010", "ENV030", "ENV051", "ENV053"} <= ids(report)
    assert all(each.times >= 1 for each in report.findings)


def test_users_headers_open_what_is_secured_and_stand_nowhere(checked) -> None:
    """They are sent with each request but the one that asks without."""
    app = FastAPI()
    install(app)

    @app.get("/secret", dependencies=[Depends(HTTPBearer())])
    async def secret(authorization: str = Header()) -> str:
        return f"you sent {authorization}"

    report = checked(app, Options(max_examples=4, headers=(("Authorization", "Bearer t0k3n-value"),)))

    assert report.tested == ("GET /secret",)
    assert "ENV037" not in ids(report)
    assert "t0k3n-value" not in repr([(each.finding.came, each.finding.expected) for each in report.findings])
    for each in report.findings:
        assert each.finding.exchange is None or "t0k3n-value" not in each.finding.exchange.request.as_curl()


def test_declared_rate_limit_is_only_met_by_a_burst(checked) -> None:
    """Without ``burst`` nobody knows whether there is one."""
    app = FastAPI()
    install(app)

    @app.get("/limited", responses={429: {"description": "Too many."}})
    async def limited() -> int:
        return 1

    assert "ENV040" not in ids(checked(app))

    report = checked(app_of(limited), Options(burst=3, max_examples=2))
    assert [each.finding.came for each in report.findings if each.finding.rule.id == "ENV040"] == [
        "3 requests and no 429"
    ]


def app_of(endpoint) -> FastAPI:
    app = FastAPI()
    install(app)
    app.get("/limited", responses={429: {"description": "Too many."}})(endpoint)
    return app


def test_exempt_operations_are_the_users_to_name(checked) -> None:
    """What another specification fixes is not judged."""
    app = FastAPI()

    @app.get("/jwks")
    async def jwks() -> dict[str, Any]:
        return {"keys": []}

    without = {each.finding.operation for each in checked(app).findings if each.finding.rule.id == "ENV001"}
    exempt = checked(app, Options(max_examples=2, exempt=("GET /jwks",)))

    assert without == {"GET /jwks"}
    assert [each for each in exempt.findings if each.finding.operation == "GET /jwks"] == []


def test_progress_is_told_step_by_step(checked) -> None:
    """What is done, of how much, and what comes next."""
    steps = []
    checked(things(), progress=lambda *step: steps.append(step))

    assert steps == [
        (0, 3, "GET /things"),
        (1, 3, "GET /things/{thing_id}"),
        (2, 3, "the service as a whole"),
        (3, 3, ""),
    ]


def test_interrupted_check_reports_what_it_found(checked) -> None:
    """Ctrl-C ends it; the rest is named as not tested."""
    app = FastAPI()
    app.get("/a")(lambda: 1)
    app.get("/b")(lambda: 1)

    def interrupt(done: int, _: int, __: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    report = checked(app, progress=interrupt)

    assert report.stopped == INTERRUPTED
    assert report.tested == ("GET /a",)
    assert report.left_out == (("GET /b", "not tested to the end: interrupted"),)
    assert "ENV001" in ids(report)


def test_check_ends_when_its_time_is_up(checked) -> None:
    """The rest is named as not tested."""
    report = checked(things(), Options(max_time_s=-1))

    assert report.stopped == "the -1 s of --max-time were over"
    assert report.tested == ()
    assert {note.operation for note in report.left_out} >= {"GET /things", "GET /things/{thing_id}"}
    assert report.requests_sent == 0


def test_service_that_goes_away_ends_the_check(tmp_path) -> None:
    """It is named, not one finding for each request."""
    with answering(OK) as url:
        pass
    (tmp_path / "schema.json").write_text(json.dumps(document({"/x": {"get": {}}})))

    report = check(url, Options(schema=str(tmp_path / "schema.json")))

    assert report.stopped == f"nobody answers at {url} any more"
    assert report.left_out == (("GET /x", "not tested to the end: " + report.stopped),)
    assert "ENV041" not in ids(report)


def test_operation_without_valid_input_is_left_out(checked) -> None:
    """There is nothing to send it, and nothing to probe it with."""
    app = FastAPI()
    app.get("/never")(never)

    report = checked(app)

    assert report.tested == ()
    assert [note.operation for note in report.left_out] == ["GET /never"]


async def never(number: int = Query(ge=2, le=1)) -> int:
    return number


@pytest.mark.parametrize("info", [None, "x", {}])
def test_document_that_is_not_valid_is_a_finding(tmp_path, info) -> None:
    """What schemathesis cannot read is left out, and judged all the same."""
    invalid = {"openapi": "9.9.9", "info": info, "paths": {"/x": {"get": {"summary": "X"}}}}
    (tmp_path / "schema.json").write_text(json.dumps(invalid))

    async def app(scope, receive, send):
        await JSONResponse({})(scope, receive, send)

    with served(app, "test") as url:
        report = check(url, Options(schema=str(tmp_path / "schema.json")))

    assert report.left_out == (("GET /x", "no input could be generated: the document is not valid"),)
    assert (report.title, report.version) == ("", "")
    assert "ENV050" in ids(report)


def test_methods_are_exercised_in_an_order_that_finds_objects(checked) -> None:
    """What makes objects is first, what removes them last, and the rare methods come behind the others."""
    app = FastAPI()
    for method, path in [
        ("DELETE", "/a/{id}"),
        ("DELETE", "/a/{id}/b/{b}"),
        ("POST", "/a/{id}/run"),
        ("PUT", "/a/{id}"),
        ("GET", "/a/{id}"),
        ("GET", "/a"),
        ("POST", "/a"),
        ("TRACE", "/a"),
    ]:
        app.add_api_route(path, lambda: Response("fine"), methods=[method])
    steps: list[str] = []
    checked(app, Options(max_examples=1, writes=True), progress=lambda _, __, what: steps.append(what))

    assert steps[:-2] == [
        "POST /a",
        "GET /a",
        "TRACE /a",
        "GET /a/{id}",
        "PUT /a/{id}",
        "POST /a/{id}/run",
        "DELETE /a/{id}/b/{b}",
        "DELETE /a/{id}",
    ]


def test_operations_behind_a_locked_door_are_not_tested(checked) -> None:
    """Where only 401 comes, for want of credentials or because they are too old, nothing was checked."""
    app = things()

    @app.middleware("http")
    async def lock(request, call_next):
        if request.url.path == "/openapi.json":
            return await call_next(request)
        failure = {"code": 401, "message": "No.", "status": "failure"}
        return JSONResponse(failure, 401, headers={"WWW-Authenticate": "Bearer"})

    report = checked(app)

    assert report.tested == ()
    assert ("GET /things", "only 401 and 403 came; give credentials with --header") in report.left_out


def test_what_a_service_exempts_is_told(checked) -> None:
    """Whoever reads the report sees what was not judged."""
    app = FastAPI()
    install(app, exempt=["/legacy"])
    app.get("/legacy")(lambda: 1)

    report = checked(app)

    assert ("GET /legacy", "exempt: what it returns is not judged") in report.left_out
    assert report.findings == ()
