"""What a guard closes, it closes after the application and before the server's loop may end."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from envelope.wire.lifespan import serve_beside


def _told(scope_type: str, *words: str, fails: bool = False) -> list[str]:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for word in words:
            await send({"type": word})
        if fails:
            raise RuntimeError

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        told.append(message["type"])

    async def close() -> None:
        told.append("closed")

    async def story() -> None:
        await serve_beside(app, {"type": scope_type}, receive, send, close=close)

    if fails:
        with pytest.raises(RuntimeError):
            asyncio.run(story())
    else:
        asyncio.run(story())
    return told


@pytest.mark.parametrize("last", ["shutdown.complete", "shutdown.failed", "startup.failed"])
def test_closed_before_the_last_word(last: str) -> None:
    """Once."""
    words = ["lifespan.startup.complete", f"lifespan.{last}"]

    assert _told("lifespan", *words) == [words[0], "closed", words[1]]


@pytest.mark.parametrize("fails", [True, False])
def test_closed_without_a_last_word(fails: bool) -> None:
    """An application that knows no lifespan raises, or returns."""
    assert _told("lifespan", fails=fails) == ["closed"]


def test_other_scopes_close_nothing() -> None:
    """They may come while requests are served."""
    assert _told("other", "other.word") == ["other.word"]
