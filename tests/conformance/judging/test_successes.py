"""ENV001 to ENV008 and ENV016: each fires, and not where it must not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.conformance.contracts.contract import Contract
from envelope.wire.bodies import Shape
from tests.conformance.judged import JSON, broken, document, exchange, failure, shown, success

KEEP = Contract({"x-envelope": {"success_status": "keep"}})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_wrapped_success_is_right_whatever_it_holds(content) -> None:
    """Any JSON value may be the content, but a whole envelope."""
    assert broken(exchange(200, success(content))) == []


@given(json_values)
def test_bare_success_is_one_departure(content) -> None:
    """ENV001 and nothing that follows from it."""
    found = broken(exchange(200, content))

    assert len(found) == 1
    assert found[0] in ("ENV001", "ENV003", "ENV004", "ENV016")


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        "text",
        1,
        {},
        {"id": 1},
        {"data": 1, "meta": 2},
        {"id": 1, "status": "draft", "content": "of an article"},
        {"id": 1, "status": "success", "finished": "today"},
        {"code": "ABC", "message": "a greeting"},
        {"code": 0, "message": "ok", "data": 1},
        {"code": 404, "name": "area"},
        {"id": 1, "status": "failed", "message": "of a job"},
        {"status": "failed", "code": 7},
    ],
)
def test_success_without_envelope_is_env001(body) -> None:
    """Also of models that have a status, a content, a code or a message of their own."""
    assert broken(exchange(200, body)) == ["ENV001"]


def test_other_status_than_200_is_env002() -> None:
    """Wrapped or empty, JSON or not said what."""
    assert broken(exchange(201, success())) == ["ENV002"]
    assert broken(exchange(207, success())) == ["ENV002"]
    assert broken(exchange(204)) == ["ENV002", "ENV005"]
    assert broken(exchange(205, b"", JSON)) == ["ENV002", "ENV005"]
    assert broken(exchange(202, method="HEAD", headers=JSON)) == ["ENV002"]


def test_other_status_of_what_is_not_json_passes() -> None:
    """Files, ranges and deltas keep their status, and a service can keep them all."""
    assert broken(exchange(201, b"a,b", {"Content-Type": "text/csv"})) == []
    assert broken(exchange(202, b"", {"Content-Type": "text/plain"})) == []
    assert broken(exchange(206, {"a": 1})) == []
    assert broken(exchange(226, {"a": 1})) == []
    assert broken(exchange(201, success()), KEEP) == []
    assert broken(exchange(204), KEEP) == []
    assert broken(exchange(205), KEEP) == []
    assert broken(exchange(201, {"id": 1}, {"Content-Disposition": "attachment"})) == []


def test_kept_status_does_not_excuse_a_bare_body() -> None:
    """success_status="keep" is about the status alone."""
    assert broken(exchange(201, {"id": 1}), KEEP) == ["ENV001"]
    assert broken(exchange(201), KEEP) == ["ENV005"]


@pytest.mark.parametrize(
    "body",
    [
        {"status": "success", "content": 1, "meta": 2},
        {"status": "success", "data": 1},
    ],
)
def test_other_keys_are_env003(body) -> None:
    """One more, or another one."""
    assert broken(exchange(200, body)) == ["ENV003"]


def test_other_word_is_env004() -> None:
    """The word is compared as it is."""
    for word in ("ok", "Success", True, None, {"a": 1}):
        assert broken(exchange(200, {"status": word, "content": 1})) == ["ENV004"]


def test_empty_success_is_env005() -> None:
    """No body, or the word alone."""
    assert broken(exchange(200)) == ["ENV005"]
    assert broken(exchange(200, b"", JSON)) == ["ENV005"]
    assert broken(exchange(200, {"status": "success"})) == ["ENV005"]
    assert broken(exchange(200, b"", {"Content-Type": "text/csv"})) == []
    assert broken(exchange(200, success(None))) == []


@pytest.mark.parametrize(
    "body", [b"{", b"oops", b'{"a": NaN}', b"\xff", b'{"status":"success","content":1}x', b"\xef\xbb\xbf{}"]
)
def test_body_that_is_no_json_is_env006(body: bytes) -> None:
    """RFC 8259: no NaN, UTF-8, one value, no mark before it."""
    assert broken(exchange(200, body, JSON)) == ["ENV006"]


def test_envelope_of_another_type_is_env007() -> None:
    """Whatever the type is, but a stream's; and JSON that nobody meant to be a text."""
    body = json.dumps(success()).encode()

    assert broken(exchange(200, body, {"Content-Type": "text/plain; charset=utf-8"})) == ["ENV007"]
    assert broken(exchange(200, body, {"Content-Type": "application/octet-stream"})) == ["ENV007"]
    assert broken(exchange(200, body)) == ["ENV007"]
    assert broken(exchange(200, b' [{"id": 1}]', {"Content-Type": "text/html"})) == ["ENV007"]


