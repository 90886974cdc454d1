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
from envelope.openapi.nulls import without_nulls
from envelope.openapi.successes import wrap_successes
from envelope.wire.bodies import Shape

#: In the root of a described document: how it is to be read, and that it need not be described again.
EXTENSION = "x-envelope"

_VALIDATION = {
    "description": "Validation Error",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}},
}

#: FastAPI's, in the order in which they refer to each other, with the properties that tell them from a user's.
_VALIDATION_SCHEMAS = {"HTTPValidationError": {"detail"}, "ValidationError": {"loc", "msg", "type"}}


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
    described: Json = without_nulls(json.loads(json.dumps(document, default=str)), "document")
    components = Components(described, shape, limit_fields)
    exempt = []
    for (path, method), facts in operations.items():
        item = described.get("paths", {}).get(path) or {}
        if item.get(method) is None:
            continue
        operation = item[method] = without_nulls(item[method], "operation")
        if facts.is_exempt:
            exempt.append(f"{method.upper()} {path}")
        parameters = [*(item.get("parameters") or ()), *operation.get("parameters", ())]
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
            limits = self._facts.is_limited
            wrap_successes(self._responses, self._components, self._name, always_200=always_200, is_limited=limits)
        self._describe_failures(statuses)
        self._operation["responses"] = dict(sorted(self._responses.items(), key=lambda each: _order(each[0])))

    def _describe_failures(self, statuses: set[int]) -> None:
        for key, response in self._responses.items():
            if not _is_failure(key) or "$ref" in response:
                continue
            status = int(key) if key.isdigit() else None
            declared = read_declared(response)
            if declared or ("content" not in response and not self._facts.is_exempt):
                may_be_ours = status is None or status in statuses
                if declared and status in statuses:
                    response["description"] = f"{describe_status(status)} / {response['description']}"
                self._responses[key] = self._components.as_failure(
                    response, status, declared, may_be_other=may_be_ours
                )
        for status in statuses:
            self._responses.setdefault(str(status), self._components.failure(status))


def _is_failure(status: str) -> bool:
    return status in ("4XX", "5XX", "default") or (status.isdigit() and 400 <= int(status) <= 599)


def _order(status: str) -> tuple[bool, str]:
    return not status[:1].isdigit(), status
