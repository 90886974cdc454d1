"""What was decided about one request, so that its response can say it and its endpoint can settle it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Message, Scope, Send

from envelope.rate_limit.headers import WATCHED, Fields, may_be_shared
from envelope.rate_limit.verdicts import Verdict
from envelope.wire.exchange import Exchange

#: Messages that carry the head of an answer.
_HEADS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))


class Tally:
    """The verdicts about one request, in the order in which they were made."""

    __slots__ = ("verdicts",)

    def __init__(self, verdicts: list[Verdict]) -> None:
        self.verdicts = verdicts


class ToldTally(Tally):
    """A tally with the ``send`` that tells the client.

    Args:
        verdicts: The first one.
        describe: Writes the header fields.
        exchange: Of the installation that the limiter belongs to.
        outer: The ``send`` that leads to the client. Whoever gave it takes it back: it knows the scope that this
            stands in, which would be a cycle.
    """

    __slots__ = ("_describe", "_exchange", "outer")

    def __init__(
        self,
        verdicts: list[Verdict],
        describe: Callable[[Sequence[Verdict]], Fields],
        exchange: Exchange | None,
        outer: Send | None,
    ) -> None:
        self.verdicts = verdicts
        self._describe = describe
        self._exchange = exchange
        self.outer = outer

    def send(self, message: Message) -> Awaitable[None]:
        # Not a coroutine of its own, and no calls that can be spared: every request passes here.
        if message["type"] in _HEADS:
            headers = list(message.get("headers", ()))
            for name, value in headers:
                # Somebody further in, a mounted application with a limiter or what refused the request, has
                # said its own.
                if name.lower() in WATCHED and (name.lower() != b"cache-control" or may_be_shared(value)):
                    break
            else:
                headers += self._describe(self.verdicts)
                told = {**message, "headers": headers}
                if message.get("status", 0) >= 400 and self._exchange is not None:
                    self._exchange.follow(message, told)
                message = told
        return self.outer(message)  # type: ignore[misc]


def note(scope: Scope, key: str, verdict: Verdict) -> list[Verdict]:
    """Add a verdict to the tally that stands in a scope under this key, and give all of it."""
    tally: Tally | None = scope.get(key)
    if tally is None:
        tally = scope[key] = Tally([])
    tally.verdicts.append(verdict)
    return tally.verdicts
