"""One request and what came back, as it was on the wire."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import Any

#: What stands in a report in the place of a credential.
_MASK = "..."

#: Fields whose values are credentials (RFC 9110, 11; RFC 6265).
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "x-auth-token"})

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it was sent.

    Attributes:
        method: In capitals.
        url: The whole URL, with its query.
        path: Its path, percent-encoded as it was sent, below the service's base URL; without the query.
        headers: Names as they were sent.
        body: None if there was none.
        secrets: Names of header fields, in lower case, whose values never stand in a report; beside those that
            are credentials anyway.
    """

    method: str
    url: str
    path: str
    headers: Fields = ()
    body: bytes | None = None
    secrets: frozenset[str] = frozenset()

    def as_curl(self) -> str:
        """Give the command that sends it again; credentials are left out."""
        words = ["curl", "-i"]
        if self.method == "HEAD":
            words.append("-I")
        elif self.method != "GET" or self.body is not None:
            words += ["-X", self.method]
        for name, value in self.headers:
            hidden = name.lower() in _SECRET | self.secrets
            words += ["-H", f"{name}: {_MASK if hidden else value}"]
        if self.body is not None:
            words += ["--data-binary", self.body.decode("utf-8", "backslashreplace")]
        return shlex.join([*words, self.url])


@dataclass(frozen=True)
class Exchange:
    """A request and its response.

    Attributes:
        status: Of the response.
        headers: Of the response; a name can come several times.
        body: As it was sent, without compression and framing.
    """

    request: Request
    status: int
    headers: Fields
    body: bytes

    def header(self, name: str) -> str | None:
        """Give the value of a field, the first of several; names have no case."""
        name = name.lower()
        return next((value for each, value in self.headers if each.lower() == name), None)

    @property
    def media_type(self) -> str:
        """The media type without parameters, in lower case; "" if there is none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @cached_property
    def json(self) -> Any:
        """The body, read as JSON (RFC 8259: no NaN).

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body.decode("utf-8"), parse_constant=_refuse)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON (RFC 8259, 6)")
