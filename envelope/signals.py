"""Signals: what the parts of this library tell whoever measures them.

At most one listener is told, in the whole process: guards also work where there is no application, in workers and
scripts. Without one the parts compare with None and go on. ``envelope.telemetry`` has the listener for
OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

#: ``granted`` has the objects, ``refused`` was told 423, ``unavailable`` had no answer of the storage.
LockOutcome = Literal["granted", "refused", "unavailable"]

#: How a lease ends for whoever has it.
LeaseEnd = Literal["released", "handed_off", "lost"]

#: Why a lease is lost.
LossCause = Literal["max_hold", "not_renewed", "taken", "broken", "late_release", "late_hand_off"]

#: ``missed``: somebody came with a token that is not to be had any more.
HandOff = Literal["offered", "claimed", "missed", "withdrawn"]

#: ``failed`` is no answer in time, no connection, or an error; ``abandoned``: nobody waits for it any more.
Answer = Literal["answered", "failed", "abandoned"]

#: ``shadow`` would have been refused; ``unchecked`` was admitted, and ``unavailable`` answered with 503, because
#: the storage did not answer.
Decision = Literal["admitted", "refused", "shadow", "unchecked", "unavailable"]


class Listener(Protocol):
    """What is told. Nothing may be raised, and nothing awaited; calls come from any thread."""

    def request(self) -> AbstractContextManager[None]:
        """Stand around a request, so that what is told meanwhile is known to belong to it."""

    def failure(self, status: int, error_code: str | None) -> None:
        """Hear of a failure that is sent."""

    def decision(self, policy: str, outcome: Decision, *, share_left: float | None, is_local: bool) -> None:
        """Hear what a rate limit said about a request.

        Args:
            policy: ``"20/second"``, with the scope behind it if there is one.
            outcome: What became of the request, as far as this limit goes.
            share_left: What is left of the quota, 0 to 1; None if nothing was counted.
            is_local: Was counted in this process, because the storage did not answer.
        """

    def lock(self, operation: str, keys: Sequence[str], outcome: LockOutcome, seconds: float) -> None:
        """Hear how an attempt to take objects ended, and how long that took."""

    def refusal(self, key: str, held_for: str, *, age_s: float, retry_after_s: int) -> None:
        """Hear which operation has the object that somebody was refused, for how long, and when to come back."""

    def lease_end(self, operation: str, end: LeaseEnd, seconds: float) -> None:
        """Hear how long objects were held."""

    def loss(self, operation: str, cause: LossCause) -> None:
        """Hear that a lease was lost."""

    def hand_off(self, outcome: HandOff) -> None:
        """Hear what became of a token."""

    def storage(self, guard: str, name: str, answer: Answer, seconds: float) -> None:
        """Hear how long a storage took."""

    def breaker(self, guard: str, name: str, *, is_open: bool) -> None:
        """Hear that a storage is not asked any more, or asked again."""


#: Who is told; None: nobody.
listener: Listener | None = None


def listen(new: Listener | None) -> None:
    """Tell somebody from now on, in the place of whoever was told before; None: nobody."""
    global listener  # noqa: PLW0603 - read by every part, written when a process begins
    listener = new