def test_other_types_pass() -> None:
    """A file of JSON, a stream, JSON of another specification, a text that the document shows as one."""
    assert broken(exchange(200, b'{"id": 1}', {"Content-Type": "application/octet-stream"})) == []
    assert broken(exchange(200, b'{"id": 1}', {"Content-Type": "application/vnd.api+json"})) == []
    assert broken(exchange(200, json.dumps(success()).encode(), {"Content-Type": "application/x-ndjson"})) == []
    assert broken(exchange(200, b"data: {}\n\n", {"Content-Type": "text/event-stream"})) == []
    assert broken(exchange(200, b"<p>", {"Content-Type": "text/html"})) == []
    assert broken(exchange(200, b"{braces}", {"Content-Type": "text/plain"})) == []
    assert broken(exchange(200, b"[]", {"Content-Type": "text/plain", "Content-Disposition": "attachment"})) == []
    text = Contract(document({"responses": {"200": shown({}, "text/plain")}}))
    assert broken(exchange(200, b"[]", {"Content-Type": "text/plain"}), text) == []


@pytest.mark.parametrize(
    "field",
    [
        {"Content-Disposition": "attachment"},
        {"Content-Range": "bytes 0-1/2"},
        {"Accept-Ranges": "bytes"},
        {"Signature": "a=:b:"},
        {"Cache-Control": "public, No-Transform"},
    ],
)
def test_bodies_that_others_rely_on_pass_bare(field) -> None:
    """Files, ranges, signed bodies; but an envelope in them is one."""
    assert broken(exchange(200, {"id": 1}, field)) == []
    assert broken(exchange(200, {"status": "success", "content": 1, "x": 1}, field)) == ["ENV003"]


def test_fields_that_change_nothing_excuse_nothing() -> None:
    """Accept-Ranges: none is no file."""
    assert broken(exchange(200, {"id": 1}, {"Accept-Ranges": "none", "Cache-Control": "no-store"})) == ["ENV001"]


def test_envelope_in_the_envelope_is_env008() -> None:
    """Content that has a status and a content of its own is none."""
    assert broken(exchange(200, success(success(1)))) == ["ENV008"]
    assert broken(exchange(200, success({"status": "draft", "content": 1}))) == []
    assert broken(exchange(200, success({"status": "success", "content": 1, "id": 1}))) == []


@pytest.mark.parametrize(
    "body",
    [
        failure(404),
        {"code": 404, "message": "x"},
        {"code": 500, "message": "x", "data": None},
        {"status": "failure", "message": "x"},
        {"status": "failure", "content": None},
        {"status": "error", "message": "x"},
        success(failure(404)),
    ],
)
def test_failure_with_status_200_is_env016(body) -> None:
    """By its word, by code and message, and in the envelope."""
    assert broken(exchange(200, body)) == ["ENV016"]


def test_names_of_a_shape_are_the_rules() -> None:
    """What is right in one shape is wrong in another."""
    shape = Contract(None, shape=Shape(content="data", failure="error"))

    assert broken(exchange(200, {"status": "success", "data": 1}), shape) == []
    assert broken(exchange(200, success(1)), shape) == ["ENV003"]
    assert broken(exchange(200, {"status": "error", "message": "x"}), shape) == ["ENV016"]


def test_head_and_foreign_methods_have_no_body_to_judge() -> None:
    """HEAD has fields and a status; CONNECT and TRACE are not the service's."""
    assert broken(exchange(200, method="HEAD", headers=JSON)) == []
    assert broken(exchange(200, method="HEAD", headers={"Content-Type": "text/csv"})) == []
    assert broken(exchange(200, b"x", method="TRACE")) == []
    assert broken(exchange(201, method="CONNECT")) == []


def test_redirects_and_what_is_not_a_response_pass() -> None:
    """304 and 307, with JSON or without; 1xx."""
    assert broken(exchange(304)) == []
    assert broken(exchange(307, {"id": 1}, {"Location": "/x"})) == []
    assert broken(exchange(103)) == []


def test_exempt_success_passes() -> None:
    """By operation, by path, and the OpenAPI document by itself."""
    exempt = Contract(None, exempt=["/things"])

    assert broken(exchange(201, {"id": 1}), exempt) == []
    assert broken(exchange(200, {"keys": []}, path="/.well-known/jwks.json")) == []
    assert broken(exchange(200, document(), path="/api/openapi.json")) == []
    assert broken(exchange(200, {"openapi": 3, "id": 1})) == ["ENV001"]


def test_body_nested_too_deeply_is_not_read() -> None:
    """Nobody can tell whether it is JSON; that must not end the check."""
    assert broken(exchange(200, b"[" * 200_000, JSON)) == ["ENV006"]


def test_finding_says_what_was_expected_and_quotes_no_values() -> None:
    """Names of keys may stand in a report; what clients stored may not."""
    from envelope.conformance.judging import judge

    seen = exchange(200, {"password": "hunter2", **{f"k{number}": 1 for number in range(9)}}, path="/x")
    (finding,) = judge(seen, Contract(None))

    assert finding.operation == "GET /x"
    assert finding.exchange is seen
    assert finding.expected == "an object with the keys 'status', 'content'"
    assert finding.came == "an object with 'password', 'k0', 'k1', 'k2', 'k3', 'k4' and 4 more"
