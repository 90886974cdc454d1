"""An OpenAPI document as a source of schemas: references are followed, bodies validated.

Works on the document alone: a reference that leads out of it is not fetched, what it names is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote

import jsonschema_rs

#: What the document is called where schemas are compiled.
_DOCUMENT = "urn:openapi"

#: What stands in a message in the place of a value, which may be a secret.
_MASK = "the value"


#: Characters of a message that stand in a report.
_LONGEST = 200

#: Values of a document. A few lines of YAML can mean billions.
_MOST_NODES = 2_000_000

#: Levels of a document. Python, jsonschema_rs and schemathesis end at some hundreds, each in its own way.
_DEEPEST = 200

#: What stands for itself in a fragment, beside letters and digits (RFC 3986, 3.5).
_FRAGMENT = "/~!$&'()*+,;=:@"


class Node(NamedTuple):
    """A part of the document and where it stands.

    Attributes:
        pointer: A JSON pointer (RFC 6901): ``"/components/schemas/Entity"``.
    """

    value: Any
    pointer: str

    def child(self, *keys: str) -> Node:
        """Give a part of this one; None stands for what is not there."""
        value, pointer = self
        for key in keys:
            if isinstance(value, list):
                value = dict(zip(map(str, range(len(value))), value, strict=True)).get(key)
            else:
                value = value.get(key) if isinstance(value, Mapping) else None
            pointer += "/" + key.replace("~", "~0").replace("/", "~1")
        return Node(value, pointer)

    def mapping(self) -> Mapping[str, Any]:
        """Give the value; an empty one if it is no object."""
        return self.value if isinstance(self.value, Mapping) else {}

    def children(self) -> list[tuple[str, Node]]:
        """Give the members of an object, by name."""
        return [(key, self.child(key)) for key in self.mapping()]

    def items(self) -> list[Node]:
        """Give the items of an array."""
        items = self.value if isinstance(self.value, list) else []
        return [Node(item, f"{self.pointer}/{index}") for index, item in enumerate(items)]


class _Validator(Protocol):
    def is_valid(self, instance: Any) -> bool: ...

    def iter_errors(self, instance: Any) -> Any: ...


class Schemas:
    """The schemas of one document; each is compiled once, when it is first asked for.

    Args:
        document: As it was read, from JSON or YAML. A document of OpenAPI 3.0 is read as 3.1 would say it.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        plain: dict[str, Any] = as_json(document)
        if str(plain.get("openapi", "")).startswith("3.0"):
            plain = _without_nullable(plain)
        self.root = Node(plain, "")
        self._compiled: dict[str, _Validator | None] = {}
        self._registry = jsonschema_rs.Registry([(_DOCUMENT, plain)], draft=jsonschema_rs.Draft202012)

    def resolve(self, node: Node) -> Node:
        """Follow references until something else stands there.

        Returns:
            The node itself if it is no reference; one with the value None if its reference leads nowhere.
        """
        seen = set()
        while isinstance(reference := node.mapping().get("$ref"), str):
            if reference in seen:
                return Node(None, node.pointer)
            seen.add(reference)
            node = self.find(reference)
        return node

    def find(self, reference: str) -> Node:
        """Find what a reference names; the value None if that is nothing of this document."""
        if not reference.startswith("#"):
            return Node(None, reference)
        steps = unquote(reference[1:]).split("/")[1:]
        return self.root.child(*(step.replace("~1", "/").replace("~0", "~") for step in steps))

    def admits(self, schema: Node, value: Any) -> bool:
        """Tell whether a value is valid; true if that cannot be known."""
        validator = self._compile(schema.pointer)
        try:
            return validator is None or validator.is_valid(value)
        except UnicodeEncodeError:  # a lone surrogate: JSON, but no text
            return True

    def explain(self, schema: Node, value: Any) -> str | None:
        """Say what is wrong with a value, and quote nothing of it; None if it is valid or that cannot be known."""
        validator = self._compile(schema.pointer)
        if validator is None or self.admits(schema, value):
            return None
        return _describe(next(iter(validator.iter_errors(value))))

    def _compile(self, pointer: str) -> _Validator | None:
        if pointer not in self._compiled:
            self._compiled[pointer] = self._build(pointer)
        return self._compiled[pointer]

    def _build(self, pointer: str) -> _Validator | None:
        reference = f"{_DOCUMENT}#{quote(pointer, safe=_FRAGMENT)}"
        try:
            return jsonschema_rs.Draft202012Validator(
                {"$ref": reference}, registry=self._registry, offline=True, mask=_MASK
            )
        except ValueError:  # a reference that leads nowhere, a pattern that only Python knows
            return None


def as_json(value: Any) -> Any:
    """Give what YAML read as JSON had said it: names are strings (``200:``), and so are dates.

    Lone surrogates, which JSON can name but no text can hold, are spelled out.

    Raises:
        ValueError: It is nested too deeply, or too large when the aliases of YAML are written out.
    """
    return _Copy().of(value, 0)


class _Copy:
    def __init__(self) -> None:
        self._left = _MOST_NODES

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("it is too large when its aliases are written out")
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if isinstance(value, Mapping):
            return {_as_text(str(key)): self.of(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(each, depth + 1) for each in value]
        if isinstance(value, str):
            return _as_text(value)
        return value.isoformat() if isinstance(value, date) else value


def _as_text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _without_nullable(value: Any) -> Any:
    """Say 3.0's ``nullable`` and boolean limits in JSON Schema 2020-12."""
    if isinstance(value, list):
        return [_without_nullable(each) for each in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _without_nullable(each) for key, each in value.items()}
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and limit in schema:
            schema[exclusive] = schema.pop(limit)
    return _with_null(schema) if schema.pop("nullable", None) is True else schema


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(schema.get("type"), str):
        return {"anyOf": [schema, {"type": "null"}]} if schema else schema
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return {**schema, "type": [schema["type"], "null"]}


def most_telling(error: Any) -> Any:
    """Find the error of the alternative that came furthest, as deep as there are alternatives."""
    while errors := [each for branch in getattr(error.kind, "context", ()) for each in branch]:
        error = max(errors, key=lambda each: len(each.instance_path))
    return error


def _describe(error: Any) -> str:
    error = most_telling(error)
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path]
    return f"${''.join(steps)}: {error.message[:_LONGEST]}"
