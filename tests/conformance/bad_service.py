"""Services that depart from the convention on purpose, one departure an operation, and the table of what is planted.

    python tests/conformance/bad_service.py 8001 8002 ...

serves them, each on a port of its own, in the order of ``SERVICES``. They are written by hand, down to the bytes: a
framework would not let them be bad. In every other respect an operation is good: ``_Service`` validates what comes,
answers HEAD, 404, 405 and missing credentials as the convention says, and the document is the hand-written one that
``envelope.openapi`` would make. So what stands in the table is all that there is to find.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from jsonschema import Draft202012Validator

TOKEN = "good-token"

# ---------------------------------------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Answer:
    """What is sent, to the byte.

    Attributes:
        cut: The connection is closed in the middle of the body: "length" promises more than it sends, "chunks" ends
            without the last chunk. "silence" sends nothing at all and waits until the client leaves.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: str = ""

    def without(self, *names: str) -> Answer:
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] not in names))

    def having(self, **fields: str) -> Answer:
        """Give the same with more fields: ``retry_after="1"``."""
        more = tuple((name.replace("_", "-"), value) for name, value in fields.items())
        return replace(self.without(*(name for name, _ in more)), headers=self.without(*dict(more)).headers + more)


@dataclass(frozen=True)
class Call:
    """A request, after it was found good."""

    method: str
    headers: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    body: bytes
    params: dict[str, Any] = field(default_factory=dict)
    json: Any = None


Answering = Callable[[Call], Answer]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

REASONS = {
    400: ("BadRequest", "Bad Request -- Your request is invalid."),
    401: ("Unauthorized", "Unauthorized -- Your client_id, client_secret, or access_token is invalid."),
    403: ("Forbidden", "Forbidden -- You do not have the permissions to access the requested resource."),
    404: ("NotFound", "Not Found -- The specified resource could not be found."),
    405: ("MethodNotAllowed", "Method Not Allowed -- You tried to access a resource with an invalid method."),
    409: ("Conflict", "Conflict -- Could not be completed due to a conflict with the target resource."),
    415: ("UnsupportedMediaType", "Unsupported Media Type"),
    422: ("UnprocessableContent", "Unprocessable Content"),
    423: ("ObjectLocked", "The object is still being updated (locked). Try your request again later."),
    429: ("RateLimited", "You have reached the request rate limit. Try your request again later."),
    500: ("InternalServerError", "Internal Server Error -- We had a problem with our server. Try again later."),
    501: ("NotImplemented", "Not Implemented"),
    503: (
        "ServiceUnavailable",
        "Service Unavailable -- We're temporarily offline for maintenance. Please try again later.",
    ),
}
DUE = {
    401: {"www_authenticate": "Bearer"},
    423: {"retry_after": "1"},
    429: {"retry_after": "1"},
    503: {"retry_after": "60"},
}


def sends(value: Any, status: int = 200, media_type: str = JSON) -> Answer:
    """Send a value as JSON, whatever it is."""
    return Answer(status, json.dumps(value).encode(), (("content-type", media_type),))


def raw(text: str | bytes, status: int = 200, media_type: str | None = JSON) -> Answer:
    """Send a text, whatever it is; without a media type if it is None."""
    body = text.encode() if isinstance(text, str) else text
    return Answer(status, body, (("content-type", media_type),) if media_type else ())


def success(content: Any, status: int = 200) -> Answer:
    return sends({"status": "success", "content": content}, status)


def failure(status: int, message: Any = None, /, **changes: Any) -> Answer:
    """Send a good failure, but for the changes to its body; ``...`` takes a key out."""
    body = {"code": status, "message": message or REASONS[status][1], "status": "failure", **changes}
    answer = sends({key: value for key, value in body.items() if value is not ...}, status)
    return answer.having(**DUE.get(status, {}))


def _gzipped(answer: Answer) -> Answer:
    return replace(answer, body=gzip.compress(answer.body)).having(content_encoding="gzip")


def invalid(problems: Sequence[str], status: int = 400) -> Answer:
    return failure(status, {"error_code": "invalid_input", "message": list(problems)})


# ------------------------------------------------------------------------------------------------- operations


