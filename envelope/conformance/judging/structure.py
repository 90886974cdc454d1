"""Rule ENV050: whether a document is OpenAPI at all, and holds together.

The official JSON Schema of its version says what may stand where; what no schema can say is looked at here:
references, schemas, path parameters, names that must be unique or known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import jsonschema_rs

from envelope.conformance.contracts.contract import Contract
from envelope.conformance.contracts.schemas import Node, Schemas, as_json, most_telling

_PARAMETER = re.compile(r"\{([^{}]*)\}")

#: Members whose value is data: what looks like a reference there is none.
_DATA = frozenset({"example", "examples", "default", "const", "enum", "value"})


#: Members that hold parts by a name that somebody chose.
_NAMING = frozenset(
    {
        *("callbacks", "headers", "parameters", "paths", "requestBodies", "responses", "schemas", "webhooks"),
        *("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"),
    }
)

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: In which draft of JSON Schema the schema of a version is written.
_DRAFTS: dict[str, Any] = {
    "3.0": jsonschema_rs.Draft4Validator,
    "3.1": jsonschema_rs.Draft202012Validator,
    "3.2": jsonschema_rs.Draft202012Validator,
}

#: Characters of a message that stand in a report.
_LONGEST = 200


class Flaw(NamedTuple):
    """What is wrong with a document.

    Attributes:
        place: A JSON pointer, or an operation.
        expected: What the specification asks for.
        came: What was seen.
    """

    place: str
    expected: str
    came: str


def find_flaws(document: Mapping[str, Any]) -> list[Flaw]:
    """Find what is wrong with the structure of a document."""
    schemas = Schemas(document)
    # The schema of 3.0 describes schemas too, the later ones leave that to JSON Schema.
    is_json_schema = not str(document.get("openapi", "")).startswith("3.0")
    return [
        *_find_by_schema(as_json(document)),
        *_find_dangling(schemas.root, schemas),
        *(_find_broken_schemas(schemas.root) if is_json_schema else ()),
        *_find_in_operations(schemas),
    ]


def _find_by_schema(document: dict[str, Any]) -> Iterator[Flaw]:
    version = str(document.get("openapi", ""))[:3]
    if version not in _DRAFTS:
        yield Flaw("/openapi", " or ".join(_DRAFTS), repr(document.get("openapi")))
        return
    for error in _validator(version).iter_errors(document):
        yield _flaw("", error, f"what OpenAPI {version} allows there")


@cache
def _validator(version: str) -> Any:
    # Imported here: it takes half a second, and only documents need it.
    from schemathesis.specs.openapi import definitions  # noqa: PLC0415

    schema = getattr(definitions, f"OPENAPI_{version.replace('.', '')}")
    # No formats: they refuse the relative token URL that FastAPI's own documents have.
    return _DRAFTS[version](schema, validate_formats=False, offline=True)


def _flaw(pointer: str, error: Any, expected: str) -> Flaw:
    error = most_telling(error)
    place = Node(None, pointer).child(*map(str, error.instance_path)).pointer
    return Flaw(place or "/", expected, error.message[:_LONGEST])


def _find_dangling(root: Node, schemas: Schemas) -> Iterator[Flaw]:
    for node in _walk(root):
        reference = node.mapping().get("$ref")
        if isinstance(reference, str) and reference.startswith("#") and schemas.resolve(node).value is None:
            yield Flaw(node.pointer, "a reference to something that is there", reference)


def _find_broken_schemas(root: Node) -> Iterator[Flaw]:
    dialect = jsonschema_rs.Draft202012Validator({"$ref": _DIALECT}, offline=True)
    for node in _walk(root):
        parent, _, name = node.pointer.rpartition("/")
        if parent == "/components/schemas" or (name == "schema" and not _has_names(parent)):
            for error in dialect.iter_errors(node.value):
                yield _flaw(node.pointer, error, "a schema of JSON Schema 2020-12")


def _walk(node: Node) -> Iterator[Node]:
    """Give a node and all that is below it, but for data."""
    yield node
    for key, child in node.children():
        if key not in _DATA or _has_names(node.pointer):
            yield from _walk(child)
    for item in node.items():
        yield from _walk(item)


def _has_names(pointer: str) -> bool:
    """Tell whether the members of a node are called as somebody liked."""
    return pointer.rpartition("/")[2] in _NAMING


def _find_in_operations(schemas: Schemas) -> Iterator[Flaw]:
    contract = Contract(schemas.root.mapping())
    schemes = schemas.root.child("components", "securitySchemes").mapping()
    identifiers = Counter(str(each.definition.get("operationId")) for each in contract.operations)
    for operation in contract.operations:
        identifier = operation.definition.get("operationId")
        if identifier is not None and identifiers[str(identifier)] > 1:
            yield Flaw(operation.name, "an operationId of its own", repr(identifier))
        named = set(_PARAMETER.findall(operation.template))
        declared = {str(each.get("name")) for each in operation.parameters if each.get("in") == "path"}
        if named != declared:
            yield Flaw(operation.name, f"path parameters {_list(named)}", _list(declared))
        unknown = {name for requirement in operation.security for name in requirement} - schemes.keys()
        if unknown:
            yield Flaw(operation.name, "security schemes of components.securitySchemes", _list(unknown))


def _list(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
