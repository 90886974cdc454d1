"""Maintenance: the switch between a service and its 503."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from envelope.errors.tree import ConfigurationError, ServiceUnavailableError
from envelope.maintenance.knowledge import LONGEST_WAIT_S, Knowledge
from envelope.maintenance.readings import Announcement, Reading
from envelope.maintenance.storages.opening import open_watch
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.urls import check_namespace
from envelope.wire.paths import PathPatterns

#: A request that waits longer for a reading than this is lost anyway.
_LONGEST_TIMEOUT_S = 30

#: What is raised, by the system or by client libraries, for an answer that is no.
_REFUSALS = frozenset(
    {"AuthenticationError", "ForeignKeyError", "IsADirectoryError", "PermissionError", "ResponseError"}
)


class Maintenance:
    """Takes a service offline and back: while it is on, every path that is not exempt answers 503.

    ``install(app, maintenance=maintenance)``. It is on until ``stop()``: an announced end is what clients are
    told, not a timer, so that a migration that takes longer is not exposed.

    Args:
        storage: Where it stands whether it is on: ``memory://`` for this process;
            ``file:///run/api/maintenance`` while that file exists; ``redis://``, ``rediss://``,
            ``redis+unix://``, ``redis+sentinel://``, ``redis+cluster://`` and the same with ``valkey`` for a
            fleet.
        exempt: Paths, relative to the root path, that are served as usual: ``"/health"`` is that path,
            ``"/internal/*"`` all below it.
        retry_after_s: Seconds until clients should come back, told while no end is announced, or after it has
            passed.
        timeout_s: The longest that a request, or ``is_on``, waits for the storage, if nothing is known of the last
            two seconds. When nobody waits, and to ``start``, ``stop`` and ``read``, it may answer within a second
            at the least.
        namespace: Tells services apart that share a server.

    Attributes:
        exempt: The paths that are served as usual.

    Raises:
        ConfigurationError: An option is not what it should be.
    """

    def __init__(
        self,
        storage: str = "memory://",
        *,
        exempt: Sequence[str] = (),
        retry_after_s: float = 60,
        timeout_s: float = 0.25,
        namespace: str = "",
    ) -> None:
        if not isinstance(storage, str):
            raise ConfigurationError(
                f"storage is of type {type(storage).__name__}; give a URL such as 'redis://host:6379/0'"
            )
        for name, seconds, most in (
            ("retry_after_s", retry_after_s, LONGEST_WAIT_S),
            ("timeout_s", timeout_s, _LONGEST_TIMEOUT_S),
        ):
            if (problem := _find_problem(seconds, most)) is not None:
                raise ConfigurationError(f"{name} is {seconds!r}; {problem}")
        check_namespace(namespace)
        self.exempt = PathPatterns(exempt)
        self._known = Knowledge(math.ceil(retry_after_s))
        self._watch = open_watch(storage, self._known, timeout_s=timeout_s, namespace=namespace)

    @property
    def is_on(self) -> bool:
        """Whether it is on, as far as this process knows.

        If that is older than a second, a shared storage is asked in the background. If it is older than two
        seconds, or nothing is known yet, this waits for the answer, at most ``timeout_s``; an event loop stands
        still meanwhile. Without an answer the last known state stays.
        """
        if self._watch is not None and self._known.due_at <= self._known.clock():
            self._watch.wait()
        return self._known.read is not None

    def start(self, *, retry_after_s: float | None = None) -> None:
        """Begin maintenance, or announce another end.

        This process knows at once, others within about three seconds. Where an event loop runs, it stands still
        for as long as the storage takes: ``await asyncio.to_thread(maintenance.start)``. Not for the handler of a
        signal, or of a log record.

        Args:
            retry_after_s: Seconds until the announced end; None announces none.

        Raises:
            ServiceUnavailableError: The storage did not answer; it may have been switched nevertheless.
            ValueError: ``retry_after_s`` is no time.
        """
        rest_ms = None
        if retry_after_s is not None:
            if (problem := _find_problem(retry_after_s, LONGEST_WAIT_S)) is not None:
                raise ValueError(f"retry_after_s is {retry_after_s!r}; {problem}")
            rest_ms = math.ceil(retry_after_s * 1000)
        if self._watch is None:
            before = self._known.now()
            self._known.learn(Reading(0 if before is None else before.age_ms, rest_ms))
        else:
            watch = self._watch
            _ask(
                lambda: watch.do(lambda: watch.switch.begin(rest_ms)), "whether maintenance has begun is not known"
            )

    def stop(self) -> None:
        """End maintenance; as ``start``, at once here and soon in others.

        Raises:
            ServiceUnavailableError: The storage did not answer; it may have been switched nevertheless.
        """
        if self._watch is None:
            self._known.learn(None)
        else:
            watch = self._watch
            _ask(lambda: watch.do(watch.switch.end), "whether maintenance has ended is not known")

    def read(self) -> Announcement | None:
        """Ask the storage now; None: it is off. As ``start``, synchronous.

        Raises:
            ServiceUnavailableError: The storage does not answer.
        """
        if self._watch is None:
            reading = self._known.now()
        else:
            reading = _ask(self._watch.read, "whether maintenance is on is not known")
        return None if reading is None else Announcement.of(reading)

    async def aclose(self) -> None:
        """Close connections, and end what goes on in the background; an installed application does it itself."""
        if self._watch is not None:
            await self._watch.aclose()


def _ask(question: Callable[[], Reading | None], doubt: str) -> Reading | None:
    try:
        return question()
    except StorageUnavailableError as error:
        # Not why, which may name a host: who asks may be an endpoint. It is in the log, and the cause.
        what, advice = "does not answer", "Try again."
        if any(base.__name__ in _REFUSALS for base in type(error.__cause__).__mro__):
            what, advice = "refuses", "The log says why."
        raise ServiceUnavailableError(
            f"The maintenance switch {what}; {doubt}. {advice}", retry_after=1
        ) from error


def _find_problem(seconds: object, most: float) -> str | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return "it is a number of seconds above 0"
    return None if seconds <= most else f"it is in seconds, {most} at the most"
