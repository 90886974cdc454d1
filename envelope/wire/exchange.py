"""One request and its response, as the layers of one installation see it.

The outermost layer of an installed application puts a fresh ``Exchange`` into the scope. A mounted
application that was installed itself puts its own there while it is at work, and owns what it answers:
the layers outside see that and stand down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Message, Scope, Send

from envelope.wire.head import Head

if TYPE_CHECKING:
    from envelope.wire.convention import Convention

#: Where the exchange of the innermost installation at work stands in the scope.
KEY = "envelope"

# Not None, which a start message without headers would be.
_NONE = object()


class Exchange:
    """What the layers of one installation tell each other about one response.

    Attributes:
        error_code: Of the failure that was settled last.
        crash: The exception that the response answers, and that is raised after it; None for an answer.
        kept_crash: The same, once the outer layer has kept its answer back.
        foreign: Exceptions that came out of ``send`` or ``receive``; they are nobody's to answer.
        raised: The response answers an exception; exemptions are about what endpoints return.
        reported: The application's own handler for ``Exception`` was told of the crash.
        settled: Status, content type and length of a response that has its final form.
        unanswered: Exceptions that the handlers passed on; they are not asked about them again.
    """

    # Defaults of the class: one exchange is made for each request, and most set none of these.
    error_code: str | None = None
    crash: Exception | None = None
    kept_crash: Exception | None = None
    foreign: tuple[BaseException, ...] = ()
    raised = False
    reported = False
    settled: tuple[int, bytes | None, int | None] | None = None
    unanswered: tuple[BaseException, ...] = ()
    _final_headers: object = _NONE
    _inner_start: Message | None = None
    _used = False

    def __init__(self, convention: Convention) -> None:
        self.convention = convention

    def start(self) -> None:
        """Begin with a response; forget the one before it, if a middleware tries the request again."""
        if self._used:
            self.crash = None
            self.raised = self.reported = False
            self.unanswered = ()
            self.unsettle()
        self._used = True

    def owns(self, scope: Scope, start: Message) -> bool:
        """Tell whether a response is this installation's to shape.

        It is not while a mounted application, installed itself, is at work in the same scope; nor if this is
        the very head that one sent, in a copy of the scope or kept back by a middleware.
        """
        if scope.get(KEY) is not self:
            return False
        inner = self._inner_start
        return inner is None or (start is not inner and start.get("headers") is not inner.get("headers"))

    def inside_out(self, send: Send) -> Send:
        """Give the ``send`` of an installation inside this one: what comes through it is not this one's."""

        async def send_from_inside(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._inner_start = message
            await send(message)

        return send_from_inside

    def settle(self, status: int, content_type: bytes | None, length: int | None = None) -> None:
        """Note that the response with this head has its final form; outer layers let it pass.

        Args:
            status: Of the response.
            content_type: Of the response.
            length: Of the body; None if whatever body comes under this head is final.
        """
        self.settled = (status, content_type, length)

    def settle_failure(self, start: Message, content_type: bytes, length: int, error_code: str | None) -> None:
        """Note that a failure was written in the convention, so that the layers know it at a glance."""
        self.error_code = error_code
        self._final_headers = start["headers"]
        self.settle(start["status"], content_type, length)

    def follow(self, start: Message, successor: Message) -> None:
        """Note that a layer of this installation has put a head with more headers in the place of this one."""
        if self._inner_start is start:
            self._inner_start = successor
        if start.get("headers") is self._final_headers:
            self._final_headers = successor["headers"]

    def unsettle(self) -> None:
        """Note that another response comes in the place of the one that was settled."""
        self.settled = None
        self._final_headers = _NONE

    def is_final(self, start: Message) -> bool:
        """Tell whether this is the head of that failure, which no middleware has replaced."""
        return (
            self.settled is not None
            and start.get("headers") is self._final_headers
            and start["status"] == self.settled[0]
        )

    def is_settled(self, head: Head) -> bool:
        """Tell whether a layer of this installation gave the response its final form."""
        status, content_type, length = self.settled or (0, None, None)
        return status == head.status and content_type == head.content_type and length in (None, head.length)

    def is_foreign(self, exc: BaseException) -> bool:
        """Tell whether ``exc``, or one that it groups, came out of ``send`` or ``receive``."""
        if not self.foreign:
            return False
        if isinstance(exc, BaseExceptionGroup):
            return any(self.is_foreign(part) for part in exc.exceptions)
        return any(exc is known for known in self.foreign)

    def is_unanswered(self, exc: BaseException) -> bool:
        """Tell whether the handlers passed this very exception on."""
        return bool(self.unanswered) and any(exc is known for known in self.unanswered)

    def close(self) -> None:
        """Let go of the exceptions: their tracebacks hold the scope, which holds this."""
        self.crash = self.kept_crash = None
        self.foreign = self.unanswered = ()
