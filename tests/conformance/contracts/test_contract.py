"""What a contract reads out of a document."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.conformance.contracts.contract import Contract
from envelope.conformance.contracts.schemas import Schemas, as_json
from envelope.wire.bodies import Shape
from tests.conformance.judged import document, envelope_of, shown


def of(*templates: str, method: str = "get", **more: Any) -> Contract:
    paths: dict[str, Any] = {template: {method: {"responses": {}}} for template in templates}
    extension = {"x-envelope": more.pop("extension")} if "extension" in more else {}
    return Contract({"openapi": "3.1.0", "info": {}, "paths": paths} | extension | more)


def found(contract: Contract, path: str, method: str = "GET") -> str | None:
    operation = contract.operation_for(method, path)
    return operation.name if operation else None


def test_no_document_knows_no_operation_and_the_convention_itself() -> None:
    """Contract(None) is enough to judge the convention."""
    contract = Contract(None)

    assert contract.operations == ()
    assert contract.operation_for("GET", "/") is None
    assert contract.name_of("GET", "/x") == "GET /x"
    assert contract.shape == Shape()
    assert contract.success_status == "always-200"


def test_literal_segment_goes_before_a_parameter() -> None:
    """From the left, whatever the order of the document."""
    contract = of("/{a}/{b}", "/x/{b}", "/{a}/y", "/x/v{b}", "/x/y")

    assert found(contract, "/x/y") == "GET /x/y"
    assert found(contract, "/x/v1") == "GET /x/v{b}"
    assert found(contract, "/x/z") == "GET /x/{b}"
    assert found(contract, "/z/y") == "GET /{a}/y"
    assert found(contract, "/z/z") == "GET /{a}/{b}"


def test_literal_of_another_method_does_not_hide_a_parameter() -> None:
    """GET /things/new is GET /things/{id} where only POST knows the literal path."""
    contract = Contract(
        {"paths": {"/things/new": {"post": {"responses": {}}}, "/things/{id}": {"get": {"responses": {}}}}}
    )

    assert found(contract, "/things/new") == "GET /things/{id}"
    assert found(contract, "/things/new", "POST") == "POST /things/new"
    assert found(contract, "/things/1", "POST") is None


def test_several_parameters_in_one_segment_are_found() -> None:
    """Between them stands literal text, and special characters of patterns are literal."""
    contract = of("/a/{x}.{y}", "/b/{x}-{y}+z")

    assert found(contract, "/a/1.2") == "GET /a/{x}.{y}"
    assert found(contract, "/a/12") is None
    assert found(contract, "/b/1-2+z") == "GET /b/{x}-{y}+z"
    assert found(contract, "/b/1-2zz") is None


def test_parameter_spans_slashes_only_if_nothing_else_fits() -> None:
    """The document does not tell {path:path} from {path}; an empty one fits too."""
    contract = of("/files/{path}", "/files/{folder}/index", "/{anything}")

    assert found(contract, "/files/a/index") == "GET /files/{folder}/index"
    assert found(contract, "/files/a/b/c.txt") == "GET /files/{path}"
    assert found(contract, "/files/") == "GET /files/{path}"
    assert found(contract, "/other/x") == "GET /{anything}"
    assert found(of("/files", "/b/{x}"), "/files/x") is None


def test_percent_encoded_path_is_decoded() -> None:
    """Encoded literals fit; an encoded slash is a slash where the server sees one, else part of a value."""
    contract = of("/café/{x}", "/b%20b", "/c/{x}", "/d/{x}", "/d/{x}/{y}")

    assert found(contract, "/caf%C3%A9/1") == "GET /café/{x}"
    assert found(contract, "/b%20b") == "GET /b%20b"
    assert found(contract, "/c/a%2Fb") == "GET /c/{x}"
    assert found(contract, "/d/a%2fb") == "GET /d/{x}/{y}"


@given(
    st.text(min_size=1).filter(lambda text: "/" not in text),
    st.text(min_size=1).filter(lambda text: "/" not in text),
)
def test_any_value_of_a_parameter_finds_its_operation(x: str, y: str) -> None:
    """Whatever is encoded into a segment, the template is found."""
    contract = of("/a/{x}/b/{y}")

    path = f"/a/{quote(x, safe='', errors='surrogatepass')}/b/{quote(y, safe='', errors='surrogatepass')}"

    assert found(contract, path) == "GET /a/{x}/b/{y}"


def test_server_prefix_may_stand_before_a_path() -> None:
    """A path is known with and without the prefix of a server, absolute, relative or with variables."""
    servers = [
        {"url": "https://api.example.com/v1/"},
        {"url": "/api/{stage}", "variables": {"stage": {"default": "beta"}}},
        {"url": "http://[broken"},
    ]
    contract = of("/things/{id}", servers=servers)

    assert found(contract, "/things/1") == "GET /things/{id}"
    assert found(contract, "/v1/things/1") == "GET /things/{id}"
    assert found(contract, "/api/beta/things/1") == "GET /things/{id}"
    assert found(contract, "/v10/things/1") is None


def test_head_is_answered_by_get_unless_it_has_its_own() -> None:
    """HEAD /x is GET /x without the body."""
    contract = Contract(
        {"paths": {"/a": {"get": {"responses": {}}}, "/b": {"get": {"responses": {}}, "head": {"responses": {}}}}}
    )

    assert found(contract, "/a", "HEAD") == "GET /a"
    assert found(contract, "/b", "HEAD") == "HEAD /b"


def test_options_of_the_convention_are_read_from_the_document() -> None:
    """x-envelope says names, status and exemptions; what is given goes before it."""
    extension = {
        "success_status": "keep",
        "shape": {"content": "data", "later": "x"},
        "exempt": ["GET /things", 5],
    }
    contract = of("/things", extension=extension)

    assert contract.shape == Shape(content="data")
    assert contract.success_status == "keep"
    assert contract.operations[0].is_exempt
    assert contract.is_exempt("HEAD", "/things")
    assert not contract.is_exempt("POST", "/things")
    assert Contract(contract.document, shape=Shape(content="body")).shape == Shape(content="body")


def test_broken_options_of_the_document_are_the_convention() -> None:
    """A document can say anything; what makes no sense is not said."""
    for shape in ({"content": ""}, {"content": "status"}, "data", {"content": 5}):
        contract = of("/things", extension={"shape": shape, "exempt": "all", "success_status": "often"})

        assert contract.shape == Shape()
        assert contract.success_status == "always-200"
        assert not contract.operations[0].is_exempt


def test_exemptions_are_operations_paths_and_prefixes() -> None:
    """As install(exempt=) spells paths, and operations beside them."""
    contract = Contract(
        {
            "paths": {"/hooks/{name}": {"post": {"responses": {}}}, "/a": {"get": {"responses": {}}}},
            "servers": [{"url": "/v1"}],
        },
        exempt=["/hooks/*", "GET /metrics", "/token"],
    )

    assert [operation.is_exempt for operation in contract.operations] == [True, False]
    assert contract.is_exempt("POST", "/hooks/x")
    assert contract.is_exempt("GET", "/v1/metrics")
    assert not contract.is_exempt("POST", "/metrics")
    assert contract.is_exempt("PUT", "/token")
    assert contract.is_exempt("GET", "/.well-known/jwks.json")
    assert not contract.is_exempt("GET", "/a")


def test_token_urls_of_the_document_are_exempt() -> None:
    """OAuth2 fixes the body of a token endpoint; one of another server is not this service's."""
    flows = {
        "password": {"tokenUrl": "auth/token"},
        "clientCredentials": {"tokenUrl": "https://id.example.com/token"},
    }
    contract = of(
        "/auth/token",
        method="post",
        servers=[{"url": "/v1"}],
        components={"securitySchemes": {"oauth": {"type": "oauth2", "flows": flows}, "key": {"type": "apiKey"}}},
    )
    below = of(
        "/auth/token",
        method="post",
        servers=[{"url": "/v1"}],
        components={"securitySchemes": {"oauth": {"flows": {"password": {"tokenUrl": "/v1/auth/token"}}}}},
    )

    assert contract.operations[0].is_exempt
    assert below.operations[0].is_exempt
    assert not contract.is_exempt("GET", "/auth/token")
    assert not contract.is_exempt("POST", "/token")


