"""Finds what a FastAPI endpoint declares about its inputs, as JSON Schema.

The only module of this package that knows FastAPI, and it never imports it: an application that uses FastAPI has
it imported already. It does not read the OpenAPI document, which leaves hidden parameters out.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Annotated, Any, Final
from weakref import WeakKeyDictionary

from pydantic import Field, TypeAdapter

from envelope.errors.validation.json_schema import (
    UNKNOWN,
    Loc,
    Node,
    Place,
    document,
    holds_secrets,
    locate,
    opened,
)
from envelope.errors.validation.redaction import is_secret_name
from envelope.errors.validation.secret_types import SecretAwareJsonSchema

_PARAMETERS: Final = (
    ("path", "path_params"),
    ("query", "query_params"),
    ("header", "header_params"),
    ("cookie", "cookie_params"),
)
_PLACES: Final = frozenset(("path", "query", "header", "cookie", "body"))
_MAX_REMEMBERED: Final = 1024
_MAX_LOC_CHARS: Final = 256


class RequestSchema:
    """What is declared about the inputs of one endpoint."""

    def __init__(self, parameters: Iterable[tuple[str, Any]], bodies: Iterable[Any] = ()) -> None:
        """Remembers the fields; their schemas are generated when an error first needs them.

        Args:
            parameters: pairs of where (`"query"`, `"header"`, ...) and FastAPI's model field.
            bodies: FastAPI's model fields for the body.
        """
        self._parameters = list(parameters)
        self._bodies = list(bodies)
        self._roots: dict[str, list[Node]] = {}
        self._remembered: dict[Loc, Place] = {}

    def node(self, loc: Loc) -> Place:
        """Finds what is declared at a `loc` of pydantic's.

        Args:
            loc: as FastAPI gives it: `("query", "offset")`, `("body", "items", 0, "name")`.

        Returns:
            The place; one without nodes if nothing is declared there or pydantic cannot describe it.
        """
        place = self._remembered.get(loc)
        if place is None:
            place = self._find(loc)
            self._remember(loc, place)
        return place

    def _find(self, loc: Loc) -> Place:
        place = locate(self._declared(str(loc[0])), loc[1:]) if loc else UNKNOWN
        named = loc[:1] == ("cookie",) or any(isinstance(part, str) and is_secret_name(part) for part in loc[1:])
        union_at = None if place.union_at is None else place.union_at + 1
        secret = place.is_secret or named
        return Place(place.nodes, secret, loc[:1] + place.path, union_at, secret or holds_secrets(place.nodes))

    def _remember(self, loc: Loc, place: Place) -> None:
        # A client chooses keys and indices, so both the number and the size of what is kept are bounded.
        if len(self._remembered) < _MAX_REMEMBERED and sum(len(str(part)) for part in loc) < _MAX_LOC_CHARS:
            self._remembered[loc] = place

    def _declared(self, where: str) -> list[Node]:
        """The schemas in which the second element of a loc is looked up."""
        if where not in self._roots and where in _PLACES:
            self._roots[where] = list(self._generated(where))
        return self._roots.get(where, [])

    def _generated(self, where: str) -> Iterator[Node]:
        if where == "body":
            yield from filter(None, map(_schema, self._bodies))
        for field in (field for place, field in self._parameters if place == where):
            schema = _schema(field)
            if schema is not None:
                yield schema if _is_model(schema) else _named(schema, list(_spellings(field)))


def request_schema(scope: MutableMapping[str, Any]) -> RequestSchema | None:
    """Finds the declared inputs of the FastAPI endpoint that a request was routed to.

    Args:
        scope: the ASGI scope after routing, with `app` and `endpoint`.

    Returns:
        What all the routes to that endpoint declare together; None outside FastAPI, or if no route leads there.
    """
    app, endpoint = scope.get("app"), scope.get("endpoint")
    if endpoint is None or not _is_fastapi(app):
        return None
    try:
        return _cached(app, endpoint)
    except TypeError:  # the endpoint cannot be hashed or weakly referenced
        return _collected(app, endpoint)


_CACHE: Final[WeakKeyDictionary[Any, WeakKeyDictionary[Any, RequestSchema]]] = WeakKeyDictionary()


def _cached(app: Any, endpoint: Any) -> RequestSchema | None:
    by_app = _CACHE.setdefault(endpoint, WeakKeyDictionary())
    schema = by_app.get(app)
    if schema is None and (schema := _collected(app, endpoint)) is not None:
        by_app[app] = schema
    return schema


def _is_fastapi(app: object) -> bool:
    fastapi = sys.modules.get("fastapi")
    return fastapi is not None and isinstance(app, fastapi.FastAPI)


def _collected(app: Any, endpoint: object) -> RequestSchema | None:
    contexts = sys.modules["fastapi.routing"].iter_route_contexts(app.routes)
    found = [context for context in contexts if context.endpoint is endpoint]
    dependants = [context.dependant for context in found if getattr(context, "dependant", None) is not None]
    if not dependants:
        return None
    bodies = [field for context in found if (field := getattr(context, "body_field", None)) is not None]
    return RequestSchema([pair for dependant in dependants for pair in _parameters(dependant)], bodies)


def _parameters(dependant: Any) -> Iterator[tuple[str, Any]]:
    for where, attribute in _PARAMETERS:
        for field in getattr(dependant, attribute):
            yield where, field
    for dependency in dependant.dependencies:
        yield from _parameters(dependency)


def _schema(field: Any) -> Node | None:
    """The JSON Schema of one input; None if pydantic cannot describe it."""
    try:
        return document(_json_schema(field.field_info, field.config))
    except Exception:  # noqa: BLE001 a type without a schema, or any error of a user's own schema hook
        return None


def _json_schema(info: Any, config: Any) -> dict[str, Any]:
    # Only what shapes the schema: the other attributes of a parameter (alias, examples) make pydantic warn.
    shaping = Field(discriminator=info.discriminator, json_schema_extra=info.json_schema_extra)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotation = Annotated[(info.annotation, *info.metadata, shaping)]
        return TypeAdapter[Any](annotation, config=config).json_schema(schema_generator=SecretAwareJsonSchema)


def _is_model(schema: Node) -> bool:
    """Whether it is a parameter model, whose fields follow directly after `"query"`."""
    return any("properties" in node.keywords for node in opened([schema]))


def _named(schema: Node, names: list[str]) -> Node:
    keywords = schema.keywords
    if any(map(is_secret_name, names)):
        keywords = {**keywords, "writeOnly": True}  # an alias does not make it less of a secret
    return schema.beside({"type": "object", "properties": dict.fromkeys(names, keywords)})


def _spellings(field: Any) -> Iterator[str]:
    """Every name that a loc may use for a parameter: its aliases, and for headers the hyphenated ones."""
    aliases = getattr(field.field_info.validation_alias, "choices", ())
    for name in (field.alias, field.name, field.validation_alias, *aliases):
        if isinstance(name, str):
            yield name
            yield name.replace("_", "-")
