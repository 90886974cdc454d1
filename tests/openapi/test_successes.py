"""Successes in the document: what is wrapped, what its component is called, and what is left alone."""
# endpoints that are only described have no body.
# mypy: disable-error-code="empty-body"

from collections.abc import AsyncIterator
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from fastapi import FastAPI, Response
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field, RootModel

from envelope import Shape, install
from tests.openapi.reading import (
    content_of,
    document_of,
    reference_of,
    resolved,
    response_of,
    schema_of,
    statuses,
)

Item = TypeVar("Item")


class EntityOut(BaseModel):
    id: int
    name: str | None = None


class Other(BaseModel):
    flag: bool


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    total: int


class Names(RootModel[list[str]]):
    pass


class Node(BaseModel):
    value: int
    children: list["Node"] = []


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def installed(**options: Any) -> FastAPI:
    app = FastAPI()
    install(app, **options)
    return app


# What the content is


def test_model_becomes_an_envelope_of_its_name():
    """A model is referred to from a component that is called after it."""
    app = installed()

    @app.get("/e")
    def get() -> EntityOut: ...

    document = document_of(app)

    assert reference_of(document, "GET /e") == "EntityOutEnvelope"
    assert content_of(document, "GET /e") == {"$ref": "#/components/schemas/EntityOut"}
    assert document["components"]["schemas"]["EntityOutEnvelope"]["title"] == "EntityOutEnvelope"
    assert "EntityOut" in document["components"]["schemas"]


def test_model_that_two_routes_return_has_one_envelope():
    """The envelope of a model is a component, so clients get one class for it."""
    app = installed()

    @app.get("/a")
    def a() -> EntityOut: ...

    @app.put("/b")
    def b() -> EntityOut: ...

    document = document_of(app)

    assert reference_of(document, "GET /a") == reference_of(document, "PUT /b") == "EntityOutEnvelope"
    assert [name for name in document["components"]["schemas"] if name.startswith("EntityOutEnvelope")] == [
        "EntityOutEnvelope"
    ]


