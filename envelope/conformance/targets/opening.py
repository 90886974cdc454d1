"""Targets: where the service is that is checked, and its OpenAPI document.

A target is the URL of a service that runs, or an application that is served here for as long as it is checked.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import requests
import yaml  # type: ignore[import-untyped]  # schemathesis brings it

from envelope.conformance.asking.sending import TooLargeError, fetch
from envelope.conformance.contracts.contract import server_paths
from envelope.conformance.contracts.schemas import Node, as_json
from envelope.conformance.exchanges import Fields
from envelope.conformance.targets.serving import TargetError, first_line, import_app, served

_SCHEMES = ("http", "https")

#: Where most frameworks serve the document.
_USUAL_PLACE = "/openapi.json"

#: A target that ends so is the document's address.
_DOCUMENT = re.compile(r"/openapi\.(?:json|yaml|yml)")

_ADDRESS = re.compile(r"(?:[^:/\s]+|\[[0-9A-Fa-f:.]+\]):\d+(?:/\S*)?")

#: No document is read beyond so many bytes.
_LARGEST = 64 * 1024 * 1024


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
        text: ``"https://host/prefix"``, the URL of its ``/openapi.json``, ``"module:app"`` or
            ``"module:factory()"``, imported as uvicorn does.
        schema: File or URL of the document, JSON or YAML, or a path of the service; None reads ``/openapi.json``
            of the service, or what a FastAPI application names.
        headers: Sent when the service itself is asked for the document.
        timeout_s: For the document.

    Raises:
        TargetError: The target or its document is not there, or is not what it should be.
    """
    if _ADDRESS.fullmatch(text):
        raise TargetError(f"{text} could be a URL without its beginning; give http://{text}")
    if "://" in text:
        url, place = _split(text)
        yield _target(text, url, schema, place, headers, timeout_s)
        return
    # What the application prints does not stand in the report.
    with redirect_stdout(sys.stderr), served(app := import_app(text), text) as base_url:
        own_place = getattr(app, "openapi_url", _USUAL_PLACE)
        if schema is None and own_place is None:
            raise TargetError(f"{text} serves no OpenAPI document (its openapi_url is None); give --schema FILE")
        yield _target(text, base_url, schema, own_place, headers, timeout_s)


def _split(url: str) -> tuple[str, str]:
    """Give the address of the service, without a slash at its end, and the document's place below it."""
    parts = _parse_url(url, "give --header 'Authorization: ...'")
    if parts.query or parts.fragment:
        raise TargetError(f"the URL {_shown(url)} has a query; give the address below which the operations are")
    before, slash, last = url.rpartition("/")
    if _DOCUMENT.fullmatch(slash + last):
        return before.rstrip("/"), slash + last
    return url.rstrip("/"), _USUAL_PLACE


def _target(name: str, url: str, schema: str | None, own_place: str, headers: Fields, timeout_s: float) -> Target:
    document = _read_document(_place(url, schema, own_place), url, headers, timeout_s)
    return Target(name=name, base_url=_base_url(url, document), document=document)


def _base_url(url: str, document: Mapping[str, Any]) -> str:
    """Put the prefix of the document's first server behind the origin, unless the user gave one."""
    parts = urlsplit(url)
    # Another host is never asked: the document may name one in production.
    prefix = parts.path or next(server_paths(Node(document, "")), "")
    base_url = f"{parts.scheme}://{parts.netloc}" + (prefix if prefix.startswith("/") else "")
    # As it will be sent.
    return (requests.Request("GET", base_url).prepare().url or "").rstrip("/")


# URLs


def _is_url(text: str) -> bool:
    return "://" in text


def _parse_url(url: str, instead: str) -> SplitResult:
    """Read a URL.

    Raises:
        TargetError: It is none that can be asked; ``instead`` says what to do with credentials.
    """
    scheme = url.partition("://")[0]
    if scheme.lower() not in _SCHEMES:
        raise TargetError(f"{_shown(url)} cannot be asked; give an http:// or https:// URL")
    try:
        requests.Request("GET", url).prepare()
        parts = urlsplit(url)
    except (requests.RequestException, ValueError) as error:
        raise TargetError(f"{_shown(url)} is no URL; give one like http://127.0.0.1:8000") from error
    if parts.username is not None:
        raise TargetError(f"the URL of {parts.hostname} contains credentials; {instead}")
    return parts


