"""failures(): the errors of a service, told to those who call it."""
# endpoints that are only described have no body.
# mypy: disable-error-code="empty-body"

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from envelope import (
    ApiError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ObjectLockedError,
    RateLimitedError,
    ServiceUnavailableError,
    Shape,
    UnauthorizedError,
    failures,
    install,
)
from envelope.errors.tree import TABLE
from tests.openapi.reading import (
    document_of,
    headers_of,
    reference_of,
    resolved,
    response_of,
    schema_of,
    statuses,
)


class EntityFrozenError(ConflictError):
    error_code = "entity_frozen"
    message = "The entity is frozen."


class GoneError(ApiError):
    status_code = 410
    message = "It was here."


class NoSuchEntityError(NotFoundError):
    error_code = "no_such_entity"


def installed(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    install(app)
    return app


def codes_of(schema: dict[str, Any]) -> set[str]:
    """Give the error codes that one failure's schema can have."""
    message = schema["properties"]["message"]
    return {message["properties"]["error_code"]["const"]}


def test_errors_with_one_text_say_it_once():
    """Two codes of one status can share the text of their class."""
    one, two = ConflictError(error_code="one"), ConflictError(error_code="two")

    (response,) = failures(one, two).values()

    assert response["description"] == TABLE[409].message


def test_declared_class_has_a_schema_of_its_error_code():
    """The client's code can switch over the word."""
    app = installed()

    @app.put("/e", responses=failures(EntityFrozenError))
    def put(): ...

    document = document_of(app)
    schema = schema_of(document, "PUT /e", 409)

    assert reference_of(document, "PUT /e", 409) == "EntityFrozenFailure"
    assert schema["properties"]["code"]["const"] == 409
    assert codes_of(schema) == {"entity_frozen"}
    assert sorted(schema["required"]) == ["code", "message", "status"]


def test_declared_instance_has_its_own_code_and_text():
    """An instance says more than its class."""
    app = installed()

    @app.put("/e", responses=failures(ConflictError("Entity already exists", error_code="resource_conflict")))
    def put(): ...

    document = document_of(app)
    media = response_of(document, "PUT /e", 409)["content"]["application/json"]

    assert codes_of(schema_of(document, "PUT /e", 409)) == {"resource_conflict"}
    assert media["examples"]["resource_conflict"]["value"] == {
        "code": 409,
        "message": {"error_code": "resource_conflict", "message": "Entity already exists"},
        "status": "failure",
    }


def test_declared_errors_of_one_status_are_alternatives():
    """Two error codes of one status are anyOf, each with an example."""
    app = installed()

    @app.put("/e", responses=failures(EntityFrozenError, ConflictError("Exists", error_code="exists")))
    def put(): ...

    document = document_of(app)
    media = response_of(document, "PUT /e", 409)["content"]["application/json"]

    assert [codes_of(resolved(document, each)) for each in media["schema"]["anyOf"]] == [
        {"entity_frozen"},
        {"exists"},
    ]
    assert set(media["examples"]) == {"entity_frozen", "exists"}


def test_declared_errors_of_several_statuses_stand_at_each():
    """One call declares all of them."""
    app = installed()

    @app.put("/e", responses=failures(EntityFrozenError, GoneError, BadRequestError("no", error_code="nope")))
    def put(): ...

    assert {"400", "409", "410"} <= statuses(document_of(app), "PUT /e")


def test_declared_error_without_a_code_has_the_shared_schema():
    """Without an error code there is nothing to switch over."""
    app = installed()

    @app.put("/e", responses=failures(ConflictError))
    def put(): ...

    document = document_of(app)
    schema = schema_of(document, "PUT /e", 409)

    assert schema["properties"]["code"]["const"] == 409
    assert {"type": "string"} in schema["properties"]["message"]["anyOf"]
    assert response_of(document, "PUT /e", 409)["description"] == str(TABLE[409].message)


def test_declared_error_outside_of_the_table_has_its_status():
    """A 410 is a failure like the others."""
    app = installed()

    @app.put("/e", responses=failures(GoneError, ApiError("teapot", status_code=418, error_code="teapot")))
    def put(): ...

    document = document_of(app)

    assert schema_of(document, "PUT /e", 410)["properties"]["code"]["const"] == 410
    assert response_of(document, "PUT /e", 410)["description"] == "It was here."
    assert codes_of(schema_of(document, "PUT /e", 418)) == {"teapot"}


def test_declared_404_is_merged_with_what_the_library_can_answer():
    """The library's own 404, without a code, remains possible."""
    app = installed()

    @app.get("/e/{i}", responses=failures(NoSuchEntityError))
    def get(i: int): ...

    document = document_of(app)
    schema = response_of(document, "GET /e/{i}", 404)["content"]["application/json"]["schema"]

    assert {each["$ref"].rpartition("/")[2] for each in schema["anyOf"]} == {
        "NoSuchEntityFailure",
        "NotFoundFailure",
    }


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (ObjectLockedError("busy", error_code="busy"), 423, "Retry-After"),
        (RateLimitedError("slow", error_code="slow"), 429, "Retry-After"),
        (ServiceUnavailableError("off", error_code="off"), 503, "Retry-After"),
        (UnauthorizedError("who", error_code="who"), 401, "WWW-Authenticate"),
    ],
    ids=str,
)
def test_declared_error_has_the_headers_of_its_status(error: ApiError, status: int, header: str):
    """Retry-After is sent with every 423, 429 and 503."""
    app = installed()

    @app.put("/e", responses=failures(error))
    def put(): ...

    assert header in headers_of(document_of(app), "PUT /e", status)