def test_list_of_models_is_named_after_the_model():
    """A list of models has a component that says so; its title, which names the route, makes no second one."""
    app = installed()

    @app.get("/a")
    def a() -> list[EntityOut]: ...

    @app.get("/b", response_model=list[EntityOut])
    def b(): ...

    document = document_of(app)

    assert reference_of(document, "GET /a") == "EntityOutListEnvelope"
    content = content_of(document, "GET /a")
    assert (content["type"], content["items"]) == ("array", {"$ref": "#/components/schemas/EntityOut"})
    assert content_of(document, "GET /b")["items"] == content["items"]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, {"type": "integer"}),
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (
            EntityOut | Other,
            {"anyOf": [{"$ref": "#/components/schemas/EntityOut"}, {"$ref": "#/components/schemas/Other"}]},
        ),
        (EntityOut | None, {"anyOf": [{"$ref": "#/components/schemas/EntityOut"}, {"type": "null"}]}),
        (tuple[int, str], None),
        (list[list[EntityOut]], None),
        (dict[str, EntityOut], None),
        (Annotated[Cat | Dog, Field(discriminator="kind")], None),
        (Annotated[int, Field(gt=3, description="More than three")], None),
        (Page[EntityOut], None),
        (Names, None),
        (Node, None),
        (Any, None),
    ],
    ids=str,
)
def test_content_is_the_schema_that_fastapi_gives(annotation: Any, expected: dict[str, Any] | None):
    """Whatever the schema of a response is, it stands unchanged as the schema of the content."""
    bare, app = FastAPI(), installed()
    for each in (bare, app):

        @each.get("/x", response_model=annotation)
        def get(): ...

    document = document_of(app)
    original = bare.openapi()["paths"]["/x"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    content = content_of(document, "GET /x")

    assert {**content, "title": None} == {**original, "title": None}
    if expected is not None:
        assert {key: value for key, value in content.items() if key != "title"} == expected


def test_route_without_annotation_has_any_content():
    """Nothing is known about the content, but that it is there."""
    app = installed()

    @app.get("/x")
    def get(): ...

    assert content_of(document_of(app), "GET /x") in ({}, True)


def test_operation_names_the_envelope_of_a_primitive():
    """Without a model, the component is called after the operation."""
    app = installed()

    @app.get("/names")
    def list_names() -> list[str]: ...

    @app.get("/own", operation_id="fetch-own_thing")
    def own() -> int: ...

    document = document_of(app)

    assert reference_of(document, "GET /names") == "ListNamesNamesGetEnvelope"
    assert reference_of(document, "GET /own") == "FetchOwnThingEnvelope"


def test_generic_model_gives_a_valid_component_name():
    """FastAPI spells `Page[EntityOut]` with underscores; the envelope's name is made of that."""
    app = installed()

    @app.get("/p")
    def p() -> Page[EntityOut]: ...

    document = document_of(app)

    name = content_of(document, "GET /p")["$ref"].rpartition("/")[2]
    assert reference_of(document, "GET /p") == f"{name}Envelope"


def test_models_of_one_name_in_two_modules_keep_two_envelopes():
    """FastAPI writes their modules before their names, and the envelopes follow."""

    def model(field: str) -> type[BaseModel]:
        return type("Twin", (BaseModel,), {"__annotations__": {field: int}, "__module__": f"made.{field}"})

    app = installed()
    for field in ("a", "b"):
        app.get(f"/{field}", response_model=model(field))(lambda: None)

    document = document_of(app)

    assert reference_of(document, "GET /a") != reference_of(document, "GET /b")
    assert "$ref" in content_of(document, "GET /a")
    assert content_of(document, "GET /a") != content_of(document, "GET /b")


def test_recursive_model_is_wrapped_once():
    """Only the response is in an envelope, not what the model holds."""
    app = installed()

    @app.get("/n")
    def n() -> Node: ...

    document = document_of(app)

    assert content_of(document, "GET /n") == {"$ref": "#/components/schemas/Node"}
    assert document["components"]["schemas"]["Node"]["properties"]["children"]["items"] == {
        "$ref": "#/components/schemas/Node"
    }


def test_description_links_and_headers_of_a_success_stay():
    """What the user wrote about a response is the user's."""
    app = installed()
    said = {
        "description": "The entity",
        "headers": {"X-Own": {"schema": {"type": "string"}}},
        "links": {"self": {"operationId": "get_e_get"}},
        "x-own": 1,
    }

    @app.get("/e", responses={200: said})
    def get() -> EntityOut: ...

    response = response_of(document_of(app), "GET /e", 200)

    assert {key: response[key] for key in said} == said
    assert content_of(app.openapi(), "GET /e") == {"$ref": "#/components/schemas/EntityOut"}


# Examples


def test_example_of_a_success_is_wrapped():
    """Swagger UI shows the example; it must be what comes."""
    app = installed()

    @app.get("/e", responses={200: {"content": {"application/json": {"example": {"id": 1}}}}})
    def get() -> EntityOut: ...

    media = response_of(document_of(app), "GET /e", 200)["content"]["application/json"]

    assert media["example"] == {"status": "success", "content": {"id": 1}}


@pytest.mark.parametrize("value", [None, [], 0, "", {"id": 1}], ids=repr)
def test_examples_of_a_success_are_wrapped(value: Any):
    """Each value is wrapped, empty ones too; summaries stay."""
    app = installed()
    examples = {"one": {"summary": "One", "value": value}, "elsewhere": {"externalValue": "https://example.org/e"}}

    @app.get("/e", responses={200: {"content": {"application/json": {"examples": examples}}}})
    def get() -> Any: ...

    media = response_of(document_of(app), "GET /e", 200)["content"]["application/json"]

    if value is not None:  # FastAPI's own model drops a null
        assert media["examples"]["one"] == {"summary": "One", "value": {"status": "success", "content": value}}
    assert examples["one"]["value"] == value


def test_examples_inside_of_a_model_stay():
    """They belong to the model, which is the content."""

    class Shown(BaseModel):
        model_config = {"json_schema_extra": {"examples": [{"id": 7}]}}
        id: int

    app = installed()

    @app.get("/e")
    def get() -> Shown: ...

    assert document_of(app)["components"]["schemas"]["Shown"]["examples"] == [{"id": 7}]


# Statuses


@pytest.mark.parametrize("status", [200, 201, 202, 203])
def test_success_of_any_status_is_declared_as_200(status: int):
    """The wire has 200, so the document has."""
    app = installed()

    @app.post("/e", status_code=status)
    def make() -> EntityOut: ...

    document = document_of(app)

    assert reference_of(document, "POST /e") == "EntityOutEnvelope"
    assert {each for each in statuses(document, "POST /e") if each.startswith("2")} == {"200"}


@pytest.mark.parametrize("status", [204, 205])
def test_empty_success_is_declared_as_200_with_null(status: int):
    """A 204 is sent as a 200 whose content is null."""
    app = installed()

    @app.delete("/e", status_code=status)
    def remove() -> None: ...

    document = document_of(app)

    assert reference_of(document, "DELETE /e") == "EmptyEnvelope"
    assert content_of(document, "DELETE /e") == {"type": "null"}
    assert {each for each in statuses(document, "DELETE /e") if each.startswith("2")} == {"200"}


@pytest.mark.parametrize("status", [200, 201, 202, 203])
def test_kept_status_is_declared_as_it_is(status: int):
    """With success_status="keep" the status stays, in the envelope."""
    app = installed(success_status="keep")

    @app.post("/e", status_code=status)
    def make() -> EntityOut: ...

    document = document_of(app)

    assert reference_of(document, "POST /e", status) == "EntityOutEnvelope"
    assert {each for each in statuses(document, "POST /e") if each.startswith("2")} == {str(status)}


def test_kept_204_stays_empty():
    """With success_status="keep" a 204 has no body, and says so."""
    app = installed(success_status="keep")

    @app.delete("/e", status_code=204)
    def remove() -> None: ...

    assert "content" not in response_of(document_of(app), "DELETE /e", 204)
    assert "200" not in statuses(app.openapi(), "DELETE /e")


@pytest.mark.parametrize("status", [206, 226])
def test_part_of_something_is_not_wrapped(status: int):
    """A range or a delta is no JSON document of its own."""
    app = installed()

    @app.get("/e", status_code=status)
    def get() -> EntityOut: ...

    assert schema_of(document_of(app), "GET /e", status)["title"] == "EntityOut"


def test_several_successes_are_merged():
    """200 and 201 of one operation become one response whose content is either."""
    app = installed()

    @app.put("/e", responses={201: {"model": Other, "description": "Made"}})
    def put() -> EntityOut: ...

    document = document_of(app)
    content = content_of(document, "PUT /e")

    assert content["anyOf"] == [{"$ref": "#/components/schemas/EntityOut"}, {"$ref": "#/components/schemas/Other"}]
    assert "201" not in statuses(document, "PUT /e")


def test_success_and_no_content_are_merged():
    """A 204 beside a 200 is a content that may be null."""
    app = installed()

    @app.put("/e", responses={204: {"description": "Nothing has changed"}})
    def put() -> EntityOut: ...

    document = document_of(app)

    assert {"type": "null"} in content_of(document, "PUT /e")["anyOf"]
    assert {"$ref": "#/components/schemas/EntityOut"} in content_of(document, "PUT /e")["anyOf"]
    assert "204" not in statuses(document, "PUT /e")


def test_merged_successes_of_one_model_are_that_model():
    """Two statuses with the same body need no anyOf."""
    app = installed()

    @app.put("/e", responses={201: {"model": EntityOut}})
    def put() -> EntityOut: ...

    assert content_of(document_of(app), "PUT /e") == {"$ref": "#/components/schemas/EntityOut"}


def test_headers_of_merged_successes_are_all_there():
    """The Location of a 201 is still sent with the 200 that it becomes."""
    app = installed()
    location = {"Location": {"schema": {"type": "string"}}}

    @app.put("/e", responses={201: {"model": EntityOut, "headers": location}})
    def put() -> EntityOut: ...

    assert response_of(document_of(app), "PUT /e", 200)["headers"]["Location"]["schema"] == {"type": "string"}


def test_required_header_of_one_merged_success_is_not_required_of_all():
    """Only the 201 had to have a Location; the 200 beside it has none."""
    app = installed()
    location = {"Location": {"required": True, "schema": {"type": "string"}}}

    @app.put("/e", responses={201: {"model": EntityOut, "headers": location}})
    def put() -> EntityOut: ...

    assert not response_of(document_of(app), "PUT /e", 200)["headers"]["Location"].get("required")


def test_examples_of_merged_successes_are_all_there():
    """Each status brings its examples, wrapped; an example without a name gets one or stays alone."""
    app = installed()

    def said(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"examples": {name: {"value": {"id": 1}}}}}}

    @app.put("/e", responses={200: said("old"), 201: {"model": EntityOut, **said("new")}})
    def put() -> EntityOut: ...

    examples = response_of(document_of(app), "PUT /e", 200)["content"]["application/json"]["examples"]

    assert {name: each["value"] for name, each in examples.items()} == {
        "old": {"status": "success", "content": {"id": 1}},
        "new": {"status": "success", "content": {"id": 1}},
    }