def test_operation_knows_its_parameters_body_and_security() -> None:
    """Those of its path too, references resolved, the operation's own before the path's."""
    contract = Contract(
        {
            "security": [{"key": []}],
            "paths": {
                "/a/{x}": {
                    "parameters": [{"$ref": "#/components/parameters/X"}, {"name": "q", "in": "query"}],
                    "post": {
                        "parameters": [{"name": "q", "in": "query", "required": True}, {"$ref": "#/nowhere"}],
                        "requestBody": {"content": {}},
                        "responses": {},
                    },
                    "get": {"security": [], "responses": {}},
                },
                "/b": {"get": {"security": [{}, {"key": []}], "responses": {}}, "x-note": {}},
            },
            "components": {"parameters": {"X": {"name": "x", "in": "path"}}},
        }
    )
    get, post, other = contract.operations

    assert [parameter["name"] for parameter in post.parameters] == ["x", "q"]
    assert post.parameters[1]["required"]
    assert (post.has_parameters, post.has_path_parameters, post.has_body, post.is_secured) == (
        True,
        True,
        True,
        True,
    )
    assert (get.has_path_parameters, get.has_body, get.is_secured) == (True, False, False)
    assert (other.has_parameters, other.has_path_parameters, other.is_secured) == (False, False, False)


