"""What a service promises: its OpenAPI document and the convention's options, made ready for judging.

Reads an OpenAPI document (3.0, 3.1 or 3.2) once and answers questions about it. It finds nothing wrong: a
document that is broken has fewer operations, responses and schemas, and ``judge_document`` says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from envelope.conformance.contracts import forms
from envelope.conformance.contracts.schemas import Node, Schemas
from envelope.conformance.contracts.templates import Templates
from envelope.errors.tree import ConfigurationError
from envelope.openapi.document import EXTENSION
from envelope.wire.bodies import Shape

#: The members of a path item that are operations (OpenAPI 3.2, 4.9); ``query`` came with 3.2.
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")

#: Paths whose output other specifications fix, in whatever service (RFC 8615).
_FIXED = ("/.well-known/*",)

_FLOWS = ("password", "clientCredentials", "authorizationCode", "deviceAuthorization")


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """A response of the document, references resolved.

    Attributes:
        key: ``"200"``, ``"4XX"`` or ``"default"``.
        node: The response object.
        schemas: What its schemas are compiled by.
        shape: The names that the convention has here.
    """

    key: str
    node: Node
    schemas: Schemas
    shape: Shape

    @cached_property
    def media_types(self) -> tuple[str, ...]:
        """The media types or ranges (``text/*``), in lower case and without parameters; none: nothing is said."""
        return tuple(_media_type(key) for key in self.node.child("content").mapping())

    @cached_property
    def json_content(self) -> Node:
        """The media type object of ``application/json``; its value is None if there is none."""
        for key, node in self.node.child("content").children():
            if _media_type(key) == "application/json":
                return self.schemas.resolve(node)
        return Node(None, "")

    @cached_property
    def json_schema(self) -> Node:
        """The schema of ``application/json``; its value is None if there is none."""
        return self.json_content.child("schema")

    @cached_property
    def shows_success(self) -> bool:
        """Whether its JSON is the envelope of a success."""
        return forms.shows_success(self.schemas, self.json_schema, self.shape)

    @cached_property
    def shows_failure(self) -> bool:
        """Whether its JSON may be the convention's failure, with a status that it stands for."""
        return forms.shows_failure(self.schemas, self.json_content, self.shape, self.key)

    def allows(self, media_type: str) -> bool:
        """Tell whether a media type is among those that are shown; true if none is."""
        ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
        return not self.media_types or any(each in self.media_types for each in ranges)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """An operation of the document.

    Attributes:
        method: In capitals.
        template: The path as the document names it, below its server's prefix: ``"/entities/{entity_id}"``.
        definition: The operation object.
        parameters: Its parameter objects and those of its path, references resolved.
        responses: By the key in the document: ``"200"``, ``"4XX"``, ``"default"``.
        security: Alternative requirements, scheme names to scopes; the document's if it has none of its own.
        is_exempt: Its output is sent as it is.
    """

    method: str
    template: str
    definition: Mapping[str, Any]
    parameters: Sequence[Mapping[str, Any]]
    responses: Mapping[str, Response]
    security: Sequence[Mapping[str, Any]]
    is_exempt: bool

    @property
    def name(self) -> str:
        """``"GET /entities/{entity_id}"``."""
        return f"{self.method} {self.template}"

    @property
    def has_parameters(self) -> bool:
        """Whether there is any, in path, query, header or cookie."""
        return bool(self.parameters)

    @property
    def has_path_parameters(self) -> bool:
        return any(parameter.get("in") == "path" for parameter in self.parameters)

    @property
    def has_body(self) -> bool:
        """Whether it reads a request body."""
        return isinstance(self.definition.get("requestBody"), Mapping)

    @property
    def is_secured(self) -> bool:
        """Whether nobody is served without credentials: an empty requirement makes them optional."""
        return bool(self.security) and all(self.security)

    def declares(self, status: int) -> bool:
        """Tell whether a status is in the document: by itself, by its range (``4XX``) or by ``default``."""
        return self.response_for(status) is not None

    def response_for(self, status: int) -> Response | None:
        """Find what the document says of a status, the most specific first."""
        keys = (str(status), f"{status // 100}XX", f"{status // 100}xx", "default")
        return next((self.responses[key] for key in keys if key in self.responses), None)


class Contract:
    """What one service promises.

    Args:
        document: The OpenAPI document; None if there is none: only the convention itself is judged.
        exempt: Operations (``"GET /jwks"``) or paths (``"/oauth/token"``, ``"/hooks/*"``) whose output is sent as
            it is, beside those that the document names and what other specifications fix (token URLs,
            ``/.well-known/``).
        shape: The names of keys and words; None takes the document's, else the convention's.

    Attributes:
        document: As it was given.
        shape: The names of keys and words.
        success_status: ``"always-200"`` or ``"keep"``.
        schemas: Of the document; of an empty one if there is none.
        operations: In the order of the document.
    """

    def __init__(
        self, document: Mapping[str, Any] | None, *, exempt: Sequence[str] = (), shape: Shape | None = None
    ) -> None:
        self.document = document
        self.schemas = Schemas(document or {})
        root = self.schemas.root
        extension = root.child(EXTENSION).mapping()
        self.shape = shape or _read_shape(extension)
        self.success_status = "keep" if extension.get("success_status") == "keep" else "always-200"
        self._templates = Templates(root.child("paths").mapping(), server_paths(root))
        token_urls = (f"POST {path}" for url in _token_urls(root) for path in self._templates.below(url))
        self._exempt = (*exempt, *_FIXED, *_texts(extension.get("exempt")), *token_urls)
        self.operations = tuple(self._read_operations())
        self._by_name = {operation.name: operation for operation in self.operations}

    def operation_for(self, method: str, path: str) -> Operation | None:
        """Find the operation that answers a request, as a router does: literal before parameter.

        Args:
            method: HEAD finds GET's operation, unless it has one of its own.
            path: As it was sent, percent-encoded; with or without the prefix of the document's server.
        """
        methods = (method, "GET") if method == "HEAD" else (method,)
        for template in self._templates.find(path):
            for each in methods:
                if operation := self._by_name.get(f"{each} {template}"):
                    return operation
        return None

    def may_be_another(self, operation: Operation, path: str) -> bool:
        """Tell whether a path also fits another template: which one answers is the router's choice."""
        return any(template != operation.template for template in self._templates.find(path))

    def name_of(self, method: str, path: str) -> str:
        """Give the operation's name, or method and path where the document names none."""
        operation = self.operation_for(method, path)
        return operation.name if operation else f"{method} {path}"

    def is_exempt(self, method: str, path: str) -> bool:
        """Tell whether the output of a request is sent as it is."""
        operation = self.operation_for(method, path)
        return (operation is not None and operation.is_exempt) or any(
            self._covers(method, below) for below in self._templates.below(path)
        )

    def _covers(self, method: str, path: str) -> bool:
        return any(_covers(pattern, method, path) for pattern in self._exempt)

    def _read_operations(self) -> Iterator[Operation]:
        for template, node in self.schemas.root.child("paths").children():
            item = self.schemas.resolve(node)
            for method in METHODS:
                if item.child(method).mapping():
                    yield self._read_operation(method.upper(), template, item)

    def _read_operation(self, method: str, template: str, item: Node) -> Operation:
        node = item.child(method.lower())
        security = node.mapping().get("security", self.schemas.root.mapping().get("security"))
        return Operation(
            method=method,
            template=template,
            definition=node.mapping(),
            parameters=self._read_parameters(item, node),
            responses={
                key: Response(key=key, node=self.schemas.resolve(response), schemas=self.schemas, shape=self.shape)
                for key, response in node.child("responses").children()
                if not key.startswith("x-")
            },
            security=[each for each in security or () if isinstance(each, Mapping)],
            is_exempt=self._covers(method, template),
        )

    def _read_parameters(self, item: Node, operation: Node) -> list[Mapping[str, Any]]:
        # Those of the operation replace those of its path (OpenAPI 3.1, 4.8.9).
        nodes = item.child("parameters").items() + operation.child("parameters").items()
        parameters = [self.schemas.resolve(node).mapping() for node in nodes]
        return list(
            {(str(each.get("name")), str(each["in"])): each for each in parameters if "in" in each}.values()
        )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _covers(pattern: str, method: str, path: str) -> bool:
    own_method, _, own_path = pattern.rpartition(" ")
    if own_method.upper() not in ("", method):
        return False
    return path.startswith(own_path[:-1]) if own_path.endswith("/*") else path == own_path


def _read_shape(extension: Mapping[str, Any]) -> Shape:
    names = extension.get("shape")
    known = {field.name for field in fields(Shape)}
    try:
        return Shape(**{key: name for key, name in (names or {}).items() if key in known})
    except (AttributeError, ConfigurationError):
        return Shape()


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def server_paths(root: Node) -> Iterator[str]:
    """Give the paths of a document's servers, below which its own paths are."""
    for server in root.child("servers").items():
        url = str(server.mapping().get("url", ""))
        for name, variable in server.child("variables").children():
            url = url.replace(f"{{{name}}}", str(variable.mapping().get("default", "")))
        try:
            yield urlsplit(url).path
        except ValueError:
            continue


def _token_urls(root: Node) -> Iterator[str]:
    """Find the token endpoints: OAuth2 fixes their bodies (RFC 6749, 5.1 and 5.2)."""
    for _, scheme in root.child("components", "securitySchemes").children():
        for flow in _FLOWS:
            url = scheme.child("flows", flow).mapping().get("tokenUrl")
            if isinstance(url, str) and "://" not in url:
                yield "/" + url.removeprefix("./").lstrip("/")
