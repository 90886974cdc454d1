"""A switch that is a file: on while it exists. An empty one, as ``touch`` makes it, announces no end."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_to_bytes, urlsplit

from envelope.errors.tree import ConfigurationError
from envelope.events import MAINTENANCE_UNREADABLE, log_event
from envelope.maintenance.readings import Reading
from envelope.storage.errors import StorageUnavailableError

logger = logging.getLogger("envelope.maintenance")

#: A time of day is shorter than this many bytes.
_LONGEST = 64

#: What stands for content that nobody can read.
_NO_TIME = b"?"

#: The same, for a file that may not be read.
_FORBIDDEN = b"??"

#: Rights of a file that was written: the service may be another user than who switches, whatever the umask is.
_READABLE = 0o644


def path_of(url: str) -> str:
    """Give the path that a ``file:`` URL names.

    Raises:
        ConfigurationError: It names none, or nothing can be switched there.
    """
    try:
        _, host, path, query, fragment = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"storage is {url!r}, which is no URL: {error}") from None
    path = os.fsdecode(unquote_to_bytes(os.fsencode(path)))  # not every name is UTF-8
    if host or not path.startswith("/"):
        raise ConfigurationError(
            f"storage is {url!r}, which is no absolute path; write three slashes: {f'file:///{host}{path}'!r}"
        )
    if query or fragment:
        raise ConfigurationError(f"storage is {url!r}; write '?' and '#' in a path as %3F and %23")
    if "\0" in path:
        raise ConfigurationError(f"storage is {url!r}; no path holds a zero byte")
    if os.path.isdir(path):  # noqa: PTH112 - a path is a text here, as the system's own calls want it
        raise ConfigurationError(f"storage is {url!r}, which is a directory; name a file in it")
    folder = os.path.dirname(path)  # noqa: PTH120
    if not os.path.isdir(folder):  # noqa: PTH112
        raise ConfigurationError(f"storage is {url!r}, but there is no directory {folder!r}; create it first")
    return path


class FileSwitch:
    """Looks at a file, in threads: a network's file system can hang for ever.

    Args:
        path: Of the file, absolute.
        timeout_s: How long a look may take.

    Attributes:
        name: The switch in the log.
    """

    def __init__(self, path: str, timeout_s: float) -> None:
        self.name = f"file://{path}".encode(errors="backslashreplace").decode()
        self._path = path
        self._timeout_s = timeout_s
        self._thread: threading.Thread | None = None
        self._unreadable: bytes | None = None

    async def read(self) -> Reading | None:
        """Look whether the file exists, and what it says."""
        return await self._in_time(self._look)

    async def begin(self, rest_ms: int | None) -> Reading | None:
        """Put a file there that says when the end is; it is there whole, or not at all."""
        end = b"" if rest_ms is None else _write_end(rest_ms)
        return await self._in_time(lambda: self._put(end))

    async def end(self) -> Reading | None:
        """Remove the file, if it exists."""
        return await self._in_time(self._remove)

    async def aclose(self) -> None:
        """Do nothing: no file stays open."""

    async def _in_time(self, look: Callable[[], Reading | None]) -> Reading | None:
        """Do something in a thread, and wait as long as it may take. One that hangs is the only one."""
        if self._thread is not None and self._thread.is_alive():
            raise StorageUnavailableError("the file system still hangs")
        found: Future[Reading | None] = Future()
        found.set_running_or_notify_cancel()  # it is not cancelled with whoever waits

        def run() -> None:
            try:
                found.set_result(look())
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                found.set_exception(error)

        # No executor: those wait for their threads at the end of the process.
        self._thread = threading.Thread(target=run, name="envelope-maintenance-file", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise StorageUnavailableError("this process gets no thread to look at the file with") from error
        try:
            async with asyncio.timeout(self._timeout_s):
                reading = await asyncio.wrap_future(found)
        except OSError as error:  # a TimeoutError, too
            why = error.strerror or f"no answer within {self._timeout_s * 1000:g} ms"
            raise StorageUnavailableError(why) from error
        self._thread.join()  # which is at its end
        return reading

    def _look(self) -> Reading | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would block, and is a file too
        except FileNotFoundError:
            os.stat(os.path.dirname(self._target()))  # noqa: PTH116, PTH120 - without its directory nothing is known
            return None
        except PermissionError:
            content, changed_at = _FORBIDDEN, os.stat(self._path).st_mtime  # noqa: PTH116
        else:
            try:
                changed_at = os.fstat(descriptor).st_mtime
                content = _read(descriptor)
            finally:
                os.close(descriptor)
        now = datetime.now(UTC)
        return Reading(max(0, int((now.timestamp() - changed_at) * 1000)), self._read_end(content, now))

    def _read_end(self, content: bytes, now: datetime) -> int | None:
        unreadable, self._unreadable = self._unreadable, None
        if not content.strip():
            return None
        try:
            return math.ceil((datetime.fromisoformat(content.decode().strip()) - now) / timedelta(milliseconds=1))
        except (TypeError, ValueError):  # no time, or one without an offset
            self._unreadable = content
            if content != unreadable:  # once
                why = (
                    "may not be read by this user"
                    if content == _FORBIDDEN
                    else "does not hold a time like 2030-01-31T18:00:00Z"
                )
                log_event(logger, MAINTENANCE_UNREADABLE, switch=self.name, why=why)
            return None

    def _put(self, content: bytes) -> Reading | None:
        path = self._target()
        temporary = f"{path}.new"
        with suppress(FileNotFoundError):  # what somebody left who was killed
            os.unlink(temporary)  # noqa: PTH108
        try:
            _write(temporary, content)
            with suppress(FileNotFoundError):  # maintenance goes on since its beginning
                status = os.stat(path)  # noqa: PTH116
                os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108
            raise
        return self._look()

    def _remove(self) -> Reading | None:
        with suppress(FileNotFoundError):
            os.unlink(self._target())  # noqa: PTH108
        return self._look()

    def _target(self) -> str:
        # A link stays one. Followed anew each time: a volume's links are turned to its next version.
        return os.path.realpath(self._path)


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _READABLE)
    try:
        os.fchmod(descriptor, _READABLE)
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _LONGEST)
    except OSError:  # a directory, or a pipe to which somebody has not written yet
        return _NO_TIME


def _write_end(rest_ms: int) -> bytes:
    # In whole seconds, rounded up: nobody comes back too early.
    end = math.ceil(datetime.now(UTC).timestamp() + rest_ms / 1000)
    return f"{datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M:%SZ}\n".encode()