def test_responses_are_found_by_status_range_and_default() -> None:
    """The most specific key goes first."""
    responses: dict[str, Any] = {"404": {"description": "a"}, "4XX": {"description": "b"}, "5xx": {}, "x-y": {}}
    operation = Contract(document({"responses": responses})).operations[0]

    found = [operation.response_for(status) for status in (404, 409, 503)]
    assert [response.key for response in found if response] == ["404", "4XX", "5xx"]
    assert operation.declares(500)
    assert not operation.declares(200)
    assert Contract(document({"responses": {"default": {}}})).operations[0].declares(200)


def test_media_types_are_compared_without_case_and_parameters() -> None:
    """Ranges fit, and a response without content says nothing."""
    responses: dict[str, Any] = {
        "200": {"content": {"Application/JSON; charset=utf-8": {}, "text/*": {}}},
        "201": {},
        "202": {"content": {"*/*": {}}},
    }
    ok, created, accepted = Contract(document({"responses": responses})).operations[0].responses.values()

    assert ok.allows("application/json")
    assert ok.allows("text/csv")
    assert not ok.allows("image/png")
    assert created.allows("image/png")
    assert accepted.allows("image/png")
    assert created.json_content.value is None


def explained(schema, value, **components) -> str | None:
    whole = document({"responses": {"200": shown(schema)}}, components={"schemas": components})
    response = Contract(whole).operations[0].responses["200"]
    return response.schemas.explain(response.json_schema, value)


def test_bodies_are_validated_with_the_references_of_the_document() -> None:
    """Also of paths with braces and slashes; the place is told, the value is not."""
    schema = envelope_of({"$ref": "#/components/schemas/Thing"})
    thing = {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
        },
    }

    assert (
        explained(schema, {"status": "success", "content": {"id": 1, "parts": [{"id": 2}]}}, Thing=thing) is None
    )
    told = explained(schema, {"status": "success", "content": {"parts": [{"id": "hunter2"}]}}, Thing=thing)
    assert told == '$.content.parts[0].id: the value is not of type "integer"'
    path = Contract(
        document({"responses": {"200": shown({"type": "integer"})}}, path="/a b/{x}/%25~y")
    ).operations[0]
    assert path.responses["200"].schemas.explain(path.responses["200"].json_schema, "x") is not None


def test_alternative_that_came_furthest_is_explained() -> None:
    """Of anyOf the error that says most."""
    schema = {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"a": {"type": "integer"}}}]}

    assert explained(schema, {"a": "x"}) == '$.a: the value is not of type "integer"'


