"""Unwrapping for httpx: over the network by what an envelope tells, in process exactly."""

from __future__ import annotations

import copy
import json
from typing import Any

try:
    import httpx
except ModuleNotFoundError:  # pragma: no cover - Starlette's test client asks for one of the two
    import httpx2 as httpx  # type: ignore[no-redef]

from envelope.testing.unwrapping import Unwrapping
from envelope.wire.bodies import BodyWriter, Shape

#: Describe the bytes of a body as they came.
_OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")


class UnwrappingTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport of ``httpx.Client`` and ``httpx.AsyncClient`` that gives bodies without their envelopes.

    A success has its content as its body, a failure ``{"detail": message}``, and both the status that came: which
    it was before the envelope cannot be told from outside. Only bodies that call themselves ``application/json``
    are read; files and streams of events pass as they come. Around an ``httpx.ASGITransport`` the answers are
    exactly those that the application would give alone, as from an ``UnwrappingClient``::

        client = httpx.Client(transport=UnwrappingTransport(httpx.HTTPTransport()), base_url=...)

    Args:
        transport: Sends the requests.
        shape: Of the envelopes; in process it is known.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport,
        *,
        shape: Shape = Shape(),  # noqa: B008 - frozen
    ) -> None:
        self._transport: Any = transport
        self._writer = BodyWriter(shape)
        self._is_exact = hasattr(transport, "handle_async_request") and hasattr(transport, "app")
        if self._is_exact:
            self._transport = copy.copy(transport)
            self._transport.app = Unwrapping(self._transport.app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = self._transport.handle_request(request)
        if self._may_be_envelope(request, response):
            response.read()
            response = self._unwrap(response)
        return response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._transport.handle_async_request(request)
        if self._may_be_envelope(request, response):
            await response.aread()
            response = self._unwrap(response)
        return response

    def close(self) -> None:
        self._transport.close()

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _may_be_envelope(self, request: httpx.Request, response: httpx.Response) -> bool:
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = request.method != "HEAD" and not 300 <= response.status_code < 400
        return not self._is_exact and has_body and media_type == "application/json"

    def _unwrap(self, response: httpx.Response) -> httpx.Response:
        """Give a response whose body is here whole, without its envelope."""
        body = response.content
        own = self._content(body) if response.status_code < 400 else self._detail(body, response.status_code)
        # Its bytes are no longer compressed: to know them, httpx has read them.
        headers = [field for field in response.headers.multi_items() if field[0].lower() not in _OF_THE_BODY]
        # Not httpx.Response: it may come from httpx2.
        return type(response)(
            response.status_code,
            headers=headers,
            content=body if own is None else own,
            extensions=response.extensions,
        )

    def _content(self, body: bytes) -> bytes | None:
        shape = self._writer.shape
        value = _read(body)
        if value is None or value.keys() != {shape.status, shape.content} or value[shape.status] != shape.success:
            return None
        if body.startswith(self._writer.prefix):  # byte for byte, as it was before
            return body.removeprefix(self._writer.prefix).removesuffix(self._writer.suffix)
        return _write(value[shape.content])

    def _detail(self, body: bytes, status: int) -> bytes | None:
        shape = self._writer.shape
        value = _read(body)
        is_failure = value is not None and value.keys() == {shape.status, shape.code, shape.message}
        if value is None or not (is_failure and self._writer.is_failure(value, status)):
            return None
        return _write({"detail": value[shape.message]})


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _write(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