@pytest.mark.parametrize("place", ["app", "router", "include", "nested"])
def test_declared_at_an_outer_place_reaches_the_routes(place: str):
    """Applications, routers and inclusions take `responses`."""
    declared = failures(EntityFrozenError)
    app = installed(responses=declared if place == "app" else None)
    router = APIRouter(responses=declared if place == "router" else None)
    router.put("/e")(lambda: 1)
    outer = APIRouter(responses=declared if place == "nested" else None)
    outer.include_router(router, responses=declared if place == "include" else None)
    app.include_router(outer, prefix="/v1")

    assert codes_of(schema_of(document_of(app), "PUT /v1/e", 409)) == {"entity_frozen"}


def test_declared_at_two_places_for_two_statuses_are_both_there():
    """A router's 404 and a route's 409 do not disturb each other."""
    app = installed()
    router = APIRouter(responses=failures(NoSuchEntityError))

    @router.put("/e", responses=failures(EntityFrozenError))
    def put(): ...

    app.include_router(router)

    assert {"404", "409"} <= statuses(document_of(app), "PUT /e")


def test_declared_together_with_others_by_hand():
    """It is a dictionary like any other: `{**failures(...), 418: ...}`."""

    class Teapot(BaseModel):
        tea: str

    app = installed()

    @app.put("/e", responses={**failures(EntityFrozenError), 418: {"model": Teapot}, 404: {"description": "No"}})
    def put(): ...

    document = document_of(app)

    assert reference_of(document, "PUT /e", 418) == "Teapot"
    assert response_of(document, "PUT /e", 404)["description"] == "No"
    assert codes_of(schema_of(document, "PUT /e", 409)) == {"entity_frozen"}


def test_declared_twice_with_one_code_but_two_texts_are_one_schema():
    """A code is declared by two routes with different words; the schema is the same, the examples are not."""
    app = installed()

    @app.put("/a", responses=failures(ConflictError("First", error_code="taken")))
    def a(): ...

    @app.put("/b", responses=failures(ConflictError("Second", error_code="taken")))
    def b(): ...

    document = document_of(app)

    assert reference_of(document, "PUT /a", 409) == reference_of(document, "PUT /b", 409) == "TakenFailure"
    for path, text in (("a", "First"), ("b", "Second")):
        media = response_of(document, f"PUT /{path}", 409)["content"]["application/json"]
        assert media["examples"]["taken"]["value"]["message"]["message"] == text


def test_declared_with_one_code_and_two_statuses_are_two_schemas():
    """`gone` as 404 and as 410: the codes differ, so must the schemas."""
    app = installed()

    @app.put("/a", responses=failures(NotFoundError("x", error_code="gone")))
    def a(): ...

    @app.put("/b", responses=failures(ApiError("x", status_code=410, error_code="gone")))
    def b(): ...

    document = document_of(app)

    assert schema_of(document, "PUT /a", 404)["properties"]["code"]["const"] == 404
    assert schema_of(document, "PUT /b", 410)["properties"]["code"]["const"] == 410


@pytest.mark.parametrize(
    "code", ["not_found", "locked", "failure_details", "NotFound", "a b", "ü", "1", "a.b/c", "-"]
)
def test_declared_code_of_any_letters_has_a_component(code: str):
    """Components' names are letters of their own, and none of ours is overwritten."""
    app = installed()

    @app.get("/e", responses=failures(ConflictError("x", error_code=code)))
    def get(): ...

    @app.get("/e/{i}")
    def one(i: int): ...

    document = document_of(app)

    assert codes_of(schema_of(document, "GET /e", 409)) == {code}
    assert schema_of(document, "GET /e/{i}", 404)["properties"]["code"]["const"] == 404


def test_declared_code_beside_a_model_of_that_name():
    """The user's `EntityFrozenFailure` stays what it is."""
    own = type("EntityFrozenFailure", (BaseModel,), {"__annotations__": {"own_field": int}})
    app = installed()

    @app.put("/e", response_model=own, responses=failures(EntityFrozenError))
    def put(): ...

    document = document_of(app)

    assert list(document["components"]["schemas"]["EntityFrozenFailure"]["properties"]) == ["own_field"]
    assert codes_of(schema_of(document, "PUT /e", 409)) == {"entity_frozen"}