def test_schema_that_cannot_be_compiled_judges_nothing() -> None:
    """References that lead nowhere or out of the document, patterns of Python, texts that are no text."""
    assert explained({"$ref": "#/nowhere"}, 1) is None
    assert explained({"$ref": "https://example.com/schema.json"}, 1) is None
    assert explained({"type": "string", "pattern": "a\\Z"}, 1) is None
    assert explained({"type": "string", "maxLength": 1}, "\ud800\ud800") is None


def test_references_are_followed_until_something_stands_there() -> None:
    """Through several, into arrays, and never in a circle."""
    schemas = Schemas(
        {
            "a": {"$ref": "#/b"},
            "b": {"$ref": "#/c~1d/1"},
            "c/d": [0, {"x": 1}],
            "e": {"$ref": "#/f"},
            "f": {"$ref": "#/e"},
            "g": {"$ref": "other.json#/x"},
        }
    )

    assert schemas.resolve(schemas.root.child("a")) == ({"x": 1}, "/c~1d/1")
    assert schemas.resolve(schemas.root.child("e")).value is None
    assert schemas.resolve(schemas.root.child("g")).value is None
    assert schemas.find("#/c~1d/2").value is None
    assert schemas.find("#/a/b/c").value is None


def test_openapi_30_is_read_as_31_says_it() -> None:
    """Nullable, with and without enum and type, and boolean limits."""
    schemas = Schemas(
        {
            "openapi": "3.0.3",
            "text": {"type": "string", "nullable": True, "enum": ["a"]},
            "plain": {"type": "string", "nullable": True},
            "either": {"anyOf": [{"type": "string"}], "nullable": True},
            "nothing": {"nullable": True},
            "no": {"type": "string", "nullable": False},
            "above": {"minimum": 1, "exclusiveMinimum": True, "maximum": 3, "exclusiveMaximum": False},
            "loose": {"exclusiveMaximum": True},
        }
    )

    def admits(name: str, value: object) -> bool:
        return schemas.admits(schemas.root.child(name), value)

    assert admits("text", None) and admits("text", "a") and not admits("text", "b")
    assert admits("plain", None) and not admits("plain", 1)
    assert admits("either", None) and not admits("either", 1)
    assert admits("nothing", None)
    assert not admits("no", None)
    assert not admits("above", 1) and admits("above", 2) and admits("above", 3)
    assert admits("loose", 1)


def test_document_that_cannot_be_written_out_is_refused() -> None:
    """Aliases of YAML can be billions of values in a few lines, or lead to themselves."""
    bomb: list[Any] = []
    for _ in range(30):
        bomb = [bomb, bomb]
    with pytest.raises(ValueError, match="too large when its aliases are written out"):
        as_json(bomb)

    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(ValueError, match="nested too deeply"):
        as_json(endless)


def test_lone_surrogate_of_a_document_is_spelled_out() -> None:
    """It is no text: it can neither be sent nor validated."""
    assert as_json({"\ud800": "é\udfff"}) == {"\\ud800": "é\\udfff"}


def test_document_from_yaml_is_read_like_json() -> None:
    """Statuses are numbers there, and dates are dates."""
    whole = document({"responses": {200: shown({"type": "string", "example": dt.date(2026, 1, 1)})}})
    response = Contract(whole).operations[0].response_for(200)

    assert response is not None
    assert response.json_schema.value["example"] == "2026-01-01"


def test_broken_documents_have_less() -> None:
    """Whatever stands in the wrong place is as if it was not there."""
    documents: list[dict[str, Any]] = [
        {"paths": []},
        {"paths": {"/a": None}},
        {"paths": {"/a": {"get": []}}},
        {"paths": {"/a": {"get": {"responses": [], "parameters": {}, "security": [1]}}}, "servers": 5},
        {"paths": {"/a": {"$ref": "#/nowhere"}}, "components": 3},
    ]
    for broken in documents:
        for operation in Contract(broken).operations:
            assert not operation.responses
            assert not operation.security
