"""Messages about everything a FastAPI endpoint can declare, through real applications."""

from __future__ import annotations

import enum
import functools
import gc
import subprocess
import sys
import weakref
from typing import Annotated, Any, Literal

import pytest
from fastapi import APIRouter, Body, Cookie, Depends, FastAPI, File, Form, Header, Path, Query, UploadFile
from pydantic import AliasChoices, BaseModel, Field, Json
from starlette.applications import Starlette

from envelope.errors.validation import request_schema as module
from envelope.errors.validation.request_schema import request_schema

from .worded_apps import post_app, worded


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class Item(BaseModel):
    name: str
    size: int = 1


class Paging(BaseModel, extra="forbid"):
    offset: int = Field(ge=0)
    sort_key: Literal["asc", "desc"] = Field("asc", alias="sortKey")


class Sensor(BaseModel):
    x_level: int
    unit: Colour = Colour.red


def test_query_number_is_compared_as_a_number() -> None:
    """A bound's message shows the number that the text stands for."""
    app = FastAPI()

    @app.get("/")
    def endpoint(
        offset: Annotated[int, Query(ge=0)], ratio: Annotated[float, Query(lt=1, multiple_of=0.5)] = 0
    ) -> None:
        pass

    response = worded(app).get("/?offset=-1&ratio=2.5")
    assert response.json() == [
        "-1 is less than the minimum of 0",
        "2.5 is greater than or equal to the maximum of 1",
    ]
    assert worded(app).get("/?offset=1&ratio=0.7").json() == ["0.7 is not a multiple of 0.5"]


def test_query_parameter_missing_is_required() -> None:
    """The convention's own example."""
    app = FastAPI()

    @app.get("/")
    def endpoint(offset: int) -> None:
        pass

    assert worded(app).get("/").json() == ["'offset' is a required property"]


def test_every_kind_of_parameter_is_found() -> None:
    """Path, query, header and cookie inputs, under their aliases, in the order of FastAPI."""
    app = FastAPI()

    @app.get("/{item_id}")
    def endpoint(
        item_id: Annotated[int, Path(le=9)],
        colour: Annotated[Colour, Query(alias="c")],
        x_level: Annotated[int, Header()],
        theme: Annotated[Literal["dark"], Cookie(validation_alias=AliasChoices("theme", "look"))],
        ids: Annotated[list[int], Query()],
    ) -> None:
        pass

    client = worded(app)
    client.cookies.set("look", "light")
    response = client.get("/10?c=green&ids=1&ids=two", headers={"x-level": "high"})
    assert response.json() == [
        "10 is greater than the maximum of 9",
        "'green' is not one of ['red', 'blue']",
        "'two' is not of type 'integer'",
        "'high' is not of type 'integer'",
        "'dark' was expected",
    ]


def test_parameter_models_are_found() -> None:
    """The fields of a model under Query() or Header() follow directly after the place."""
    app = FastAPI()

    @app.get("/")
    def endpoint(paging: Annotated[Paging, Query()], sensor: Annotated[Sensor, Header()]) -> None:
        pass

    response = worded(app).get("/?offset=-5&sortKey=up&b=1&a=2", headers={"x-level": "high", "unit": "m"})
    assert response.json() == [
        "-5 is less than the minimum of 0",
        "'up' is not one of ['asc', 'desc']",
        "Additional properties are not allowed ('a', 'b' were unexpected)",
        "'high' is not of type 'integer'",
        "'m' is not one of ['red', 'blue']",
    ]


def test_included_router_brings_its_dependencies() -> None:
    """What the dependencies of every router on the way declare is found, and theirs in turn."""

    def inner(depth: Annotated[int, Query(ge=3)]) -> None:
        pass

    def outer(level: Annotated[int, Header()], nothing: None = Depends(inner)) -> None:
        pass

    app, outer_router, router = FastAPI(), APIRouter(dependencies=[Depends(outer)]), APIRouter()

    @router.post("/items/{item_id}")
    def endpoint(item_id: int, item: Item) -> None:
        pass

    outer_router.include_router(router, prefix="/a")
    app.include_router(outer_router, prefix="/v1")
    response = worded(app).post("/v1/a/items/x?depth=2", headers={"level": "q"}, json={"name": 1})
    assert sorted(response.json()) == sorted(
        ["'x' is not of type 'integer'", "'q' is not of type 'integer'", "2 is less than the minimum of 3",
         "1 is not of type 'string'"]
    )  # fmt: skip


def test_embedded_bodies_are_found() -> None:
    """Several body parameters are members of one object."""
    app = FastAPI()

    @app.post("/")
    def endpoint(item: Item, count: Annotated[int, Body(gt=0)], either: Annotated[int | bool, Body()]) -> None:
        pass

    response = worded(app).post("/", json={"item": {"size": "x"}, "count": 0, "either": "?"})
    assert response.json() == [
        "'name' is a required property",
        "'x' is not of type 'integer'",
        "0 is less than or equal to the minimum of 0",
        "'?' is not valid under any of the given schemas",
    ]


