"""The end of a response: the message with which the client has everything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Message, Scope

#: Statuses without a body, whatever the application sends behind the head (RFC 9112, 6.3).
_BODILESS = frozenset({204, 304})


class Ending:
    """Waits for something before the client has everything.

    That is the case with the head of an answer without a body (HEAD, 204, 304, ``Content-Length: 0``), with the
    part of the body that completes ``Content-Length``, else with the last message. What the application still
    does then, the client does not wait for.

    Args:
        scope: Of the request.
        act: What is done before, once.
    """

    def __init__(self, scope: Scope, act: Callable[[], Awaitable[None]]) -> None:
        self._is_head = scope.get("method") == "HEAD"
        self._act: Callable[[], Awaitable[None]] | None = act
        self._left: int | None = None

    async def before(self, message: Message) -> None:
        """Look at a message that is about to be sent."""
        if self._act is not None and self._is_last(message):
            act, self._act = self._act, None
            await act()

    def _is_last(self, message: Message) -> bool:
        kind = message["type"]
        if kind == "http.response.start":
            if message["status"] < 200:
                return False
            self._left = _content_length(message)
            return self._is_head or self._left == 0 or message["status"] in _BODILESS
        if kind == "http.response.body":
            if self._left is not None:
                self._left -= len(message.get("body", b""))
            return (self._left is not None and self._left <= 0) or not message.get("more_body", False)
        # Files by path or descriptor, and trailers (ASGI, HTTP extensions).
        return kind in ("http.response.pathsend", "http.response.zerocopysend") and not message.get(
            "more_body", False
        )


def _content_length(start: Message) -> int | None:
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length":
            return int(value) if value.isdigit() else None
    return None
