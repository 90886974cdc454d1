"""Whatever comes, judging ends with findings and not with an error: services under check are broken."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Exchange, Request
from envelope.conformance.findings import RULES
from envelope.conformance.judging import judge, judge_document
from tests.conformance.judged import document, envelope_of, exchange, failure_of, shown, success

words = st.sampled_from(["status", "content", "code", "message", "success", "failure", "error_code", "x", ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)
bodies = values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20)
names = st.sampled_from(
    [
        "Content-Type",
        "Retry-After",
        "Date",
        "RateLimit",
        "RateLimit-Policy",
        "X-RateLimit-Reset",
        "X-RateLimit-Limit",
        "Accept-Ranges",
    ]
)
texts = st.sampled_from(
    ["application/json", "text/plain", '"a";q=1;w=1', '"a";r=1;t=5', "1", "-1", "9" * 5000]
) | st.text(max_size=9)

WHOLE = document(
    {
        "operationId": "list",
        "parameters": [{"name": "q", "in": "query", "schema": {"type": "integer"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}},
        "security": [{"key": []}],
        "responses": {
            "200": shown(envelope_of({"$ref": "#/components/schemas/A"})),
            "404": {"$ref": "#/components/responses/NotFound"},
            "422": shown({"properties": {"detail": {"type": "array"}}}),
            "default": shown(failure_of(500)),
        },
    },
    servers=[{"url": "/{stage}", "variables": {"stage": {"default": "v1"}}}],
    components={
        "schemas": {"A": {"anyOf": [{"type": "object"}, {"allOf": [{"$ref": "#/components/schemas/A"}]}]}},
        "responses": {"NotFound": shown(failure_of(404)) | {"headers": {"Allow": {"schema": {}}}}},
        "securitySchemes": {"key": {"type": "oauth2", "flows": {"password": {"tokenUrl": "t", "scopes": {}}}}},
    },
) | {"x-envelope": {"exempt": ["GET /x"], "shape": {"content": "content"}}}
CONTRACT = Contract(WHOLE)


@given(
    st.sampled_from(["GET", "HEAD", "OPTIONS", "POST"]),
    st.sampled_from(["/things", "/", "", "*", "/%", "/things/%ff"]),
    st.integers(100, 599),
    st.lists(st.tuples(names, texts), max_size=4),
    bodies,
)
def test_any_response_is_judged(
    method: str, path: str, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Each departure once."""
    request = Request(method=method, url="http://h" + path, path=path, body=body)
    for contract in (CONTRACT, Contract(None)):
        found = [finding.rule.id for finding in judge(Exchange(request, status, tuple(headers), body), contract)]

        assert len(set(found)) == len(found)
        assert set(found) <= RULES.keys()


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(each for key, child in below for each in places(child, (*place, key)))]


@settings(max_examples=100)
@given(st.sampled_from(places(WHOLE)[1:]), values | st.just({"$ref": "#/components/schemas/A"}))
def test_document_with_anything_anywhere_is_judged(place: tuple[Any, ...], value: Any) -> None:
    """One member of a good document is replaced by something else."""
    broken = copy.deepcopy(WHOLE)
    member = broken
    for key in place[:-1]:
        member = member[key]
    member[place[-1]] = value

    assert all(finding.rule.id in RULES for finding in judge_document(broken))
    assert all(finding.rule.id in RULES for finding in judge(exchange(200, success({})), Contract(broken)))


def test_thousands_of_exchanges_are_judged_in_a_moment() -> None:
    """What a document says is read once, also of two hundred operations."""
    paths = {f"/things{number}/{{thing_id}}/parts/{{part_id}}": WHOLE["paths"]["/things"] for number in range(200)}
    contract = Contract(WHOLE | {"paths": paths})
    seen = [
        exchange(200, success({"id": number}), path=f"/things{number % 200}/{number}/parts/1")
        for number in range(1000)
    ]
    judge(seen[0], contract)

    begun = time.process_time()
    for each in seen:
        judge(each, contract)

    assert time.process_time() - begun < 3
