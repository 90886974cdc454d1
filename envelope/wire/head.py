"""What the head of a response says about its body: may we splice it, convert it, or only pass it on?

Reads the header list once, changes nothing. The rules and their sources are in
``docs/reference/wire-cases.md``; a head that does not prove that its body is plain JSON stays untouched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")

#: JSON on the wire has none (RFC 8259, 8.1), but some applications send one.
UTF8_BOM = b"\xef\xbb\xbf"


class Body:
    """What a ``Content-Type`` says about the body."""

    # Plain numbers: reading a member of an Enum costs more than all else that a head is asked.
    UNDECLARED: Final = 0
    JSON: Final = 1
    PROBLEM: Final = 2
    TEXT: Final = 3
    STREAM: Final = 4  # written item by item to a client that waits for each: the head must not be held
    OTHER: Final = 5


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


#: Fields that say nothing about the bytes of a body.
_HARMLESS = frozenset(
    {
        b"access-control-allow-credentials",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"allow",
        b"etag",
        b"last-modified",
        b"link",
        b"location",
        b"retry-after",
        b"server-timing",
        b"set-cookie",
        b"vary",
        b"x-request-id",
    }
)

NO_LENGTH = (b"", b"")


def find_plain_length(headers: Headers) -> tuple[bytes, bytes] | None:
    """Find the ``Content-Length`` of a head that says only that its body is JSON, as nearly all do.

    Returns:
        The field, ``NO_LENGTH`` if there is none, or None if the head says more and is to be read as a ``Head``.
    """
    length = NO_LENGTH
    is_json = False
    for field in headers:
        name = field[0]
        if name == b"content-length" and length is NO_LENGTH:
            length = field
        elif name == b"content-type" and field[1] == b"application/json" and not is_json:
            is_json = True
        elif name not in _HARMLESS:
            return None
    return length if is_json else None


class Head:
    """A response's start message, read.

    Attributes:
        body: What the content type says, one of ``Body``.
        has_length: A ``Content-Length`` was declared, true or not.
        taken: Bytes of the declared length that were taken off the body.
        encoded: The bytes are compressed; nothing can be spliced into them (RFC 9110, 8.4).
        untouchable: A range, a file, a signature or ``no-transform``: other parties rely on these bytes.
    """

    body: int = Body.UNDECLARED
    content_type: bytes | None = None
    encoded = False
    taken = 0
    untouchable = False
    has_length = False
    _digested = False
    _length_field: tuple[bytes, bytes]

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        for field in headers:
            # ASGI asks for lower-case names; not every application gives them.
            name = field[0].lower()
            if name == b"content-type":
                value = field[1]
                if self.content_type is not None:
                    self.body = Body.OTHER
                else:
                    self.body = Body.JSON if value == b"application/json" else classify(value)
                self.content_type = value
            elif name == b"content-length":
                # Of two, one has to go.
                self._digested = self._digested or self.has_length
                self.has_length = True
                self._length_field = field
            elif name in _NOTABLE:
                self._note(name, field[1])

    @property
    def length(self) -> int | None:
        """The declared ``Content-Length``; None if there is none or it is not a number."""
        # Longer numbers are no lengths, and Python refuses to read some of them.
        if not (self.has_length and self._length_field[1].isdigit() and len(self._length_field[1]) < 20):
            return None
        return int(self._length_field[1]) - self.taken

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-encoding":
            self.encoded = True
        elif name in _OF_THE_BYTES:
            self._digested = True
        elif name == b"cache-control":
            self.untouchable |= b"no-transform" in value.lower()
        elif name == b"accept-ranges":
            self.untouchable |= value.strip().lower() != b"none"
        else:
            self.untouchable = True

    def with_length(self, length: int | None) -> Headers:
        """Give the headers of the body when it was changed: one true length, and no digest of the old one.

        Args:
            length: None leaves ``Content-Length`` out (RFC 9110, 8.6).
        """
        headers = self.headers.copy()
        if length is not None and self.has_length and not self._digested:
            headers[headers.index(self._length_field)] = (b"content-length", b"%d" % length)
        elif self.has_length or self._digested or length is not None:
            headers = [field for field in headers if field[0].lower() not in _OF_THE_BYTES]
            if length is not None:
                headers.append((b"content-length", b"%d" % length))
        return headers


#: What is false when the bytes of a body change.
_OF_THE_BYTES = DIGESTS | {b"content-length", b"transfer-encoding"}

_NOTABLE = DIGESTS | {
    b"accept-ranges",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-range",
    b"signature",
    b"signature-input",
    b"transfer-encoding",
}


@lru_cache(maxsize=256)
def classify(content_type: bytes) -> int:
    """Tell what kind of body a ``Content-Type`` announces, one of ``Body``.

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
