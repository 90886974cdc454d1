"""What the head of a response says about its body: may we splice it, convert it, or only pass it on?

Reads the header list once, changes nothing. The rules and their sources are in
``docs/reference/wire-cases.md``; a head that does not prove that its body is plain JSON stays untouched.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

from starlette.types import Message

Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")

#: JSON on the wire has none (RFC 8259, 8.1), but some applications send one.
UTF8_BOM = b"\xef\xbb\xbf"


class Body(Enum):
    """What a ``Content-Type`` says about the body."""

    UNDECLARED = 0
    JSON = 1
    PROBLEM = 2
    TEXT = 3
    STREAM = 4  # written item by item to a client that waits for each: the head must not be held
    OTHER = 5


_STREAMS = {
    "text/event-stream",
    "application/jsonl",
    "application/json-seq",
    "application/ndjson",
    "application/stream+json",
    "application/x-ndjson",
    "multipart/x-mixed-replace",
}

#: Describe the bytes of a body, so they are wrong for any other body (RFC 9530; RFC 1864).
DIGESTS = frozenset({b"content-digest", b"repr-digest", b"digest", b"content-md5"})

#: Describe the body that a failure's envelope replaces (RFC 9110, 8).
REPLACED = DIGESTS | {
    b"accept-ranges",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-length",
    b"content-location",
    b"content-type",
    b"etag",
    b"last-modified",
    b"signature",
    b"signature-input",
    b"trailer",
    b"transfer-encoding",
}


class Head:
    """A response's start message, read.

    Attributes:
        has_length: A ``Content-Length`` was declared.
        length: Its value; None if there is none or it is not a number.
        encoded: The bytes are compressed; nothing can be spliced into them (RFC 9110, 8.4).
        untouchable: A range, a file, a signature or ``no-transform``: other parties rely on these bytes.
    """

    __slots__ = ("body", "content_type", "encoded", "has_length", "headers", "length", "status", "untouchable")

    def __init__(self, message: Message) -> None:
        self.status: int = message["status"]
        self.headers: Headers = _header_list(message.get("headers", ()))
        self.body = Body.UNDECLARED
        self.content_type: bytes | None = None
        self.length: int | None = None
        self.has_length = self.encoded = self.untouchable = False
        for name, value in self.headers:
            # ASGI asks for lower-case names; not every application gives them.
            name = name.lower()  # noqa: PLW2901
            if name == b"content-type":
                self.body = Body.OTHER if self.content_type is not None else classify(value)
                self.content_type = value
            elif name == b"content-length":
                self.has_length = True
                self.length = int(value) if value.isdigit() else None
            elif name in _NOTABLE:
                self._note(name, value)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-encoding":
            self.encoded = True
        elif name == b"cache-control":
            self.untouchable |= b"no-transform" in value.lower()
        elif name == b"accept-ranges":
            self.untouchable |= value.strip().lower() != b"none"
        else:
            self.untouchable = True


_NOTABLE = {
    b"accept-ranges",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-range",
    b"signature",
    b"signature-input",
}


@lru_cache(maxsize=256)
def classify(content_type: bytes) -> Body:
    """Tell what kind of body a ``Content-Type`` announces.

    JSON is ``application/json`` alone or with ``charset=utf-8`` (RFC 8259, 8.1 and 11); every
    ``+json`` type but ``problem+json`` names a schema of its own and is OTHER.
    """
    media_type, _, parameters = content_type.decode("latin-1").lower().partition(";")
    media_type = media_type.strip()
    if media_type in _STREAMS or media_type.startswith("application/grpc"):
        return Body.STREAM
    if media_type == "text/plain":
        return Body.TEXT
    utf8 = parameters.replace(" ", "").replace('"', "").strip(";") in ("", "charset=utf-8", "charset=utf8")
    if media_type == "application/json" and utf8:
        return Body.JSON
    if media_type == "application/problem+json" and utf8:
        return Body.PROBLEM
    return Body.OTHER


def with_length(headers: Headers, length: int | None) -> Headers:
    """Give the headers of a body that was changed: with one true ``Content-Length``, and no digest of the old one.

    Args:
        headers: The headers of the body as it was; not changed.
        length: None leaves the field out (RFC 9110, 8.6).
    """
    field = None if length is None else (b"content-length", b"%d" % length)
    result = []
    for pair in headers:
        name = pair[0].lower()
        if name == b"content-length":
            if field is not None:
                result.append(field)
                field = None
        elif name not in DIGESTS:
            result.append(pair)
    if field is not None:
        result.append(field)
    return result


def _header_list(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    # ASGI allows any iterable, even one that can be read only once.
    return headers if isinstance(headers, list) else list(headers)
