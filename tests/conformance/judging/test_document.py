"""ENV050 to ENV055: each fires, and not where it must not."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from pydantic import BaseModel

from envelope.conformance.judging import judge_document
from envelope.wire.bodies import Failure, Shape, Success
from tests.conformance.judged import document, envelope_of, failure_of, shown


class Thing(BaseModel):
    id: int


def rules(whole: Any, **options: Any) -> list[str]:
    return [finding.rule.id for finding in judge_document(whole, **options)]


def answering(key: str, response: Any, **more: Any) -> dict[str, Any]:
    """Make a document of one operation with one response more."""
    responses = {"200": shown(envelope_of({})), "500": shown(failure_of(500)), key: response}
    return document({"responses": responses}, **more)


def test_document_of_the_convention_is_right() -> None:
    """Nothing is found, in any version."""
    whole = document()

    assert rules(whole) == []
    assert rules(whole | {"openapi": "3.2.0"}) == []
    assert rules({"openapi": "3.1.0", "info": {"title": "", "version": ""}, "paths": {}}) == []


def test_document_of_fastapi_has_what_we_know() -> None:
    """One finding for each operation and rule, and no exchange."""
    app = FastAPI()

    @app.post("/things/{thing_id}", status_code=201)
    def make(thing_id: int, thing: Thing, user: Annotated[str, Depends(HTTPBearer())]) -> Thing:
        raise NotImplementedError

    findings = judge_document(app.openapi())

    assert [(finding.rule.id, finding.came) for finding in findings] == [
        ("ENV053", "422 with detail"),
        ("ENV051", "another schema for 201"),
        ("ENV052", "201"),
        ("ENV054", "only 201, 422"),
    ]
    assert findings[3].expected == "401, 404, 500"
    assert {finding.operation for finding in findings} == {"POST /things/{thing_id}"}
    assert all(finding.exchange is None for finding in findings)


# ENV050


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"openapi": "2.0"}, "/openapi"),
        ({"openapi": 3}, "/openapi"),
        ({"info": {"title": "x"}}, "/info"),
        ({"paths": {"things": {}}}, "/paths"),
        ({"paths": []}, "/paths"),
        ({"servers": [{}]}, "/servers/0"),
        ({"paths": {"/a/b": {"x-a": 1, "parameters": [5]}}}, "/paths/~1a~1b/parameters/0"),
        ({"components": {"schemas": {"A": {"type": "number", "minimum": "1"}}}}, "/components/schemas/A/minimum"),
        ({"components": {"schemas": {"A": {"$ref": "#/components/schemas/B"}}}}, "/components/schemas/A"),
        ({"components": {"responses": {"default": {"$ref": "#/nowhere"}}}}, "/components/responses/default"),
        ({"security": [{"key": []}, {}]}, "GET /things"),
    ],
)
def test_broken_structure_is_env050(change: dict[str, Any], place: str) -> None:
    """The place in the document stands where an operation stands otherwise."""
    findings = judge_document(document() | change)

    assert ("ENV050", place) in [(finding.rule.id, finding.operation) for finding in findings]
    assert {finding.rule.id for finding in findings} == {"ENV050"}


@pytest.mark.parametrize(
    ("responses", "came"),
    [
        ({"200": {}}, '"description" is a required property'),
        ({"200": shown({"type": "nonsense"})}, "nonsense"),
        ({"200": shown({"allOf": [{"$ref": "#/components/schemas/A"}]})}, "#/components/schemas/A"),
        ({}, "{}"),
    ],
)
def test_broken_response_is_env050(responses: dict[str, Any], came: str) -> None:
    """Whatever else such a document lacks."""
    findings = judge_document(document({"responses": responses}))

    assert any(finding.rule.id == "ENV050" and came in finding.came for finding in findings)


def test_schema_of_the_rest_is_not_judged_where_it_is_data() -> None:
    """Examples and defaults may look like references; a property may be called like a keyword."""
    schema = {
        "type": "object",
        "properties": {"default": {"type": "string"}, "schema": {"type": "string"}, "$ref": {"type": "string"}},
        "example": {"$ref": "#/nowhere"},
        "default": {"$ref": "#/nowhere"},
    }

    assert rules(document(components={"schemas": {"A": schema}})) == []
    wrong = document(components={"schemas": {"A": {"properties": {"default": {"$ref": "#/nowhere"}}}}})
    assert rules(wrong) == ["ENV050"]


def test_path_parameters_are_those_of_the_path() -> None:
    """One that is not declared, and one that is not there."""
    declared = [{"name": "x", "in": "path", "required": True, "schema": {}}]
    failures = {key: shown(failure_of(int(key))) for key in ("400", "404", "500")}
    operation = {"responses": {"200": shown(envelope_of({}))} | failures}

    assert rules(document(operation, path="/a/{x}")) == ["ENV050"]
    assert rules(document(operation | {"parameters": declared})) == ["ENV050"]
    assert rules(document(operation | {"parameters": declared}, path="/a/{x}")) == []


def test_operation_ids_are_unique() -> None:
    """Generators name functions by them."""
    whole = document({"operationId": "a"})
    whole["paths"]["/b"] = whole["paths"]["/things"]
    assert rules(whole) == ["ENV050", "ENV050"]

    whole["paths"]["/b"] = {"get": whole["paths"]["/things"]["get"] | {"operationId": "b"}}
    assert rules(whole) == []


def test_security_schemes_are_known() -> None:
    """Those that an operation asks for."""
    responses = {"200": shown(envelope_of({})), "401": shown(failure_of(401)), "500": shown(failure_of(500))}
    operation = {"security": [{"key": []}], "responses": responses}
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}

    assert rules(document(operation)) == ["ENV050"]
    assert rules(document(operation, components=schemes)) == []


def test_relative_token_url_is_right() -> None:
    """FastAPI writes it so."""
    app = FastAPI()

    @app.get("/things")
    def get_things(token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]) -> None:
        raise NotImplementedError

    assert "ENV050" not in rules(app.openapi())


def test_schemas_of_30_are_those_of_30() -> None:
    """Its own schema knows nullable; JSON Schema's words of today are not asked for."""
    schema = {"type": "number", "nullable": True, "minimum": 1, "exclusiveMinimum": True}
    components = {"schemas": {"A": schema}}
    responses = {"200": {"description": ""}, "500": {"description": ""}}

    assert rules(document({"responses": responses}, components=components) | {"openapi": "3.0.3"}) == []
    wrong = {"schemas": {"A": {"type": ["number"]}}}
    assert rules(document({"responses": responses}, components=wrong) | {"openapi": "3.0.3"}) == ["ENV050"]


