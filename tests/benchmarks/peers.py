"""The two peers: the least code that splices, and the middleware that people write today.

Neither is a library: both cover only what the benchmarks send through them.
"""

from __future__ import annotations

import json

from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = b'{"status":"success","content":'
SUFFIX = b"}"
ADDED = len(PREFIX) + len(SUFFIX)


class SplicingFloor:
    """Splices by hand: a held start, an added length, a prefix and a suffix. Knows no special case."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        wraps = False

        async def splice(message: Message) -> None:
            nonlocal start, wraps
            if message["type"] == "http.response.start":
                wraps = message["status"] < 300 and (b"content-type", b"application/json") in message["headers"]
                if wraps:
                    start = message
                    return
            elif wraps:
                body, more = message["body"], message.get("more_body", False)
                if start is not None:
                    headers = [
                        (name, b"%d" % (int(value) + ADDED) if name == b"content-length" else value)
                        for name, value in start["headers"]
                    ]
                    await send({**start, "status": 200, "headers": headers})
                    start = None
                    message = {**message, "body": b"".join((PREFIX, body) if more else (PREFIX, body, SUFFIX))}
                elif not more:
                    message = {**message, "body": body + SUFFIX}
            await send(message)

        await self.app(scope, receive, splice)


class ParseAndDump(BaseHTTPMiddleware):
    """Joins the body, parses it, and renders it again inside an envelope."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        parts = [part async for part in response.body_iterator]  # type: ignore[attr-defined]
        value = json.loads(b"".join(parts))
        status = response.status_code
        if status < 400:
            return JSONResponse({"status": "success", "content": value})
        if status == 422:
            status = 400
        return JSONResponse({"code": status, "message": value["detail"], "status": "failure"}, status)
