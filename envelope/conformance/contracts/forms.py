"""Which of the convention's two bodies a schema shows.

A schema shows a success if it names the envelope's keys and no other; that is read, because a schema that
admits anything admits the envelope too. It shows a failure if it admits one; that is tried, because services
narrow failures down to their own error codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from envelope.conformance.contracts.schemas import Node, Schemas
from envelope.errors.tree import TABLE, describe_status
from envelope.wire.bodies import BodyWriter, Shape, default_error_code

#: Texts of a schema that are tried as error code and as message.
_TRIED = 40

#: Keywords whose members are alternatives, and all those that hold schemas of the same value.
_ALTERNATIVES = ("anyOf", "oneOf")

#: Keywords whose texts a body may have to contain.
_TEXTS = frozenset({"const", "enum", "example", "examples", "default"})


def shows_success(schemas: Schemas, schema: Node, shape: Shape) -> bool:
    """Tell whether a schema is that of a success: an object of status word and content."""
    return all(_is_success(schemas, each, shape) for each in _alternatives(schemas, schema))


def shows_failure(schemas: Schemas, content: Node, shape: Shape, key: str) -> bool:
    """Tell whether a media type object admits a failure of the convention.

    Args:
        schemas: The document's.
        content: The media type object.
        shape: The names of keys and words.
        key: The response's key in the document, for which the failure's code may stand.
    """
    schema = content.child("schema")
    names = {name for each in _alternatives(schemas, schema) for name in _properties(schemas, each)}
    if names and shape.code not in names:
        return False  # nothing is required, so the convention's would do too, but another form is shown
    return any(schemas.admits(schema, body) for body in _failures(schemas, content, shape, key))


def _is_success(schemas: Schemas, schema: Node, shape: Shape) -> bool:
    properties = _properties(schemas, schema)
    return properties.keys() == {shape.status, shape.content} and schemas.admits(
        properties[shape.status], shape.success
    )


def _alternatives(schemas: Schemas, schema: Node, above: tuple[str, ...] = ()) -> Iterator[Node]:
    node = schemas.resolve(schema)
    members = [each for keyword in _ALTERNATIVES for each in node.child(keyword).items()]
    if not members or node.pointer in above:
        yield node
        return
    for member in members:
        yield from _alternatives(schemas, member, (*above, node.pointer))


def _properties(schemas: Schemas, schema: Node, above: tuple[str, ...] = ()) -> dict[str, Node]:
    node = schemas.resolve(schema)
    if node.pointer in above:
        return {}
    properties: dict[str, Node] = {}
    for part in node.child("allOf").items():
        properties |= _properties(schemas, part, (*above, node.pointer))
    return properties | dict(node.child("properties").children())


def _failures(schemas: Schemas, content: Node, shape: Shape, key: str) -> Iterator[Any]:
    """Give bodies of the convention that a response may show, the likely ones first."""
    writer = BodyWriter(shape)
    texts = list(dict.fromkeys(islice(_texts(schemas, content, set()), _TRIED)))
    for status in _statuses(key):
        yield from (each for each in _examples(schemas, content) if writer.is_failure(each, status))
        for message in _messages(status, texts):
            yield {shape.code: status, shape.message: message, shape.status: shape.failure}


def _messages(status: int, texts: list[str]) -> Iterator[Any]:
    words = [describe_status(status), *texts]
    yield from words
    for error_code, text in product([default_error_code(status), *texts], words):
        yield {"error_code": error_code, "message": text}
        yield {"error_code": error_code, "message": [text]}


def _statuses(key: str) -> list[int]:
    """Give statuses that a response's key stands for."""
    if key.isdigit():
        return [int(key)]
    return [status for status in TABLE if key == "default" or str(status)[0] == key[0]]


def _examples(schemas: Schemas, content: Node) -> Iterator[Any]:
    yield content.mapping().get("example")
    for _, example in content.child("examples").children():
        yield schemas.resolve(example).mapping().get("value")


def _texts(schemas: Schemas, node: Node, seen: set[str]) -> Iterator[str]:
    """Find the texts that a schema fixes or shows."""
    node = schemas.resolve(node)
    if node.pointer in seen:
        return
    seen.add(node.pointer)
    for key, child in [*node.children(), *(("", item) for item in node.items())]:
        yield from _strings(child.value) if key in _TEXTS else _texts(schemas, child, seen)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
