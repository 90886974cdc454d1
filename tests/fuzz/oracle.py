"""What has to hold, whatever was asked and whatever the endpoint did."""

from __future__ import annotations

import gzip
import json
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message

import envelope
from tests.fuzz.cases import SECRET, Case

_OURS = str(Path(envelope.__file__).parent)

#: The endpoint's own output is sent as it is, or is somebody else's to describe.
_NOT_OURS = (
    "/raw",
    "/docs",
    "/openapi.json",
    "/exempt/",
    "/sub/raw",
    "/sub/docs",
    "/sub/openapi.json",
    "/sub/exempt/",
)

#: With one of these in the head of the endpoint, its bytes are not touched.
_UNTOUCHED = {
    b"content-encoding",
    b"content-range",
    b"content-disposition",
    b"accept-ranges",
    b"transfer-encoding",
}


@dataclass
class Outcome:
    """What came out of one case.

    Attributes:
        sent: Every message that reached the server.
        raised: What reached the server.
        was_cut: ``send`` or ``receive`` failed, so that the rest is not the service's doing.
    """

    sent: list[Message]
    raised: BaseException | None
    was_cut: bool


class Broken(AssertionError):  # noqa: N818 - an invariant is
    """An invariant does not hold."""


def judge(case: Case, outcome: Outcome) -> None:
    """Check every invariant of a request's outcome.

    Raises:
        Broken: One does not hold.
    """
    _judge_exception(case, outcome)
    if case.scope["type"] != "http":
        return
    starts = [each for each in outcome.sent if each["type"] == "http.response.start" and each["status"] >= 200]
    lawful = is_lawful(case)
    if lawful and len(starts) > 1:
        raise Broken(f"{len(starts)} starts")
    if not starts:
        # Of an OSError in a stream Starlette makes a ClientDisconnect: tests/security/test_found.py says what becomes of that.
        is_gone = any(isinstance(each, ClientDisconnect | OSError) for each in case.script.raised)
        if lawful and not (outcome.was_cut or is_gone) and outcome.raised is None:
            raise Broken("no answer, and no exception")
        return
    body = b"".join(bytes(each.get("body", b"")) for each in outcome.sent if each["type"] == "http.response.body")
    is_whole = _is_whole(outcome.sent)
    if lawful and not outcome.was_cut and not is_whole and outcome.raised is None:
        raise Broken("the answer has no end, and there is no exception")
    if lawful and is_whole:
        _judge_response(case, starts[0], body)


def is_lawful(case: Case) -> bool:
    """Tell whether the endpoint sends what ASGI allows; what a raw one does else is not the service's doing."""
    if "asgi" not in case.scope["path"].lower() and "/m" not in case.scope["path"]:
        return True
    messages = [each for each in case.script.messages if not isinstance(each, BaseException)]
    kinds = [each["type"] for each in messages]
    if len(messages) != len(case.script.messages) or kinds[:1] != ["http.response.start"]:
        return False
    if set(kinds[1:]) != {"http.response.body"} or messages[0]["status"] < 200:
        return False
    return [bool(each.get("more_body")) for each in messages[1:]] == [True] * (len(messages) - 2) + [False]


def _is_whole(sent: list[Message]) -> bool:
    bodies = [each for each in sent if each["type"] == "http.response.body"]
    return bool(bodies) and not bodies[-1].get("more_body", False)


def _judge_exception(case: Case, outcome: Outcome) -> None:
    error = outcome.raised
    if error is None or outcome.was_cut or any(error is each for each in case.script.raised):
        return
    frames = traceback.extract_tb(error.__traceback__)
    if frames and frames[-1].filename.startswith(_OURS) and is_lawful(case):
        raise Broken(f"an exception of ours: {error!r}") from error


def _judge_response(case: Case, start: Message, body: bytes) -> None:
    status, method = start["status"], case.scope["method"]
    headers = [(name.lower(), value) for name, value in start.get("headers", ())]
    fields = dict(headers)
    is_bodiless = method == "HEAD" or status in (204, 304)
    _judge_length(case, status, headers, body, is_bodiless=is_bodiless)
    if fields.get(b"content-encoding") == b"gzip":
        body = gzip.decompress(body)
    # FastAPI's list of problems quotes what was sent; what an application writes otherwise is its own to say.
    is_list_of_problems = _own_status(case) == 422 and (b"content-type", b"application/json") in _own_headers(case)
    is_said = SECRET in repr(case.script.value) or (SECRET.encode() in _own_body(case) and not is_list_of_problems)
    if SECRET.encode() in body and not is_said and not _is_passed(case):
        raise Broken("a secret")
    if is_bodiless or fields.get(b"content-type") != b"application/json" or not _is_ours(case, fields):
        return
    if any(name.lower() == b"content-encoding" for name, _ in _own_headers(case)):
        return  # whatever it says, the bytes are somebody else's
    _judge_body(case, status, body)
    if status in (423, 429, 503) and not fields.get(b"retry-after", b"").isdigit():
        raise Broken(f"{status} without Retry-After")