def test_examples_of_two_forms_in_merged_successes_are_valid():
    """`example` and `examples` exclude each other (OpenAPI 3.1, Media Type Object)."""
    app = installed()
    one: dict[Any, Any] = {"content": {"application/json": {"example": {"id": 1}}}}
    two: dict[Any, Any] = {"content": {"application/json": {"examples": {"n": {"value": {"id": 2}}}}}}

    @app.put("/e", responses={200: one, 201: {"model": EntityOut, **two}})
    def put() -> EntityOut: ...

    media = response_of(document_of(app), "PUT /e", 200)["content"]["application/json"]

    assert not {"example", "examples"} <= set(media)


def test_range_of_successes_is_wrapped():
    """`2XX` with a JSON model stands for statuses that are all sent in the envelope."""
    app = installed()

    @app.put("/e", responses={"2XX": {"model": Other}})
    def put() -> EntityOut: ...

    document = document_of(app)
    text = str([schema_of(document, "PUT /e", each) for each in statuses(document, "PUT /e") if each[0] == "2"])

    assert "'#/components/schemas/Other'" in text
    for each in statuses(document, "PUT /e"):
        if each.startswith("2"):
            content_of(document, "PUT /e", each)


# What is no JSON


@pytest.mark.parametrize(
    ("response_class", "media_type"),
    [(HTMLResponse, "text/html"), (PlainTextResponse, "text/plain")],
    ids=["html", "text"],
)
def test_text_is_not_wrapped(response_class: type[Response], media_type: str):
    """Other media types pass the wire untouched, and the document as well."""
    app, bare = installed(), FastAPI()
    for each in (app, bare):

        @each.get("/x", response_class=response_class)
        def get(): ...

    document = document_of(app)

    assert (
        document["paths"]["/x"]["get"]["responses"]["200"]
        == bare.openapi()["paths"]["/x"]["get"]["responses"]["200"]
    )
    assert list(response_of(document, "GET /x", 200)["content"]) == [media_type]


