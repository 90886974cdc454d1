"""Weaknesses that a fuzz run and the threat table have found; each is mended, and stays so."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.responses import StreamingResponse

from envelope import BadRequestError, ObjectLocks, ServiceUnavailableError, install
from envelope.conformance.judging import leaks
from tests.servers.server import Server
from tests.wire.apps import CRASH, exchange, strict_json


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def test_names_that_clients_choose_do_not_stay_in_memory() -> None:
    """A megabyte in the name of a property is forgotten with its request."""
    app = FastAPI()
    install(app)

    @app.post("/")
    async def endpoint(body: Strict) -> None: ...

    def ask(name: str) -> None:
        content = f'{{"{name}":1}}'.encode()
        incoming = [{"type": "http.request", "body": content}]
        exchange(app, method="POST", headers={"content-type": "application/json"}, incoming=incoming)

    ask("warm")
    tracemalloc.start()
    try:
        for number in range(20):
            ask(f"{number}{'x' * 1_000_000}")
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 2_000_000


@pytest.mark.parametrize("error", [ConnectionRefusedError, TimeoutError, FileNotFoundError])
def test_system_error_of_a_stream_is_a_crash_like_any_other(error: type[OSError]) -> None:
    """A database that refuses the connection, before the first byte: a 500, and an exception for the log."""
    app = FastAPI()
    install(app)

    async def rows() -> AsyncIterator[bytes]:
        raise error
        yield b""

    @app.get("/")
    async def endpoint() -> StreamingResponse:
        return StreamingResponse(rows(), media_type="application/json")

    done = exchange(app)

    assert done.raised is not None
    assert strict_json(done.body) == CRASH


def test_line_break_in_a_header_of_a_failure_reaches_no_server() -> None:
    """Not every server refuses it, and one that does sends nothing: it is a failure that cannot be rendered."""
    app = FastAPI()
    install(app)

    @app.get("/")
    async def endpoint(name: str) -> None:
        raise BadRequestError("no such name", headers={"X-Name": name})

    done = exchange(app, query_string=b"name=a%0d%0aSet-Cookie:%20b=c")

    assert not [value for _, value in done.headers if b"\r" in value or b"\n" in value]
    assert done.status == 500


def test_what_is_not_ours_under_one_object_keeps_no_other_from_being_locked(
    own_valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write one key of the storage, or an older version of ours, stops that object only."""

    async def lock_another() -> bool:
        locks = ObjectLocks(own_valkey.url, timeout_s=2)
        await (await locks.acquire("one")).release()
        (key,) = [key for key in own_valkey.call("KEYS", "*") if not key.endswith(":holds")]
        own_valkey.call("DEL", key)
        own_valkey.call("SET", key, "somebody else's")
        try:
            own_valkey.call("SCRIPT", "FLUSH")  # the first one sends the script itself
            for _ in range(6):
                with pytest.raises(ServiceUnavailableError):
                    await locks.acquire("one")
            await (await locks.acquire("another")).release()
            await asyncio.sleep(0.5)  # nobody goes on asking in the background
        except ServiceUnavailableError:
            return False
        finally:
            await locks.aclose()
        return True

    assert asyncio.run(lock_another())
    told = [each for each in caplog.records if getattr(each, "event_name", "") == "envelope.lock.foreign_keys"]
    assert len(told) <= 12  # each attempt, and each time that it was given up


@pytest.mark.parametrize(
    ("name", "text"), [("an exception", "a." * 7_000), ("a stack trace", "\n" * 30_000)], ids=["names", "lines"]
)
def test_search_for_leaks_takes_no_more_than_its_text(name: str, text: str) -> None:
    """A service that is checked sends 64 KB for which the check computes for 17 seconds, in each failure."""
    begun = time.process_time()
    list(leaks._ALWAYS[name].finditer(text))

    assert time.process_time() - begun < 0.2
