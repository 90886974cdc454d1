"""The end of a response: the message with which the client has everything."""

from __future__ import annotations

from starlette.types import Message, Scope

#: Statuses without a body, whatever the application sends behind the head (RFC 9112, 6.3).
_BODILESS = frozenset({204, 304})

#: What carries a body: bytes, a file by its path, a file by its descriptor (ASGI, HTTP extensions).
_BODIES = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


class Ending:
    """Recognises the message with which the client has everything.

    That is the head of an answer without a body (HEAD, 204, 304, ``Content-Length: 0``), the part of the body that
    completes ``Content-Length``, else the last message. What the application still does then, the client does not
    wait for.

    Args:
        scope: Of the request.
    """

    _left: int | None = None

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def is_reached(self, message: Message) -> bool:
        """Look at a message that is about to be sent; give it each of them."""
        kind = message["type"]
        if kind == "http.response.start":
            self._left = _content_length(message)
            return message["status"] >= 200 and (
                self._left == 0 or message["status"] in _BODILESS or self._scope.get("method") == "HEAD"
            )
        if kind not in _BODIES:
            return False
        if self._left is not None:
            self._left -= len(message.get("body", b""))
            if self._left <= 0:
                return True
        return not message.get("more_body", False)


def _content_length(start: Message) -> int | None:
    for name, value in start.get("headers", ()):
        if name == b"content-length" or name.lower() == b"content-length":
            return int(value) if value.isdigit() else None
    return None
