"""Bodies that a middleware has compressed: read, and compressed again where the standard library can."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from typing import Any

try:
    import httpx
except ModuleNotFoundError:  # pragma: no cover - Starlette's test client asks for one of the two
    import httpx2 as httpx  # type: ignore[no-redef]

_COMPRESS: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzip.compress, b"deflate": zlib.compress}


def encoding_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Give the ``Content-Encoding`` of a response in lower case; None if it has none."""
    return next((value.lower() for name, value in headers if name.lower() == b"content-encoding"), None)


def decompress(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Give a body as it was before it was compressed; one in an encoding that is not known, as it is."""
    encodings: Any = [(name, value) for name, value in headers if name.lower() == b"content-encoding"]
    return httpx.Response(200, headers=encodings, content=body).content


def compress(encoding: bytes, body: bytes) -> bytes | None:
    """Compress a body; None if the standard library does not know how."""
    known = _COMPRESS.get(encoding)
    return None if known is None else known(body)
