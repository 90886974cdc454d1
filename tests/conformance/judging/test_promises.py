"""ENV056 to ENV058: each fires, and not where it must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from envelope import install
from envelope.conformance.contracts.contract import Contract
from envelope.conformance.judging import judge
from tests.conformance.judged import (
    JSON,
    broken,
    document,
    envelope_of,
    exchange,
    failure,
    failure_of,
    shown,
    success,
)

THING = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
CONTRACT = Contract(document({"responses": {"200": shown(envelope_of(THING)), "404": shown(failure_of(404))}}))


class Thing(BaseModel):
    id: int


PLAIN = {"Content-Type": "text/plain"}


def of(*, exempt: bool = False, extension=None, **responses) -> Contract:
    named = {key.removeprefix("s"): response for key, response in responses.items()}
    whole = document({"responses": named}) | ({"x-envelope": extension} if extension else {})
    return Contract(whole, exempt=["GET /things"] if exempt else [])


def test_answers_that_the_document_shows_are_right() -> None:
    """Success and failure, and HEAD of it."""
    assert broken(exchange(200, success({"id": 1})), CONTRACT) == []
    assert broken(exchange(404, failure(404)), CONTRACT) == []
    assert broken(exchange(200, b"", JSON, method="HEAD"), CONTRACT) == []


def test_status_that_is_not_shown_is_env056() -> None:
    """By itself, by range and by default it is."""
    assert broken(exchange(409, failure(409)), CONTRACT) == ["ENV056"]
    assert broken(exchange(400, failure(400)), CONTRACT) == ["ENV056"]
    assert broken(exchange(404, b"", JSON, method="HEAD"), of(s200={})) == ["ENV056"]
    assert broken(exchange(409, failure(409)), of(s4XX={})) == []
    assert broken(exchange(409, failure(409)), of(default={})) == []
    assert broken(exchange(404, failure(404)), of()) == ["ENV056"]


def test_status_that_is_not_shown_is_told_whatever_the_body_is() -> None:
    """The form of a failure and its place in the document are mended apart."""
    assert broken(exchange(409, {"detail": "x"}), CONTRACT) == ["ENV010", "ENV056"]


@pytest.mark.parametrize("status", [408, 413, 414, 416, 421, 431, 502, 504])
def test_status_of_servers_is_in_no_document(status: int) -> None:
    """Too long, too slow, not reached, no such part."""
    assert broken(exchange(status, failure(status)), CONTRACT) == []


def test_part_of_a_file_is_in_no_document(tmp_path: Path) -> None:
    """Starlette's FileResponse answers ranges by itself, with 206 and 416."""
    path = tmp_path / "file.txt"
    path.write_text("0123456789")
    app = FastAPI()
    install(app)

    @app.get("/file", response_class=FileResponse)
    def get() -> str:
        return str(path)

    contract = Contract(app.openapi())
    client = TestClient(app)
    for wanted, status in (("bytes=0-3", 206), ("bytes=0-1,4-5", 206), ("bytes=90-", 416)):
        came = client.get("/file", headers={"Range": wanted})
        assert came.status_code == status
        fields = dict(came.headers.multi_items())
        assert broken(exchange(status, came.content, fields, path="/file"), contract) == []


def test_head_that_a_router_refuses_is_in_no_document() -> None:
    """FastAPI answers HEAD with 405 where only GET was declared."""
    assert broken(exchange(405, b"", JSON | {"Allow": "GET"}, method="HEAD"), CONTRACT) == []


def test_redirect_page_and_unknown_path_are_not_compared() -> None:
    """Documents do not show redirects of routers, pages of debug mode, or what is not there."""
    assert broken(exchange(307, b"", {"Location": "/x"}), CONTRACT) == []
    page, browser = {"Content-Type": "text/html"}, {"Accept": "text/html"}
    assert broken(exchange(500, b"<h1>", page, sent=browser), CONTRACT) == []
    assert broken(exchange(409, failure(409), path="/other"), CONTRACT) == []


def test_success_with_another_status_is_told_once() -> None:
    """ENV002 stands for the document too."""
    assert broken(exchange(201, success({"id": 1})), CONTRACT) == ["ENV002"]
    keep = of(s200=shown({}), extension={"success_status": "keep"})
    assert broken(exchange(201, success()), keep) == ["ENV056"]


def test_document_that_shows_another_success_stands_for_200() -> None:
    """ENV052 says it of the document; the body is compared with what is shown."""
    created = of(s201=shown(THING), s206={}, default=shown(THING))

    assert broken(exchange(200, success({"id": 1})), created) == []
    assert broken(exchange(200, success({"id": "x"})), created) == ["ENV058"]
    assert broken(exchange(200, success({"id": 1})), of(s206={})) == ["ENV056"]
    kept = of(s201=shown(THING), extension={"success_status": "keep"})
    assert broken(exchange(200, success({"id": 1})), kept) == ["ENV056"]
    assert broken(exchange(200, success(1)), of(s200={}, s201=shown(THING))) == []


