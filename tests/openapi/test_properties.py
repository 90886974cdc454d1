"""Any application's document: valid, the same again, nothing of the user's touched, and the bare one is still in it."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.openapi import grammar
from tests.openapi.grammar import Plan, build, every_word
from tests.openapi.reading import Document, document_of, operations, references, resolved

PLANS = st.lists(
    st.fixed_dictionaries({
        "returns": st.sampled_from(list(grammar.RETURNED)),
        "status": st.sampled_from(grammar.STATUSES),
        "response_class": st.sampled_from(["default", *grammar.CLASSES]),
        "method": st.sampled_from(grammar.METHODS),
        "path": st.sampled_from(grammar.PATHS),
        "prefix": st.sampled_from(grammar.PREFIXES),
        "takes": st.sampled_from(list(grammar.TAKEN)),
        "declares": st.sampled_from(list(grammar.declared())),
        "is_secret": st.booleans(),
        "is_guarded": st.booleans(),
        "is_raw": st.booleans(),
    }),
    max_size=4,
    unique_by=lambda plan: (str(plan["method"]), f"{plan['prefix']}{plan['path']}"),
)  # fmt: skip
OPTIONS = st.fixed_dictionaries({"keep": st.booleans(), "limited": st.booleans(), "exempt": st.booleans()})

pytestmark = pytest.mark.timeout(120)
few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@few
@given(PLANS, OPTIONS)
def test_any_document_is_valid_and_says_what_must_be_said(plans: list[Plan], options: dict[str, Any]):
    """OpenAPI's rules hold, references lead somewhere, each operation can crash, and no 422 of FastAPI is left."""
    document = document_of(build(plans, options=options))

    for name, operation in operations(document):
        responses = operation["responses"]
        assert {"500", "default"} & set(responses), name
        assert "#/components/schemas/HTTPValidationError" not in references(operation), name
        if operation.get("parameters") or operation.get("requestBody"):
            assert {"400", "4XX", "default"} & set(responses), name
        if operation.get("security"):
            assert {"401", "4XX", "default"} & set(responses), name
        assert any(status[0] in "23" for status in responses), name
    for name in document["x-envelope"]["exempt"]:
        assert name in dict(operations(document))


@few
@given(PLANS, OPTIONS)
def test_any_document_is_the_same_of_the_same_application(plans: list[Plan], options: dict[str, Any]):
    """Two builds give the same text, keys in the same order."""
    one, two = build(plans, options=options), build(plans, options=options)

    assert json.dumps(one.openapi()) == json.dumps(two.openapi())


@few
@given(PLANS, OPTIONS)
def test_any_document_that_is_described_stays_as_it_is(plans: list[Plan], options: dict[str, Any]):
    """Asked again, copied, reset, or from a file: nothing is wrapped twice."""
    app = build(plans, options=options)
    document = app.openapi()
    text = json.dumps(document)

    assert app.openapi() is document
    for again in (document, copy.deepcopy(document), json.loads(text), dict(document)):
        app.openapi_schema = again
        assert json.dumps(app.openapi()) == text
    app.openapi_schema = None
    assert json.dumps(app.openapi()) == text


@few
@given(PLANS, OPTIONS)
def test_any_application_is_left_as_it_was(plans: list[Plan], options: dict[str, Any]):
    """Describing reads routes, and writes nothing to them or to what the user gave."""
    app = build(plans, options=options)
    routes = _routes(app.routes)
    states = [_state(route) for route in routes]
    document = app.openapi()
    text = json.dumps(document)
    app.openapi()

    assert _routes(app.routes) == routes
    assert [_state(route) for route in routes] == states
    assert json.dumps(document) == text


@few
@given(PLANS)
def test_any_bare_document_is_found_again_by_unwrapping(plans: list[Plan]):
    """With the statuses kept, taking the envelopes and our failures away gives FastAPI's own document, to the letter."""
    bare = build(plans).openapi()
    described = build(plans, options={"keep": True}).openapi()

    _forget_validation(bare)
    assert _unwrap(described, bare) == bare


