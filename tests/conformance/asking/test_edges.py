"""Valid input at the edges."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from envelope.conformance.asking.edges import edges
from envelope.conformance.asking.flaws import Trial
from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Request
from tests.conformance.services import document, json_body, parameter


def trials(operation: Any, body: Any = None) -> list[Trial]:
    contract = Contract(document({"/things": {"post": operation}}))
    raw = None if body is None else json.dumps(body).encode()
    request = Request(method="POST", url="http://h/things?x=0", path="/things", body=raw)
    return list(edges(request, contract.operations[0], contract))


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, ["1", "9"]),
        ({"type": "number", "minimum": 0.5}, ["0.5"]),
        ({"type": "integer", "minimum": "1"}, []),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["aa", "aaa", "éé"]),
        ({"type": "string", "maxLength": 1}, ["a", "é"]),
        ({"type": "string", "maxLength": 10**9}, []),
        ({"type": "string", "maxLength": "x"}, []),
        ({"type": "string", "format": "email", "maxLength": 3}, []),
        ({"type": "string", "enum": ["x", "y"]}, ["x", "y"]),
        ({"enum": "x"}, []),
        ({"type": "boolean"}, []),
    ],
)
def test_query_parameter_takes_the_values_of_its_edges(schema, values) -> None:
    """The least and the most, the shortest and the longest, and every word."""
    found = trials({"parameters": [parameter("query", "x", **schema)]})

    assert [parse_qs(urlsplit(each.request.url).query)["x"][0] for each in found] == values
    assert {each.kind for each in found} <= {"valid"}


def test_property_takes_the_values_of_its_edges() -> None:
    """One property at a time; what another keyword forbids is no edge."""
    properties = {
        "n": {"type": "integer", "minimum": 1, "maximum": 9, "not": {"const": 9}},
        "s": {"type": "string"},
    }
    found = trials({"requestBody": json_body(properties)}, {"n": 5, "s": "x"})

    bodies = [json.loads(each.request.body or b"") for each in found]
    assert bodies[:2] == [{"n": 1, "s": "x"}, {"n": 5, "s": "a"}]
    assert {len(body["s"]) for body in bodies} == {1, 2000}


def test_body_that_is_no_object_has_no_edges() -> None:
    """Nor has a path or a header field: the first leads to an object, the second to a proxy."""
    parameters = [parameter("header", "x", type="integer", minimum=1)]

    assert (
        trials({"requestBody": json_body({"n": {"type": "integer", "minimum": 1}}), "parameters": parameters}, [1])
        == []
    )
