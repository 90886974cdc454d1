"""What was decided about one request, so that its response can say it and its endpoint can settle it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from starlette.types import Message, Scope, Send

from envelope.rate_limit.headers import Fields, add_fields
from envelope.rate_limit.verdicts import Verdict

if TYPE_CHECKING:
    from envelope.rate_limit.limiter import RateLimiter

#: Messages that carry the head of an answer.
_HEADS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))


class Tally:
    """The verdicts about one request, and the ``send`` that tells the client.

    Attributes:
        limiter: Whose verdicts are told.
        verdicts: In the order in which they were made.
    """

    __slots__ = ("_send", "limiter", "verdicts")

    def __init__(self, limiter: RateLimiter, verdicts: list[Verdict], send: Send | None = None) -> None:
        self.limiter = limiter
        self.verdicts = verdicts
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        # Not a coroutine of its own: all it does is look.
        if message["type"] in _HEADS:
            fields = self.limiter.describe(self.verdicts)
            if fields:
                message = {**message, "headers": add_fields(message.get("headers", ()), fields)}
        return self._send(message)  # type: ignore[misc]


def note(limiter: RateLimiter, scope: Scope, verdict: Verdict) -> list[Verdict]:
    """Add a verdict to those that this limiter made about a request, and give them all."""
    tally: Tally = scope.setdefault(limiter.scope_key, Tally(limiter, []))
    tally.verdicts.append(verdict)
    return tally.verdicts