def _always(answer: Answer) -> Answering:
    return lambda _: answer


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        name: ``"GET /entities/{entity_id}"``.
        must: The rules that are planted: each is one id, or alternatives as in ``"ENV005|ENV003"`` where the texts of
            several rules fit and the check may choose. () for a good operation.
        also: Ids that are true as well because of what is planted, and may be found.
        document: Its operation object.
        takes: The media type of its JSON body; None where the body is not read.
        on_invalid: Answers input that the document forbids; None lets it through.
        on_malformed: Answers a body that is no JSON.
        on_type: Answers a body of another media type; None reads it as JSON.
        on_missing: Answers a request without credentials; None lets it through.
        on_method: Answers a method that the path does not have.
        on_head: Answers HEAD; None answers as GET does.
        accepts_nan: Whether bodies are read by ``json.loads`` as it is.
    """

    name: str
    answer: Answering
    document: Mapping[str, Any]
    must: tuple[str, ...] = ()
    also: frozenset[str] = frozenset()
    on_invalid: Callable[[Sequence[str]], Answer] | None = invalid
    on_malformed: Callable[[Sequence[str]], Answer] = invalid
    on_type: Callable[[Sequence[str]], Answer] | None = invalid
    on_missing: Answer | None = failure(401)
    on_method: Callable[[Call], Answer] | None = None
    on_head: Answer | None = None
    accepts_nan: bool = False

    @property
    def method(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.name.partition(" ")[2]

    def matches(self, path: str) -> re.Match[str] | None:
        template = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        return re.fullmatch(template, path)


class Refused(Exception):
    """A request that does not reach the operation's own answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class Service:
    """An ASGI application that serves operations and their document.

    Args:
        settings: The ``x-envelope`` extension.
        operations: Of which the first that matches a path wins.
        on_unknown: Answers a path that there is not.
        unknown_must: The rules that are planted there.
        changes: To the document as a whole; a key that becomes None is left out.
        prefix: Of all paths, as the document's server says.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        operations: Sequence[Operation],
        *,
        on_unknown: Answer | None = None,
        unknown_must: tuple[str, ...] = (),
        document_must: tuple[str, ...] = (),
        changes: Mapping[str, Any] | None = None,
        prefix: str = "",
    ) -> None:
        self.operations = operations
        self.unknown_must = unknown_must
        self.document_must = document_must
        self.seen: Counter[str] = Counter()
        self._on_unknown = on_unknown or failure(404)
        self._prefix = prefix
        document = {**_document(settings, operations), **(changes or {})}
        self.document = {key: value for key, value in document.items() if value is not None}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        call = Call(
            scope["method"],
            {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            body,
        )
        answer = self.answer(call, scope["path"])
        if answer.cut == "silence":
            await receive()  # the client has left
            return
        await _send(answer, send, is_head=call.method == "HEAD")

    def answer(self, call: Call, path: str) -> Answer:
        if path == "/openapi.json" and call.method in ("GET", "HEAD"):
            return sends(self.document)
        if path == "/seen-by-the-test":
            return sends(self.seen)
        self.seen[call.method] += 1
        below = path.removeprefix(self._prefix) if path.startswith(self._prefix) else ""
        here = [(operation, found) for operation in self.operations if (found := operation.matches(below))]
        if not here:
            return self._on_unknown
        here = [pair for pair in here if pair[0].path == here[0][0].path]
        method = "GET" if call.method == "HEAD" else call.method
        for operation, found in here:
            if operation.method == method:
                return _answer(operation, found.groupdict(), call)
        allowed = sorted({operation.method for operation, _ in here})
        on_method = here[0][0].on_method
        return on_method(call) if on_method else failure(405).having(allow=", ".join(allowed))


def _answer(operation: Operation, path_params: dict[str, str], call: Call) -> Answer:
    if call.method == "HEAD" and operation.on_head is not None:
        return operation.on_head
    try:
        _check_credentials(operation, call)
        params = _read_params(operation, path_params, call)
        value = _read_body(operation, call)
    except Refused as refused:
        return refused.answer
    return operation.answer(replace(call, params=params, json=value))


def _check_credentials(operation: Operation, call: Call) -> None:
    schemes = [scheme for option in operation.document.get("security", ()) for scheme in option]
    given = {
        "Bearer": call.headers.get("authorization") == f"Bearer {TOKEN}",
        "Key": call.headers.get("x-api-key") == TOKEN,
    }
    if schemes and not any(given[scheme] for scheme in schemes) and operation.on_missing is not None:
        raise Refused(operation.on_missing)


def _read_params(operation: Operation, path_params: dict[str, str], call: Call) -> dict[str, Any]:
    params: dict[str, Any] = {}
    problems: list[str] = []
    for parameter in operation.document.get("parameters", ()):
        name, schema = parameter.get("name"), parameter.get("schema", {})
        texts = {
            "path": [path_params[name]] if name in path_params else [],
            "query": [value for key, value in call.query if key == name],
            "header": [call.headers[name.lower()]] if name and name.lower() in call.headers else [],
        }.get(parameter.get("in", ""), [])
        if not texts:
            problems += [f"'{name}' is a required property"] * bool(parameter.get("required"))
            continue
        value = _read_text(texts, schema)
        problems += [error.message for error in Draft202012Validator(schema).iter_errors(value)]
        params[name] = value
    if problems and operation.on_invalid is not None:
        raise Refused(operation.on_invalid(problems))
    return params


def _read_text(texts: Sequence[str], schema: Mapping[str, Any]) -> Any:
    if len(texts) > 1:
        return list(texts)
    is_number = schema.get("type") == "integer" and re.fullmatch("-?[0-9]{1,4000}", texts[0])
    return int(texts[0]) if is_number else texts[0]


def _read_body(operation: Operation, call: Call) -> Any:
    request_body = operation.document.get("requestBody")
    if request_body is None:
        return None
    ((expected, described_as),) = request_body["content"].items()
    media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != expected and operation.on_type is not None:
        raise Refused(operation.on_type([f"the body is {media_type or 'of no type'!r}, not {expected!r}"]))
    try:
        value = _parse(call.body, expected, accepts_nan=operation.accepts_nan)
    except (ValueError, RecursionError):
        raise Refused(operation.on_malformed([f"the body is not {expected}"])) from None
    problems = [error.message for error in Draft202012Validator(described_as["schema"]).iter_errors(value)]
    if problems and operation.on_invalid is not None:
        raise Refused(operation.on_invalid(problems))
    return value


def _parse(body: bytes, media_type: str, *, accepts_nan: bool) -> Any:
    if media_type == FORM:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    return json.loads(body, parse_constant=float if accepts_nan else _refuse)


def _refuse(word: str) -> None:
    raise ValueError(word)


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _send(answer: Answer, send: Any, *, is_head: bool) -> None:
    names = {name for name, _ in answer.headers}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    has_length = "content-length" in names or answer.cut == "chunks" or answer.status in (204, 304)
    if not has_length:
        promised = len(answer.body) + 64 * bool(answer.cut)
        headers.append((b"content-length", b"%d" % promised))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.cut and not is_head:
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await asyncio.sleep(0)
        raise ConnectionAbortedError("cut on purpose")
    await send({"type": "http.response.body", "body": b"" if is_head else answer.body})


# -------------------------------------------------------------------------------------------------- documents

ENTITY = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["id", "name"],
}
ADA = {"id": 1, "name": "Ada"}
NEW: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 20}, "score": {"type": "number"}},
    "required": ["name", "score"],
}
ANYTHING: dict[str, Any] = {}
TEXT_OR_DETAILS = {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/FailureDetails"}]}
DETAILS = {
    "title": "FailureDetails",
    "type": "object",
    "properties": {
        "error_code": {"type": "string"},
        "message": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    },
    "required": ["error_code", "message"],
}


VALIDATION_ERROR = {
    "title": "ValidationError",
    "type": "object",
    "properties": {
        "loc": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "title": "Location",
        },
        "msg": {"type": "string", "title": "Message"},
        "type": {"type": "string", "title": "Error Type"},
    },
    "required": ["loc", "msg", "type"],
}
HTTP_VALIDATION_ERROR = {
    "title": "HTTPValidationError",
    "type": "object",
    "properties": {
        "detail": {"items": {"$ref": "#/components/schemas/ValidationError"}, "type": "array", "title": "Detail"}
    },
}


def enveloped(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"status": {"type": "string", "const": "success"}, "content": schema},
        "required": ["status", "content"],
    }


def failing(status: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "code": {"type": "integer", "const": status},
            "message": TEXT_OR_DETAILS,
            "status": {"type": "string", "const": "failure"},
        },
        "required": ["code", "message", "status"],
    }


def described(schema: Any, media_type: str = JSON) -> dict[str, Any]:
    return {"description": "What comes.", "content": {media_type: {"schema": schema}}}


def _parameter(where: str, name: str, **schema: Any) -> dict[str, Any]:
    return {"in": where, "name": name, "required": True, "schema": schema}


ID = _parameter("path", "entity_id", type="integer", minimum=1, maximum=1_000_000)
OFFSET = _parameter("query", "offset", type="integer", minimum=0, maximum=1000)
NAME = _parameter("query", "name", type="string", minLength=1, maxLength=10)
BEARER: list[dict[str, list[str]]] = [{"Bearer": []}]
KEY: list[dict[str, list[str]]] = [{"Key": []}]


def _operation(
    name: str,
    content: Any = ANYTHING,
    *statuses: int,
    parameters: Sequence[Any] = (),
    body: Any = None,
    security: Sequence[Any] = (),
    responses: Mapping[str, Any] | None = None,
    without: Sequence[int] = (),
) -> dict[str, Any]:
    """Describe an operation truly: its success (``responses`` takes its place) and the failures that it can give."""
    declared = {*statuses, 500}
    declared |= {400} if parameters or body is not None else set()
    declared |= {404} if any(parameter.get("in") == "path" for parameter in parameters) else set()
    declared |= {401, 403} if security else set()
    references = {
        str(status): {"$ref": f"#/components/responses/{REASONS[status][0]}"}
        for status in sorted(declared - {*without})
    }
    document: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
        + f"_{len(name)}_{sum(map(ord, name))}",
        "responses": {
            **({"200": described(enveloped(content))} if responses is None else {}),
            **references,
            **(responses or {}),
        },
    }
    if parameters:
        document["parameters"] = list(parameters)
    if body is not None:
        document["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    if security:
        document["security"] = list(security)
    return document


RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Whole seconds."}}
FIELDS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    423: RETRY_AFTER,
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}


def _document(settings: Mapping[str, Any], operations: Sequence[Operation]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.document
    responses = {
        name: {**described(failing(status)), "description": text, "headers": FIELDS.get(status, {})}
        for status, (name, text) in REASONS.items()
    }
    schemes = {
        "Bearer": {"type": "http", "scheme": "bearer"},
        "Key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "A service that is bad on purpose", "version": "1"},
        "x-envelope": settings,
        "paths": paths,
        "components": {
            "schemas": {
                "HTTPValidationError": HTTP_VALIDATION_ERROR,
                "ValidationError": VALIDATION_ERROR,
                "FailureDetails": DETAILS,
                "Entity": ENTITY,
                "EntityEnvelope": enveloped({"$ref": "#/components/schemas/Entity"}),
            },
            "responses": responses,
            "securitySchemes": schemes,
        },
    }


def good(name: str, answer: Answer | Answering, content: Any = ANYTHING, *statuses: int, **more: Any) -> Operation:
    """Make an operation on which nothing may be found; further options as of ``_operation`` and ``Operation``."""
    return _made(name, (), "", answer, content, statuses, more)


def bad(
    name: str,
    must: str,
    answer: Answer | Answering,
    content: Any = ANYTHING,
    *statuses: int,
    also: str = "",
    **more: Any,
) -> Operation:
    """Make an operation with departures: ``must`` and ``also`` are ids with spaces between."""
    return _made(name, tuple(must.split()), also, answer, content, statuses, more)


_OF_DOCUMENT = ("parameters", "body", "security", "responses", "without")


def _made(
    name: str, must: tuple[str, ...], also: str, answer: Answer | Answering, content: Any, statuses: Any, more: Any
) -> Operation:
    of_document = {key: more.pop(key) for key in _OF_DOCUMENT if key in more}
    return Operation(
        name=name,
        must=must,
        also=frozenset(also.split()),
        answer=_always(answer) if isinstance(answer, Answer) else answer,
        document=_operation(name, content, *statuses, **of_document),
        **more,
    )


def _fails(path: str, must: str, answer: Answer, also: str = "", **more: Any) -> Operation:
    """Make an operation that always fails, with a status that its document has."""
    return bad(f"GET {path}", must, answer, ANYTHING, answer.status, also=also, **more)


# fmt: off
# Tables: a row is a line.

# -------------------------------------------------------------------------------------------- what is planted
#
# A body in another form does not fit a true document either: ENV058 is true beside it, and is in ``also``. A 500 that
# is shown in whatever way is a crash: ENV038 is true beside it. Another media type than the document has: ENV057.


def _wrong_successes() -> Iterator[Operation]:
    misfit = "ENV058"
    for path, body in {
        "/bare-list": [ADA],
        "/bare-object": ADA,
        "/bare-data": {"data": ADA},
        "/success-result": {"success": True, "result": ADA},
        "/bare-string": "ok",
        "/bare-null": None,
        "/bare-number": 42,
        "/own-status": {"id": 1, "status": "unverified"},  # the entity's own status, no envelope's
        "/error-in-200": {"error": "no such entity"},
    }.items():
        yield bad(f"GET {path}", "ENV001", sends(body), also=misfit)
    yield bad("GET /bare-truly", "ENV001", sends(ADA), responses={"200": described(ENTITY)}, also="ENV051")
    yield bad("GET /bare-gzip", "ENV001", _gzipped(sends(ADA)), also=misfit)
    yield bad("GET /content-alone", "ENV001|ENV003|ENV004", sends({"content": ADA}), also=misfit)
    yield bad("POST /bare-created", "ENV001", sends(ADA), also=misfit, body=NEW)

    yield bad("POST /created", "ENV002", success(ADA, 201), also="ENV056", body=NEW)
    yield bad("POST /created-truly", "ENV002", success(ADA, 201), also="ENV052", body=NEW, responses={"201": described(enveloped(ENTITY))})
    yield bad("GET /accepted", "ENV002", success(None, 202), also="ENV056")
    yield bad("GET /non-authoritative", "ENV002", success(None, 203), also="ENV056")

    more_keys: dict[str, dict[str, Any]] = {
        "/paged": {"content": [ADA], "meta": {"page": 1}},
        "/with-code": {"content": ADA, "code": 200},
        "/with-message": {"content": None, "message": "ok"},
    }
    for path, more in more_keys.items():
        yield bad(f"GET {path}", "ENV003", sends({"status": "success", **more}))
    yield bad("GET /no-content-key", "ENV003|ENV005", sends({"status": "success"}), also=misfit)
    yield bad("GET /data-for-content", "ENV003|ENV001", sends({"status": "success", "data": ADA}), also=misfit)

    for path, word in {"/ok": "ok", "/capital": "Success", "/true": True, "/number": 200, "/null": None}.items():
        yield bad(f"GET /word{path}", "ENV004", sends({"status": word, "content": ADA}), also=misfit)

    yield bad("DELETE /nothing/{entity_id}", "ENV002|ENV005", Answer(204), also="ENV056", parameters=[ID])
    yield bad("GET /empty", "ENV005", raw(b""), also=misfit)
    yield bad("GET /empty-untyped", "ENV005", raw(b"", media_type=None), also=misfit)

    no_json: dict[str, str | bytes] = {
        "/truncated": '{"status": "success", "content": {"id": 1, "na',
        "/nan": '{"status": "success", "content": NaN}',
        "/infinity": '{"status": "success", "content": [-Infinity]}',
        "/repr": "{'status': 'success', 'content': None}",
        "/two-documents": '{"status": "success", "content": 1}\n{"status": "success", "content": 2}',
        "/trailing-comma": '{"status": "success", "content": [1, 2, ]}',
        "/guarded": ')]}\',\n{"status": "success", "content": 1}',
        "/plain-words": "Everything is fine",
        "/latin-1": '{"status": "success", "content": "Zoë"}'.encode("latin-1"),
        "/utf-16": '{"status": "success", "content": 1}'.encode("utf-16"),
        "/byte-order-mark": b'\xef\xbb\xbf{"status": "success", "content": 1}',
    }
    for path, text in no_json.items():
        yield bad(f"GET /no-json{path}", "ENV006", raw(text), also=misfit)

    wrapped = json.dumps({"status": "success", "content": ADA})
    for path, media_type in {
        "/html": "text/html; charset=utf-8",
        "/plain": "text/plain",
        "/old": "text/json",
        "/script": "application/javascript",
    }.items():
        yield bad(f"GET /typed{path}", "ENV007", raw(wrapped, media_type=media_type), also="ENV057")
    yield bad("GET /typed/not-at-all", "ENV007", raw(wrapped, media_type=None), also="ENV057")
    yield bad("GET /typed/failure", "ENV007", replace(failure(404), headers=(("content-type", "text/plain"),)), ANYTHING, 404, also="ENV057")

    yield bad("GET /twice", "ENV008", success({"status": "success", "content": ADA}))
    yield bad("GET /twice-typed", "ENV008", success({"status": "success", "content": ADA}), ENTITY, also=misfit)
    yield bad("GET /failure-inside", "ENV008|ENV016", success({"code": 404, "message": "no", "status": "failure"}))


def _wrong_failures() -> Iterator[Operation]:
    misfit = "ENV058"
    for path, body in {
        "/detail": {"detail": "Not Found"},
        "/error-object": {"error": {"code": 404, "message": "no such entity"}},
        "/error-text": {"error": "no such entity"},
        "/errors": {"errors": [{"status": "404", "title": "Not Found"}]},
        "/message-alone": {"message": "no such entity"},
        "/text": "Not Found",
        "/list": ["Not Found"],
        "/null": None,
        "/success-false": {"success": False, "message": "no such entity"},
    }.items():
        yield _fails(f"/form{path}", "ENV010", sends(body, 404), misfit)
    problem = {"type": "about:blank", "title": "Not Found", "status": 404}
    yield _fails("/form/problem", "ENV010", sends(problem, 404, "application/problem+json"), "ENV057")
    yield _fails("/form/page", "ENV010", raw("<html><body><h1>404 Not Found</h1>nginx</body></html>", 404, "text/html"), "ENV057")
    yield _fails("/form/plain", "ENV010", raw("Not Found", 404, "text/plain; charset=utf-8"), "ENV057")
    yield _fails("/form/nothing", "ENV010", raw(b"", 404), misfit)
    yield _fails("/form/nothing-untyped", "ENV010", raw(b"", 404, None), "ENV057 ENV058")
    yield _fails("/form/no-status", "ENV010|ENV012|ENV014", failure(404, status=...), misfit)  # as the text's own slip
    yield _fails("/form/no-code", "ENV010|ENV011|ENV014", failure(404, code=...), misfit)
    yield _fails("/form/no-message", "ENV010|ENV013|ENV014", sends({"code": 404, "status": "failure"}, 404), misfit)
    yield _fails("/form/truncated", "ENV006|ENV010", raw('{"code": 404, "mess', 404), misfit)

    for path, code in {"/text": "404", "/other": 400, "/own": 40401, "/null": None, "/true": True, "/fraction": 404.5}.items():
        yield _fails(f"/code{path}", "ENV011", failure(404, code=code), misfit)
    yield _fails("/code/500-at-503", "ENV011", failure(503, code=500), misfit)

    for path, word in {
        "/failed": "failed",
        "/error": "error",
        "/fail": "fail",
        "/capital": "Failure",
        "/false": False,
        "/null": None,
        "/number": 404,
    }.items():
        yield _fails(f"/failure-word{path}", "ENV012", failure(404, status=word), misfit)
    yield _fails("/failure-word/success", "ENV012|ENV017", failure(404, status="success"), misfit)

    for path, message in {
        "/number": 404,
        "/false": False,
        "/list": ["'offset' is a required property"],
        "/error": {"error": "no such entity"},
        "/code-alone": {"error_code": "no_entity"},
        "/text-alone": {"message": "no such entity"},
        "/code-number": {"error_code": 17, "message": "no such entity"},
        "/code-null": {"error_code": None, "message": "no such entity"},
        "/inner-null": {"error_code": "no_entity", "message": None},
        "/inner-objects": {"error_code": "no_entity", "message": [{"loc": ["path", "id"], "msg": "no such entity"}]},
    }.items():
        yield _fails(f"/message{path}", "ENV013", sends({"code": 409, "message": message, "status": "failure"}, 409), misfit)
    yield _fails("/message/null", "ENV013", sends({"code": 409, "message": None, "status": "failure"}, 409), misfit)

    for key, value in {
        "detail": "no such entity",
        "content": None,
        "timestamp": 1795429447,
        "request_id": "f00",
        "path": "/keys/path",
        "error": "Not Found",
    }.items():
        yield _fails(f"/keys/{key}", "ENV014", failure(404, **{key: value}))

    trace = 'Traceback (most recent call last):\n  File "/srv/app/main.py", line 12, in get\n    return rows[0]\nIndexError: list index out of range'
    for path, message in {
        "/traceback": trace,
        "/sql": 'psycopg2.errors.UniqueViolation: duplicate key value violates unique constraint "users_email_key"\nDETAIL:  Key (email)=(a@b.c) already exists.',
        "/sqlite": "sqlite3.OperationalError: no such table: entities",
        "/file": "[Errno 2] No such file or directory: '/srv/app/config/secrets.yaml'",
        "/exception": "KeyError: 'user_id'",
        "/java": "java.lang.NullPointerException\n\tat com.example.Users.get(Users.java:42)",
        "/connection": "redis.exceptions.ConnectionError: Error 111 connecting to 10.0.3.17:6379. Connection refused.",
    }.items():
        yield _fails(f"/inside{path}", "ENV015", failure(500, message), "ENV038")
    yield _fails("/inside/details", "ENV015", failure(500, {"error_code": "crash", "message": trace.split("\n")}), "ENV038")
    statement = (
        "(sqlite3.IntegrityError) UNIQUE constraint failed: entities.email\n[SQL: INSERT INTO entities (email) VALUES (?)]\n[parameters: ('a@b.c',)]"
    )
    yield _fails("/inside/conflict", "ENV015", failure(409, {"error_code": "conflict", "message": statement}))
    yield _fails("/inside/unavailable", "ENV015", failure(503, "ConnectionRefusedError: [Errno 111] Connect call failed ('10.0.3.17', 5432)"))
    yield _fails("/inside/bad-form", "ENV015 ENV010", raw(trace, 500, "text/plain"), "ENV038 ENV057")

    for path, body in {
        "/failure": {"status": "failure", "message": "no such entity"},
        "/whole": {"code": 404, "message": "no such entity", "status": "failure"},
        "/code-200": {"code": 200, "message": "no such entity", "status": "failure"},
        "/with-content": {"status": "failure", "content": None},
    }.items():
        yield bad(f"GET /in-200{path}", "ENV016", sends(body), also=misfit)
    yield bad("GET /in-200/error", "ENV016|ENV004|ENV001", sends({"status": "error", "message": "no"}), also=misfit)

    yield _fails("/success-in/404", "ENV017", success(ADA, 404), misfit)
    yield _fails("/success-in/409", "ENV017", success(None, 409), misfit)
    yield _fails("/success-in/500", "ENV017", success([], 500), "ENV058 ENV038")
    yield _fails("/success-in/503", "ENV017", success([], 503).having(retry_after="1"), misfit)


def _wrong_fields() -> Iterator[Operation]:
    for status in (423, 429, 503):
        yield _fails(f"/retry-after/missing-{status}", "ENV018", failure(status).without("retry-after"))
    yield bad("PUT /retry-after/missing-on-write", "ENV018", failure(423).without("retry-after"), ENTITY, 423, body=NEW)
    for path, status, value in (
        ("date", 503, "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("zero", 429, "0"),
        ("fraction", 429, "1.5"),
        ("negative", 423, "-1"),
        ("word", 423, "soon"),
        ("unit", 423, "10s"),
        ("empty", 503, ""),
        ("signed", 503, "+5"),
    ):
        yield _fails(f"/retry-after/{path}", "ENV019|ENV018" if path == "empty" else "ENV019", failure(status).having(retry_after=value))
    yield _fails("/retry-after/of-404", "ENV019", failure(404).having(retry_after="0.5"))

    yield _fails("/no-challenge", "ENV020", failure(401).without("www-authenticate"))
    missing = failure(401).without("www-authenticate")
    yield bad("GET /no-challenge/secured", "ENV020", success(ADA), security=BEARER, on_missing=missing)
    yield bad("GET /no-allow", "ENV021", success(ADA), on_method=_always(failure(405)))
    yield _fails("/no-allow/own", "ENV021", failure(405))

    now = str(int(time.time()) + 3600)
    for path, fields in {
        "/remaining-above-limit": {"x_ratelimit_limit": "10", "x_ratelimit_remaining": "11", "x_ratelimit_reset": now},
        "/remaining-negative": {"x_ratelimit_limit": "10", "x_ratelimit_remaining": "-1", "x_ratelimit_reset": now},
        "/reset-past": {"x_ratelimit_limit": "10", "x_ratelimit_remaining": "5", "x_ratelimit_reset": "1500000000"},
        "/reset-delta": {"x_ratelimit_limit": "10", "x_ratelimit_remaining": "5", "x_ratelimit_reset": "30"},
        "/draft-above-quota": {"ratelimit_policy": '"a";q=10;w=60', "ratelimit": '"a";r=11;t=5'},
        "/draft-unknown-policy": {"ratelimit_policy": '"a";q=10;w=60', "ratelimit": '"b";r=1;t=5'},
        "/two-stories": {
            "x_ratelimit_limit": "10",
            "x_ratelimit_remaining": "3",
            "x_ratelimit_reset": now,
            "ratelimit_policy": '"a";q=10;w=3600',
            "ratelimit": '"a";r=7;t=3600',
        },
        "/two-limits": {
            "x_ratelimit_limit": "100",
            "x_ratelimit_remaining": "7",
            "x_ratelimit_reset": now,
            "ratelimit_policy": '"a";q=10;w=3600',
            "ratelimit": '"a";r=7;t=3600',
        },
    }.items():
        yield bad(f"GET /fields{path}", "ENV022", success(ADA).having(**fields))


def _wrong_input() -> Iterator[Operation]:
    def is_422(problems: Sequence[str]) -> Answer:
        return invalid(problems, 422)

    yield bad("GET /invalid/422", "ENV030", success([]), parameters=[OFFSET], on_invalid=is_422, also="ENV056")
    yield bad("GET /invalid/422-truly", "ENV030", success([]), ANYTHING, 422, parameters=[OFFSET], on_invalid=is_422)
    yield bad("GET /invalid/accepted", "ENV030", success([]), parameters=[OFFSET], on_invalid=None)
    yield bad("POST /invalid/422-body", "ENV030", success(ADA), ENTITY, 422, body=NEW, on_invalid=is_422)
    yield bad("POST /invalid/409-body", "ENV030", success(ADA), ENTITY, 409, body=NEW, on_invalid=lambda _: failure(409))
    yield bad("POST /invalid/body-accepted", "ENV030", success(ADA), ENTITY, body=NEW, on_invalid=None)

    yield bad("GET /problems/text", "ENV031", success([]), parameters=[OFFSET], on_invalid=lambda problems: failure(400, "; ".join(problems)))
    yield bad("POST /problems/body-text", "ENV031", success([]), body=NEW, on_invalid=lambda _: failure(400))
    yield bad(
        "GET /problems/one",
        "ENV031",
        success([]),
        parameters=[OFFSET],
        on_invalid=lambda problems: failure(400, {"error_code": "invalid_input", "message": problems[0]}),
    )
    yield bad(
        "GET /problems/pydantic",
        "ENV031|ENV013",
        success([]),
        parameters=[OFFSET],
        also="ENV013 ENV058",
        on_invalid=lambda problems: failure(400, {"error_code": "invalid_input", "message": [{"loc": ["query"], "msg": text} for text in problems]}),
    )
    yield bad(
        "GET /problems/fastapi",
        "ENV010",
        success([]),
        parameters=[OFFSET],
        also="ENV030 ENV031 ENV056 ENV058",
        on_invalid=lambda problems: sends({"detail": [{"loc": ["query", "offset"], "msg": text, "type": "x"} for text in problems]}, 422),
    )

    # No body at all is no JSON either, so the invalid input that schemathesis makes of it is answered in the same way.
    for path, answer, also in (
        ("/500", failure(500), "ENV030 ENV038"),
        ("/200", success(ADA), "ENV030"),
        ("/422", invalid(["no JSON"], 422), "ENV030"),
        ("/415", failure(415), "ENV030"),
    ):
        ignoring = _ignoring(answer)
        yield bad(f"POST /malformed{path}", "ENV032", success(ADA), ENTITY, 422, 415, body=NEW, on_malformed=ignoring, also=also)
    yield bad(
        "POST /malformed/detail",
        "ENV010",
        success(ADA),
        ENTITY,
        body=NEW,
        on_malformed=_ignoring(sends({"detail": "There was an error parsing the body"}, 400)),
        also="ENV031 ENV058",
    )

    yield bad("POST /nan/accepted", "ENV033", success(ADA), ENTITY, body=NEW, accepts_nan=True)
    yield bad(
        "PUT /nan/accepted", "ENV033", success(ADA), ENTITY, body={"type": "array", "items": {"type": "number"}, "maxItems": 5}, accepts_nan=True
    )
    yield bad("POST /nan/conflict", "ENV033", _Unique(), ENTITY, 409, body=NEW, accepts_nan=True)
    yield bad("POST /nan/echoed", "ENV033|ENV006", _echo, ANYTHING, body=NEW, accepts_nan=True, also="ENV006 ENV033 ENV058")
    yield bad("POST /nan/crash", "ENV033|ENV038", _crash_on_nan, ENTITY, body=NEW, accepts_nan=True, also="ENV038 ENV033")

    yield bad("GET /method/404", "ENV035", success(ADA), on_method=_always(failure(404)))
    yield bad("GET /method/any", "ENV035", success(ADA), on_method=_always(success(ADA)))
    yield bad("GET /method/501", "ENV035", success(ADA), on_method=_always(failure(501)))
    yield bad(
        "GET /method/plain",
        "ENV010",
        success(ADA),
        on_method=_always(raw("Method Not Allowed", 405, "text/plain").having(allow="GET")),
        also="ENV057",
    )

    yield bad("POST /type/ignored", "ENV036", success(ADA), ENTITY, body=NEW, on_type=None)
    yield bad("PUT /type/ignored", "ENV036", success(ADA), ENTITY, body=NEW, on_type=None)
    yield bad("POST /type/conflict", "ENV036", _Unique(), ENTITY, 409, body=NEW, on_type=None)  # a 409 has read the body
    yield bad("POST /type/any-answer", "ENV036", success(ADA), ENTITY, body=NEW, on_type=_ignoring(success(ADA)))
    yield bad("POST /type/crash", "ENV036|ENV038", success(ADA), ENTITY, body=NEW, on_type=_ignoring(failure(500)), also="ENV036 ENV038")

    for path, missing in {"/404": failure(404), "/403": failure(403), "/400": failure(400), "/200": None}.items():
        yield bad(f"GET /credentials{path}", "ENV037", success(ADA), ENTITY, 400, 404, security=BEARER, on_missing=missing)
    yield bad("GET /credentials/key", "ENV037", success(ADA), ENTITY, security=KEY, on_missing=failure(403))
    yield bad("POST /credentials/write", "ENV037", success(ADA), ENTITY, security=BEARER, body=NEW, on_missing=None)
    yield bad("GET /credentials/{entity_id}/sub", "ENV037", success(ADA), ENTITY, security=BEARER, parameters=[ID], on_missing=failure(404))

    yield _fails("/crash/always", "ENV038", failure(500))
    yield bad("GET /crash/negative", "ENV038", success([]), parameters=[OFFSET], on_invalid=lambda _: failure(500), also="ENV030")
    yield bad("GET /crash/by-id/{entity_id}", "ENV038", success(ADA), ENTITY, parameters=[ID], on_invalid=lambda _: failure(500), also="ENV030")
    yield bad("POST /crash/body", "ENV038", success(ADA), ENTITY, body=NEW, on_invalid=lambda _: failure(500), also="ENV030")
    yield bad("GET /crash/longest", "ENV038", _crash_when(lambda call: len(call.params.get("name", "")) == 10), parameters=[NAME])
    yield bad("GET /crash/non-ascii", "ENV038", _crash_when(lambda call: not call.params.get("name", "").isascii()), parameters=[NAME])
    yield bad("GET /crash/boundary", "ENV038", _crash_when(lambda call: call.params.get("offset") == 1000), parameters=[OFFSET])
    yield bad("POST /crash/one-character", "ENV038", _crash_when(lambda call: len(call.json["name"]) == 1), ENTITY, body=NEW)

    page = (("content-type", "text/html"), ("content-length", "10"))
    for path, head, also in (
        ("/404", failure(404), "ENV056"),
        ("/500", failure(500), "ENV038"),
        ("/204", Answer(204), "ENV002 ENV056"),
        ("/page", Answer(200, b"", page), "ENV057"),
        ("/length", Answer(200, b"", (("content-type", JSON), ("content-length", "0"))), ""),
    ):
        yield bad(f"GET /head{path}", "ENV039", success(ADA), on_head=head, also=also)

    yield bad("GET /limited/never", "ENV040", success(ADA), ENTITY, 429)

    yield bad("GET /cut/length", "ENV041", replace(success([ADA]), cut="length"))
    yield bad("GET /cut/chunks", "ENV041", replace(success([ADA]), cut="chunks"))
    yield bad("GET /cut/failure", "ENV041", replace(failure(409), cut="length"), ANYTHING, 409)


class _Unique:
    """Creates what is not there yet; the same name a second time is a conflict."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __call__(self, call: Call) -> Answer:
        if call.json["name"] in self._names:
            return failure(409, {"error_code": "resource_conflict", "message": "The name is taken."})
        self._names.add(call.json["name"])
        return success(ADA)


def _echo(call: Call) -> Answer:
    return success(call.json)


def _crash_on_nan(call: Call) -> Answer:
    try:
        json.dumps(call.json, allow_nan=False)  # as Starlette's JSONResponse does
    except ValueError:
        return failure(500)
    return success(ADA)


def _crash_when(condition: Callable[[Call], bool]) -> Answering:
    return lambda call: failure(500) if condition(call) else success(ADA)


def _ignoring(answer: Answer) -> Callable[[Sequence[str]], Answer]:
    return lambda _: answer


def _wrong_documents() -> Iterator[Operation]:
    misfit = "ENV058"
    yield bad("GET /document/bare", "ENV051", success(ADA), responses={"200": described(ENTITY)}, also=misfit)
    yield bad("GET /document/bare-list", "ENV051", success([ADA]), responses={"200": described({"type": "array", "items": ENTITY})}, also=misfit)
    yield bad(
        "POST /document/bare-reference",
        "ENV051",
        success(ADA),
        body=NEW,
        responses={"200": described({"$ref": "#/components/schemas/Entity"})},
        also=misfit,
    )
    yield bad("POST /document/201", "ENV052", success(ADA), body=NEW, responses={"201": described(enveloped(ENTITY))}, also="ENV056")
    yield bad(
        "DELETE /document/204/{entity_id}", "ENV052", success(None), parameters=[ID], responses={"204": {"description": "Gone."}}, also="ENV056"
    )
    validation = {"type": "object", "properties": {"detail": {"type": "array", "items": {"type": "object"}}}}
    for path, schema, must in (("422", {"$ref": "#/components/schemas/HTTPValidationError"}, "ENV053"), ("422-in-place", validation, "ENV053|ENV055")):
        responses = {"200": described(enveloped(ANYTHING)), "422": {**described(schema), "description": "Validation Error"}}
        yield bad(f"GET /document/{path}", must, success([]), parameters=[OFFSET], responses=responses, also="ENV055")
    yield bad("POST /document/no-400", "ENV054", success(ADA), ENTITY, body=NEW, without=[400], also="ENV056")
    yield bad("GET /document/no-404/{entity_id}", "ENV054", _find, ENTITY, parameters=[ID], without=[404], also="ENV056")
    yield bad("GET /document/no-401", "ENV054", success(ADA), ENTITY, security=BEARER, without=[401], also="ENV056")
    ok = {"200": described(enveloped(ANYTHING))}
    detail = described({"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]})
    yield bad("GET /document/detail", "ENV055", failure(409), responses={**ok, "409": detail}, also=misfit)
    yield bad(
        "GET /document/problem",
        "ENV055",
        failure(409),
        responses={**ok, "409": described({"type": "object"}, "application/problem+json")},
        also="ENV057",
    )
    yield bad("GET /document/other-code", "ENV055", failure(409), responses={**ok, "409": described(failing(400))}, also=misfit)
    yield bad("GET /document/undeclared", "ENV056", failure(409))
    yield bad("GET /document/csv-for-json", "ENV057", raw("a,b\r\n1,2\r\n", media_type="text/csv"))
    yield bad("GET /document/json-for-csv", "ENV057", success(ADA), responses={"200": described({"type": "string"}, "text/csv")})
    for path, value in {"text-id": {"id": "1", "name": "Ada"}, "no-name": {"id": 1}, "null": None, "list": [ADA]}.items():
        yield bad(f"GET /document/{path}", "ENV058", success(value), ENTITY)
    frozen = {
        **failing(409),
        "properties": {
            **failing(409)["properties"],
            "message": {**DETAILS, "properties": {"error_code": {"const": "frozen"}, "message": {"type": "string"}}},
        },
    }
    yield bad(
        "GET /document/other-error-code",
        "ENV058",
        failure(409, {"error_code": "melted", "message": "It is."}),
        responses={**ok, "409": described(frozen)},
    )


# ---------------------------------------------------------------------------------------------- what is good


def _find(call: Call) -> Answer:
    return success(ADA) if call.params["entity_id"] == 1 else failure(404)


class _Window:
    """So many requests an hour, truly; the figures are in the fields."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._ends_at = int(time.time()) + 3600

    def __call__(self, _: Call) -> Answer:
        self._taken += 1
        left = max(0, self._limit - self._taken)
        wait_s = max(1, self._ends_at - int(time.time()))
        answer = success(ADA) if self._taken <= self._limit else failure(429).having(retry_after=str(wait_s))
        return answer.having(
            x_ratelimit_limit=str(self._limit),
            x_ratelimit_remaining=str(left),
            x_ratelimit_reset=str(self._ends_at),
            ratelimit_policy=f'"1hour";q={self._limit};w=3600',
            ratelimit=f'"1hour";r={left};t={wait_s}',
        )


def _good() -> Iterator[Operation]:
    entities = {"type": "array", "items": {"$ref": "#/components/schemas/Entity"}}
    by_reference = {"200": described({"$ref": "#/components/schemas/EntityEnvelope"})}
    yield good("GET /good/entities", success([ADA]), entities, parameters=[OFFSET])
    yield good("POST /good/entities", success(ADA).having(location="/good/entities/1"), body=NEW, responses=by_reference)
    yield good("GET /good/entities/search", success([]), entities, parameters=[NAME])  # a literal before a parameter
    yield good("GET /good/entities/{entity_id}", _find, parameters=[ID], responses=by_reference)
    yield good("POST /good/unique", _Unique(), ENTITY, 409, body=NEW)
    yield good("PUT /good/entities/{entity_id}", _find, ENTITY, 409, 423, parameters=[ID], body=NEW)
    yield good("DELETE /good/entities/{entity_id}", success(None), {"type": "null"}, parameters=[ID])
    yield good("POST /good/entities/{entity_id}/verify", failure(423), ENTITY, 423, parameters=[ID])
    yield good("GET /good/nullable", success(None), {"anyOf": [ENTITY, {"type": "null"}]})
    yield good("GET /good/number", success(4.2e3), {"type": "number"})
    yield good("GET /good/text", success("Zoë \u2028 \ud83d\ude00"), {"type": "string"})
    yield good("GET /good/unescaped", raw('{"content": "Zoë 😀", "status": "success"}\n'.encode()), {"type": "string"})  # any order
    yield good("GET /good/charset", raw('{"status":"success","content":[]}', media_type="Application/JSON; charset=UTF-8"), {"type": "array"})
    yield good("GET /good/gzip", _gzipped(success(ADA)), ENTITY)
    yield good("GET /good/large", success(["x" * 100] * 2000), {"type": "array"})
    yield good("GET /good/größen/{name}", success({"größe": 1}), parameters=[_parameter("path", "name", type="string", minLength=1, maxLength=8)])
    yield good("GET /good/header", success(ADA), ENTITY, parameters=[_parameter("header", "X-Tenant", type="integer", minimum=1, maximum=99)])
    # What looks like an envelope, or like what went wrong inside, and is an entity's own.
    yield good("GET /good/article", success({"status": "draft", "content": "Once upon a time"}))
    yield good("GET /good/job", success({"status": "success", "id": 7}))
    yield good("GET /good/report", success({"code": 404, "message": "what the crawler met", "url": "http://example.com"}))
    yield good("GET /good/log", success({"text": 'Traceback (most recent call last):\n  File "main.py", line 1'}))
    yield good(
        "GET /good/conflict",
        failure(409, {"error_code": "resource_conflict", "message": "Please select an entity from the list at /good/entities before you update it."}),
        ANYTHING,
        409,
    )
    yield good(
        "GET /good/problems",
        failure(409, {"error_code": "conflict", "message": ["the file is missing", "the table is not set: line 3"]}),
        ANYTHING,
        409,
    )
    harmless = ("Error 17: the account is closed.", "See /docs/errors/17 for what to do.", "Line 3, in column 4, has no date.", "at least one item", "Update the table and set a date where there is none.")
    yield good("GET /good/words", failure(409, {"error_code": "closed", "message": [*harmless]}), ANYTHING, 409)
    # Failures, whole.
    yield good("GET /good/unauthorized", failure(401), ANYTHING, 401)
    yield good("GET /good/forbidden", failure(403), ANYTHING, 403)
    yield good("GET /good/limited", _Window(10), ENTITY, 429)
    yield good("GET /good/limited-widely", _Window(100_000), ENTITY, 429)  # more than any burst
    yield good("GET /good/always-limited", failure(429), ENTITY, 429)
    yield good("GET /good/offline", failure(503), ANYTHING, 503)
    yield good("GET /good/secured", success(ADA), ENTITY, security=BEARER)
    yield good("GET /good/secured-by-key", success(ADA), ENTITY, security=KEY)
    yield good("POST /good/secured", success(ADA), ENTITY, security=BEARER, body=NEW)
    yield good("POST /good/415", success(ADA), ENTITY, 415, body=NEW, on_type=_ignoring(failure(415)))
    yield good("GET /good/no-head", success(ADA), ENTITY, on_head=failure(405).having(allow="GET"))  # as FastAPI's routes
    ok = {"200": described(enveloped(ENTITY))}
    any_failure = failing(0)
    any_failure["properties"]["code"] = {"type": "integer"}
    yield good("GET /good/default", failure(409), responses={**ok, "default": described(any_failure)})
    yield good("GET /good/4xx", failure(409), responses={**ok, "4XX": described(any_failure)})
    # As Starlette's converters: what is no number is not found.
    yield good("GET /good/converter/{entity_id}", _find, ENTITY, parameters=[ID], on_invalid=lambda _: failure(404))
    form = {"required": True, "content": {FORM: {"schema": {**NEW, "required": ["name"], "properties": {"name": NEW["properties"]["name"]}}}}}
    taking_a_form = good("POST /good/form", success(ADA), ENTITY, body=NEW)
    yield replace(taking_a_form, document={**taking_a_form.document, "requestBody": form})
    # What passes as it is.
    file = raw(bytes(range(256)), media_type="application/octet-stream").having(content_disposition='attachment; filename="a.bin"')
    yield good("GET /good/file", file, responses={"200": described({"type": "string", "format": "binary"}, "application/octet-stream")})
    json_file = sends([ADA]).having(content_disposition='attachment; filename="a.json"')
    yield good("GET /good/json-file", json_file, responses={"200": {"description": "A file."}})
    yield good(
        "GET /good/events",
        raw('data: {"id": 1}\n\n', media_type="text/event-stream"),
        responses={"200": described({"type": "string"}, "text/event-stream")},
    )
    yield good(
        "GET /good/lines",
        raw('{"id": 1}\n{"id": 2}\n', media_type="application/x-ndjson"),
        responses={"200": described({"type": "object"}, "application/x-ndjson")},
    )
    yield good(
        "GET /good/csv",
        raw("id,name\r\n1,Ada\r\n", media_type="text/csv; charset=utf-8"),
        responses={"200": described({"type": "string"}, "text/csv")},
    )
    yield good("GET /good/empty-csv", raw(b"", media_type="text/csv"), responses={"200": described({"type": "string"}, "text/csv")})
    yield good(
        "GET /good/page",
        raw("<!doctype html><p>Hello", media_type="text/html; charset=utf-8"),
        responses={"200": described({"type": "string"}, "text/html")},
    )
    geo = sends({"type": "Point", "coordinates": [1, 2]}, media_type="application/geo+json")
    yield good("GET /good/place", geo, responses={"200": described({"type": "object"}, "application/geo+json")})
    part = raw(b'{"status": "succ', 206).having(content_range="bytes 0-15/100")
    yield good("GET /good/part", part, responses={"206": described(ANYTHING)})
    yield good("GET /good/moved-json", sends(ADA, 308).having(location="/good/number"), responses={"308": described(ANYTHING)})
    yield good("GET /good/moved", Answer(307, b"", (("location", "/good/number"),)), responses={"307": {"description": "Moved."}})
    yield good("GET /good/.well-known/jwks.json", sends({"keys": []}), responses={"200": described({"type": "object"})})
    yield good(
        "POST /good/token",
        sends({"error": "invalid_request"}, 400),
        responses={"200": described({"type": "object"}), "400": described({"type": "object"})},
    )


EXEMPT = ("GET /good/.well-known/jwks.json", "POST /good/token")
WORDS = {"status": "status", "content": "content", "code": "code", "message": "message", "success": "success", "failure": "failure"}
ALWAYS_200 = {"success_status": "always-200", "shape": WORDS, "exempt": list(EXEMPT)}


def _kept() -> Iterator[Operation]:
    yield good("GET /kept/entities/{entity_id}", _find, ENTITY, parameters=[ID])
    yield good("POST /kept/entities", success(ADA, 201), body=NEW, responses={"201": described(enveloped(ENTITY))})
    yield good("POST /kept/jobs", success(None, 202), responses={"202": described(enveloped(ANYTHING))})
    yield good("DELETE /kept/entities/{entity_id}", Answer(204), parameters=[ID], responses={"204": {"description": "Gone."}})
    yield bad("POST /kept/bare", "ENV001", sends(ADA, 201), also="ENV058", body=NEW, responses={"201": described(enveloped(ENTITY))})
    yield bad("GET /kept/empty", "ENV005", raw(b""), also="ENV058")
    yield bad("GET /kept/failure", "ENV016", sends({"code": 404, "message": "no", "status": "failure"}), also="ENV058")
    yield bad(
        "POST /kept/failure",
        "ENV016",
        sends({"code": 409, "message": "no", "status": "failure"}, 202),
        also="ENV058",
        responses={"202": described(enveloped(ANYTHING))},
    )
    yield bad("POST /kept/document", "ENV051", success(ADA, 201), also="ENV058", body=NEW, responses={"201": described(ENTITY)})


def _jsend() -> Iterator[Operation]:
    """JSend's success and error, on a document that says so."""

    def jsend_failing(status: int) -> dict[str, Any]:
        properties = {**failing(status)["properties"], "status": {"type": "string", "const": "error"}}
        return described({**failing(status), "properties": properties})

    def jsend_enveloped(schema: Any) -> dict[str, Any]:
        return described(
            {"type": "object", "properties": {"status": {"type": "string", "const": "success"}, "data": schema}, "required": ["status", "data"]}
        )

    def jsend(name: str, must: str, answer: Answer, also: str = "") -> Operation:
        responses = {"200": jsend_enveloped(ANYTHING), "404": jsend_failing(404), "500": jsend_failing(500)}
        plain = {"on_method": _always(failure(405, status="error").having(allow="GET"))}
        return bad(name, must, answer, also=also, responses=responses, **plain)

    yield jsend("GET /jsend/entity", "", sends({"status": "success", "data": ADA}))
    yield jsend("GET /jsend/missing", "", failure(404, status="error"))
    yield jsend("GET /jsend/ours", "ENV003|ENV001", success(ADA), "ENV058")
    yield jsend("GET /jsend/bare", "ENV001", sends(ADA), "ENV058")
    yield jsend("GET /jsend/our-word", "ENV012", failure(404), "ENV058")
    yield jsend("GET /jsend/in-200", "ENV016", sends({"status": "error", "message": "no"}), "ENV058")


def _found_below() -> Iterator[Operation]:
    yield good("GET /entities/{entity_id}", _find, ENTITY, parameters=[ID])
    yield good("GET /entities/{entity_id}/parts/{name}", success(None), parameters=[ID, {**NAME, "in": "path"}])


def _few(answer: Answer | None = None) -> list[Operation]:
    return [good("GET /entities", answer or success([ADA]), {"type": "array"}), good("POST /entities", success(ADA), ENTITY, body=NEW)]


_main_operations = [*_wrong_successes(), *_wrong_failures(), *_wrong_fields(), *_wrong_input(), *_wrong_documents(), *_good()]


def _broken(**changes: Any) -> list[Operation]:
    """Give the few, and one more whose document is broken."""
    first = _few()[0]
    return [*_few(), replace(first, name="GET /broken", document={**first.document, "operationId": "broken", **changes})]
# fmt: on

#: By name, in the order of the ports.
SERVICES: dict[str, Service] = {
    "main": Service(ALWAYS_200, _main_operations),
    "keep": Service({**ALWAYS_200, "success_status": "keep", "exempt": []}, [*_kept()]),
    "jsend": Service(
        {**ALWAYS_200, "shape": {**WORDS, "content": "data", "failure": "error"}, "exempt": []},
        [*_jsend()],
        on_unknown=failure(404, status="error"),
    ),
    "prefix, no extension": Service(
        {},
        [*_few(), bad("GET /bare", "ENV001", sends(ADA), also="ENV058"), *_found_below()],
        changes={"x-envelope": None, "servers": [{"url": "/api/v2"}]},
        prefix="/api/v2",
    ),
    "silence": Service(ALWAYS_200, [*_few(), bad("GET /silent", "ENV041", Answer(200, cut="silence"))]),
    "page for every path": Service(
        ALWAYS_200,
        _few(),
        on_unknown=raw("<!doctype html><div id=app>", 200, "text/html"),
        unknown_must=("ENV034",),
    ),
    "forbidden for every path": Service(ALWAYS_200, _few(), on_unknown=failure(403), unknown_must=("ENV034",)),
    "unknown path in words": Service(
        ALWAYS_200, _few(), on_unknown=raw("Not Found", 404, "text/plain; charset=utf-8"), unknown_must=("ENV010",)
    ),
    "parameter without in": Service(
        ALWAYS_200,
        _broken(
            parameters=[{"name": "x", "schema": {"type": "integer"}}],
            responses=_operation("GET /broken", {"type": "array"}, 400)["responses"],
        ),
        document_must=("ENV050",),
    ),
    "reference to nothing": Service(
        ALWAYS_200,
        _broken(
            responses={
                "200": {"$ref": "#/components/responses/Nothing"},
                "500": {"$ref": "#/components/responses/InternalServerError"},
            }
        ),
        document_must=("ENV050",),
    ),
    "no version": Service(
        ALWAYS_200, _few(), changes={"info": {"title": "No version"}}, document_must=("ENV050",)
    ),
}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve each service on its own port."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    await _by_port[scope["server"][1]](scope, receive, send)


_by_port: dict[int, Service] = {}


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer would take 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    return listening


def main() -> None:
    ports = [int(word) for word in sys.argv[1:]]
    _by_port.update(zip(ports, SERVICES.values(), strict=True))
    sockets = [_listen(port) for port in ports]
    asyncio.run(uvicorn.Server(uvicorn.Config(application, log_config=None)).serve(sockets))


if __name__ == "__main__":
    main()