def test_forms_and_files_are_found() -> None:
    """Form fields are texts; a text in a file's place does not name Python's classes."""
    app = FastAPI()

    @app.post("/")
    def endpoint(age: Annotated[int, Form(ge=18)], photo: Annotated[UploadFile, File()]) -> None:
        pass

    response = worded(app).post("/", data={"age": "17", "photo": "x"})
    assert response.json() == ["17 is less than the minimum of 18", "value is not a file"]


def test_form_model_is_found() -> None:
    """The fields of a form model are named directly."""
    app = FastAPI()

    @app.post("/")
    def endpoint(item: Annotated[Item, Form()]) -> None:
        pass

    assert worded(app).post("/", data={"name": "n", "size": "x"}).json() == ["'x' is not of type 'integer'"]


def test_optional_form_model_beside_a_file_is_found() -> None:
    """FastAPI describes "no form sent" with a branch of its own, which is no union."""
    app = FastAPI()

    @app.post("/")
    def endpoint(item: Annotated[Item | None, Form()], photo: Annotated[UploadFile | None, File()] = None) -> None:
        pass

    assert worded(app).post("/", data={"name": "n", "size": "x"}).json() == ["'x' is not of type 'integer'"]


def test_header_union_quotes_its_own_input() -> None:
    """A union in a parameter is reported once, with the parameter's text."""
    app = FastAPI()

    @app.get("/")
    def endpoint(level: Annotated[int | bool, Header()]) -> None:
        pass

    assert worded(app).get("/", headers={"level": "x"}).json() == [
        "'x' is not valid under any of the given schemas"
    ]


def test_json_in_a_text_is_walked() -> None:
    """The members of a Json[...] value are found behind its text, of a union in it the type."""
    annotation = dict[str, Json[dict[str, int]] | None] | None
    assert worded(post_app(annotation)).post("/", json={"f": '{"a": "x"}'}).json() == [
        "'x' is not of type 'integer'"
    ]
    response = worded(post_app(dict[str, Json[list[Item | list[int]]]])).post(
        "/", json={"u": '[{"size": 1}, ["q"]]'}
    )
    assert response.json() == [
        "value of type object is not valid under any of the given schemas",
        "value of type array is not valid under any of the given schemas",
    ]


@pytest.mark.parametrize(
    ("content", "media_type", "messages"),
    [
        (b"", "application/json", ["request body is required"]),
        (b"{'a", "application/json",
         ["request body is not valid JSON: Expecting property name enclosed in double quotes at position 1"]),
        (b'"text"', "application/json", ["'text' is not of type 'object'"]),
        (b"name=x", "application/x-www-form-urlencoded", ["request body is not application/json"]),
        (b"[]", "application/json", ["[] is not of type 'object'"]),
        (b"{}", "application/json", ["'name' is a required property"]),
    ],
)  # fmt: skip
def test_body_as_a_whole(content: bytes, media_type: str, messages: list[str]) -> None:
    """No body, no JSON, another kind of body, another type of value."""
    response = worded(post_app(Item)).post("/", content=content, headers={"content-type": media_type})
    assert response.json() == messages


def test_json_field_in_a_list_is_not_the_document() -> None:
    """A body ("body", 0) that is invalid JSON is the first member's text, not position 0 of the document."""
    response = worded(post_app(list[Json[int]])).post("/", json=["{"])
    assert response.json() == ["'{' is not valid JSON"]


def test_union_of_models_is_one_message() -> None:
    """The branches of a union are reported together, where the first one stood."""
    annotation = dict[str, Item | Paging | list[int]]
    response = worded(post_app(annotation)).post("/", json={"a": {"z": 1}, "b": ["x"], "c": 5, "d": {}})
    assert response.json() == [
        "value of type object is not valid under any of the given schemas",
        "value of type array is not valid under any of the given schemas",
        "5 is not valid under any of the given schemas",
        "{} is not valid under any of the given schemas",
    ]


def test_union_of_equal_schemas_is_one_message() -> None:
    """Branches that JSON Schema cannot tell apart are still one union."""
    response = worded(post_app(dict[str, list[int] | tuple[int, ...]])).post("/", json={"a": ["x"], "b": 1})
    assert response.json() == [
        "value of type array is not valid under any of the given schemas",
        "1 is not valid under any of the given schemas",
    ]


def test_recursive_model_is_walked() -> None:
    """References are followed to any depth."""
    response = worded(post_app(Tree)).post("/", json={"kids": [{"kids": [{"kids": [], "size": "x"}]}]})
    assert response.json() == ["'x' is not of type 'integer'"]


class Tree(BaseModel):
    size: int = 0
    kids: "list[Tree]"


