"""Input that nobody can take for valid, made of valid input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envelope.conformance.asking.flaws import flawed, is_json, json_schema, query_with, request_content
from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Request
from tests.conformance.services import document, json_body, parameter


def flaws_of(
    operation: Any, request: Request, method: str = "get", template: str = "/things", **more: Any
) -> dict[str, Request]:
    contract = Contract(document({template: {method: operation}}, **more))
    [described] = contract.operations
    return {trial.flaw: trial.request for trial in flawed(request, described, contract)}


def request(path: str = "/things", query: str = "", body: Any = None) -> Request:
    url = f"http://h/api{path}" + (f"?{query}" if query else "")
    return Request(method="GET", url=url, path=path, body=None if body is None else json.dumps(body).encode())


def test_required_query_parameter_is_left_out() -> None:
    """And only that one; a number is also replaced by a word."""
    parameters = [
        parameter("query", "offset", required=True, type="integer"),
        parameter("query", "name", required=True, type="string"),
        parameter("query", "ratio", type="number"),
    ]
    flaws = flaws_of({"parameters": parameters}, request(query="offset=1&name=a%20b"))

    assert {flaw: each.url.partition("?")[2] for flaw, each in flaws.items()} == {
        "the required query parameter 'offset' is missing": "name=a+b",
        "the query parameter 'offset' is not a number": "name=a+b&offset=not-a-number",
        "the required query parameter 'name' is missing": "offset=1",
        "the query parameter 'ratio' is not a number": "offset=1&name=a+b&ratio=not-a-number",
    }


@pytest.mark.parametrize(
    "schema", [{"type": "array"}, {"type": "object"}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, {}]
)
def test_parameter_that_can_be_absent_on_the_wire_is_left_alone(schema) -> None:
    """An empty array has no field; and who knows what an alternative means."""
    assert flaws_of({"parameters": [parameter("query", "x", required=True, **schema)]}, request(query="x=1")) == {}


@pytest.mark.parametrize("where", ["header", "cookie"])
def test_other_places_are_left_alone(where) -> None:
    """Servers and proxies add header fields."""
    assert flaws_of({"parameters": [parameter(where, "x", required=True, type="integer")]}, request()) == {}


def test_number_in_a_path_is_replaced_by_a_word() -> None:
    """Where it stands, below the base URL; references are followed."""
    parameters = [{"in": "path", "name": "id", "required": True, "schema": {"$ref": "#/components/schemas/Id"}}]
    components = {"schemas": {"Id": {"type": "integer"}}}
    flaws = flaws_of(
        {"parameters": parameters}, request("/things/7/x", "a=b"), template="/things/{id}/x", components=components
    )

    [(flaw, changed)] = flaws.items()
    assert flaw == "the path parameter 'id' is not a number"
    assert (changed.url, changed.path) == ("http://h/api/things/not-a-number/x?a=b", "/things/not-a-number/x")


@pytest.mark.parametrize(
    ("template", "path"), [("/things/{id}.json", "/things/7.json"), ("/files/{id}", "/files/a/b")]
)
def test_path_parameter_that_is_no_segment_is_left_alone(template, path) -> None:
    """It is not known where it begins and ends."""
    operation = {"parameters": [parameter("path", "id", type="integer")]}

    assert flaws_of(operation, request(path), template=template) == {}


def test_required_property_is_left_out() -> None:
    """If it is there and the client is to send it; and the whole body is replaced by something else."""
    properties = {"name": {"type": "string"}, "id": {"type": "integer", "readOnly": True}, "note": {}}
    operation = {"requestBody": json_body(properties, ["name", "id", "absent"])}
    flaws = flaws_of(operation, request(body={"name": "Ada", "id": 1, "note": 2}), method="post")

    assert {flaw: json.loads(each.body or b"") for flaw, each in flaws.items()} == {
        "the body is not an object": "not-an-object",
        "the required property 'name' is missing": {"id": 1, "note": 2},
    }


@pytest.mark.parametrize(
    ("body", "schema"),
    [
        ([1], {"type": "array"}),
        ({"a": 1}, {"anyOf": [{"type": "object"}, {"type": "string"}]}),
        ([1], {"type": "object"}),
        (None, {"type": "object"}),
    ],
)
def test_body_of_another_kind_is_left_alone(body, schema) -> None:
    """Only an object that must be one is changed."""
    operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}

    assert flaws_of(operation, request(body=body), method="post") == {}


def test_json_schema_is_that_of_the_json_among_the_media_types() -> None:
    """Without JSON there is none."""
    json_type = {"application/vnd.x+json; charset=utf-8": {"schema": {"type": "object"}}}
    for content, expected in (({"text/plain": {}, **json_type}, {"type": "object"}), ({"text/plain": {}}, None)):
        contract = Contract(document({"/x": {"post": {"requestBody": {"content": content}}}}))
        assert json_schema(contract.operations[0], contract.schemas).value == expected
        assert list(request_content(contract.operations[0], contract.schemas).mapping()) == list(content)


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/json", True),
        ("Application/Problem+JSON; a=b", True),
        ("text/json", False),
        ("application/jsonl", False),
    ],
)
def test_json_is_known_by_its_media_type(media_type, expected) -> None:
    """RFC 6839 has a suffix for it."""
    assert is_json(media_type) is expected


def test_query_is_changed_at_one_name() -> None:
    """Other fields stay, empty ones too."""
    assert query_with(request(query="a=&b=1&b=2"), "b", "3").url == "http://h/api/things?a=&b=3"


def test_path_that_another_operation_could_answer_is_left_alone() -> None:
    """``/items/{number:int}`` beside ``/items/{name}``: a word is for the second."""
    item = {"parameters": [parameter("path", "number", type="integer")]}
    named = {"parameters": [parameter("path", "name", type="string")]}
    contract = Contract(document({"/items/{number}": {"get": item}, "/items/{name}": {"get": named}}))

    assert not list(flawed(request("/items/1"), contract.operations[0], contract))