def test_document_of_fastapi_stands_for_400() -> None:
    """ENV053 says it of the document."""
    app = FastAPI()

    @app.get("/things")
    def get_things(size: int) -> Thing:
        raise NotImplementedError

    contract = Contract(app.openapi())

    assert broken(exchange(400, failure(400)), contract) == []
    assert broken(exchange(422, failure(422)), contract) == []
    assert broken(exchange(200, success({"id": 1})), contract) == []
    assert broken(exchange(200, success({"id": None})), contract) == ["ENV058"]


def test_type_that_is_not_shown_is_env057() -> None:
    """Of successes and failures; a response without content shows none."""
    assert broken(exchange(200, b"a", PLAIN), CONTRACT) == ["ENV057"]
    assert broken(exchange(200, b"", PLAIN, method="HEAD"), CONTRACT) == ["ENV057"]
    assert broken(exchange(200, success(), path="/things"), of(s200=shown({}, "text/csv"))) == ["ENV057"]
    assert broken(exchange(200, b"a", PLAIN), of(s200={})) == []
    assert broken(exchange(200, b"a", PLAIN), of(s200=shown({}, "text/*"))) == []
    assert broken(exchange(200, b"", PLAIN), CONTRACT) == []


def test_type_of_what_has_another_form_is_told_once() -> None:
    """A text for a failure is ENV010 alone, an envelope as text ENV007 alone."""
    assert broken(exchange(404, b"no", PLAIN), CONTRACT) == ["ENV010"]
    assert broken(exchange(200, json.dumps(success()).encode(), PLAIN), CONTRACT) == ["ENV007"]


def test_body_that_does_not_fit_is_env058() -> None:
    """The place is told, its value is not."""
    (finding,) = judge(exchange(200, success({"id": "hunter2"})), CONTRACT)

    assert finding.rule.id == "ENV058"
    assert finding.operation == "GET /things"
    assert finding.came == '$.content.id: the value is not of type "integer"'
    assert broken(exchange(404, failure(404, "x")), of(s404=shown(failure_of(404)), s200={})) == []


def test_failure_that_does_not_fit_is_env058() -> None:
    """An error code that the document does not have."""
    details = {
        "properties": {"error_code": {"const": "frozen"}, "message": {"type": "string"}},
        "required": ["error_code"],
    }
    schema = {"properties": {"code": {"const": 409}, "message": details, "status": {"const": "failure"}}}
    contract = of(s409=shown(schema))

    assert broken(exchange(409, failure(409, {"error_code": "frozen", "message": "x"})), contract) == []
    assert broken(exchange(409, failure(409, {"error_code": "melted", "message": "x"})), contract) == ["ENV058"]


def test_body_of_another_form_is_told_once() -> None:
    """What is not wrapped fits no envelope."""
    assert broken(exchange(200, {"id": 1}), CONTRACT) == ["ENV001"]
    assert broken(exchange(404, failure(500)), CONTRACT) == ["ENV011"]
    assert broken(exchange(404, failure(404) | {"x": 1}), CONTRACT) == ["ENV014"]


def test_leak_does_not_hide_the_document() -> None:
    """Both are to be mended."""
    assert broken(
        exchange(404, failure(404, "KeyError: 'x'")),
        of(s404=shown({"properties": {"code": {}}, "maxProperties": 3, "minProperties": 3})),
    ) == ["ENV015"]
    assert broken(exchange(404, failure(404, "KeyError: 'x'")), of(s200={})) == ["ENV015", "ENV056"]


def test_failure_of_another_form_in_the_document_is_told_there() -> None:
    """ENV055 says it of the document."""
    other = of(s404=shown({"type": "object", "properties": {"detail": {}}, "required": ["detail"]}))

    assert broken(exchange(404, failure(404)), other) == []


def test_json_that_is_no_envelope_is_not_validated() -> None:
    """Files and ranges, and what the document says nothing of."""
    assert broken(exchange(200, {"id": "x"}, {"Content-Disposition": "attachment"}), CONTRACT) == []
    assert broken(exchange(200, success(1)), of(s200={"content": {"application/json": {}}})) == []


def test_exempt_operation_has_status_and_type_alone() -> None:
    """Its body is its own business; a failure that claims to be ours has our rules."""
    contract = of(exempt=True, s200=shown(THING), s201=shown(THING), s404=shown(THING))

    assert broken(exchange(200, {"x": 1}), contract) == []
    assert broken(exchange(201, {"x": 1}), contract) == []
    assert broken(exchange(202, {"x": 1}), contract) == ["ENV056"]
    assert broken(exchange(200, b"x", PLAIN), contract) == ["ENV057"]
    assert broken(exchange(404, failure(404)), contract) == []
    assert broken(exchange(200, {"x": 1}), of(exempt=True, s201={})) == ["ENV056"]