@pytest.mark.parametrize(
    "response_class", [FileResponse, StreamingResponse, RedirectResponse, Response], ids=lambda c: c.__name__
)
def test_responses_without_media_type_are_not_wrapped(response_class: type[Response]):
    """A file's type is not known beforehand, a redirect has no content."""
    app, bare = installed(), FastAPI()
    for each in (app, bare):

        @each.get("/x", response_class=response_class)
        def get(): ...

    kept = {k: v for k, v in document_of(app)["paths"]["/x"]["get"]["responses"].items() if int(k) < 400}

    assert kept == bare.openapi()["paths"]["/x"]["get"]["responses"]


def test_server_sent_events_and_json_lines_are_not_wrapped():
    """They are not one JSON document (wire case 74)."""
    app, bare = installed(), FastAPI()
    for each in (app, bare):

        @each.get("/events", response_class=EventSourceResponse)
        async def events() -> AsyncIterator[EntityOut]:
            yield EntityOut(id=1)

        @each.get("/lines")
        async def lines() -> AsyncIterator[EntityOut]:
            yield EntityOut(id=1)

    document = document_of(app)

    for path in ("/events", "/lines"):
        assert (
            document["paths"][path]["get"]["responses"]["200"]
            == bare.openapi()["paths"][path]["get"]["responses"]["200"]
        )


