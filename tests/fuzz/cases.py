"""Cases: one request, what the network does to it, and what the endpoint does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import HTTPException
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope

from envelope import (
    ApiError,
    BadRequestError,
    ConflictError,
    LeaseLostError,
    ObjectLockedError,
    RateLimitedError,
    ServiceUnavailableError,
    UnauthorizedError,
)
from tests.fuzz.choices import Choices

#: Stands in every text that no client may read.
SECRET = "hush-4711"

#: Where an endpoint finds what it is to do.
SCRIPT = "fuzz.script"


class DomainError(Exception):
    """Has a rule in the ``ErrorMap``."""


class UnruledError(Exception):
    """Has a rule that fails."""


@dataclass
class Script:
    """What the endpoint does.

    Attributes:
        value: What it returns.
        status: With which status.
        headers: Of its response.
        messages: What a raw ASGI endpoint sends; an exception is raised.
        raises: What it raises, before it returns.
        raises_late: What it raises in the middle of a stream, or after the answer.
        chunks: Of a stream.
        keys: What it locks.
        raised: What was raised, so that it can be told from what the service makes itself.
    """

    value: Any
    status: int
    headers: list[tuple[bytes, bytes]]
    messages: list[Message | BaseException]
    raises: BaseException | None
    raises_late: BaseException | None
    chunks: list[bytes]
    keys: list[str]
    raised: list[BaseException] = field(default_factory=list)


@dataclass
class Case:
    """One request.

    Attributes:
        scope: Of the request.
        incoming: What ``receive`` gives; an exception is raised.
        send_fails_at: The message at which the client is gone; None: never.
    """

    scope: Scope
    incoming: list[Message | BaseException]
    send_fails_at: int | None
    script: Script


def make_case(source: bytes) -> Case:
    """Make the case that these bytes stand for."""
    choices = Choices(source)
    script = _script(choices)
    scope = _scope(choices)
    scope[SCRIPT] = script
    sends = choices.number(6) + 1 if choices.chance(12) else None
    return Case(scope, _incoming(choices, scope["type"]), sends, script)


PATHS = (
    "/json",
    "/asgi",
    "/stream",
    "/model",
    "/guarded/1",
    "/guarded/x",
    "/held",
    "/depends/2",
    "/limited",
    "/sync",
    "/yield",
    "/background",
    "/plain",
    "/raw",
    "/exempt/a",
    "/exempt",
    "/sub/json",
    "/sub/asgi",
    "/starlette/asgi",
    "/starlette/nowhere",
    "/form",
    "/class",
    "/unlimited",
    "/nowhere",
    "/",
    "/docs",
    "/openapi.json",
    "/socket",
    "/socket-guarded/1",
)

_METHODS = (
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "QUERY",
    "CONNECT",
    "PROPFIND",
    "gEt",
)
_ODD = (
    "",
    "/",
    "//",
    "..",
    "/../",
    "%2F",
    "%00",
    "\x00",
    "\n",
    " ",
    "é",
    "\u202e",
    "\U0001f600",
    "a" * 300,
    "{",
    "*",
)

_FIELDS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"accept", (b"*/*", b"text/html", b"application/json;q=0.1", b",".join([b"a/b;q=0.1"] * 200), b"\xff")),
    (b"accept-encoding", (b"gzip", b"gzip;q=0", b"br", b"identity")),
    (b"authorization", (b"Bearer x", b"Basic eDp5", b"")),
    (b"access-control-request-method", (b"GET", b"")),
    (b"content-length", (b"2", b"0", b"-1", b"1e3", b"99999999999999999999", b"2, 2")),
    (
        b"content-type",
        (
            b"application/json",
            b"application/json; charset=utf-16",
            b"text/plain",
            b"multipart/form-data; boundary=x",
            b"multipart/form-data",
            b"application/x-www-form-urlencoded",
            b";;;",
        ),
    ),
    (b"cookie", (b"a=b", b"=;=;" * 50)),
    (b"expect", (b"100-continue",)),
    (b"host", (b"api.example", b"", b"a:b:c", b"\xff\xff")),
    (b"if-none-match", (b"*", b'"x"')),
    (b"origin", (b"https://app.example", b"null", b"https://evil.example")),
    (b"range", (b"bytes=0-1", b"bytes=9-1")),
    (b"transfer-encoding", (b"chunked", b"gzip, chunked")),
    (
        b"x-forwarded-for",
        (b"203.0.113.7", b"::1", b"10.0.0.1, 10.0.0.2", b",,,", b"a" * 400, b"10.0.0.1," * 40, b"\xff"),
    ),
    (b"x-number", (b"1", b"one", b"", b"1" * 5000)),
)

_CLIENTS: tuple[Any, ...] = (
    ("10.0.0.1", 1),
    None,
    ("192.0.2.9", 2),
    ("", 0),
    ("unknown", 0),
    ("2001:db8::1", 3),
    ("h" * 300, 4),
)

_BODIES = (
    b'{"name":"a","amount":1}',
    b"",
    b"{",
    b"null",
    b'{"name":1,"amount":"x","secret":"hush-4711","nested":{"deep":[1,"x"]}}',
    b"[" * 2000,
    b'{"amount":' + b"9" * 5000 + b"}",
    b'{"amount":1e999,"name":"\\ud800"}',
    b"\xff\xfe",
    b"a=b&name=x&amount=1",
    b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nv\r\n--x--\r\n',
    b'{"name":"a","amount":1,"kind":"nope","union":{"x":"y"}}',
)


def _scope(choices: Choices) -> Scope:
    kind = "websocket" if choices.chance(12) else "http"
    path = choices.pick(PATHS)
    if choices.chance(4):
        path = _odd_path(choices, path)
    root_path = choices.pick(("", "", "", "/api", "/json", "/", "\x00"))
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": choices.pick(("2.5", "2.3", "2.0"))},
        "http_version": choices.pick(("1.1", "2", "1.0")),
        "scheme": choices.pick(("http", "https", "ws")),
        "path": root_path + path if choices.chance(3) else path,
        "raw_path": choices.blob(20) if choices.chance(5) else path.encode(errors="replace"),
        "query_string": choices.pick((b"", b"number=1", b"number=x", b"%ff=%00&=&&", b"n" * 500, b"\xff")),
        "root_path": root_path,
        "headers": _request_headers(choices),
        "client": choices.pick(_CLIENTS),
        "server": choices.pick((("testserver", 80), None, ("/run/api.sock", None))),
        "state": {},
    }
    if kind == "http":
        scope["method"] = choices.pick(_METHODS)
        scope["extensions"] = choices.pick(({}, {"http.response.trailers": {}, "http.response.early_hint": {}}))
    else:
        scope["subprotocols"] = []
        scope["extensions"] = choices.pick(({}, {"websocket.http.response": {}}))
    return scope


def _odd_path(choices: Choices, path: str) -> str:
    how = choices.number(3)
    odd = choices.pick(_ODD)
    if how == 0:
        return path + odd
    if how == 1:
        return path.upper()
    if how == 2:
        return "/" + odd + path
    return "/" + choices.blob(30).decode("utf-8", "replace")


def _request_headers(choices: Choices) -> list[tuple[bytes, bytes]]:
    headers = []
    for _ in range(choices.number(5)):
        name, values = choices.pick(_FIELDS)
        headers.append((name, choices.blob(40) if choices.chance(6) else choices.pick(values)))
    return headers


def _incoming(choices: Choices, kind: str) -> list[Message | BaseException]:
    if kind == "websocket":
        return [{"type": "websocket.connect"}, *_frames(choices), {"type": "websocket.disconnect", "code": 1000}]
    body = choices.blob(60) if choices.chance(4) else choices.pick(_BODIES)
    cut = choices.number(min(len(body), 200)) if choices.chance(3) else len(body)
    incoming: list[Message | BaseException] = [
        {"type": "http.request", "body": body[:cut], "more_body": cut < len(body)}
    ]
    if cut < len(body):
        incoming.append({"type": "http.request", "body": body[cut:]})
    trouble = choices.number(15)
    if trouble == 1:
        incoming[-1] = {"type": "http.disconnect"}
    elif trouble == 2:
        incoming.insert(0, OSError("the network"))
    elif trouble == 3:
        incoming = [{"type": "http.request"}]
    return incoming


def _frames(choices: Choices) -> list[Message | BaseException]:
    frames: tuple[Message, ...] = (
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.receive", "bytes": b"\xff"},
        {"type": "websocket.receive", "text": None, "bytes": b"x"},
    )
    return list(choices.some(frames, 2))


_VALUES: tuple[Any, ...] = (
    {"id": 1},
    None,
    [],
    "text",
    0,
    True,
    {"status": "success", "content": 1},
    {"code": 200, "message": "x", "status": "failure"},
    {"detail": "d"},
    {"detail": [{"type": "missing", "loc": ["body", "a"], "msg": "m", "input": "hush-4711"}]},
    [1.5, {"a": ["b"]}],
    "\u2028</script>",
    {"big": "x" * 3000},
)

_STATUSES = (
    200,
    201,
    202,
    204,
    205,
    206,
    207,
    226,
    299,
    301,
    304,
    400,
    404,
    409,
    418,
    422,
    423,
    429,
    499,
    500,
    503,
    599,
)

_RESPONSE_FIELDS = (
    (b"x-one", b"1"),
    (b"X-Upper", b"2"),
    (b"set-cookie", b"a=b"),
    (b"set-cookie", b"c=d"),
    (b"etag", b'"e"'),
    (b"cache-control", b"no-transform"),
    (b"cache-control", b"public, max-age=5"),
    (b"content-encoding", b"br"),
    (b"content-encoding", b"identity"),
    (b"content-range", b"bytes 0-1/2"),
    (b"content-disposition", b"attachment"),
    (b"digest", b"x"),
    (b"trailer", b"x"),
    (b"transfer-encoding", b"chunked"),
    (b"retry-after", b"0"),
    (b"retry-after", b"Wed, 21 Oct 2099 07:28:00 GMT"),
    (b"retry-after", b"soon"),
    (b"retry-after", b"1e400"),
    (b"accept-ranges", b"bytes"),
    (b"vary", b"*"),
    (b"ratelimit", b"mine"),
    (b"x-ratelimit-limit", b"mine"),
    (b"www-authenticate", b"Bearer"),
    (b"access-control-allow-origin", b"*"),
)

_TYPES = (
    b"application/json",
    b"application/json; charset=utf-8",
    b"application/json; charset=latin-1",
    b"application/problem+json",
    b"application/vnd.api+json",
    b"text/plain",
    b"text/plain; charset=zip",
    b"text/html",
    b"text/event-stream",
    b"application/octet-stream",
    b"",
    b"\xff",
)

_PARTS = (
    b'{"id":1}',
    b"",
    b"[1,",
    b"2]",
    b"null",
    b" ",
    b"\xef\xbb\xbf",
    b"\xef\xbb\xbf[1]",
    b"text",
    b"\xff",
    b'"' + b"x" * 2000 + b'"',
)

_DETAILS: tuple[Any, ...] = (
    "said",
    {"why": ["it", 1]},
    ["a", "b"],
    None,
    "",
    "\ud800",
    "a\r\nX-Injected: yes",
    float("nan"),
    b"\xff",
    object(),
    {"a": {"b": {"c": [[]]}}},
)

_ERRORS: tuple[Callable[[Any], BaseException], ...] = (
    lambda _: RuntimeError(SECRET),
    lambda detail: HTTPException(418, detail),
    lambda detail: StarletteHTTPException(404, detail if isinstance(detail, str) else "x"),
    lambda _: HTTPException(304),
    lambda _: HTTPException(204),
    lambda detail: HTTPException(401, detail, {"WWW-Authenticate": "Bearer"}),
    lambda _: BadRequestError(["one", "two"], error_code="invalid_input"),
    lambda detail: ConflictError(detail, error_code="taken"),
    lambda _: ObjectLockedError(retry_after=-3),
    lambda _: RateLimitedError(retry_after=float("inf")),
    lambda _: ServiceUnavailableError(),
    lambda _: UnauthorizedError(headers={"WWW-Authenticate": "Bearer", "X-É": "ü"}),
    lambda _: ApiError("odd", headers={"X-Bad": "\u2603"}),
    lambda _: DomainError(SECRET),
    lambda _: UnruledError(SECRET),
    lambda _: LeaseLostError(),
    lambda _: ExceptionGroup("g", [DomainError(SECRET)]),
    lambda _: ExceptionGroup("g", [RuntimeError(SECRET), DomainError(SECRET)]),
    lambda _: KeyError(SECRET),
    lambda _: RecursionError(SECRET),
    lambda _: ClientDisconnect(),
    lambda _: TimeoutError(SECRET),
)


def _script(choices: Choices) -> Script:
    messages = _messages(choices)
    return Script(
        value=choices.pick(_VALUES),
        status=choices.pick(_STATUSES),
        headers=choices.some(_RESPONSE_FIELDS, 3),
        messages=messages,
        raises=_error(choices) if choices.chance(3) else None,
        raises_late=_error(choices) if choices.chance(5) else None,
        chunks=choices.some(_PARTS, 4),
        keys=choices.some(("a", "b", "a:b"), 2),
    )


def _error(choices: Choices) -> BaseException:
    return choices.pick(_ERRORS)(choices.pick(_DETAILS))


def _messages(choices: Choices) -> list[Message | BaseException]:
    """Make what a raw ASGI endpoint sends; mostly one lawful response, whose length may be told wrongly."""
    headers = choices.some(_RESPONSE_FIELDS, 3)
    kind = choices.pick(_TYPES)
    if kind:
        headers.insert(0, (b"content-type", kind))
    parts = [choices.blob(30) if choices.chance(8) else part for part in choices.some(_PARTS, 4)] or [
        json.dumps(choices.pick(_VALUES)).encode()
    ]
    length = sum(map(len, parts))
    told = choices.number(5)
    if told in (1, 2):
        headers.append((b"Content-Length" if told == 2 else b"content-length", b"%d" % length))
    elif told == 3:
        headers.append((b"content-length", choices.pick((b"0", b"x", b"-1", b"7", b"9" * 30))))
    start: Message = {"type": "http.response.start", "status": choices.pick(_STATUSES), "headers": headers}
    bodies: list[Message] = [{"type": "http.response.body", "body": part, "more_body": True} for part in parts]
    bodies[-1] = {**bodies[-1], "more_body": False}
    messages: list[Message | BaseException] = [start, *bodies]
    if choices.chance(4):
        return _disturbed(choices, messages)
    return messages


def _disturbed(choices: Choices, messages: list[Message | BaseException]) -> list[Message | BaseException]:
    """Make a schedule of what no server asked for."""
    more: tuple[Message | BaseException, ...] = (
        {"type": "http.response.body", "body": b""},
        {"type": "http.response.body"},
        {"type": "http.response.start", "status": 200},
        {"type": "http.response.start", "status": 103, "headers": []},
        {"type": "http.response.trailers", "headers": [(b"digest", b"x")], "more_trailers": False},
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        {"type": "http.response.pathsend", "path": "/dev/null"},
        {"type": "http.response.zerocopysend", "file": 0},
        {"type": "http.response.unheard-of"},
    )
    for _ in range(choices.number(2) + 1):
        at = choices.number(len(messages))
        how = choices.number(3)
        if how == 0:
            messages.insert(at, choices.pick(more))
        elif how == 1 and messages:
            del messages[min(at, len(messages) - 1)]
        elif how == 2:
            messages.insert(at, _error(choices))
        else:
            messages = messages[:at]
    return messages
