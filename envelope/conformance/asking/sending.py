"""Sends requests and reads their responses to the end; every response is shown to a witness.

Redirects are not followed and cookies are not kept: a response is what the service gave to that one request.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http import HTTPMethod, HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from envelope.conformance.exchanges import Exchange, Fields, Request

#: The longest time that a 429 is waited for, in seconds.
LONGEST_WAIT_S = 5

#: Bodies that may have no end: their heads are all that is judged.
_STREAMS = (
    "text/event-stream",
    "multipart/x-mixed-replace",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-seq",
)

#: No body is read beyond so many bytes.
_LARGEST = 16 * 1024 * 1024

#: Of a body, at a time.
_CHUNK = 64 * 1024

#: May be sent again if a connection breaks (RFC 9110, 9.2.2; RFC 4918, 9.1).
_REPEATABLE = frozenset(
    {HTTPMethod.GET, HTTPMethod.HEAD, HTTPMethod.OPTIONS, HTTPMethod.PUT, HTTPMethod.DELETE, "PROPFIND"}
)

#: What ``requests`` adds by itself. curl adds its own, so the curl line of a finding stays short.
_ADDED = frozenset({"accept-encoding", "connection", "content-length", "user-agent", "x-schemathesis-testcaseid"})


class NoResponseError(Exception):
    """A request was not answered, or not to the end.

    Args:
        request: As it was sent.
        reason: In a few words.
    """

    def __init__(self, request: Request, reason: str) -> None:
        super().__init__(reason)
        self.request = request
        self.reason = reason


class UnreachableError(Exception):
    """Nobody listens where the service was."""


class TimeIsUpError(Exception):
    """The run has lasted as long as it may."""


class Sender:
    """Sends requests to one service.

    Args:
        base_url: Where its operations are, without a slash at the end.
        headers: Sent with every request, instead of fields of the same name; their values stand in no report.
        timeout_s: For the head of a response, for each part of its body, and for its body as a whole.
        max_time_s: For all requests together.
        witness: Is shown every exchange.
        sleep: Waits for so many seconds.

    Attributes:
        sent: How many requests were sent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Fields = (),
        timeout_s: float = 10,
        max_time_s: float = 600,
        witness: Callable[[Exchange], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url
        self.sent = 0
        self._headers = headers
        self._secrets = frozenset(name.lower() for name, _ in headers)
        self._timeout_s = timeout_s
        self._stop_at = time.monotonic() + max_time_s
        self._witness = witness
        self._sleep = sleep
        self._session = new_session(base_url)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, method: str, path: str, *, headers: Fields = (), body: bytes | None = None) -> Request:
        """Make a request; ``path`` is below the base URL, percent-encoded, with its query."""
        return Request(
            method=method,
            url=self.base_url + path,
            path=path.partition("?")[0],
            headers=headers,
            body=body,
        )

    def from_prepared(self, prepared: requests.PreparedRequest) -> Request:
        """Make a request of one that ``requests`` prepared, without what it adds by itself."""
        body = prepared.body
        return self.request(
            prepared.method or "GET",
            (prepared.url or "").removeprefix(self.base_url),
            headers=tuple(
                (name, _text(value))
                for name, value in prepared.headers.items()
                if name.lower() not in _ADDED and (name.lower(), value) != ("accept", "*/*")
            ),
            body=body.encode() if isinstance(body, str) else body,
        )

    def send(self, request: Request, *, with_credentials: bool = True) -> Exchange:
        """Send a request and show the witness what came.

        A 429 that asks for a short time is waited for, once.

        Args:
            request: Its method, URL, header fields and body are sent as they are.
            with_credentials: Whether the user's header fields are sent.

        Raises:
            NoResponseError: No response came, or none that is complete.
            UnreachableError: Nobody listens.
            TimeIsUpError: The run has lasted as long as it may.
        """
        own = tuple((name, value) for name, value in request.headers if name.lower() not in self._secrets)
        headers = own + self._headers if with_credentials else own
        request = replace(request, headers=headers, secrets=self._secrets)
        exchange = self._exchange(request)
        wait_s = _wait_s(exchange)
        if exchange.status == HTTPStatus.TOO_MANY_REQUESTS and wait_s is not None:
            self._sleep(min(wait_s, max(0.0, self._stop_at - time.monotonic())))
            exchange = self._exchange(request)
        return exchange

    def burst(self, request: Request, most: int) -> tuple[Exchange, Exchange]:
        """Send a request again and again, as fast as the responses come, until it meets a 429.

        Args:
            request: One that was sent before.
            most: So often, at least once.

        Returns:
            The first response, and the 429 or the last of so many.
        """
        first = last = self._exchange(request)
        for _ in range(most - 1):
            if last.status == HTTPStatus.TOO_MANY_REQUESTS:
                break
            last = self._exchange(request)
        return first, last

    def _exchange(self, request: Request) -> Exchange:
        # A server may close a connection that it kept, at any time (RFC 9112, 9.5): only a new one tells.
        is_repeatable = request.method in _REPEATABLE
        if not is_repeatable:
            self._session.close()
        try:
            exchange = self._once(request)
        except _BrokenError as broken:
            if not is_repeatable:
                raise NoResponseError(request, str(broken)) from broken
            self._session.close()
            try:
                exchange = self._once(request)
            except _BrokenError as error:
                raise NoResponseError(request, str(error)) from error
        self._witness(exchange)
        return exchange

    def _once(self, request: Request) -> Exchange:
        if time.monotonic() > self._stop_at:
            raise TimeIsUpError
        self.sent += 1
        headers = {"User-Agent": "envelope-check", "Accept": "*/*", **dict(request.headers)}
        prepared = _prepare(request.method, request.url, headers, request.body)
        try:
            status, fields, body = _round_trip(self._session, prepared, self._timeout_s, _LARGEST)
        except requests.Timeout as error:
            raise self._late(request) from error
        except TooLargeError as error:
            raise NoResponseError(request, f"{error}, and was not read on") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if _is_refused(error):
                raise UnreachableError(f"nobody answers at {_origin(request.url)} any more") from error
            raise _BrokenError(_reason(error)) from error
        return Exchange(request, status, fields, body)

    def _late(self, request: Request) -> NoResponseError:
        return NoResponseError(request, f"no complete response within {self._timeout_s:g} s")