def test_second_media_type_of_a_json_success_stays():
    """A route may answer JSON or an image: one is wrapped, the other not."""
    app = installed()

    @app.get("/x", responses={200: {"content": {"image/png": {}}}})
    def get() -> EntityOut: ...

    content = response_of(document_of(app), "GET /x", 200)["content"]

    assert set(content) == {"application/json", "image/png"}
    assert content["image/png"] == {}
    assert reference_of(app.openapi(), "GET /x") == "EntityOutEnvelope"


def test_json_of_a_returned_response_is_wrapped():
    """A JSONResponse is JSON, whoever made it."""
    app = installed()

    @app.get("/x", response_class=JSONResponse)
    def get(): ...

    content_of(document_of(app), "GET /x")


@pytest.mark.parametrize(
    "media_type", ["application/problem+json", "application/vnd.api+json", "application/geo+json"]
)
def test_json_of_another_media_type_is_as_on_the_wire(media_type: str):
    """The document wraps another JSON media type exactly when the wire does."""
    from tests.wire.apps import client_of

    class Own(JSONResponse):
        pass

    Own.media_type = media_type
    app = installed()

    @app.get("/x", response_class=Own)
    def get() -> EntityOut:
        return EntityOut(id=1)

    document = document_of(app)
    answer = client_of(app).get("/x")
    declared = response_of(document, "GET /x", 200)["content"]

    assert list(declared) == [answer.headers["content-type"]]
    schema = declared[media_type]["schema"]
    assert ("EntityOutEnvelope" in str(schema)) == ("content" in answer.json())


# The shape and the names


def test_shape_is_respected():
    """Key names and words are those that are sent."""
    app = installed(shape=Shape(content="data", success="ok", failure="error", status="state"))

    @app.get("/e/{i}")
    def get(i: int) -> EntityOut: ...

    document = document_of(app)
    schema = schema_of(document, "GET /e/{i}")
    failure = schema_of(document, "GET /e/{i}", 404)

    assert set(schema["properties"]) == set(schema["required"]) == {"state", "data"}
    assert schema["properties"]["state"]["const"] == "ok"
    assert failure["properties"]["state"]["const"] == "error"
    assert document["x-envelope"]["shape"]["content"] == "data"
    assert document["x-envelope"]["shape"]["failure"] == "error"


def test_shape_of_jsend_wraps_examples():
    """JSend calls the content `data`."""
    app = installed(shape=Shape(content="data", failure="error"))

    @app.get("/e", responses={200: {"content": {"application/json": {"example": {"id": 1}}}}})
    def get() -> EntityOut: ...

    media = response_of(document_of(app), "GET /e", 200)["content"]["application/json"]

    assert media["example"] == {"status": "success", "data": {"id": 1}}


