"""What only the scripts can get wrong, on a real server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Demand, settle
from tests.rate_limit.storages.clocks import STRATEGIES
from tests.servers.server import Server

MINUTE, HOUR = Quota(5, 60), Quota(50, 3600)

#: How many windows long what was counted can still matter.
WINDOWS = {"sliding-window-counter": 2, "fixed-window": 1, "moving-window": 1}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("quotas", [(MINUTE,), (MINUTE, HOUR), (HOUR, MINUTE)])
def test_keys_live_as_long_as_they_matter(valkey: Server, strategy, quotas):
    """A key that went earlier would free who is blocked; one that stayed would fill the server."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, strategy, timeout_s=2)
        async with aclosing(storage):
            await storage.decide((Demand("ada", quotas, 1),))

    asyncio.run(main())

    longest = max(quota.window_ms for quota in quotas) * WINDOWS[strategy]
    (own,) = (valkey.call("PTTL", key) for key in valkey.call("KEYS", "*") if key.endswith("}"))
    assert longest - 5000 < own <= longest + 1
    for quota in quotas if strategy == "moving-window" else ():
        (log,) = valkey.call("KEYS", f"*:{quota.field}")
        assert quota.window_ms - 5000 < valkey.call("PTTL", log) <= quota.window_ms + 1


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", [0, 1, 3])
def test_what_is_settled_lives_no_longer(valkey: Server, strategy, cost):
    """Whatever is left of it, or added: no key stays for ever."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, strategy, timeout_s=2)
        async with aclosing(storage):
            await settle([await storage.decide((Demand("ada", (MINUTE,), 2, is_work=True),))], cost)

    asyncio.run(main())

    lifetimes = [valkey.call("PTTL", key) for key in valkey.call("KEYS", "*")]
    assert all(0 < lifetime <= MINUTE.window_ms * WINDOWS[strategy] + 1 for lifetime in lifetimes), lifetimes


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_second_quota_keeps_what_the_first_needs(valkey: Server, strategy):
    """A shorter window that begins later does not shorten the life of the hash."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, strategy, timeout_s=2)
        async with aclosing(storage):
            for quota in (HOUR, MINUTE):
                await storage.decide((Demand("ada", (quota,), 1),))

    asyncio.run(main())

    (own,) = (valkey.call("PTTL", key) for key in valkey.call("KEYS", "*") if key.endswith("}"))
    assert own > HOUR.window_ms * WINDOWS[strategy] - 5000


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_look_is_admitted_above_the_limit(valkey: Server, strategy):
    """More than fits may be settled; whoever asks for nothing is not refused it, and sees that nothing is left."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, strategy, timeout_s=2)
        async with aclosing(storage):
            await settle([await storage.decide((Demand("ada", (MINUTE,), 1),))], 9)
            look = await storage.decide((Demand("ada", (MINUTE,), 0),))
            assert (look.wait_ms, look.remaining) == (0, [0])
            assert (await storage.decide((Demand("ada", (MINUTE,), 1),))).wait_ms > 0

    asyncio.run(main())
