"""The clients that retry: each language as a command, against a real service with a held lock, and against bytes."""

from __future__ import annotations

import asyncio
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import httpx
import pytest
from fastapi import FastAPI

from envelope import ObjectLocks, install
from envelope.conformance.targets.serving import served
from tests.conformance.services import answering

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"

#: go vet and go build compile the standard library the first time, which takes a minute on two cores.
COMPILING_S = 300

LOCKED = "423: The object is still being updated (locked). Try your request again later."

Start = Callable[..., "subprocess.Popen[str]"]


class End(NamedTuple):
    """How a client ended: exit code, what it printed, what it complained of."""

    code: int
    printed: str
    complaint: str


@pytest.fixture(scope="session", params=["python", "node", "go"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a client as a command: method, URL, JSON."""
    language = request.param
    if language != "python" and shutil.which(language) is None:
        pytest.skip(f"{language} is not installed")
    if language == "go":
        binary = tmp_path_factory.mktemp("go") / "retry"
        subprocess.run(["go", "vet", "retry.go"], cwd=CLIENTS, check=True)
        subprocess.run(["go", "build", "-o", str(binary), "retry.go"], cwd=CLIENTS, check=True)
    commands = {
        "python": [sys.executable, str(CLIENTS / "retry.py")],
        "node": ["node", str(CLIENTS / "retry.mjs")],
        "go": [str(binary)] if language == "go" else [],
    }

    def run(*arguments: str, within_s: float = 15, key: str = "") -> subprocess.Popen[str]:
        environment = {**os.environ, "WITHIN_S": str(within_s), "IDEMPOTENCY_KEY": key, "NO_PROXY": "127.0.0.1"}
        return subprocess.Popen(
            [*commands[language], *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return run


def end_of(process: subprocess.Popen[str]) -> End:
    try:
        printed, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    return End(process.returncode, printed.strip(), complaint.strip())


class Service(NamedTuple):
    """A service whose entity 42 is locked.

    Attributes:
        url: Of the entity.
        refused: Seconds to wait, and the time, of each refusal.
    """

    url: str
    refused: list[tuple[float, float]]


@contextmanager
def held_service(*, until_refused: bool) -> Iterator[Service]:
    """Serve an application whose entity is locked; until somebody was refused, or for good."""
    locks = ObjectLocks()
    refused: list[tuple[float, float]] = []
    held = []

    @asynccontextmanager
    async def lifespan(app):
        held.append(await locks.acquire("entity:42"))
        yield
        await held[0].release()

    app = FastAPI(lifespan=lifespan)
    install(app, locks=locks)

    @app.patch("/entities/{entity_id}")
    @locks.guarded("entity:{entity_id}")
    async def update(entity_id: int, change: dict[str, str]) -> dict[str, str]:
        return change

    async def watched(scope, receive, send):
        async def watch(message):
            if message["type"] == "http.response.start" and message["status"] == 423:
                refused.append((float(dict(message["headers"])[b"retry-after"]), time.monotonic()))
                if until_refused:
                    await held[0].release()
            await send(message)

        await app(scope, receive, watch)

    with served(watched, "the held service") as url:
        yield Service(f"{url}/entities/42", refused)


class Script(NamedTuple):
    url: str
    requests: list[float]


@contextmanager
def scripted(*answers: bytes) -> Iterator[Script]:
    """Answer with these bytes, one after the other; b"" hangs up. Tells when requests came."""
    requests: list[float] = []

    def told(answer: bytes) -> Callable[[socket.socket], None]:
        def send(connection: socket.socket) -> None:
            requests.append(time.monotonic())
            connection.sendall(answer)

        return send

    with answering(*map(told, answers)) as url:
        yield Script(url, requests)


def answer(status: str, body: str, *fields: str) -> bytes:
    kind = "text/html" if body.startswith("<") else "application/json"
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {kind}", "Connection: close"]
    return ("\r\n".join([*head, *fields]) + f"\r\n\r\n{body}").encode()


OK = answer("200 OK", '{"status": "success", "content": [1]}')
OFFLINE = answer(
    "503 Service Unavailable", '{"code": 503, "message": "Back soon", "status": "failure"}', "Retry-After: 1"
)
PROXY = answer("503 Service Unavailable", "<h1>503</h1>", "Retry-After: 1")
#: By a server whose clock is years behind.
BY_DATE = answer(
    "429 Too Many Requests",
    '{"code": 429, "message": "slow down", "status": "failure"}',
    "Date: Wed, 01 Jan 2020 00:00:00 GMT",
    "Retry-After: Wed, 01 Jan 2020 00:00:02 GMT",
)
DROPPED = b""
HALF = OK[:-5]


@pytest.mark.timeout(COMPILING_S)
def test_busy_object_is_changed_when_it_is_free(start: Start) -> None:
    """The first attempt meets the lock, the next comes no earlier than it was told, and not much later."""
    with held_service(until_refused=True) as service:
        end = end_of(start("PATCH", service.url, '{"name": "Ada"}'))
        ended = time.monotonic()

    ((told_s, refused_at),) = service.refused
    assert end == (0, end.printed, "")
    assert end.printed.replace(" ", "") == '{"name":"Ada"}'
    assert told_s <= ended - refused_at <= 1.25 * told_s + 3  # a busy machine


def test_gives_up_with_what_the_service_said(start: Start) -> None:
    """If the wait would be longer than there is time, nobody waits; the message is the failure's."""
    with held_service(until_refused=False) as service:
        begun = time.monotonic()
        end = end_of(start("PATCH", service.url, '{"name": "Ada"}', within_s=0.9))

    assert (end.code, end.printed) == (1, "")
    assert end.complaint.endswith(f"CallFailedError: {LOCKED}")
    assert len(service.refused) == 1
    assert time.monotonic() - begun < 10


#: What is sent, what comes, how often it is asked, and what is printed or, beginning with "!", complained of.
REPEATED = {
    "idempotent, connection lost": ("PUT", [DROPPED, OK], 2, "[1]"),
    "idempotent, answer cut off": ("GET", [HALF, OK], 2, "[1]"),
    "told by a date": ("POST", [BY_DATE, OK], 2, "[1]"),
    "the service is offline, idempotent": ("GET", [OFFLINE, OK], 2, "[1]"),
    "a proxy says 503, idempotent": ("DELETE", [PROXY, OK], 2, "[1]"),
    "a key, connection lost": ("POST", [DROPPED, OK], 2, "[1]"),
    "a key, the service is offline": ("PATCH", [OFFLINE, OK], 2, "[1]"),
    "lower case": ("put", [DROPPED, OK], 2, "[1]"),
}
ONCE = {
    "unknown outcome": ("POST", [DROPPED, OK], 1, "!"),
    "unknown outcome, answer cut off": ("PATCH", [HALF, OK], 1, "!"),
    "the service says 503, unknown outcome": ("POST", [OFFLINE, OK], 1, "!503: Back soon"),
    "a proxy says 503, unknown outcome": ("POST", [PROXY, OK], 1, "!503: Service Unavailable"),
    "content null": ("GET", [answer("200 OK", '{"status": "success", "content": null}')], 1, "null"),
    "kept 204": ("DELETE", [b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"], 1, "null"),
    "HEAD": ("HEAD", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"], 1, "null"),
    "bare": ("GET", [answer("200 OK", "[1]")], 1, "!something else than the convention's success"),
    "a page": ("GET", [answer("200 OK", "<p>")], 1, "!something else than the convention's success"),
    "listed problems": (
        "GET",
        [answer("400 Bad Request", '{"code": 400, "message": {"error_code": "invalid_input", "message": ["a", "b"]}, "status": "failure"}')],
        1,
        "!400: a; b",
    ),
    "a text with a code": (
        "GET",
        [answer("409 Conflict", '{"code": 409, "message": {"error_code": "frozen", "message": "It is."}, "status": "failure"}')],
        1,
        "!409: It is.",
    ),
    "a crash": ("GET", [answer("500 Internal Server Error", '{"code": 500, "message": "Sorry", "status": "failure"}'), OK], 1, "!500: Sorry"),
    "somebody else's failure": ("GET", [answer("404 Not Found", '{"detail": "no"}')], 1, "!404: Not Found"),
}  # fmt: skip


@pytest.mark.timeout(COMPILING_S)
@pytest.mark.parametrize("table", [REPEATED, ONCE], ids=["repeated", "once"])
def test_repeats_only_what_does_no_harm_twice(start: Start, table) -> None:
    """423 and 429 for all; 503 and lost answers for idempotent methods only."""
    scripts: list[AbstractContextManager[Script]] = []
    seen, expected = {}, {}
    running = {}
    opened = {}
    try:
        for name, (method, answers, _, _) in table.items():
            scripts.append(scripted(*answers))
            opened[name] = scripts[-1].__enter__()
            running[name] = start(method, opened[name].url, key="1" if "key" in name else "")
        for name, (_, _, times, outcome) in table.items():
            end = end_of(running[name])
            wanted = outcome.removeprefix("!")
            said = end.complaint if outcome.startswith("!") else end.printed
            seen[name] = (end.code, len(opened[name].requests), wanted if said.endswith(wanted) else said)
            expected[name] = (1 if outcome.startswith("!") else 0, times, wanted)
    finally:
        for process in running.values():
            process.kill()
        for script in scripts:
            script.__exit__(None, None, None)

    assert seen == expected
    waits = {name: each.requests[1] - each.requests[0] for name, each in opened.items() if len(each.requests) > 1}
    assert all(wait >= 0.95 for wait in waits.values()), waits
    assert waits.get("told by a date", 2) >= 2


# The Python client, from inside


@pytest.fixture
def retry(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The client as a module; ``waited`` are the seconds that it would have slept."""
    module = SimpleNamespace(**runpy.run_path(str(CLIENTS / "retry.py")), waited=[])
    clock = SimpleNamespace(now=1000.0)

    def sleep(seconds: float) -> None:
        module.waited.append(seconds)
        clock.now += seconds

    time_of = SimpleNamespace(monotonic=lambda: clock.now, time=time.time, sleep=sleep)
    monkeypatch.setitem(module.call.__globals__, "time", time_of)
    return module


def response(status: int, body: object = None, **fields: str) -> httpx.Response:
    return httpx.Response(
        status, json=body, headers={name.replace("_", "-"): text for name, text in fields.items()}
    )


FAILURE = {"code": 423, "message": "busy", "status": "failure"}


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"retry_after": "0"}, 0),
        ({"retry_after": " 7 "}, 7),
        ({"retry_after": "Wed, 01 Jan 2020 00:01:00 GMT", "date": "Wed, 01 Jan 2020 00:00:00 GMT"}, 60),
        ({"retry_after": "Wed, 01 Jan 2020 00:00:00 GMT", "date": "Wed, 01 Jan 2020 00:01:00 GMT"}, -60),
        ({}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "1.5"}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "Wed, 01 Jan 2020 00:01:00 GMT", "date": "today"}, None),
    ],
)
def test_python_reads_retry_after(retry, fields, seconds) -> None:
    """Seconds, a date by the server's clock, or nothing that can be read."""
    assert retry.retry_after_s(response(423, **fields)) == seconds


def test_python_waits_a_little_longer_than_it_was_told(retry) -> None:
    """Never less, at least a second, and spread; longer and longer where nothing was said."""
    answers = [response(423, FAILURE, retry_after=told) for told in ["4"] * 50 + ["0"]]
    answers += [response(429, FAILURE)] * 9 + [response(200, {"status": "success", "content": "done"})]

    content = retry.call(replaying(answers), "POST", "http://service/", within_s=10_000)

    told, guessed = retry.waited[:50], retry.waited[51:]
    assert content == "done"
    assert min(told) >= 4
    assert max(told) <= 5
    assert len(set(told)) > 40
    assert 1 <= retry.waited[50] <= 1.25
    assert all(15 <= wait <= 30 for wait in guessed)


def test_python_never_waits_beyond_its_time(retry) -> None:
    """All waits together stay below the time that was given, and the failure is what came last."""
    answers = [response(423, {**FAILURE, "message": f"busy {count}"}, retry_after="2") for count in range(99)]

    with pytest.raises(retry.CallFailedError) as failed:
        retry.call(replaying(answers), "PATCH", "http://service/", within_s=10)

    assert sum(retry.waited) < 10
    assert str(failed.value) == f"423: busy {len(retry.waited)}"
    assert (failed.value.code, failed.value.error_code, failed.value.problems) == (
        423,
        None,
        [f"busy {len(retry.waited)}"],
    )


def test_python_shortens_the_last_attempts(retry) -> None:
    """An attempt has no more time than is left, and the client's timeout otherwise."""
    answers = [response(423, FAILURE, retry_after="4")] * 3
    timeouts: list[dict[str, float]] = []

    with pytest.raises(retry.CallFailedError):
        retry.call(replaying(answers, timeouts), "PATCH", "http://service/", within_s=8)

    assert timeouts[0]["read"] == 5
    assert timeouts[1]["read"] == pytest.approx(8 - retry.waited[0])


@pytest.mark.parametrize("status", [503, None])
def test_python_repeats_what_has_a_key(retry, status) -> None:
    """A POST with an Idempotency-Key does no harm twice; one without is not repeated."""

    def handle(request: httpx.Request) -> httpx.Response:
        if len(retry.waited) == 1:
            return response(200, {"status": "success", "content": "done"})
        if status is None:
            raise httpx.ReadError("gone")
        return response(status, FAILURE)

    client = httpx.Client(transport=httpx.MockTransport(handle))
    with pytest.raises((retry.CallFailedError, httpx.ReadError)):
        retry.call(client, "POST", "http://service/")
    assert retry.waited == []

    assert retry.call(client, "POST", "http://service/", headers={"Idempotency-Key": "1"}) == "done"


def test_python_in_an_event_loop(retry, monkeypatch) -> None:
    """The asynchronous one does the same."""

    async def sleep(seconds: float) -> None:
        retry.waited.append(seconds)

    monkeypatch.setitem(retry.call_async.__globals__, "asyncio", SimpleNamespace(sleep=sleep))
    answers = [response(423, FAILURE, retry_after="1"), response(200, {"status": "success", "content": 1})]

    async def main() -> object:
        left = iter(answers)
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request: next(left))) as client:
            return await retry.call_async(client, "PATCH", "http://service/", json={"a": 1})

    assert asyncio.run(main()) == 1
    assert len(retry.waited) == 1


def test_python_refuses_what_cannot_be_sent_at_once(retry) -> None:
    """A URL without a scheme is a mistake, not the network."""
    with httpx.Client() as client, pytest.raises(httpx.UnsupportedProtocol):
        retry.call(client, "GET", "nowhere")
    assert retry.waited == []


def replaying(answers: list[httpx.Response], timeouts: list[dict[str, float]] | None = None) -> httpx.Client:
    """A client to which these answers come; notes the timeouts of its attempts."""
    left = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        if timeouts is not None:
            timeouts.append(request.extensions["timeout"])
        return next(left)

    return httpx.Client(transport=httpx.MockTransport(handle))