def _judge_body(case: Case, status: int, body: bytes) -> None:
    if status >= 400:
        value = _parse(body)
        if not isinstance(value, dict) or value.get("code") != status or value.get("status") != "failure":
            raise Broken(f"{status} is no failure of the convention: {body[:200]!r}")
        if set(value) != {"code", "message", "status"}:
            raise Broken(f"other keys: {sorted(value)}")
    elif 200 <= status < 300 and status not in (206, 226) and not _is_touched_by_nobody(case):
        value = _parse(body)
        if not isinstance(value, dict) or set(value) != {"status", "content"} or value["status"] != "success":
            raise Broken(f"{status} is no success of the convention: {body[:200]!r}")


def _judge_length(
    case: Case, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, is_bodiless: bool
) -> None:
    told = [value for name, value in headers if name == b"content-length"]
    own = [value for name, value in _own_headers(case) if name.lower() == b"content-length"]
    # What an endpoint says of a stream's length is believed: its end is not known when the head is sent.
    is_lie = bool(own) and own[0] != b"%d" % len(_own_body(case))
    # Starlette's compression leaves a length whose name is not in lower case, as ASGI wants it, where it is.
    is_compressed = (b"content-encoding", b"gzip") in headers
    if len(told) > 1 and len(own) < 2 and not (own and is_compressed):
        raise Broken("two lengths")
    if not is_lie and told and told[0] not in own and not is_bodiless and told[0] != b"%d" % len(body):
        raise Broken(f"Content-Length {told[0]!r} for {len(body)} bytes")


def _own_headers(case: Case) -> list[tuple[bytes, bytes]]:
    messages = case.script.messages if "asgi" in case.scope["path"].lower() else []
    return [
        field for each in messages if not isinstance(each, BaseException) for field in each.get("headers", ())
    ] + case.script.headers


def _own_status(case: Case) -> int | None:
    starts = [each for each in case.script.messages if isinstance(each, dict) and "status" in each]
    return starts[0]["status"] if starts else None


def _own_body(case: Case) -> bytes:
    return b"".join(each.get("body", b"") for each in case.script.messages if isinstance(each, dict))


def _is_ours(case: Case, fields: dict[bytes, bytes]) -> bool:
    """Tell whether the answer is one that the convention speaks of."""
    path, root_path = case.scope["path"], case.scope["root_path"]
    if root_path and path.startswith(root_path + "/"):
        path = path[len(root_path) :]
    names = {name.lower() for name, _ in case.scope["headers"]}
    if case.scope["method"] == "CONNECT" or b"access-control-request-method" in names:
        return False
    return not path.startswith(_NOT_OURS) and b"content-type" in fields


def _is_touched_by_nobody(case: Case) -> bool:
    """Tell whether the endpoint forbids that its bytes are touched, or does not send the JSON that it promises."""
    own = _own_headers(case)
    if any(name.lower() in _UNTOUCHED for name, _ in own):
        return True
    if any(name.lower() == b"cache-control" and b"no-transform" in value for name, value in own):
        return True
    path = case.scope["path"].lower()
    if "asgi" in path or "/m" in path:
        return not _is_json(_own_body(case))
    return ("stream" in path or "held" in path) and not _is_json(b"".join(case.script.chunks))


def _is_passed(case: Case) -> bool:
    return _is_touched_by_nobody(case) or not _is_ours(case, {b"content-type": b""})


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body.removeprefix(b"\xef\xbb\xbf").decode() or "null")
    except ValueError:
        return False
    return True


def _parse(body: bytes) -> Any:
    def refuse(name: str) -> None:
        raise Broken(f"{name} is not JSON")

    try:
        return json.loads(body.decode(), parse_constant=refuse)
    except ValueError as error:
        raise Broken(f"no JSON: {body[:200]!r}") from error