def _shown(place: str) -> str:
    """Give a place as it may stand in a message: a query or what stands before a host may be secret."""
    return re.sub(r"//.*@", "//...@", re.split("[?#]", place, maxsplit=1)[0])


# The document


class _Place(NamedTuple):
    """Where the document is.

    Attributes:
        shown: As it may stand in a message.
        mend: What to do if it is not there.
    """

    name: str
    shown: str
    mend: str


def _place(url: str, schema: str | None, own_place: str) -> _Place:
    if schema is None:
        return _Place(url + own_place, url + own_place, "give --schema FILE if the document is elsewhere")
    if schema.startswith("/") and not Path(schema).exists():
        shown = f"{_shown(url + schema)} (there is no file {schema} here)"
        return _Place(url + schema, shown, "give another --schema")
    return _Place(schema, _shown(schema) if _is_url(schema) else schema, "give another --schema")


def _read_document(place: _Place, url: str, headers: Fields, timeout_s: float) -> Mapping[str, Any]:
    name = place.shown
    is_url = _is_url(place.name)
    text = _fetch(place, _for(place.name, url, headers), timeout_s) if is_url else _read_file(place.name)
    try:
        document = _parse(text)
    except ValueError as error:
        raise TargetError(f"{name} cannot be read as JSON or YAML: {first_line(error)}; {place.mend}") from error
    if not (isinstance(document, Mapping) and "openapi" in document):
        raise TargetError(f"{name} is not an OpenAPI 3 document; give --schema FILE or --schema URL")
    if not isinstance(document["openapi"], str):
        raise TargetError(f"{name} has openapi: {document['openapi']}, which is not a text; quote it")
    return document


def _for(place: str, url: str, headers: Fields) -> Fields:
    """Give the user's header fields to the service only: a document may be at somebody else's."""
    there = _parse_url(place, "give --schema FILE")
    return headers if there[:2] == urlsplit(url)[:2] else ()


def _fetch(place: _Place, headers: Fields, timeout_s: float) -> str:
    shown = place.shown
    try:
        status, fields, body = fetch(place.name, headers, timeout_s, _LARGEST)
    except requests.Timeout as error:
        raise TargetError(f"{shown} did not answer within {timeout_s:g} s; see how the service is") from error
    except requests.exceptions.SSLError as error:
        raise TargetError(_without_tls(shown, error)) from error
    except requests.RequestException as error:
        raise TargetError(f"nobody answers at {shown}; start the service, or give module:app") from error
    except TooLargeError as error:
        raise TargetError(f"{shown} is no document that can be read: {error}; {place.mend}") from error
    if status != HTTPStatus.OK:
        raise TargetError(f"{shown} answers {status}{_leads_to(fields)}, not an OpenAPI document; {place.mend}")
    return body.decode("utf-8-sig", "replace")


def _without_tls(shown: str, error: requests.exceptions.SSLError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"the certificate of {shown} is not trusted here; name its authority in REQUESTS_CA_BUNDLE"
    return f"no TLS connection can be made to {shown}; does it speak http://?"


def _leads_to(fields: Fields) -> str:
    """Say where a redirect leads: it is not followed, because the user's header fields would go with it."""
    location = next((value for name, value in fields if name.lower() == "location"), "")
    return f" and leads to {_shown(location)}" if location else ""


def _read_file(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            content = file.read(_LARGEST + 1)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise TargetError(f"cannot read --schema {name} ({first_line(error)})") from error
    if len(content) > _LARGEST:
        raise TargetError(f"cannot read --schema {name} (it is longer than {_LARGEST // 1024**2} MiB)")
    return text


def _parse(text: str) -> Any:
    try:
        return as_json(_load(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
