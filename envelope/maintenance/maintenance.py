"""Maintenance: the switch between a service and its 503."""

from __future__ import annotations

import math
from collections.abc import Sequence

from envelope.errors.tree import ConfigurationError, ServiceUnavailableError
from envelope.maintenance.knowledge import Knowledge
from envelope.maintenance.readings import Announcement, Reading
from envelope.maintenance.storages.opening import open_watch
from envelope.maintenance.watch import Act, Watch
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.urls import check_namespace
from envelope.wire.paths import PathPatterns

#: The longest wait that clients are told, in seconds: a year.
_LONGEST_S = 366 * 86_400

#: A request that waits longer for a reading than this is lost anyway.
_LONGEST_TIMEOUT_S = 30


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
        timeout_s: The longest that a request waits for the storage, if nothing is known of the last seconds. When
            nobody waits, and to ``start``, ``stop`` and ``read``, it may answer within a second at the least.
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
            ("retry_after_s", retry_after_s, _LONGEST_S),
            ("timeout_s", timeout_s, _LONGEST_TIMEOUT_S),
        ):
            if (problem := _find_problem(seconds, most)) is not None:
                raise ConfigurationError(f"{name} is {seconds!r}; {problem}")
        check_namespace(namespace)
        self.exempt = PathPatterns(exempt)
        #: What this process knows.
        self.known = Knowledge()
        self._retry_after_s = math.ceil(retry_after_s)
        self._watch = open_watch(storage, self.known, timeout_s=timeout_s, namespace=namespace)

    @property
    def is_on(self) -> bool:
        """What this process knows; if that is older than a second, a shared storage is asked in the background."""
        if self._watch is not None:
            self._watch.look()
        return self.known.read is not None

    def start(self, *, retry_after_s: float | None = None) -> None:
        """Begin maintenance, or announce another end.

        This process knows at once, others within a second or so. Where an event loop runs, it stands still for
        as long as the storage takes: ``await asyncio.to_thread(maintenance.start)``.

        Args:
            retry_after_s: Seconds until the announced end; None announces none.

        Raises:
            ServiceUnavailableError: The storage did not answer; it may have been switched nevertheless.
            ValueError: ``retry_after_s`` is no time.
        """
        rest_ms = None
        if retry_after_s is not None:
            if (problem := _find_problem(retry_after_s, _LONGEST_S)) is not None:
                raise ValueError(f"retry_after_s is {retry_after_s!r}; {problem}")
            rest_ms = math.ceil(retry_after_s * 1000)
        if self._watch is None:
            before = self.known.now()
            self.known.learn(Reading(0 if before is None else before.age_ms, rest_ms))
        else:
            switch = self._watch.switch
            _do(self._watch, lambda: switch.begin(rest_ms), "whether maintenance has begun is not known")

    def stop(self) -> None:
        """End maintenance; as ``start``, at once here and soon in others.

        Raises:
            ServiceUnavailableError: The storage did not answer; it may have been switched nevertheless.
        """
        if self._watch is None:
            self.known.learn(None)
        else:
            _do(self._watch, self._watch.switch.end, "whether maintenance has ended is not known")

    def read(self) -> Announcement | None:
        """Ask the storage now; None: it is off. As ``start``, synchronous.

        Raises:
            ServiceUnavailableError: The storage does not answer.
        """
        if self._watch is None:
            reading = self.known.now()
        else:
            reading = _do(self._watch, self._watch.switch.read, "whether maintenance is on is not known")
        return None if reading is None else Announcement.of(reading)

    def wait_s(self) -> int:
        """Give the whole seconds that clients are told, at least 1."""
        reading = self.known.now()
        if reading is None or reading.rest_ms is None or reading.rest_ms <= 0:
            return self._retry_after_s
        return -(-reading.rest_ms // 1000)

    def look(self) -> None:
        """See to it that this process soon knows whether maintenance is on."""
        if self._watch is not None:
            self._watch.look()

    async def catch_up(self) -> None:
        """See to it that this process knows, once ``known.due_at`` has come; waits only if nothing is known."""
        if self._watch is not None:
            await self._watch.catch_up()

    async def aclose(self) -> None:
        """Close connections, and end what goes on in the background; an installed application does it itself."""
        if self._watch is not None:
            await self._watch.aclose()


def _do(watch: Watch, act: Act, doubt: str) -> Reading | None:
    try:
        return watch.do(act)
    except StorageUnavailableError as error:
        # Not why, which may name a host: who asks may be an endpoint. It is in the log, and the cause.
        raise ServiceUnavailableError(
            f"The maintenance switch does not answer; {doubt}. Try again.", retry_after=1
        ) from error


def _find_problem(seconds: object, most: float) -> str | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return "it is a number of seconds above 0"
    return None if seconds <= most else f"it is in seconds, {most} at the most"