@pytest.mark.parametrize(
    "name",
    ["EntityOutEnvelope", "EmptyEnvelope", "NotFoundFailure", "FailureDetails", "BadRequestFailure", "BadRequest"],
)
def test_model_with_the_name_of_a_component_of_ours_keeps_it(name: str):
    """The user's model keeps its name and its schema; ours goes elsewhere."""
    own = type(name, (BaseModel,), {"__annotations__": {"own_field": int}})
    app = installed()

    @app.get("/own", response_model=own)
    def own_route(): ...

    @app.get("/e/{i}")
    def get(i: int) -> EntityOut: ...

    @app.delete("/e/{i}", status_code=204)
    def delete(i: int) -> None: ...

    document = document_of(app)

    assert list(document["components"]["schemas"][name]["properties"]) == ["own_field"]
    assert content_of(document, "GET /own") == {"$ref": f"#/components/schemas/{name}"}
    assert content_of(document, "GET /e/{i}") == {"$ref": "#/components/schemas/EntityOut"}
    assert content_of(document, "DELETE /e/{i}") == {"type": "null"}
    failure = schema_of(document, "GET /e/{i}", 404)
    assert failure["properties"]["code"]["const"] == 404
    details = failure["properties"]["message"]["anyOf"][1]["$ref"].rpartition("/")[2]
    assert set(document["components"]["schemas"][details]["properties"]) == {"error_code", "message"}


@pytest.mark.parametrize("name", ["ValidationError", "HTTPValidationError"])
def test_model_with_the_name_of_fastapis_component_keeps_it(name: str):
    """A user's own `ValidationError` is not FastAPI's, which goes."""
    own = type(name, (BaseModel,), {"__annotations__": {"own_field": int}})
    app, bare = installed(), FastAPI()
    for each in (app, bare):

        @each.get("/own", response_model=own)
        def own_route(): ...

    document = document_of(app)

    assert list(document["components"]["schemas"][name]["properties"]) == ["own_field"]
    assert content_of(document, "GET /own") == {"$ref": f"#/components/schemas/{name}"}


def test_user_model_and_its_envelope_named_by_the_user_differ():
    """`EntityOut` and a user's `EntityOutEnvelope`, each returned, have three envelopes that do not mix."""
    own = type("EntityOutEnvelope", (BaseModel,), {"__annotations__": {"own_field": int}})
    app = installed()

    @app.get("/a")
    def a() -> EntityOut: ...

    @app.get("/b", response_model=own)
    def b(): ...

    @app.get("/c")
    def c() -> list[EntityOut]: ...

    document = document_of(app)

    assert len({reference_of(document, f"GET /{each}") for each in "abc"}) == 3
    assert reference_of(document, "GET /a") == "EntityOutEnvelope2"
    assert reference_of(document, "GET /b") == "EntityOutEnvelopeEnvelope"


def test_list_of_a_model_and_a_model_called_list_differ():
    """`list[EntityOut]` and a model `EntityOutList` both want to be `EntityOutListEnvelope`."""
    own = type("EntityOutList", (BaseModel,), {"__annotations__": {"own_field": int}})
    app = installed()

    @app.get("/a")
    def a() -> list[EntityOut]: ...

    @app.get("/b", response_model=own)
    def b(): ...

    document = document_of(app)

    assert content_of(document, "GET /a")["type"] == "array"
    assert content_of(document, "GET /b") == {"$ref": "#/components/schemas/EntityOutList"}


def test_lists_of_one_model_with_different_limits_differ():
    """Not every list of a model is the same schema."""
    app = installed()

    @app.get("/a")
    def a() -> list[EntityOut]: ...

    @app.get("/b")
    def b() -> Annotated[list[EntityOut], Field(max_length=3)]: ...

    document = document_of(app)

    assert "maxItems" not in content_of(document, "GET /a")
    assert content_of(document, "GET /b")["maxItems"] == 3


def test_operations_whose_names_fall_together_keep_their_schemas():
    """`a_b` and `aB` are the same in CamelCase; their envelopes are not."""
    app = installed()

    @app.get("/a", operation_id="a_b")
    def a() -> int: ...

    @app.get("/b", operation_id="a-b")
    def b() -> str: ...

    document = document_of(app)

    assert content_of(document, "GET /a")["type"] == "integer"
    assert content_of(document, "GET /b")["type"] == "string"


