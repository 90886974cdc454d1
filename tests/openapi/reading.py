"""Reads a served document: references followed, operations found, the document held to OpenAPI's own rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from openapi_spec_validator import validate

Document = dict[str, Any]

#: The reason phrase of each status in the convention's table, as components are called.
NAMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    423: "Locked",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
RATE_HEADERS = {
    "both": {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"},
    "legacy": {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
    "draft": {"RateLimit-Policy", "RateLimit"},
    "none": set[str](),
}


def document_of(app: FastAPI) -> Document:
    """Give the application's document, valid by OpenAPI's rules and with every reference leading somewhere."""
    document = app.openapi()
    check_document(document)
    for reference in references(document):
        assert look_up(document, reference) is not None, reference
    return document


def check_document(document: Document) -> None:
    """Validate by OpenAPI's rules, FastAPI's ``itemSchema`` apart: it is of 3.2, and its documents claim 3.1."""
    validate(_without_item_schemas(document))


def _without_item_schemas(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_item_schemas(each) for key, each in node.items() if key != "itemSchema"}
    return [_without_item_schemas(each) for each in node] if isinstance(node, list) else node


def look_up(document: Document, reference: str) -> Any:
    """Give what a local reference names, or None."""
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        if not isinstance(found, Mapping) or step.replace("~1", "/") not in found:
            return None
        found = found[step.replace("~1", "/")]
    return found


def references(node: Any) -> Iterator[str]:
    """Give every local reference below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def resolved(document: Document, node: Any) -> Any:
    """Give a node, or what it refers to."""
    while isinstance(node, dict) and "$ref" in node:
        node = look_up(document, node["$ref"])
    return node


def response_of(document: Document, operation: str, status: int | str) -> Any:
    """Give the response that ``"GET /x"`` declares for a status, references followed."""
    return resolved(document, responses_of(document, operation)[str(status)])


def responses_of(document: Document, operation: str) -> dict[str, Any]:
    """Give the responses that ``"GET /x"`` declares."""
    method, path = operation.split(" ")
    responses: dict[str, Any] = document["paths"][path][method.lower()]["responses"]
    return responses


def statuses(document: Document, operation: str) -> set[str]:
    """Give the statuses that ``"GET /x"`` declares."""
    return set(responses_of(document, operation))


def schema_of(document: Document, operation: str, status: int | str = 200) -> Any:
    """Give the JSON schema of a response, references followed once."""
    return resolved(document, response_of(document, operation, status)["content"]["application/json"]["schema"])


def reference_of(document: Document, operation: str, status: int | str = 200) -> str:
    """Give the name of the component that is the JSON schema of a response."""
    reference: str = response_of(document, operation, status)["content"]["application/json"]["schema"]["$ref"]
    return reference.rpartition("/")[2]


def content_of(document: Document, operation: str, status: int | str = 200) -> Any:
    """Give the schema of an envelope's content, once the envelope around it is what it should be."""
    schema = schema_of(document, operation, status)
    assert schema["type"] == "object"
    assert schema["properties"]["status"]["const"] == "success"
    assert set(schema["properties"]) == {"status", "content"}
    assert sorted(schema["required"]) == ["content", "status"]
    return schema["properties"]["content"]


def is_shared(document: Document, operation: str, status: int) -> bool:
    """Tell whether a failure is the convention's own, by reference."""
    declared: object = responses_of(document, operation)[str(status)]
    return declared == {"$ref": f"#/components/responses/{NAMES[status]}"}


def headers_of(document: Document, operation: str, status: int | str = 200) -> set[str]:
    """Give the names of the headers that a response declares."""
    return set(response_of(document, operation, status).get("headers", {}))


def operations(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every operation with its name, ``"GET /x"``."""
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]
