"""Calls a service that speaks the convention, and comes back when it says so. Copy this file; it needs httpx.

    python examples/clients/retry.py PATCH http://127.0.0.1:8000/entities/42 '{"name": "Ada"}'

* 423 and 429 are tried again, for nothing was done. After a 503, or if the network fails, nobody knows: then only
  what does no harm twice is tried again, which is a GET, a PUT, a DELETE, or what has an ``Idempotency-Key``.
* ``Retry-After`` is obeyed, as seconds or as a date, with a little more so that not all come back together.
* After ``within_s`` seconds it gives up, with what the service has said; also if it would have to wait longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

#: Doing it twice is doing it once (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

#: The longest wait, in seconds, where nothing was said; and the least, whatever was said.
LONGEST_GUESS_S, LEAST_S = 30.0, 1.0

#: After these nobody knows whether the request was served.
NETWORK_ERRORS = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class CallFailedError(Exception):
    """The service has said no.

    Attributes:
        code: The status.
        error_code: What went wrong, as a word; None if the service has none for it.
        problems: The texts; one, unless the service has listed several.
        response: All that it has said.
    """

    def __init__(self, response: httpx.Response) -> None:
        failure = read_object(response)
        message = failure.get("message", response.reason_phrase) if is_ours(response) else response.reason_phrase
        self.code = response.status_code
        self.error_code: str | None = None
        if isinstance(message, dict):
            self.error_code, message = message.get("error_code"), message.get("message")
        self.problems = [str(each) for each in message] if isinstance(message, list) else [str(message)]
        self.response = response
        super().__init__(f"{self.code}: {'; '.join(self.problems)}")


def call(client: httpx.Client, method: str, url: str, *, within_s: float = 30, **options: Any) -> Any:
    """Send a request until there is an answer that stays, and give its content.

    Args:
        client: Its timeout is that of one attempt.
        method: Of the request.
        url: Of the request.
        within_s: Seconds after which nothing is tried any more.
        options: Of ``client.build_request``: ``json=``, ``params=``, ``headers=``.

    Raises:
        CallFailedError: The service refuses, or is still busy at the end.
        httpx.TransportError: The network failed. Unless the method is idempotent, nobody knows what was done.
        ValueError: The answer is not the convention's; ask for files and pages with the client itself.
    """
    request = client.build_request(method, url, **options)
    patience = Patience(request, within_s)
    while True:
        outcome: httpx.Response | httpx.TransportError
        try:
            outcome = client.send(request)
        except NETWORK_ERRORS as error:
            outcome = error
        wait_s = patience.wait_s(outcome)
        if wait_s is None:
            return content_of(outcome)
        time.sleep(wait_s)
        patience.begin_again()


async def call_async(
    client: httpx.AsyncClient, method: str, url: str, *, within_s: float = 30, **options: Any
) -> Any:
    """Do the same as ``call``, in an event loop."""
    request = client.build_request(method, url, **options)
    patience = Patience(request, within_s)
    while True:
        outcome: httpx.Response | httpx.TransportError
        try:
            outcome = await client.send(request)
        except NETWORK_ERRORS as error:
            outcome = error
        wait_s = patience.wait_s(outcome)
        if wait_s is None:
            return content_of(outcome)
        await asyncio.sleep(wait_s)
        patience.begin_again()


class Patience:
    """Decides whether a request is sent again, and when."""

    def __init__(self, request: httpx.Request, within_s: float) -> None:
        self._request = request
        self._timeout: dict[str, float | None] = request.extensions["timeout"]
        self._deadline = time.monotonic() + within_s
        self._attempts = 0
        self.begin_again()

    def begin_again(self) -> None:
        """Give the next attempt no more time than is left."""
        left_s = max(self._deadline - time.monotonic(), 0.001)
        limits = {name: left_s if of is None else min(of, left_s) for name, of in self._timeout.items()}
        self._request.extensions["timeout"] = limits
        self._attempts += 1

    def wait_s(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Give the seconds until the next attempt; None if there is none."""
        if not may_repeat(self._request, outcome):
            return None
        told_s = retry_after_s(outcome) if isinstance(outcome, httpx.Response) else None
        if told_s is None:
            wait_s = random.uniform(0.5, 1) * min(2.0**self._attempts, LONGEST_GUESS_S)  # noqa: S311 - nothing secret
        else:
            wait_s = random.uniform(1, 1.25) * max(told_s, LEAST_S)  # noqa: S311
        return wait_s if time.monotonic() + wait_s < self._deadline else None


def may_repeat(request: httpx.Request, outcome: httpx.Response | httpx.TransportError) -> bool:
    """Tell whether sending it once more can do nothing twice, and may help."""
    if isinstance(outcome, httpx.Response) and outcome.status_code in (423, 429):
        return True
    is_unknown = not isinstance(outcome, httpx.Response) or outcome.status_code == 503
    return is_unknown and (request.method in IDEMPOTENT or "idempotency-key" in request.headers)


def retry_after_s(response: httpx.Response) -> float | None:
    """Read ``Retry-After`` (RFC 9110, 10.2.3); None if it says nothing that can be read."""
    told = response.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return float(told)
    try:
        # By the server's own clock, if it tells the time: ours may be wrong.
        now = (
            parsedate_to_datetime(response.headers["date"]).timestamp()
            if "date" in response.headers
            else time.time()
        )
        return parsedate_to_datetime(told).timestamp() - now
    except ValueError:
        return None


def content_of(outcome: httpx.Response | httpx.TransportError) -> Any:
    """Take a success out of its envelope, and raise what is none."""
    if not isinstance(outcome, httpx.Response):
        raise outcome
    if not outcome.is_success:
        raise CallFailedError(outcome)
    if not outcome.content:
        return None
    success = read_object(outcome)
    if success.get("status") != "success" or "content" not in success:
        raise ValueError(f"{outcome.request.url} answers something else than the convention's success")
    return success["content"]


def is_ours(response: httpx.Response) -> bool:
    """Tell whether the service itself says so, and not something between it and us."""
    return read_object(response).get("status") == "failure"


def read_object(response: httpx.Response) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is something else."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def main() -> None:
    """Print the content, or what the service has said instead."""
    method, url, *body = sys.argv[1:]
    with httpx.Client() as client:
        try:
            within_s = float(os.environ.get("WITHIN_S", "30"))
            options: dict[str, Any] = {"json": json.loads(body[0])} if body else {}
            if key := os.environ.get("IDEMPOTENCY_KEY"):
                options["headers"] = {"Idempotency-Key": key}
            print(json.dumps(call(client, method, url, within_s=within_s, **options)))
        except (CallFailedError, httpx.TransportError, ValueError) as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
