"""One request and its response, as the layers of one installation see it.

The outermost layer of an installed application puts a fresh ``Exchange`` into the scope. A layer that
finds another one there when a response comes by knows that a mounted application, installed itself,
owns that response, and stands down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Message, Scope

from envelope.wire.head import Head

if TYPE_CHECKING:
    from envelope.wire.convention import Convention

#: Where the exchange of the innermost installation stands in the scope.
KEY = "envelope"

# Not None, which a start message without headers would be.
_NONE = object()


class Exchange:
    """What the layers of one installation tell each other about one response.

    Attributes:
        unanswered: Exceptions that the handlers passed on; they are not asked about them again.
        crashed: The response answers a crash, which is raised after it.
        crash_answer: The messages of that response, for the framework to send when it gets the crash.
        raised: The response answers an exception; exemptions are about what endpoints return.
        displaced: A mounted application, installed itself, is at work.
        foreign: Exceptions that came out of ``send`` or ``receive``; they are nobody's to answer.
        reported: The application's own handler for ``Exception`` was told of the crash.
    """

    # Defaults of the class: one exchange is made for each request, and most set none of these.
    crash_answer: tuple[Message, ...] = ()
    crashed = False
    displaced = False
    foreign: tuple[BaseException, ...] = ()
    raised = False
    reported = False
    unanswered: tuple[BaseException, ...] = ()
    _final_headers: object = _NONE
    _outside: Exchange | None = None
    settled: tuple[int, bytes | None, int | None] | None = None
    _used = False

    def __init__(self, convention: Convention, outside: Exchange | None) -> None:
        self.convention = convention
        if outside is not None and outside.convention is not convention:
            # Also told, not only replaced in the scope: a middleware in between may have copied the scope.
            self._outside = outside
            self.enter()

    def start(self) -> None:
        """Begin with a response; forget the one before it, if a middleware tries the request again."""
        if self._used:
            self.unanswered = self.crash_answer = ()
            self.crashed = self.raised = self.reported = False
            self.unsettle()
        self._used = True

    def enter(self) -> None:
        """Take the response over from the installation outside this one."""
        if self._outside is not None:
            self._outside.displaced = True

    def leave(self) -> None:
        """Give the response back to the installation outside this one."""
        if self._outside is not None:
            self._outside.displaced = False

    def owns(self, scope: Scope) -> bool:
        """Tell whether responses that come by now are this installation's to shape."""
        return not self.displaced and scope.get(KEY) is self

    def settle(self, status: int, content_type: bytes | None, length: int | None = None) -> None:
        """Note that the response with this head has its final form; outer layers let it pass.

        Args:
            status: Of the response.
            content_type: Of the response.
            length: Of the body; None if whatever body comes under this head is final.
        """
        self.settled = (status, content_type, length)

    def settle_failure(self, start: Message, content_type: bytes, length: int) -> None:
        """Note that a failure was written in the convention, so that the layers know it at a glance."""
        self._final_headers = start["headers"]
        self.settle(start["status"], content_type, length)

    def is_final(self, start: Message) -> bool:
        """Tell whether this is the head of that failure, which no middleware has replaced."""
        return (
            self.settled is not None
            and start.get("headers") is self._final_headers
            and start["status"] == self.settled[0]
        )

    def unsettle(self) -> None:
        """Note that another response comes in the place of the one that was settled."""
        self.settled = None
        self._final_headers = _NONE

    def is_settled(self, head: Head) -> bool:
        """Tell whether a layer of this installation gave the response its final form."""
        status, content_type, length = self.settled or (0, None, None)
        return status == head.status and content_type == head.content_type and length in (None, head.length)

    def is_unanswered(self, exc: BaseException) -> bool:
        """Tell whether the handlers passed this very exception on."""
        return bool(self.unanswered) and any(exc is known for known in self.unanswered)

    def is_foreign(self, exc: BaseException) -> bool:
        """Tell whether ``exc``, or one that it groups, came out of ``send`` or ``receive``."""
        if not self.foreign:
            return False
        if isinstance(exc, BaseExceptionGroup):
            return any(self.is_foreign(part) for part in exc.exceptions)
        return any(exc is known for known in self.foreign)
