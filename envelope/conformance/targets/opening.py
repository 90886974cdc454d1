"""Targets: where the service is that is checked, and its OpenAPI document.

A target is the URL of a service that runs, or an application that is served here for as long as it is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
import yaml  # type: ignore[import-untyped]  # schemathesis brings it

from envelope.conformance.asking.sending import new_session
from envelope.conformance.contracts.schemas import as_json
from envelope.conformance.exchanges import Fields
from envelope.conformance.targets.serving import TargetError, first_line, import_app, served

_SCHEMES = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A service that answers.

    Attributes:
        name: As the user wrote it.
        base_url: Where the operations of the document are, without a slash at the end.
        document: The OpenAPI document.
    """

    name: str
    base_url: str
    document: Mapping[str, Any]


@contextmanager
def open_target(
    text: str, *, schema: str | None = None, headers: Fields = (), timeout_s: float = 10
) -> Iterator[Target]:
    """Find the service and its document; an application is served until the block ends.

    Args:
        text: ``"https://host/prefix"``, ``"module:app"`` or ``"module:factory()"``, imported as uvicorn does.
        schema: File or URL of the document, JSON or YAML; None reads ``/openapi.json`` of the service, or what a
            FastAPI application names.
        headers: Sent when the document is asked for.
        timeout_s: For the document.

    Raises:
        TargetError: The target or its document is not there, or is not what it should be.
    """
    if _is_url(text):
        yield _target(text, text.rstrip("/"), schema, "/openapi.json", headers, timeout_s)
        return
    app = import_app(text)
    with served(app, text) as base_url:
        place = getattr(app, "openapi_url", "/openapi.json")
        if schema is None and place is None:
            raise TargetError(f"{text} serves no OpenAPI document (its openapi_url is None); give --schema FILE")
        yield _target(text, base_url, schema, place, headers, timeout_s)


def _target(name: str, url: str, schema: str | None, place: str, headers: Fields, timeout_s: float) -> Target:
    parts = urlsplit(url)
    if parts.username is not None:
        raise TargetError(f"the URL of {parts.hostname} contains credentials; give --header 'Authorization: ...'")
    document = _read_document(schema or url + place, headers if schema is None else (), timeout_s, schema is None)
    return Target(name=name, base_url=_base_url(parts, document), document=document)


def _is_url(text: str) -> bool:
    return text.lower().startswith(tuple(f"{scheme}://" for scheme in _SCHEMES))


def _base_url(parts: SplitResult, document: Mapping[str, Any]) -> str:
    """Put the prefix of the document's first server behind the origin, unless the user gave one."""
    origin = f"{parts.scheme}://{parts.netloc}"
    prefix = parts.path
    servers = document.get("servers")
    if not prefix and isinstance(servers, list) and servers and isinstance(servers[0], Mapping):
        prefix = _server_path(servers[0])
    return origin + prefix.rstrip("/")


def _server_path(server: Mapping[str, Any]) -> str:
    url = str(server.get("url", ""))
    variables = server.get("variables")
    for name, variable in variables.items() if isinstance(variables, Mapping) else ():
        url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    # Another host is never asked: the document may name one in production.
    path = urlsplit(url).path
    return path if path.startswith("/") else ""


# The document


def _read_document(place: str, headers: Fields, timeout_s: float, is_served: bool) -> Mapping[str, Any]:
    text = _fetch(place, headers, timeout_s, is_served) if _is_url(place) else _read_file(place)
    try:
        document = _parse(text)
    except ValueError as error:
        raise TargetError(f"{place} is neither JSON nor YAML; give --schema FILE ({first_line(error)})") from error
    if not (isinstance(document, Mapping) and "openapi" in document):
        raise TargetError(f"{place} is not an OpenAPI 3 document; give --schema FILE or --schema URL")
    return document


def _fetch(url: str, headers: Fields, timeout_s: float, is_served: bool) -> str:
    try:
        with new_session(url) as session:
            response = session.get(url, headers=dict(headers), timeout=timeout_s, allow_redirects=False)
    except requests.Timeout as error:
        raise TargetError(f"{url} did not answer within {timeout_s:g} s; see how the service is") from error
    except requests.RequestException as error:
        raise TargetError(f"nobody answers at {url}; start the service, or give module:app") from error
    if response.status_code != 200:
        mend = "give --schema FILE if the document is elsewhere" if is_served else "give another --schema"
        raise TargetError(f"{url} answers {response.status_code}, not an OpenAPI document; {mend}")
    return response.content.decode("utf-8", "replace")


def _read_file(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TargetError(f"cannot read --schema {name} ({first_line(error)})") from error


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        try:
            return as_json(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