def test_very_broken_document_is_told_in_twenty_findings() -> None:
    """One reads no more at a time."""
    schemas = {f"A{number}": {"type": number} for number in range(30)}

    assert rules(document(components={"schemas": schemas})) == ["ENV050"] * 20


# ENV051 and ENV052


ENVELOPE = envelope_of({"$ref": "#/components/schemas/Thing"})
COMPONENTS = {
    "schemas": {
        "Thing": {"type": "object"},
        "ThingEnvelope": ENVELOPE,
        "Loop": {"allOf": [{"$ref": "#/components/schemas/Loop"}]},
        "Round": {"anyOf": [{"$ref": "#/components/schemas/Round"}]},
    }
}


@pytest.mark.parametrize(
    "schema",
    [
        ENVELOPE,
        {"$ref": "#/components/schemas/ThingEnvelope"},
        {"anyOf": [ENVELOPE, {"$ref": "#/components/schemas/ThingEnvelope"}]},
        {"allOf": [ENVELOPE], "description": "x"},
        {"allOf": [{"properties": {"status": {"enum": ["success"]}}}, {"properties": {"content": {}}}]},
        {"type": "object", "properties": {"status": {"type": "string"}, "content": {}}},
        Success[str].model_json_schema(),
    ],
)
def test_schema_of_the_envelope_is_right(schema: dict[str, Any]) -> None:
    """As we write it, and as others may."""
    assert rules(answering("200", shown(schema), components=COMPONENTS)) == []


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        {"$ref": "#/components/schemas/Thing"},
        {"type": "array", "items": ENVELOPE},
        {"anyOf": [ENVELOPE, {"type": "null"}]},
        {"properties": {"status": {"const": "ok"}, "content": {}}},
        {"properties": {"status": {"enum": ["draft"]}, "content": {"type": "string"}}},
        {"properties": {"status": {"const": "success"}, "content": {}, "meta": {}}},
        {"properties": {"status": {"const": "success"}, "data": {}}},
        {"$ref": "#/components/schemas/Loop"},
        {"$ref": "#/components/schemas/Round"},
    ],
)
def test_schema_without_the_envelope_is_env051(schema: dict[str, Any]) -> None:
    """A schema that admits anything shows nothing."""
    assert rules(answering("200", shown(schema), components=COMPONENTS)) == ["ENV051"]


