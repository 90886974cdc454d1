"""One request and its response, as the layers of one installation see it.

The outermost layer of an installed application puts a fresh ``Exchange`` into the scope. A layer that
finds another one there when a response comes by knows that a mounted application, installed itself,
owns that response, and stands down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Message, Receive, Scope

if TYPE_CHECKING:
    from envelope.wire.convention import Convention

#: Where the exchange of the innermost installation stands in the scope.
KEY = "envelope"


class Exchange:
    """What the layers of one installation tell each other about one response.

    Attributes:
        settled: Status and content type of a response that has its final form.
        raised: The response answers an exception; exemptions are about what endpoints return.
        displaced: A mounted application, installed itself, is at work.
        foreign: Exceptions that came out of ``send`` or ``receive``; they are nobody's to answer.
        reported: The application's own handler for ``Exception`` was told of the crash.
    """

    __slots__ = ("_outside", "convention", "displaced", "foreign", "raised", "reported", "settled")

    def __init__(self, convention: Convention, outside: Exchange | None) -> None:
        self.convention = convention
        self.displaced = False
        # Also told, not only replaced in the scope: a middleware in between may have copied the scope.
        self._outside = outside if outside is not None and outside.convention is not convention else None
        if self._outside is not None:
            self._outside.displaced = True
        self.settled: tuple[int, bytes | None] | None = None
        self.raised = False
        self.foreign: tuple[BaseException, ...] = ()
        self.reported = False

    def leave(self) -> None:
        """Give the response back to the installation outside this one."""
        if self._outside is not None:
            self._outside.displaced = False

    def owns(self, scope: Scope) -> bool:
        """Tell whether responses that come by now are this installation's to shape."""
        return not self.displaced and scope.get(KEY) is self

    def is_foreign(self, exc: BaseException) -> bool:
        """Tell whether ``exc``, or one that it groups, came out of ``send`` or ``receive``."""
        if isinstance(exc, BaseExceptionGroup):
            return any(self.is_foreign(part) for part in exc.exceptions)
        return any(exc is known for known in self.foreign)

    def watch(self, receive: Receive) -> Receive:
        """Remember what ``receive`` raises."""

        async def watched() -> Message:
            try:
                return await receive()
            except Exception as exc:
                self.foreign += (exc,)
                raise

        return watched
