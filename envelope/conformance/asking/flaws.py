"""Input that nobody can take for valid: it lacks what the document requires, or has words where it has numbers.

What schemathesis generates as invalid need not be: FastAPI takes ``"1"`` for an integer, and a server may know
more e-mail addresses than the document. What is made here can be held against a service that accepts it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from envelope.conformance.contracts.contract import Contract, Operation
from envelope.conformance.contracts.schemas import Node, Schemas
from envelope.conformance.exchanges import Request

#: What stands where a number should.
_NO_NUMBER = "not-a-number"

Kind = Literal["valid", "invalid", "flawed"]


class Trial(NamedTuple):
    """A request, and what its input is.

    Attributes:
        kind: ``valid`` and ``invalid`` as the document says; ``flawed``: nobody can take it for valid.
        flaw: What is wrong with flawed input.
    """

    request: Request
    kind: Kind
    flaw: str = ""


def flawed(request: Request, operation: Operation, contract: Contract) -> Iterator[Trial]:
    """Make flawed input of valid input."""
    for parameter in operation.parameters:
        name = str(parameter.get("name"))
        schema = contract.schemas.resolve(Node(parameter.get("schema"), "")).mapping()
        for flaw in _FLAWS.get(str(parameter.get("in")), ()):
            changed = flaw.change(request, name, operation) if flaw.applies(parameter, schema) else None
            if changed is not None and not contract.may_be_another(operation, changed.path):
                yield Trial(changed, "flawed", flaw.words.format(name=repr(name)))
    yield from _flawed_bodies(request, operation, contract.schemas)


def _flawed_bodies(request: Request, operation: Operation, schemas: Schemas) -> Iterator[Trial]:
    schema, body = json_schema(operation, schemas), read_json(request.body or b"")
    if not is_json_object(schema, body):
        return
    yield Trial(replace(request, body=b'"not-an-object"'), "flawed", "the body is not an object")
    for name in schema.mapping().get("required") or ():
        if name in body and not schemas.resolve(schema.child("properties", name)).mapping().get("readOnly"):
            rest = {key: value for key, value in body.items() if key != name}
            flaw = f"the required property {name!r} is missing"
            yield Trial(replace(request, body=json.dumps(rest).encode()), "flawed", flaw)


def request_content(operation: Operation, schemas: Schemas) -> Node:
    """Give the media types that an operation reads; the value is None if there are none."""
    item = schemas.resolve(schemas.root.child("paths", operation.template))
    return schemas.resolve(item.child(operation.method.lower(), "requestBody")).child("content")


def json_schema(operation: Operation, schemas: Schemas) -> Node:
    """Give the schema of an operation's JSON body; its value is None if it reads none."""
    for media_type, definition in request_content(operation, schemas).children():
        if is_json(media_type):
            return schemas.resolve(definition.child("schema"))
    return Node(None, "")


def is_json_object(schema: Node, body: Any) -> bool:
    """Tell whether a body is an object and its schema asks for one, without alternatives."""
    return schema.mapping().get("type") == "object" and isinstance(body, dict)


def is_json(media_type: str) -> bool:
    """Tell whether a media type is JSON (RFC 6839, 3.1)."""
    essence = media_type.partition(";")[0].strip().lower()
    return re.fullmatch(r"application/(.+\+)?json", essence) is not None


def read_json(body: bytes) -> Any:
    """Read JSON; None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


class _Flaw(NamedTuple):
    words: str
    applies: Callable[[Mapping[str, Any], Mapping[str, Any]], bool]  # parameter, its schema
    change: Callable[[Request, str, Operation], Request | None]


def _is_required_scalar(parameter: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    # Others can be there without a field of their name: an empty array, an exploded object.
    return bool(parameter.get("required")) and schema.get("type") in ("string", "integer", "number", "boolean")


def _is_number(_: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    return schema.get("type") in ("integer", "number")


def _without_query(request: Request, name: str, _: Operation) -> Request:
    return query_with(request, name)


def _with_word_in_query(request: Request, name: str, _: Operation) -> Request:
    return query_with(request, name, _NO_NUMBER)


def _with_word_in_path(request: Request, name: str, operation: Operation) -> Request | None:
    segments, names = request.path.split("/"), operation.template.split("/")
    if len(segments) != len(names) or f"{{{name}}}" not in names:
        return None
    segments[names.index(f"{{{name}}}")] = _NO_NUMBER
    address, mark, query = request.url.partition("?")
    path = "/".join(segments)
    return replace(request, url=address.removesuffix(request.path) + path + mark + query, path=path)


#: By where the parameter is.
_FLAWS = {
    "query": (
        _Flaw("the required query parameter {name} is missing", _is_required_scalar, _without_query),
        _Flaw("the query parameter {name} is not a number", _is_number, _with_word_in_query),
    ),
    "path": (_Flaw("the path parameter {name} is not a number", _is_number, _with_word_in_path),),
}


def query_with(request: Request, name: str, *values: str) -> Request:
    """Give a request with other values of a query parameter, or none."""
    parts = urlsplit(request.url)
    fields = [field for field in parse_qsl(parts.query, keep_blank_values=True) if field[0] != name]
    fields += [(name, value) for value in values]
    return replace(request, url=parts._replace(query=urlencode(fields)).geturl())