class _BrokenError(Exception):
    """The connection was closed, or what came is not HTTP."""


class TooLargeError(Exception):
    """A body is longer than was to be read."""


def fetch(url: str, headers: Fields, timeout_s: float, most: int) -> tuple[int, Fields, bytes]:
    """Get something by a connection of its own.

    Args:
        url: Where it is.
        headers: Sent with the request, and nothing else of the user's: no credentials of a netrc, no cookies.
        timeout_s: For its head, and for its body.
        most: Bytes that the body may have.

    Returns:
        Status, header fields and body.

    Raises:
        requests.RequestException: Nothing came; ``requests.Timeout`` if not in time.
        TooLargeError: The body is longer.
    """
    with new_session(url) as session:
        try:
            return _round_trip(session, _prepare("GET", url, dict(headers), None), timeout_s, most)
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(_reason(error)) from error


def _round_trip(
    session: requests.Session, prepared: requests.PreparedRequest, timeout_s: float, most: int
) -> tuple[int, Fields, bytes]:
    settings: Any = session.merge_environment_settings(prepared.url or "", {}, True, None, None)
    end_at = time.monotonic() + timeout_s
    # Not through the session: it reads where a redirect would lead, and fails if that cannot be read.
    with session.get_adapter(prepared.url or "").send(prepared, timeout=timeout_s, **settings) as response:
        # Not response.headers, which joins the fields of one name.
        fields = tuple((name, value) for name, value in response.raw.headers.items())
        body = bytearray()
        try:
            # As much as is there, because a part may be long in coming.
            while not _is_stream(response) and (chunk := response.raw.read1(_CHUNK, decode_content=True)):
                body += chunk
                if time.monotonic() > end_at:
                    raise requests.ReadTimeout
                if len(body) > most:
                    raise TooLargeError(f"the body is longer than {most // 1024**2} MiB")
        except urllib3.exceptions.ReadTimeoutError as error:
            raise requests.ReadTimeout from error
        return response.status_code, fields, bytes(body)


def new_session(url: str) -> requests.Session:
    """Make a session for a URL; no proxy of the environment stands before this machine itself."""
    session = requests.Session()
    host = urlsplit(url).hostname or ""
    session.trust_env = not (host in ("localhost", "::1") or host.startswith("127."))
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    return session


def is_limited(exchange: Exchange) -> bool:
    """Tell whether a response says nothing of its operation, only that it is not the time for it."""
    return exchange.status in (423, 429, 503)


def is_field_value(value: str | bytes) -> bool:
    """Tell whether a header field can have a value (RFC 9110, 5.5)."""
    return re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", _text(value)) is not None


def _prepare(method: str, url: str, headers: dict[str, str], body: bytes | None) -> requests.PreparedRequest:
    prepared = requests.PreparedRequest()
    prepared.prepare(method=method, url=url, headers=headers, data=body)
    return prepared


def _is_stream(response: requests.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith(_STREAMS)


def _wait_s(exchange: Exchange) -> float | None:
    """Give the seconds to wait for; None if they are too many or not told."""
    text = exchange.header("retry-after") or ""
    try:
        wait_s = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(wait_s, 0.0) if wait_s <= LONGEST_WAIT_S else None


def _is_refused(error: Exception) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError)


def _reason(error: Exception) -> str:
    """Name what is broken, without the addresses and numbers that differ between runs."""
    if isinstance(error, urllib3.exceptions.DecodeError):
        return "the body is not in its Content-Encoding"
    text = str(error)
    for part, reason in _REASONS:
        if part in text:
            return reason
    return f"the response is not HTTP ({type(error).__name__})"


_REASONS = (
    ("IncompleteRead", "the body is shorter than was announced, or framed otherwise"),
    ("RemoteDisconnected", "the connection was closed without a response"),
    ("Connection reset", "the connection was reset"),
    ("BadStatusLine", "the response is not HTTP"),
)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
