"""Sends requests and reads their responses to the end; every response is shown to a witness.

Redirects are not followed and cookies are not kept: a response is what the service gave to that one request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import requests
import urllib3

from envelope.conformance.exchanges import Exchange, Fields, Request

#: The longest time that a 429 is waited for, in seconds.
LONGEST_WAIT_S = 5

#: Bodies that have no end: their heads are all that is judged.
_STREAMS = ("text/event-stream", "multipart/x-mixed-replace")

_LOOPBACK = ("127.", "localhost", "[::1]", "::1")

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
        timeout_s: For a response, from its request to its last byte.
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
            self._sleep(wait_s)
            exchange = self._exchange(request)
        return exchange

    def burst(self, request: Request, most: int) -> Exchange:
        """Send a request again and again, as fast as the responses come, until it meets a 429.

        Args:
            request: One that was sent before.
            most: So often, at least once.

        Returns:
            The 429, or the last of so many responses.
        """
        for _ in range(most):
            exchange = self._exchange(request)
            if exchange.status == HTTPStatus.TOO_MANY_REQUESTS:
                break
        return exchange

    def _exchange(self, request: Request) -> Exchange:
        try:
            exchange = self._once(request)
        except _BrokenError:
            # A server may close a connection that it kept, at any time (RFC 9112, 9.5): only a new one tells.
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
        prepared = _prepare(request)
        settings = self._session.merge_environment_settings(request.url, {}, True, None, None)
        self.sent += 1
        end_at = time.monotonic() + self._timeout_s
        try:
            response = self._session.send(prepared, timeout=self._timeout_s, allow_redirects=False, **settings)
            with response:
                body = b"" if _is_stream(response) else self._read(response, end_at)
        except requests.Timeout as error:
            raise self._late(request) from error
        except requests.RequestException as error:
            if _is_refused(error):
                raise UnreachableError(f"nobody answers at {_origin(request.url)} any more") from error
            if _is_late(error):
                raise self._late(request) from error
            raise _BrokenError(_reason(error)) from error
        except _LateError as error:
            raise self._late(request) from error
        # Not response.headers, which joins the fields of one name.
        fields = tuple((name, value) for name, value in response.raw.headers.items())
        return Exchange(request, response.status_code, fields, body)

    def _read(self, response: requests.Response, end_at: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(65536):
            body += chunk
            if time.monotonic() > end_at:
                raise _LateError
        return bytes(body)

    def _late(self, request: Request) -> NoResponseError:
        return NoResponseError(request, f"no complete response within {self._timeout_s:g} s")


class _BrokenError(Exception):
    """The connection was closed, or what came is not HTTP."""


class _LateError(Exception):
    """The body came, but did not end in time."""


def new_session(url: str) -> requests.Session:
    """Make a session for a URL; no proxy of the environment stands before this machine itself."""
    session = requests.Session()
    session.trust_env = not (urlsplit(url).hostname or "").startswith(_LOOPBACK)
    return session


def is_limited(exchange: Exchange) -> bool:
    """Tell whether a response says nothing of its operation, only that it is not the time for it."""
    return exchange.status in (423, 429, 503)


def is_field_value(value: str | bytes) -> bool:
    """Tell whether a header field can have a value (RFC 9110, 5.5)."""
    return re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", _text(value)) is not None


def _prepare(request: Request) -> requests.PreparedRequest:
    prepared = requests.PreparedRequest()
    headers = {"User-Agent": "envelope-check", "Accept": "*/*", **dict(request.headers)}
    prepared.prepare(method=request.method, url=request.url, headers=headers, data=request.body)
    return prepared


def _is_stream(response: requests.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith(_STREAMS)


def _wait_s(exchange: Exchange) -> float | None:
    """Give the seconds to wait for; None if they are too many or not told."""
    text = exchange.header("retry-after") or ""
    try:
        wait_s = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return None
    return max(wait_s, 0.0) if wait_s <= LONGEST_WAIT_S else None


def _is_refused(error: requests.RequestException) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError)


def _is_late(error: requests.RequestException) -> bool:
    # requests makes a ConnectionError of a read that lasts too long once the body has begun.
    return bool(error.args) and isinstance(error.args[0], urllib3.exceptions.ReadTimeoutError)


def _reason(error: requests.RequestException) -> str:
    """Name what is broken, without the addresses and numbers that differ between runs."""
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "the body is not in its Content-Encoding"
    text = str(error)
    for part, reason in _REASONS:
        if part in text:
            return reason
    return f"the response is not HTTP ({type(error).__name__})"


_REASONS = (
    ("IncompleteRead", "the body is shorter than was announced"),
    ("prematurely", "the body is shorter than was announced"),
    ("InvalidChunkLength", "the body is not framed as was announced"),
    ("RemoteDisconnected", "the connection was closed without a response"),
    ("Connection reset", "the connection was reset"),
    ("BadStatusLine", "the response is not HTTP"),
)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
