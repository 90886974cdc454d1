"""What the clients of a service see."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message

from envelope import ObjectLocks, install
from tests.faults.checker import Violation, check_retry_after
from tests.faults.history import Event, Recorder, clock
from tests.faults.stage import OURS, ROOT, Cast, Stage
from tests.faults.worker import Worker
from tests.servers.delay import Delay
from tests.servers.server import Server
from tests.wire.asgi import http_scope


def create_then_update(server: Server, cast: Cast = OURS, *, times: int = 10_000) -> list[Violation]:
    """R1: a client creates an object and changes it as soon as it has its answer, and is never told 423.

    The service still works in the background then. ``times`` is how often, one after the other.
    """
    with Stage(server, cast) as stage:
        options = {"subject": cast.subject, "url": server.url, "bug": cast.bug}
        service = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.service", json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert service.stdout is not None
            with socket.create_connection(("127.0.0.1", int(service.stdout.readline())), timeout=20) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                statuses = [status for _ in range(times) for status in _create_and_change(connection)]
            service.communicate(timeout=20)
        finally:
            service.kill()
            service.communicate()
        stage.seen += [
            Violation("own 423", f"client {number // 2} met its own lock")
            for number, status in enumerate(statuses)
            if status == 423
        ]
        if others := set(statuses) - {200, 423}:
            stage.seen.append(Violation("answer", f"answers {sorted(others)}"))
        return stage.judge()


def _create_and_change(connection: socket.socket) -> tuple[int, int]:
    created, body = _ask(connection, b"POST /entities")
    number = json.loads(body)
    if isinstance(number, dict):
        number = number.get("content", 0)
    changed, _ = _ask(connection, b"PATCH /entities/%d" % number)
    return created, changed


def _ask(connection: socket.socket, line: bytes) -> tuple[int, bytes]:
    connection.sendall(line + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    received = b""
    while True:
        received += connection.recv(65536)
        head, end, body = received.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(body) == length:
                return int(head[9:12]), body


def retry_after(server: Server, cast: Cast = OURS, *, clients: int = 60, seed: int = 0) -> list[Violation]:
    """Q1: clients that were refused wait as long as they were told, and ask again.

    Operations last from 1.2 to 2.2 seconds, longer than a lease that is renewed; 30 of them were seen before.
    """
    chance = random.Random(seed)
    shortest_s, longest_s = 1.2, 2.2

    async def play(stage: Stage) -> None:
        locks = ObjectLocks(server.url, ttl_s=stage.ttl_s, timeout_s=stage.timeout_s)
        app = Starlette()
        install(app, locks=locks)

        @locks.guarded("entity:{entity_id}")
        async def change(request: Request) -> JSONResponse:
            await asyncio.sleep(float(request.query_params["seconds"]))
            return JSONResponse(None)

        app.add_route("/entities/{entity_id:int}", change, methods=["PATCH"])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://h") as client:

            async def ask(number: int, seconds: float) -> httpx.Response:
                return await client.patch(f"/entities/{number}", params={"seconds": seconds})

            async def hold(number: int) -> None:
                await ask(number, chance.uniform(shortest_s, longest_s))

            async def come_back(number: int) -> tuple[float, bool]:
                holding = asyncio.create_task(hold(number))
                await asyncio.sleep(chance.uniform(0.05, shortest_s - 0.2))
                refused = await ask(number, 0)
                told = float(refused.headers["retry-after"])
                await asyncio.sleep(told)
                is_free = (await ask(number, 0)).status_code == 200
                await holding
                return told, is_free

            await asyncio.gather(*(hold(number) for number in range(30)))
            waits = await asyncio.gather(*(come_back(number) for number in range(clients)))
        stage.seen += check_retry_after(waits, longest_s=1 + 1.2 * longest_s)
        await locks.aclose()

    with Stage(server, cast, ttl_s=1.0) as stage:
        asyncio.run(play(stage))
        return stage.judge()


def spellings(server: Server, cast: Cast = OURS) -> list[Violation]:
    """``/entities/7`` and ``/entities/007`` are one object."""

    async def play(stage: Stage) -> None:
        locks = ObjectLocks(server.url, ttl_s=stage.ttl_s, timeout_s=stage.timeout_s)
        recorder = Recorder(stage.directory / "service.jsonl")
        app = Starlette()
        install(app, locks=locks)

        @locks.guarded("entity:{entity_id}")
        async def change(request: Request) -> JSONResponse:
            begun, keys = clock(), (f"entity:{request.path_params['entity_id']}",)
            await asyncio.sleep(0.2)
            lease = str(request.url)
            recorder.write(Event("acquire", "service", lease, keys, begun, begun, "ok", until=clock()))
            recorder.write(Event("release", "service", lease, keys, clock(), clock(), "ok"))
            return JSONResponse(None)

        app.add_route("/entities/{entity_id:int}", change, methods=["PATCH"])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://h") as client:
            paths = ("/entities/7", "/entities/07", "/entities/007")
            answers = await asyncio.gather(*(client.patch(path) for path in paths))
        statuses = sorted(answer.status_code for answer in answers)
        if statuses != [200, 423, 423]:
            stage.seen.append(Violation("answer", f"three spellings of one object: {statuses}"))
        await locks.aclose()
        recorder.close()

    with Stage(server, cast, ttl_s=2) as stage:
        asyncio.run(play(stage))
        return stage.judge()


Outage = Literal["stopped", "suspended", "black hole"]


def outage(server: Server, cast: Cast = OURS, *, how: Outage) -> list[Violation]:
    """Without a server a guarded write is answered 503 within 300 ms, and reads are answered as ever.

    A busy machine may be late: the typical answer counts, and none takes a second.
    """

    async def play(stage: Stage, proxy: Delay) -> None:
        locks = ObjectLocks(proxy.url)
        app = Starlette()
        install(app, locks=locks)

        @locks.guarded("entity:{entity_id}")
        async def entity(request: Request) -> JSONResponse:
            return JSONResponse(request.path_params["entity_id"])

        app.add_route("/entities/{entity_id:int}", entity, methods=["GET", "PATCH"])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://h") as client:

            async def ask(method: str) -> tuple[httpx.Response, float]:
                begun = clock()
                answer = await client.request(method, "/entities/1")
                return answer, clock() - begun

            def expect(right: bool, text: str) -> None:
                if not right:
                    stage.seen.append(Violation("answer", f"{how}: {text}"))

            expect((await ask("PATCH"))[0].status_code == 200, "not 200 before")
            _break(server, proxy, how)
            answers = [await ask("PATCH") for _ in range(4)]  # the fifth failure in a row opens the breaker
            reads = [await ask("GET") for _ in range(4)]
            answers_later = [await ask("PATCH") for _ in range(6)]
            _mend(server, proxy, how)
            for answer, seconds in [*answers, *answers_later]:
                expect(answer.status_code == 503, f"a write was answered {answer.status_code}")
                expect(int(answer.headers.get("retry-after", 0)) >= 1, "no Retry-After")
                expect(seconds < 1, f"a write took {seconds:.2f} s")
            typical = statistics.median(seconds for _, seconds in answers)
            expect(typical < 0.3, f"typical writes took {typical:.3f} s")
            for answer, seconds in reads:
                expect(
                    answer.status_code == 200 and seconds < 0.2, f"a read: {answer.status_code} in {seconds:.3f} s"
                )
            end = clock() + 5
            while (again := (await ask("PATCH"))[0].status_code) != 200 and clock() < end:
                await asyncio.sleep(0.05)
            expect(again == 200, f"five seconds after the outage: {again}")
        await locks.aclose()

    with Stage(server, cast) as stage, Delay(server.port, 0) as proxy:
        try:
            asyncio.run(play(stage, proxy))
        finally:
            _mend(server, proxy, how)
        return stage.judge()


def _break(server: Server, proxy: Delay, how: Outage) -> None:
    if how == "stopped":
        server.stop()
    elif how == "suspended":
        server.suspend()
    else:
        proxy.pause()


def _mend(server: Server, proxy: Delay, how: Outage) -> None:
    if how == "stopped":
        if not server.is_running:
            server.start()
    elif how == "suspended":
        server.resume()
    else:
        proxy.heal()


#: How a request ends early: the client is gone and sending fails; the server cancels it; the handler sees it.
Departure = Literal["send fails", "cancelled"]


@dataclass
class _Gone:
    """Runs one request whose client leaves at the n-th message, in either direction."""

    at: int
    departure: Departure
    count: int = 0
    sent: list[Message] = field(default_factory=list)

    async def _pass(self) -> None:
        self.count += 1
        if self.count == self.at:
            if self.departure == "send fails":
                raise OSError("the client is gone")
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async def receive(self) -> Message:
        await self._pass()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        await self._pass()
        self.sent.append(message)


def departed_clients(server: Server, cast: Cast = OURS) -> list[Violation]:
    """The client leaves at every message of every kind of answer: when the request is over, its objects are free."""

    async def play(stage: Stage) -> None:
        locks = ObjectLocks(server.url, ttl_s=stage.ttl_s, timeout_s=stage.timeout_s)
        recorder = Recorder(stage.directory / "service.jsonl")
        app = Starlette()
        install(app, locks=locks)

        async def chunks() -> Any:
            for chunk in (b"1", b"2", b"3"):
                yield chunk
                await asyncio.sleep(0)

        async def work() -> None:
            await asyncio.sleep(0)

        kinds: dict[str, Callable[[], Response]] = {
            "whole": lambda: JSONResponse(1),
            "stream": lambda: StreamingResponse(chunks(), media_type="text/plain"),
            "json-stream": lambda: StreamingResponse(chunks(), media_type="application/json"),
            "empty": lambda: Response(status_code=204),
            "background": lambda: JSONResponse(1, background=BackgroundTask(work)),
        }

        @locks.guarded("{kind}:1", background=False)
        async def change(request: Request) -> Response:
            await request.body()
            return kinds[request.path_params["kind"]]()

        @locks.guarded("{kind}:1", background=True)
        async def change_in_background(request: Request) -> Response:
            await request.body()
            return kinds[request.path_params["kind"]]()

        app.add_route("/answer/{kind}", change, methods=["POST"])
        app.add_route("/background/{kind}", change_in_background, methods=["POST"])
        async with stage.worker() as other:
            for path in ("answer", "background"):
                for kind in kinds:
                    await _leave_everywhere(stage, app, recorder, other, f"/{path}/{kind}", f"{kind}:1")
        await locks.aclose()
        recorder.close()

    with Stage(server, cast, ttl_s=3) as stage:
        asyncio.run(play(stage))
        return stage.judge()


async def _leave_everywhere(
    stage: Stage, app: Starlette, recorder: Recorder, other: Worker, path: str, key: str
) -> None:
    for departure in get_args(Departure):
        at = 0
        while True:
            at += 1
            client = _Gone(at, departure)
            begun = clock()
            task = asyncio.ensure_future(app(http_scope("POST", path), client.receive, client.send))
            done, _ = await asyncio.wait({task}, timeout=5)
            if not done:
                stage.seen.append(Violation("cancellation", f"{path}: left at message {at}, it never ended"))
                task.cancel()
            elif not task.cancelled() and task.exception() is not None and client.count < at:
                raise task.exception()  # type: ignore[misc]
            # Whatever it took is given back by now, or in the background in a moment.
            recorder.write(
                Event("acquire", "service", f"{path} {departure} {at}", (key,), begun, clock(), "cancelled")
            )
            taken = await other.poll(key, within_s=stage.ttl_s + 2)
            if taken.outcome == "ok":
                await other.release(taken.lease)
            if client.count < at:
                break  # it ended before
