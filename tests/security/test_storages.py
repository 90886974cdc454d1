"""What names hold never reaches a script as code, nor a key of somebody else."""

from __future__ import annotations

import asyncio

import pytest

from envelope import LeaseLostError, ObjectLocks, RateLimiter
from tests.servers.server import Server

_NAMES = (
    "'; redis.call('FLUSHALL') --",
    "]] redis.call('FLUSHALL') [[",
    "\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "a}:{b",
    "{other slot}",
    "\x00",
    "%s%d%n",
    "$1 KEYS[1] ARGV[1]",
    "\ud800",
    "-",
    " ",
    "x" * 100_000,
)


@pytest.mark.parametrize("name", _NAMES, ids=range(len(_NAMES)))
def test_name_is_no_code(name: str, valkey: Server) -> None:
    """Objects, operations and subjects of any text are locked, counted, described and freed, and nothing else happens."""
    valkey.flush()
    valkey.call("SET", "somebody else's", "kept")

    async def use() -> None:
        locks, limiter = (
            ObjectLocks(valkey.url, timeout_s=2),
            RateLimiter("5/minute", storage=valkey.url, timeout_s=2),
        )
        async with locks.hold(name, operation=name) as lease:
            info = await locks.inspect(name)
            assert info is not None
            assert (info.key, info.operation, info.fence) == (name, name, lease.fence)
        assert await locks.inspect(name) is None
        verdict = await limiter.check(name, scope="a scope")
        assert verdict.figures[0].remaining == 4
        await limiter.reset(name)
        await locks.aclose()
        await limiter.aclose()

    asyncio.run(use())

    assert valkey.call("GET", "somebody else's") == "kept"
    strangers = [key for key in valkey.call("KEYS", "*") if not key.startswith("envelope:")]
    assert strangers == ["somebody else's"]


def test_forged_token_takes_nothing(valkey: Server) -> None:
    """Who knows the form of a token and the object's name, but not the 128 bits, has nothing."""
    valkey.flush()

    async def forge() -> None:
        locks = ObjectLocks(valkey.url, timeout_s=2)
        lease = await locks.acquire("entity:1")
        token = await lease.hand_off(claim_within_s=60)
        other = await (await locks.acquire("entity:2")).hand_off(claim_within_s=60)
        for forged in (token[:-8] + other[-8:], other[:40] + token[40:]):
            with pytest.raises((LeaseLostError, ValueError)):
                async with locks.claim(forged):
                    pytest.fail("claimed")  # pragma: no cover
        async with locks.claim(token):
            assert await locks.inspect("entity:1") is not None
        await locks.aclose()

    asyncio.run(forge())