def test_declared_in_another_shape_has_its_keys():
    """Examples and schemas follow the shape."""
    app = FastAPI()
    install(app, shape=Shape(message="error", code="number", failure="error"))

    @app.put("/e", responses=failures(EntityFrozenError))
    def put(): ...

    document = document_of(app)
    schema = schema_of(document, "PUT /e", 409)
    example = response_of(document, "PUT /e", 409)["content"]["application/json"]["examples"]["entity_frozen"][
        "value"
    ]

    assert set(schema["properties"]) == {"number", "error", "status"}
    assert example["number"] == 409
    assert example["status"] == "error"


@pytest.mark.parametrize("message", [["one", "two"], {"any": [1, 2]}], ids=str)
def test_declared_message_of_another_form_fits_its_schema(message: Any):
    """A list of problems or a mapping is sent as it is; the example must fit the schema beside it."""
    import jsonschema

    app = installed()

    @app.put("/e", responses=failures(ConflictError(message, error_code="odd"), NotFoundError(message)))
    def put(): ...

    document = document_of(app)
    for status in (409, 404):
        media = response_of(document, "PUT /e", status)["content"]["application/json"]
        for example in media.get("examples", {}).values():
            jsonschema.validate(example["value"], {**media["schema"], "components": document["components"]})


def test_declared_without_an_envelope_is_still_a_valid_document():
    """The same routers may serve in an application that nobody installed: a test's, a script's."""
    from openapi_spec_validator import validate

    app = FastAPI()

    @app.put("/e", responses=failures(EntityFrozenError))
    def put(): ...

    document = app.openapi()
    validate(document)

    assert document["paths"]["/e"]["put"]["responses"]["409"]["description"]


class StrictError(ConflictError):
    error_code = "strict"
    message = "It is strict."

    def __new__(cls, entity_id: int):
        return super().__new__(cls)

    def __init__(self, entity_id: int):
        super().__init__(f"{entity_id} is strict")


class UnreachableError(ServiceUnavailableError, ConnectionError):
    error_code = "unreachable"

    def __new__(cls, host: str):
        return super().__new__(cls, host)

    def __init__(self, host: str):
        super().__init__(host)


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (StrictError, 409, "strict", "It is strict."),
        (UnreachableError, 503, "unreachable", TABLE[503].message),
    ],
)
def test_declared_class_whose_constructors_take_arguments_says_what_its_attributes_say(
    error: Any, status: int, code: str, message: str
):
    """Neither `__new__` nor `__init__` is called; another built-in exception may stand behind it."""
    app = installed()

    @app.put("/e", responses=failures(error))
    def put(): ...

    examples = response_of(document_of(app), "PUT /e", status)["content"]["application/json"]["examples"]

    assert examples[code]["value"] == {
        "code": status,
        "message": {"error_code": code, "message": message},
        "status": "failure",
    }


def test_declared_nothing_is_nothing():
    """An empty call is an empty dictionary, or refused with words."""
    try:
        assert failures() == {}
    except ConfigurationError as refused:
        assert "failures(" in str(refused)


# Refusals


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (404, "404"),
        ("entity_frozen", "entity_frozen"),
        (ValueError, "ValueError"),
        (ValueError("x"), "ValueError"),
        (None, "None"),
        ([EntityFrozenError], "EntityFrozenError"),
        (ConfigurationError, "ConfigurationError"),
        (Exception, "Exception"),
        (object(), "object"),
        (BaseModel, "BaseModel"),
    ],
    ids=repr,
)
def test_failures_refuses_what_is_no_error(wrong: Any, seen: str):
    """The words say what was seen and what to give instead."""
    with pytest.raises(ConfigurationError) as refused:
        failures(NotFoundError, wrong)

    assert seen in str(refused.value)
    assert "ApiError" in str(refused.value)


def test_failures_passes_the_type_checker_where_fastapi_takes_responses(tmp_path: Path):
    """No cast is needed, alone and joined with others, at each place."""
    module = tmp_path / "typed.py"
    module.write_text(
        "from typing import Any\n"
        "from fastapi import APIRouter, FastAPI\n"
        "from pydantic import BaseModel\n"
        "from envelope import ConflictError, NotFoundError, failures\n"
        "class Problem(BaseModel):\n    x: int\n"
        "declared = failures(ConflictError, NotFoundError('x'))\n"
        "app = FastAPI(responses=failures(NotFoundError))\n"
        "router = APIRouter(responses=declared)\n"
        "mine: dict[int | str, dict[str, Any]] = {418: {'model': Problem}}\n"
        "@router.get('/a', responses={**declared, 418: {'model': Problem}, '5XX': {'description': 'x'}})\n"
        "def a() -> int:\n    return 1\n"
        "@router.get('/b', responses=declared | mine)\n"
        "def b() -> int:\n    return 1\n"
        "@router.get('/c', responses=mine | failures(ConflictError))\n"
        "def c() -> int:\n    return 1\n"
        "app.include_router(router, responses=failures(ConflictError))\n"
        "errors: list[type[ConflictError]] = [ConflictError]\n"
        "@app.get('/d', responses=failures(*errors))\n"
        "def d() -> int:\n    return 1\n"
    )

    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir", str(tmp_path), str(module)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout
