"""From the document of what endpoints return to the document of what is on the wire.

Pure: what stands behind the operations is given. Whatever no operation of the application stands behind
(webhooks, callbacks, paths that somebody wrote into the document) stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from envelope.errors.tree import describe_status
from envelope.openapi.components import Components, Json, camel_case, read_declared
from envelope.wire.bodies import Shape
from envelope.wire.head import Body, classify

#: In the root of a described document: how it is to be read, and that it need not be described again.
EXTENSION = "x-envelope"

#: Statuses that keep their form: a part of a body, and a delta (RFC 9110, 15.3.7; RFC 3229, 10.4.1).
_PARTIAL = frozenset({206, 226})
_EMPTY = frozenset({204, 205})

_VALIDATION = {
    "description": "Validation Error",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}},
}

#: In the order in which they refer to each other.
_VALIDATION_SCHEMAS = ("HTTPValidationError", "ValidationError")


class Facts(NamedTuple):
    """What an operation does that its document does not say.

    Attributes:
        is_exempt: What it returns is sent as it is.
        refusals: The statuses that the guards around it can answer.
        is_limited: Its answers tell how much is left.
    """

    is_exempt: bool
    refusals: frozenset[int]
    is_limited: bool


#: By path template and method, in the spelling of the document.
Operations = Mapping[tuple[str, str], Facts]


def describe_document(
    document: Json, operations: Operations, *, shape: Shape, always_200: bool, limit_fields: Sequence[str]
) -> Json:
    """Describe what is on the wire.

    Args:
        document: Of what endpoints return; is not changed.
        operations: What stands behind its operations.
        shape: Of the bodies.
        always_200: Successes are sent as 200.
        limit_fields: The header fields that tell how much is left.
    """
    # Not a deep copy: what a document holds twice is one object in some, and would be described twice.
    described: Json = json.loads(json.dumps(document))
    components = Components(described, shape, limit_fields)
    exempt = []
    for path, item in described.get("paths", {}).items():
        for method, operation in item.items():
            facts = operations.get((path, method))
            if facts is None:
                continue
            if facts.is_exempt:
                exempt.append(f"{method.upper()} {path}")
            parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
            is_secured = bool(operation.get("security", described.get("security")))
            _Operation(operation, method, path, facts, components).describe(
                has_input=bool(parameters) or "requestBody" in operation,
                is_secured=is_secured,
                always_200=always_200,
            )
    components.drop(_VALIDATION_SCHEMAS, described)
    components.sort()
    described[EXTENSION] = {
        "success_status": "always-200" if always_200 else "keep",
        "shape": asdict(shape),
        "exempt": exempt,
    }
    return described


class _Operation:
    """One operation of the document, while it is described."""

    def __init__(self, operation: Json, method: str, path: str, facts: Facts, components: Components) -> None:
        self._operation = operation
        self._name = camel_case(operation, method, path)
        self._has_path_parameter = "{" in path
        self._facts = facts
        self._components = components
        self._responses: Json = operation.setdefault("responses", {})

    def describe(self, *, has_input: bool, is_secured: bool, always_200: bool) -> None:
        statuses = {500, *self._facts.refusals}
        if self._responses.get("422") == _VALIDATION:
            del self._responses["422"]
            has_input = True
        statuses |= {400} if has_input else set()
        statuses |= {401, 403} if is_secured else set()
        statuses |= {404} if self._has_path_parameter else set()
        if not self._facts.is_exempt:
            self._wrap_successes(always_200=always_200)
        self._describe_failures(statuses)
        self._operation["responses"] = dict(sorted(self._responses.items(), key=lambda each: _order(each[0])))

    def _wrap_successes(self, *, always_200: bool) -> None:
        wrapped: dict[str, list[Json]] = {}
        for status in [status for status in self._responses if _is_wrapped(status)]:
            response = self._components.resolve(self._responses[status])
            media = _json_media(response)
            if status.isdigit() and int(status) in _EMPTY:
                media = {"schema": {"type": "null"}} if always_200 else None
            if media is None:
                continue
            others = {kind: each for kind, each in response.get("content", {}).items() if not _is_json(kind)}
            rest = {key: each for key, each in response.items() if key != "content"}
            target = "200" if always_200 and status.isdigit() else status
            wrapped.setdefault(target, []).append({**rest, "media": media})
            if others:
                self._responses[status] = {**rest, "content": others}
            else:
                del self._responses[status]
        for status, successes in wrapped.items():
            self._responses[status] = self._merge(successes, self._responses.get(status, {}))

    def _merge(self, successes: list[Json], beside: Json) -> Json:
        """Make one response of the successes that are sent with one status."""
        media = [success.pop("media") for success in successes]
        merged: Json = {}
        for response in (*reversed(successes), beside):
            headers = {**merged.get("headers", {}), **response.get("headers", {})}
            merged |= response
            if headers:
                merged["headers"] = headers
        merged["content"] = {"application/json": self._wrap(media), **beside.get("content", {})}
        if self._facts.is_limited and (limits := self._components.headers((), is_limited=True)):
            merged["headers"] = {**merged.get("headers", {}), **limits}
        return merged

    def _wrap(self, media: list[Json]) -> Json:
        """Put the envelope around what the successes of an operation hold."""
        contents: list[Json] = []
        for each in media:
            content = each.get("schema", {})
            if content not in contents:
                contents.append(content)
        content = contents[0] if len(contents) == 1 else {"anyOf": contents}
        envelope: Json = {"schema": self._components.envelope(content, self._name)}
        for each in media:
            envelope |= self._wrap_examples(each)
        return envelope

    def _wrap_examples(self, media: Json) -> Json:
        wrapped = {key: each for key, each in media.items() if key not in ("schema", "example", "examples")}
        if "example" in media:
            wrapped["example"] = self._components.success(media["example"])
        if "examples" in media:
            examples = {name: self._components.resolve(each) for name, each in media["examples"].items()}
            wrapped["examples"] = {
                name: {**each, "value": self._components.success(each["value"])} if "value" in each else each
                for name, each in examples.items()
            }
        return wrapped

    def _describe_failures(self, statuses: set[int]) -> None:
        for key, response in self._responses.items():
            if not _is_failure(key) or "$ref" in response:
                continue
            status = int(key) if key.isdigit() else None
            declared = read_declared(response)
            if declared or ("content" not in response and not self._facts.is_exempt):
                is_ours = status is None or status in statuses
                made = self._components.failure_response(status, declared, may_be_other=is_ours)
                if declared and status in statuses:
                    response["description"] = f"{describe_status(status)} / {response['description']}"
                headers = {**made.get("headers", {}), **response.get("headers", {})}
                made |= response | ({"headers": headers} if headers else {})
                self._responses[key] = made if status is None else self._components.share(status, made)
        for status in statuses:
            self._responses.setdefault(str(status), self._components.failure(status))


def _is_wrapped(status: str) -> bool:
    if status.isdigit():
        return 200 <= int(status) <= 299 and int(status) not in _PARTIAL
    return status == "2XX"


def _is_failure(status: str) -> bool:
    return status in ("4XX", "5XX", "default") or (status.isdigit() and 400 <= int(status) <= 599)


def _json_media(response: Json) -> Json | None:
    content: Mapping[str, Json] = response.get("content", {})
    return next((media for kind, media in content.items() if _is_json(kind)), None)


def _is_json(media_type: str) -> bool:
    return classify(media_type.encode("latin-1", "replace")) == Body.JSON


def _order(status: str) -> tuple[bool, str]:
    return not status[:1].isdigit(), status