def test_success_without_a_schema_is_env051_and_what_is_not_json_is_right() -> None:
    """Files, ranges and responses of which nothing is said."""
    assert rules(answering("200", {"description": "", "content": {"application/json": {}}})) == ["ENV051"]
    assert rules(answering("2XX", shown({}))) == ["ENV051"]
    assert rules(answering("200", shown({}, "text/csv"))) == []
    assert rules(answering("200", {"description": ""})) == []
    assert rules(answering("206", shown({}))) == []
    assert rules(answering("302", shown({}))) == []


def test_other_success_status_is_env052() -> None:
    """JSON or empty, unless the service keeps its statuses."""
    keep = {"x-envelope": {"success_status": "keep"}}

    assert rules(answering("201", shown(ENVELOPE), components=COMPONENTS)) == ["ENV052"]
    assert rules(answering("204", {"description": ""})) == ["ENV052"]
    assert rules(answering("201", shown({}, "text/csv"))) == []
    assert rules(answering("2XX", shown(ENVELOPE), components=COMPONENTS)) == []
    assert rules(answering("204", {"description": ""}, **keep)) == []
    assert rules(answering("201", shown({}), **keep)) == ["ENV051"]


# ENV053 and ENV054


def test_fastapi_validation_error_is_env053() -> None:
    """By its form; a 422 of the convention is a failure like any other."""

    inline = {"properties": {"detail": {"type": "array", "items": {"type": "object"}}}}

    assert rules(answering("422", shown(inline))) == ["ENV053"]
    assert rules(answering("422", shown(failure_of(422)))) == []
    assert rules(answering("422", shown({"properties": {"detail": {"type": "string"}}}))) == ["ENV055"]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"parameters": [{"name": "q", "in": "query", "schema": {}}]}, "400"),
        ({"requestBody": {"content": {"application/json": {"schema": {}}}}}, "400"),
        ({"security": [{"key": []}]}, "401"),
        ({"parameters": [{"name": "x", "in": "path", "required": True, "schema": {}}]}, "404"),
        ({}, "500"),
    ],
)
def test_possible_failure_that_is_left_out_is_env054(more: dict[str, Any], status: str) -> None:
    """By itself, by range and by default it is there."""
    path = "/things/{x}" if status == "404" else "/things"
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    whole = {key: {"description": ""} for key in ("200", "400", "401", "404", "500")}
    rest = {key: response for key, response in whole.items() if key != status}

    def found(responses: dict[str, Any]) -> list[tuple[str, str]]:
        described = document(more | {"responses": responses}, path=path, components=schemes)
        return [(finding.rule.id, finding.expected) for finding in judge_document(described)]

    assert found(whole) == []
    assert found(rest) == [("ENV054", status)]
    assert found(rest | {"default": {"description": ""}}) == []
    assert found(rest | {f"{status[0]}XX": {"description": ""}}) == []


def test_optional_credentials_need_no_401() -> None:
    """An empty requirement lets everybody in."""
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    responses = {"200": {"description": ""}, "500": {"description": ""}}

    assert rules(document({"security": [{"key": []}, {}], "responses": responses}, components=schemes)) == []
    assert (
        rules(document({"responses": {}, "security": []} | {"responses": {"default": {"description": ""}}})) == []
    )


# ENV055