@few
@given(PLANS)
def test_any_success_has_the_schema_that_fastapi_gave(plans: list[Plan]):
    """With statuses of 200, each schema of a success is among those of the content, and there is no other."""
    bare = build(plans).openapi()
    described = build(plans, options={}).openapi()
    exempt = set(described["x-envelope"]["exempt"])

    for name, operation in operations(bare):
        if name in exempt:
            continue
        wrapped, empty = [], False
        for status, response in operation["responses"].items():
            if status[0] == "2" and status not in ("206", "226"):
                content = response.get("content", {})
                empty = empty or (not content and status in ("204", "205"))
                if "application/json" in content:
                    wrapped.append(content["application/json"].get("schema", {}))
        method, path = name.split(" ")
        ours = described["paths"][path][method.lower()]["responses"].get("200", {})
        media = resolved(described, ours).get("content", {}).get("application/json")
        if media is None:
            assert not wrapped, name
            continue
        content = resolved(described, media["schema"])["properties"]["content"]
        found = content["anyOf"] if len(wrapped) + empty > 1 and "anyOf" in content else [content]
        for schema in wrapped:
            assert any(_untitled(schema) == _untitled(each) for each in (*found, content)), (name, schema, content)
        assert empty == ({"type": "null"} in found) or content == {} or not empty, name


def test_document_of_every_word_is_the_same_in_every_process(tmp_path: Path):
    """Sets and hashes of strings differ from process to process; the document does not."""
    script = (
        "import json, sys\n"
        "from tests.openapi.grammar import build, every_word\n"
        "for options in ({}, {'keep': True}, {'limited': True, 'exempt': True}):\n"
        "    print(json.dumps(build(every_word(), options=options).openapi()))\n"
    )
    texts = set()
    for seed in ("0", "1", "2", "random"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        texts.add(done.stdout)

    assert len(texts) == 1


@pytest.mark.parametrize("options", [{}, {"keep": True}, {"limited": True}, {"exempt": True}], ids=str)
def test_document_of_every_word_is_valid(options: dict[str, Any]):
    """Each word of the grammar at once, in one document."""
    document = document_of(build(every_word(), options=options))

    assert len(dict(operations(document))) == len(every_word())


def _routes(routes: list[Any]) -> list[Any]:
    """Give all routes, those of included routers too, which FastAPI keeps as they are."""
    inner = [
        each
        for route in routes
        for each in _routes(getattr(getattr(route, "original_router", None), "routes", []))
    ]
    return [*routes, *inner]


def _state(route: Any) -> Any:
    """Give what a user's route holds; FastAPI's own caches of inclusions are no part of it."""
    return repr(vars(route)) if isinstance(route, APIRoute) else repr(sorted(vars(route)))


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "title"}


def _forget_validation(bare: Document) -> None:
    """Take FastAPI's own 422 away, and its components where nothing else refers to them."""
    ours = {"$ref": "#/components/schemas/HTTPValidationError"}
    for _, operation in operations(bare):
        content = operation["responses"].get("422", {}).get("content", {})
        if content.get("application/json", {}).get("schema") == ours:
            del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas = bare.get("components", {}).get("schemas", {})
        if f"#/components/schemas/{name}" not in set(references(bare)) and "own" not in schemas.get(name, {}).get(
            "properties", {}
        ):
            schemas.pop(name, None)


def _unwrap(described: Document, bare: Document) -> Document:
    """Take away all that the library has added."""
    found = copy.deepcopy(described)
    exempt = found.pop("x-envelope")["exempt"]
    originals = dict(operations(bare))
    for name, operation in operations(found):
        responses = operation["responses"]
        for status in list(responses):
            theirs = originals[name]["responses"].get(status)
            response = resolved(found, responses[status])
            media = response.get("content", {}).get("application/json")
            schema = resolved(found, media.get("schema")) if media else None
            if schema and set(schema.get("properties", {})) == {"status", "content"} and name not in exempt:
                media["schema"] = schema["properties"]["content"]
                if "schema" not in originals[name]["responses"][status]["content"]["application/json"]:
                    assert media.pop("schema") == {}  # the user gave an example only
                if "example" in media:
                    assert media["example"]["status"] == "success"
                    media["example"] = media["example"]["content"]
            elif theirs is None:
                del responses[status]
            elif status[0] in "45d":
                # A description that has been given a body, or a marker that has been replaced.
                assert "content" in response or theirs == response, (name, status)
                if "content" not in theirs or any(key.startswith("x-") for key in theirs):
                    responses[status] = theirs
    for kind in ("responses", "headers"):
        found.get("components", {}).pop(kind, None)
    theirs = bare.get("components", {}).get("schemas", {})
    schemas = found.get("components", {}).pop("schemas", {})
    added = set(schemas) - set(theirs)
    assert all("Envelope" in name or "Failure" in name for name in added), added
    if "schemas" in bare.get("components", {}):
        found["components"]["schemas"] = {name: schema for name, schema in schemas.items() if name in theirs}
    if "components" not in bare:
        assert not found.pop("components", None)
    return found