@pytest.mark.parametrize("operation_id", ["列出", "get/thing.v1", "a b", "1st", "-", "naïve"])
def test_operation_id_of_any_letters_gives_a_valid_name(operation_id: str):
    """A component's name has only letters, digits, dots, hyphens and underscores (OpenAPI 3.1, Components Object)."""
    app = installed()

    @app.get("/a", operation_id=operation_id)
    def a() -> int: ...

    document = document_of(app)

    import re

    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in document["components"]["schemas"])
    assert content_of(document, "GET /a")["type"] == "integer"


# Media types and forms that users write by hand


@pytest.mark.parametrize(
    "key", ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
)
def test_json_with_parameters_is_wrapped(key: str):
    """The wire wraps it, whatever stands behind the media type and in which letters."""
    app = installed()

    @app.get("/x", response_class=Response, responses={200: {"content": {key: {"schema": {"type": "integer"}}}}})
    def get(): ...

    document = document_of(app)
    ((found, media),) = response_of(document, "GET /x", 200)["content"].items()

    assert found in (key, "application/json")
    assert resolved(document, media["schema"])["properties"]["content"]["type"] == "integer"


def test_schema_written_by_hand_is_wrapped():
    """A route that returns a Response says by hand what is in it."""
    app = installed()
    schema = {"type": "object", "properties": {"status": {"const": "success"}, "content": {}}}

    @app.get("/x", response_class=Response, responses={200: {"content": {"application/json": {"schema": schema}}}})
    def get(): ...

    content = content_of(document_of(app), "GET /x")

    assert (
        content["properties"] == schema["properties"]
    )  # no sniffing: it may be an envelope of the user's own inside


def test_media_type_without_a_schema_is_wrapped():
    """`"application/json": {}` says JSON, and nothing more."""
    app = installed()

    @app.get("/x", response_class=Response, responses={200: {"content": {"application/json": {}}}})
    def get(): ...

    assert content_of(document_of(app), "GET /x") in ({}, True)


def test_header_of_an_empty_success_stays():
    """A 204 with an ETag becomes a 200 with one."""
    app = installed()

    @app.put("/x", status_code=204, responses={204: {"headers": {"ETag": {"schema": {"type": "string"}}}}})
    def put() -> None: ...

    assert "ETag" in response_of(document_of(app), "PUT /x", 200)["headers"]


@pytest.mark.parametrize("status", [300, 304, 102])
def test_statuses_that_are_no_successes_are_left_alone(status: int):
    """Neither redirects nor information are answers of the convention."""
    app = installed()
    said: dict[int | str, dict[str, Any]] = {
        status: {"description": "x", "content": {"application/json": {"schema": {}}}}
    }
    app.get("/x", responses=said)(lambda: 1)

    assert document_of(app)["paths"]["/x"]["get"]["responses"][str(status)] == said[status]


def test_envelope_of_a_user_is_wrapped_in_ours():
    """No sniffing: a model that looks like the envelope is content (wire case 73)."""

    class Own(BaseModel):
        status: Literal["success"]
        content: int

    app = installed()

    @app.get("/x")
    def get() -> Own: ...

    assert content_of(document_of(app), "GET /x") == {"$ref": "#/components/schemas/Own"}


@pytest.mark.parametrize("method", ["QUERY", "PROPFIND"])
def test_method_that_openapi_does_not_know_does_not_stop_the_document(method: str):
    """FastAPI writes any method down; the others must still be described."""
    app = installed()
    app.add_api_route("/x", lambda: 1, methods=[method], response_model=int)
    app.get("/e", response_model=EntityOut)(lambda: None)

    document = app.openapi()

    assert reference_of(document, "GET /e") == "EntityOutEnvelope"