def coded(*codes: str) -> dict[str, Any]:
    """Make the schema of a failure with one of some error codes."""
    details = {
        "type": "object",
        "properties": {
            "error_code": {"enum": list(codes)},
            "message": {"type": "string", "const": "It is frozen."},
        },
        "required": ["error_code", "message"],
        "additionalProperties": False,
    }
    schema = failure_of(409)
    schema["properties"]["message"] = details
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        failure_of(409),
        coded("frozen", "melted"),
        {"anyOf": [failure_of(409), coded("frozen")]},
        {"oneOf": [coded("frozen"), {"type": "object", "properties": {"detail": {}}, "required": ["detail"]}]},
        {"allOf": [failure_of(409)]},
        Failure.model_json_schema(
            ref_template="#/paths/~1things/get/responses/409/content/application~1json/schema/$defs/{model}"
        ),
    ],
)
def test_schema_of_a_failure_is_right(schema: dict[str, Any]) -> None:
    """Narrowed down to error codes, or one of several."""
    assert rules(answering("409", shown(schema))) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "object", "properties": {"detail": {"type": "string"}}},
        {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]},
        failure_of(500),
        failure_of(409) | {"required": ["code", "message", "status", "id"]},
        {"type": "object", "properties": {"code": {"type": "string"}, "message": {}, "status": {}}},
        {"properties": {"code": {"const": 409}, "message": {"type": "integer"}, "status": {"const": "failure"}}},
        {"properties": {"code": {"const": 409}, "message": {"type": "string"}, "status": {"const": "error"}}},
    ],
)
def test_schema_of_another_failure_is_env055(schema: dict[str, Any]) -> None:
    """FastAPI's detail, other codes, other words."""
    assert rules(answering("409", shown(schema))) == ["ENV055"]


def test_failure_of_another_type_is_env055() -> None:
    """Problem details are another convention; of a response without content nothing is said."""
    assert rules(answering("409", shown({}, "application/problem+json"))) == ["ENV055"]
    assert rules(answering("409", {"description": ""})) == []


def test_ranges_and_default_admit_some_failure() -> None:
    """The code stands for the statuses of the range; default is a failure where a success stands beside it."""
    assert rules(answering("4XX", shown(failure_of(404)))) == []
    assert rules(answering("4XX", shown(failure_of(500)))) == ["ENV055"]
    assert rules(answering("default", shown(failure_of(404)))) == []
    assert rules(answering("default", shown({"type": "string"}))) == ["ENV055"]
    assert rules(document({"responses": {"default": shown({"type": "string"})}})) == []


def test_examples_show_what_a_narrow_schema_admits() -> None:
    """A pattern that no text of ours fits is met by the document's own example."""
    schema = failure_of(409)
    schema["properties"]["message"] = {"type": "string", "pattern": "^E[0-9]{4}$"}
    media = {"schema": schema}
    example = {"code": 409, "message": "E1234", "status": "failure"}

    def found(**more: Any) -> list[str]:
        return rules(answering("409", {"description": "", "content": {"application/json": media | more}}))

    assert found() == ["ENV055"]
    assert found(example=example) == []
    assert found(examples={"a": {"value": {"x": 1}}, "b": {"value": example}}) == []
    assert rules(answering("409", shown(schema | {"examples": [example]}))) == []


def test_schemas_in_a_circle_are_read_once() -> None:
    """Their texts are looked for, and found or not."""
    schemas = {"A": {"type": "array", "items": {"$ref": "#/components/schemas/A"}}}

    assert rules(answering("409", shown({"$ref": "#/components/schemas/A"}), components={"schemas": schemas})) == [
        "ENV055"
    ]


# exemptions and shapes


def test_exempt_operation_shows_what_it_likes() -> None:
    """By the document, or by what was given; but not FastAPI's validation."""
    bare = document({"responses": {"201": shown({})}})

    assert rules(bare, exempt=["GET /things"]) == []
    assert rules(bare | {"x-envelope": {"exempt": ["GET /things"]}}) == []
    assert rules(bare) == ["ENV051", "ENV052", "ENV054"]


def test_names_of_a_shape_are_the_rules() -> None:
    """What is right in one shape is wrong in another."""
    schema = {"properties": {"status": {"const": "ok"}, "data": {}}}
    whole = document({"responses": {"200": shown(schema), "default": {"description": ""}}})
    shape = {"success": "ok", "content": "data"}

    assert rules(whole) == ["ENV051"]
    assert rules(whole, shape=Shape(**shape)) == []
    assert rules(whole | {"x-envelope": {"shape": shape}}) == []
