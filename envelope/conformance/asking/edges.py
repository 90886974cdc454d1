"""Valid input at the edges of what the document allows: the least and most, the shortest and longest, every word.

Generated input seldom meets an edge, and services often fail there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from envelope.conformance.asking.flaws import Trial, is_json_object, json_schema, query_with, read_json
from envelope.conformance.contracts.contract import Contract, Operation
from envelope.conformance.contracts.schemas import Node, Schemas
from envelope.conformance.exchanges import Request

#: Longer texts meet the limits of servers before they meet those of the service.
_LONGEST = 2000

#: More words of one enumeration say nothing new.
_MOST_WORDS = 10


def edges(request: Request, operation: Operation, contract: Contract) -> Iterator[Trial]:
    """Make input at the edges of valid input, one edge at a time."""
    schemas = contract.schemas
    for parameter in operation.parameters:
        if parameter.get("in") == "query":
            name = str(parameter.get("name"))
            for value in _edges_of(Node(parameter.get("schema"), ""), schemas):
                text = value if isinstance(value, str) else json.dumps(value)
                yield Trial(query_with(request, name, text), "valid")
    schema, body = json_schema(operation, schemas), read_json(request.body or b"")
    for name, node in schema.child("properties").children() if is_json_object(schema, body) else ():
        for value in _edges_of(node, schemas):
            yield Trial(replace(request, body=json.dumps({**body, name: value}).encode()), "valid")


def _edges_of(node: Node, schemas: Schemas) -> Iterator[Any]:
    schema = schemas.resolve(node)
    values = [value for make in _MAKERS for value in make(schema.mapping())]
    # What another keyword forbids is no edge; a parameter's schema has no place in the document to ask.
    yield from (value for value in values if not node.pointer or schemas.admits(node, value))


def _of_words(schema: Mapping[str, Any]) -> Iterator[Any]:
    words = schema.get("enum")
    yield from words[:_MOST_WORDS] if isinstance(words, list) else ()


def _of_numbers(schema: Mapping[str, Any]) -> Iterator[Any]:
    if schema.get("type") in ("integer", "number"):
        limits = [schema.get("minimum"), schema.get("maximum")]
        yield from (limit for limit in limits if isinstance(limit, int | float))


def _of_texts(schema: Mapping[str, Any]) -> Iterator[Any]:
    if schema.get("type") == "string" and not schema.keys() & {"format", "pattern", "enum", "const"}:
        least, most = schema.get("minLength", 0), schema.get("maxLength", _LONGEST)
        if isinstance(least, int) and isinstance(most, int) and least <= most <= _LONGEST:
            yield from dict.fromkeys(("a" * max(least, 1), "a" * most, "é" * max(least, 1)))


_MAKERS = (_of_words, _of_numbers, _of_texts)
