"""One request and what came back, as it was on the wire."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote_plus

from envelope.errors.validation.redaction import is_secret_name

#: What stands in a report in the place of a credential.
_MASK = "..."

#: Fields whose values are credentials (RFC 9110, 11; RFC 6265).
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "x-auth-token"})

#: Fields that end like a key and open nothing.
_OPEN_KEYS = frozenset({"idempotency-key", "sec-websocket-key"})

#: A text of a JSON document, whether it ends or not; with a colon it is the name of a member.
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*+)(?:"|\Z)[ \t\r\n]*+(:[ \t\r\n]*+)?', re.DOTALL)

#: What bash reads in ``$'...'``.
_ESCAPES = {"\\": r"\\", "'": r"\'", "\n": r"\n", "\r": r"\r", "\t": r"\t"}

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
        """Give the line for bash that sends it again, in characters that a terminal shows.

        Values whose names sound like secrets are left out: of header fields, query parameters and the members
        of a JSON body.
        """
        words = ["curl", "-i"]
        if self.method == "HEAD":
            words.append("-I")
        elif self.method != "GET" or self.body is not None:
            words += ["-X", self.method]
        for name, value in self.headers:
            words += ["-H", f"{name}: {_MASK if self._is_secret(name.lower()) else value}"]
        source = ""
        if self.body is not None:
            # Not --data-binary: to it, what begins with @ is the name of a file.
            body = _mask_json(self.body.decode("utf-8", "surrogateescape"))
            source = f"printf %b {_quote_octal(body)} | " if "\0" in body else ""
            words += ["--data-binary", "@-"] if source else ["--data-raw", body]
        return source + " ".join(map(_quote, [*words, _mask_query(self.url)]))

    def _is_secret(self, field: str) -> bool:
        is_key = field.endswith("-key") and field not in _OPEN_KEYS
        return is_key or field in _SECRET | self.secrets or is_secret_name(field)


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
            ValueError: It is none, or nested so deep that nobody reads it.
        """
        try:
            return json.loads(self.body.decode("utf-8"), parse_constant=_refuse)
        except RecursionError:
            raise ValueError("nested too deep") from None


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON (RFC 8259, 6)")


def _mask_query(url: str) -> str:
    address, mark, query = url.partition("?")
    return address + mark + "&".join(map(_mask_parameter, query.split("&")))


def _mask_parameter(parameter: str) -> str:
    name, mark, _ = parameter.partition("=")
    return f"{name}={_MASK}" if mark and is_secret_name(unquote_plus(name)) else parameter


def _mask_json(text: str) -> str:
    """Mask the members whose names are secret, at any depth, also in texts that are no JSON by intention."""
    shown, done, at = [], 0, 0
    while found := _TEXT.search(text, at):
        at = found.end()
        if found[2] and is_secret_name(_unescape(found[1])):
            shown += [text[done:at], f'"{_MASK}"']
            done = at = _find_end(text, at)
    return "".join([*shown, text[done:]])


def _unescape(name: str) -> str:
    try:
        return str(json.loads(f'"{name}"', strict=False))
    except ValueError:
        return name


def _find_end(text: str, start: int) -> int:
    """Find where a JSON value ends; of one that cannot be read everything is taken."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return len(text)


def _quote(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(_ESCAPES.get(each) or _escape(each) for each in word)}'"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _quote_octal(text: str) -> str:
    """Quote for ``printf %b``: no argument of a command holds a NUL."""
    return shlex.quote(
        "".join(
            chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\0{byte:03o}"
            for byte in text.encode("utf-8", "surrogateescape")
        )
    )
