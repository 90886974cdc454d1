"""Makes exchanges and documents, and says which rules they break."""

from __future__ import annotations

import json
from typing import Any

from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Exchange, Request
from envelope.conformance.judging import judge

JSON = {"Content-Type": "application/json"}


def exchange(
    status: int,
    body: Any = b"",
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    path: str = "/things",
    sent: dict[str, str] | None = None,
    sent_body: bytes | None = None,
) -> Exchange:
    """Make an exchange; a body that is not bytes is sent as JSON."""
    headers = headers or {}
    if not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), JSON | headers
    request = Request(
        method=method,
        url=f"http://host{path}",
        path=path.partition("?")[0],
        headers=tuple((sent or {}).items()),
        body=sent_body,
    )
    return Exchange(request, status, tuple(headers.items()), body)


def broken(exchange: Exchange, contract: Contract | None = None) -> list[str]:
    """Name the rules that an exchange breaks."""
    return [finding.rule.id for finding in judge(exchange, contract or Contract(None))]


def failure(status: int, message: Any = "text", **more: Any) -> dict[str, Any]:
    """Make the convention's failure."""
    return {"code": status, "message": message, "status": "failure"} | more


def success(content: Any = None) -> dict[str, Any]:
    """Make the convention's success."""
    return {"status": "success", "content": content}


def document(
    operation: dict[str, Any] | None = None, path: str = "/things", method: str = "get", **more: Any
) -> dict[str, Any]:
    """Make a document of one operation that is as it should be."""
    whole = {"responses": {"200": shown(envelope_of({})), "500": shown(failure_of(500))}} | (operation or {})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Things", "version": "1"},
        "paths": {path: {method: whole}},
    } | more


def shown(schema: Any, media_type: str = "application/json") -> dict[str, Any]:
    """Make a response object."""
    return {"description": "", "content": {media_type: {"schema": schema}}}


def envelope_of(content: Any) -> dict[str, Any]:
    """Make the schema of a success."""
    return {
        "type": "object",
        "properties": {"status": {"type": "string", "const": "success"}, "content": content},
        "required": ["status", "content"],
    }


def failure_of(status: int) -> dict[str, Any]:
    """Make the schema of a failure, as an installed application shows it."""
    details = {
        "type": "object",
        "properties": {
            "error_code": {"type": "string"},
            "message": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        },
        "required": ["error_code", "message"],
    }
    return {
        "type": "object",
        "properties": {
            "code": {"type": "integer", "const": status},
            "message": {"anyOf": [{"type": "string"}, details]},
            "status": {"type": "string", "const": "failure"},
        },
        "required": ["code", "message", "status"],
    }
