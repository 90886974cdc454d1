"""The breaker by itself; what a guard makes of it is tested with the guard."""

import asyncio
import logging

import pytest

from envelope.storage.breaker import Breaker
from envelope.storage.errors import StorageUnavailableError


class Unclear(StorageUnavailableError):
    is_outage = False


def _breaker() -> Breaker:
    logger = logging.getLogger("envelope.somewhere")
    return Breaker("there://", logger, what="the storage of sweets", doing="fasting", clock=lambda: 0)


async def _raise(error: Exception) -> None:
    raise error


async def _answer() -> str:
    return "here"


def test_breaker_says_whose_storage_it_is_and_what_is_done(caplog: pytest.LogCaptureFixture):
    """Two guards with two storages write lines that can be told apart."""

    async def main() -> None:
        breaker = _breaker()
        with pytest.raises(StorageUnavailableError):
            await breaker.ask(_raise(StorageUnavailableError("gone")))
        assert await breaker.ask(_answer()) == "here"

    asyncio.run(main())

    assert caplog.record_tuples == [
        ("envelope.somewhere", logging.ERROR, "the storage of sweets there:// does not answer (gone): fasting"),
        ("envelope.somewhere", logging.WARNING, "the storage of sweets there:// answers again"),
    ]


def test_error_that_is_no_outage_says_nothing_about_the_storage(caplog: pytest.LogCaptureFixture):
    """It neither opens the breaker nor closes it."""

    async def main() -> None:
        breaker = _breaker()
        for _ in range(10):
            with pytest.raises(Unclear):
                await breaker.ask(_raise(Unclear("no word about that")))
        assert breaker.may_ask()
        for _ in range(5):
            with pytest.raises(StorageUnavailableError):
                await breaker.ask(_raise(StorageUnavailableError("gone")))
        with pytest.raises(Unclear):
            await breaker.ask(_raise(Unclear("no word about that")))
        assert not breaker.may_ask()

    asyncio.run(main())

    assert len(caplog.records) == 1
