"""The components that the convention adds to an OpenAPI document: envelopes, failures, header fields.

Pure: reads and writes one document, and knows no framework.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from envelope.errors.tree import TABLE, describe_status, reason_phrase
from envelope.openapi.declarations import EXTENSION
from envelope.wire.bodies import Shape

Json = dict[str, Any]

_TEXT = {"type": "string"}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}

_INTEGER = {"type": "integer"}

#: What a failure's message is if it is no text: with an error code, or in a form that the service has chosen.
_FORMS: tuple[Json, ...] = (
    {
        "title": "FailureDetails",
        "type": "object",
        "properties": {"error_code": _TEXT, "message": _TEXTS},
        "required": ["error_code", "message"],
    },
    {
        "title": "FailureObject",
        "description": "What the service said in a form of its own.",
        "type": "object",
        "additionalProperties": True,
    },
)

#: The header fields of failures and of limited answers. Required are those that are never left out.
HEADERS: Mapping[str, Json] = {
    "Retry-After": {
        "description": "Seconds until the call may be tried again (RFC 9110, 10.2.3).",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 9110, 11.6.1).",
        "schema": _TEXT,
    },
    "Allow": {
        "description": "The methods that the resource has (RFC 9110, 10.2.1).",
        "schema": _TEXT,
    },
    "X-RateLimit-Limit": {"description": "How much the client may ask for in one window.", "schema": _INTEGER},
    "X-RateLimit-Remaining": {"description": "How much of it is left.", "schema": _INTEGER},
    "X-RateLimit-Reset": {
        "description": "When there is more, in seconds since 1970 (UTC), rounded up.",
        "schema": _INTEGER,
    },
    "RateLimit-Policy": {
        "description": "All limits: q what is allowed, w the window in seconds (IETF draft ratelimit-headers).",
        "schema": _TEXT,
    },
    "RateLimit": {
        "description": "What is left of them: r how much, t seconds until there is more.",
        "schema": _TEXT,
    },
}

#: Messages that say more than the table's text: the convention's own example.
_EXAMPLES = {400: {"error_code": "invalid_input", "message": ["'offset' is a required property"]}}

#: The fields that failures of a status carry, beside those of the rate limits.
_FIELDS_OF = {401: ["WWW-Authenticate"], 405: ["Allow"]} | {
    status: ["Retry-After"] for status, error in TABLE.items() if error.retry_after is not None
}


class Components:
    """The components of one document.

    Args:
        document: Is changed.
        shape: Of the bodies.
        limit_fields: The header fields that tell how much is left.
    """

    def __init__(self, document: Json, shape: Shape, limit_fields: Sequence[str]) -> None:
        self._components: Json = document.setdefault("components", {})
        # OpenAPI 3.0, which FastAPI writes for old tools if it is told to, has neither null nor constants.
        self._is_3_0 = str(document.get("openapi")).startswith("3.0")
        #: The schema of no content.
        self.empty: Json = {"enum": [None], "nullable": True} if self._is_3_0 else {"type": "null"}
        self._shape = shape
        self._limit_fields = limit_fields
        self._shared: dict[int, tuple[Json, Json]] = {}
        for status in TABLE:
            self._shared[status] = self._share(status)

    def resolve(self, found: Json) -> Json:
        """Give what a reference to a component stands for; anything else is given back."""
        kind, _, name = str(found.get("$ref", "")).removeprefix("#/components/").partition("/")
        # JSON Pointer's own escapes (RFC 6901, 4).
        name = name.replace("~1", "/").replace("~0", "~")
        resolved: Json = self._components.get(kind, {}).get(name, found)
        return resolved

    def envelope(self, content: Json, operation_name: str) -> Json:
        """Give the reference to the envelope around some content."""
        own_name = "Empty" if content == self.empty else _name_of(content)
        name = f"{own_name or operation_name}Envelope"
        status = self._constant("Status", "string", self._shape.success)
        properties = {self._shape.status: status, self._shape.content: content}
        return self._add("schemas", name, _object(name, properties))

    def success(self, content: Any) -> Json:
        """Give an example of a success."""
        return {self._shape.status: self._shape.success, self._shape.content: content}

    def failure(self, status: int) -> Json:
        """Give the reference to the response that all failures of a status of the table share."""
        return self._shared[status][0]

    def as_failure(
        self, response: Json, status: int | None, declared: Sequence[Json], *, may_be_other: bool
    ) -> Json:
        """Give a response the body and the header fields of a failure; a reference, if it is the shared one.

        Args:
            response: As it was declared: with a description.
            status: None stands for any, as in ``default``.
            declared: The errors that a route has declared for it.
            may_be_other: Whether a failure can come that is none of those.
        """
        coded = [error for error in declared if "error_code" in error]
        schemas = [self._coded_schema(status, error) for error in coded]
        if may_be_other or len(coded) < len(declared) or not coded:
            schemas.insert(0, self._plain_schema(status))
        unique = [each for index, each in enumerate(schemas) if each not in schemas[:index]]
        media: Json = {"schema": unique[0] if len(unique) == 1 else {"anyOf": unique}}
        if coded:
            media["examples"] = {
                error["error_code"]: {"value": self._body(status, error["message"])} for error in coded
            }
        elif status is not None:
            message = declared[0]["message"] if declared else _EXAMPLES.get(status, describe_status(status))
            media["example"] = self._body(status, message)
        made = {**response, "content": {"application/json": media}}
        made = self.with_headers(made, _FIELDS_OF.get(status or 0, ()), is_limited=status == 429)
        reference, shared = self._shared.get(status or 0, ({}, {}))
        return reference if made == shared else made

    def with_headers(self, response: Json, names: Sequence[str], *, is_limited: bool) -> Json:
        """Give a response header fields, and those of the rate limits, unless it has its own of these names."""
        own: Json = response.get("headers", {})
        known = {name.lower() for name in own}
        wanted = [*names, *(self._limit_fields if is_limited else ())]
        added = {name: self._add("headers", name, HEADERS[name]) for name in wanted if name.lower() not in known}
        return {**response, "headers": {**own, **added}} if added else response

    def drop(self, schemas: Mapping[str, set[str]], document: Json) -> None:
        """Leave out schemas that nothing refers to, by name and by the properties by which they are known."""
        known = self._components["schemas"]
        for name, properties in schemas.items():
            is_the_one = properties <= (known.get(name, {}).get("properties") or {}).keys()
            if is_the_one and f"#/components/schemas/{name}" not in _references(document):
                del known[name]

    def sort(self) -> None:
        """Put the schemas in order, as FastAPI does."""
        self._components["schemas"] = dict(sorted(self._components["schemas"].items()))

    def _share(self, status: int) -> tuple[Json, Json]:
        response = self.as_failure({"description": str(TABLE[status].message)}, status, (), may_be_other=True)
        return self._add("responses", _camel(reason_phrase(status)), response), response

    def _plain_schema(self, status: int | None) -> Json:
        name = "Failure" if status is None else f"{_camel(reason_phrase(status))}Failure"
        forms = [self._add("schemas", form["title"], form) for form in _FORMS]
        return self._failure(name, status, {"title": "Message", "anyOf": [_TEXT, *forms]})

    def _coded_schema(self, status: int | None, error: Json) -> Json:
        name = f"{_camel(error['error_code'])}Failure"
        text = error["message"]["message"]
        properties = {
            "error_code": self._constant("Error Code", "string", error["error_code"]),
            "message": {"type": "object"} if isinstance(text, dict) else _TEXTS,
        }
        return self._failure(name, status, _object("Message", properties))

    def _failure(self, name: str, status: int | None, message: Json) -> Json:
        shape = self._shape
        properties = {
            shape.code: {"title": "Code", **_INTEGER}
            if status is None
            else self._constant("Code", "integer", status),
            shape.message: message,
            shape.status: self._constant("Status", "string", shape.failure),
        }
        return self._add("schemas", name, _object(name, properties))

    def _constant(self, title: str, kind: str, value: str | int) -> Json:
        return {"title": title, "type": kind, **({"enum": [value]} if self._is_3_0 else {"const": value})}

    def _body(self, status: int | None, message: Any) -> Json:
        shape = self._shape
        return {shape.code: status, shape.message: message, shape.status: shape.failure}

    def _add(self, kind: str, name: str, value: Json | Mapping[str, Any]) -> Json:
        """Add a component, under another name if somebody else has this one."""
        known = self._components.setdefault(kind, {})
        number, free = 1, name
        while free in known and known[free] != _titled(value, free):
            number += 1
            free = f"{name}{number}"
        known[free] = _titled(value, free)
        return {"$ref": f"#/components/{kind}/{free}"}


def read_declared(response: Json) -> list[Json]:
    """Take the errors that ``failures`` has put into a response."""
    return response.pop(EXTENSION, [])  # type: ignore[no-any-return]


def camel_case(operation: Json, method: str, path: str) -> str:
    """Name an operation as a class would be named."""
    return _camel(operation.get("operationId") or f"{method} {path}")


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", text))


def _name_of(content: Json) -> str | None:
    if content.keys() == {"$ref"}:
        return _named_by(content["$ref"])
    items = content.get("items")
    if content.get("type") == "array" and isinstance(items, dict) and items.keys() == {"$ref"}:
        return f"{_named_by(items['$ref'])}List"
    return None


def _named_by(reference: object) -> str:
    # An escape would stand for another character in the reference to the envelope.
    return re.sub("~[01]", "_", str(reference).rpartition("/")[2])


def _object(title: str, properties: Json) -> Json:
    return {"title": title, "type": "object", "properties": properties, "required": list(properties)}


def _titled(value: Json | Mapping[str, Any], name: str) -> Json:
    return {**value, "title": name} if "title" in value else dict(value)


def _references(part: object) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(_references, part.values()))
    if isinstance(part, list):
        return set().union(*map(_references, part))
    return set()
