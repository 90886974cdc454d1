"""The end of a response: the message with which the client has everything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Message, Scope

#: Statuses without a body, whatever the application sends behind the head (RFC 9112, 6.3).
_BODILESS = frozenset({204, 304})

#: What carries a body: bytes, a file by its path, a file by its descriptor (ASGI, HTTP extensions).
_BODIES = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


class Ending:
    """Waits for something before the client has everything.

    That is the case with the head of an answer without a body (HEAD, 204, 304, ``Content-Length: 0``), with the
    part of the body that completes ``Content-Length``, else with the last message. What the application still
    does then, the client does not wait for.

    Args:
        scope: Of the request.
        act: What is to be done before.
    """

    def __init__(self, scope: Scope, act: Callable[[], Awaitable[None]]) -> None:
        self._is_head = scope.get("method") == "HEAD"
        self._is_over = False
        self._left: int | None = None
        self.act = act

    def is_near(self, messages: Sequence[Message]) -> bool:
        """Tell whether ``act`` is to be awaited before these messages are sent; True once."""
        if self._is_over:
            return False
        last = messages[-1]
        # Of most answers the last message is among them; nothing else has to be looked at then.
        is_whole = last["type"] in _BODIES and not last.get("more_body", False)
        self._is_over = is_whole or any(self._completes(message) for message in messages)
        return self._is_over

    def _completes(self, message: Message) -> bool:
        if message["type"] == "http.response.start" and message["status"] >= 200:
            self._left = _content_length(message)
            return self._is_head or self._left == 0 or message["status"] in _BODILESS
        if message["type"] in _BODIES and self._left is not None:
            self._left -= len(message.get("body", b""))
            return self._left <= 0
        return False


def _content_length(start: Message) -> int | None:
    for name, value in start.get("headers", ()):
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None