def test_tuple_items_have_their_own_schemas() -> None:
    """Each position of a tuple is found, and nothing behind the last one."""
    annotation = tuple[int, Colour]
    assert worded(post_app(annotation)).post("/", json=["x", "y"]).json() == [
        "'x' is not of type 'integer'",
        "'y' is not one of ['red', 'blue']",
    ]


class NoSchema:
    """Metadata that validates nothing and breaks the generation of a JSON Schema."""

    @staticmethod
    def __get_pydantic_json_schema__(core: Any, handler: Any) -> Any:
        raise RuntimeError


def test_undescribable_input_is_not_quoted() -> None:
    """A type without a JSON Schema may be a secret, for all we know; its neighbours are still quoted."""
    app = FastAPI()

    @app.get("/")
    def endpoint(odd: Annotated[int, Query(), NoSchema()], offset: int) -> None:
        pass

    response = worded(app).get("/?odd=x&offset=y")
    assert response.json() == ["value is not of type 'integer'", "'y' is not of type 'integer'"]


def test_same_parameter_in_two_dependencies_is_ambiguous() -> None:
    """Where two declarations share a name, pydantic's own figures are used."""
    app = FastAPI()

    def first(colour: Literal["a", "b"] = "a") -> None:
        pass

    @app.get("/", dependencies=[Depends(first)])
    def endpoint(colour: Literal["a", "c"] = "a") -> None:
        pass

    assert worded(app).get("/?colour=x").json() == ["'x' is not one of 'a' or 'b'", "'x' is not one of 'a' or 'c'"]


def test_schema_outside_fastapi_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another framework's app, an unrouted request and a missing FastAPI have no declarations."""
    app = FastAPI()

    assert request_schema({"app": Starlette(), "endpoint": print}) is None
    assert request_schema({"app": app}) is None
    assert request_schema({"app": app, "endpoint": print}) is None
    assert request_schema({}) is None
    monkeypatch.delitem(sys.modules, "fastapi")
    assert request_schema({"app": app, "endpoint": app}) is None


def test_import_does_not_bring_fastapi() -> None:
    """Everything can be imported where FastAPI is not installed."""
    code = (
        "import sys; sys.modules['fastapi'] = None; "
        "from envelope.errors.validation.messages import validation_messages; "
        "from envelope.errors.validation.request_schema import request_schema; "
        "assert request_schema({'app': 1, 'endpoint': 2}) is None; "
        "assert validation_messages([]) == ['request is not valid']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_schema_is_remembered_per_endpoint_and_app() -> None:
    """The second error of an endpoint finds what the first one collected, and only in the same app."""

    def endpoint(offset: int) -> None:
        pass

    first, second = FastAPI(), FastAPI()
    first.get("/")(endpoint)
    second.get("/")(endpoint)

    remembered = request_schema({"app": first, "endpoint": endpoint})
    assert remembered is request_schema({"app": first, "endpoint": endpoint})
    assert remembered is not request_schema({"app": second, "endpoint": endpoint})


def test_schema_does_not_keep_the_app_alive() -> None:
    """The memory is weak."""
    app = FastAPI()
    app.get("/")(functools.partial(print, sep=""))
    endpoint = next(route.endpoint for route in app.routes if getattr(route, "path", "") == "/")  # type: ignore[attr-defined]
    assert request_schema({"app": app, "endpoint": endpoint}) is not None
    gone = weakref.ref(app)

    del app, endpoint
    gc.collect()

    assert gone() is None
    assert all(len(apps) == 0 or apps for apps in module._CACHE.values())


class Unhashable:
    """A callable endpoint that cannot be a key."""

    __hash__ = None  # type: ignore[assignment]

    async def __call__(self, offset: int) -> None:
        """Answers nothing."""


def test_endpoint_that_cannot_be_a_key_is_not_remembered() -> None:
    """A callable without a hash works, uncached."""
    app, endpoint = FastAPI(), Unhashable()
    app.add_api_route("/", endpoint, name="x")

    schema = request_schema({"app": app, "endpoint": endpoint})
    assert schema is not None
    assert schema.node(("query", "offset")).keyword("type") == "integer"
    assert schema is not request_schema({"app": app, "endpoint": endpoint})


def test_memory_of_places_is_bounded() -> None:
    """A client that sends many different or huge keys cannot fill the memory."""
    app = post_app(dict[str, int])
    endpoint = next(route.endpoint for route in app.routes if getattr(route, "path", "") == "/")  # type: ignore[attr-defined]
    schema = request_schema({"app": app, "endpoint": endpoint})
    assert schema is not None

    schema.node(("body", "k" * 1000))
    for number in range(2000):
        schema.node(("body", f"k{number}"))

    assert len(schema._remembered) == 1024
    assert ("body", "k" * 1000) not in schema._remembered
