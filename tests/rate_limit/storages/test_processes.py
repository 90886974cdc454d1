"""Four processes at once on one server: what all of them are admitted together is one limit's worth."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from envelope.rate_limit.quotas import Quota, Strategy
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Demand
from tests.rate_limit.storages.clocks import STRATEGIES
from tests.servers.cluster import Cluster
from tests.servers.server import Server

QUOTAS = (Quota(20, 60), Quota(1000, 3600))

#: Connects, says so, and begins when the test says so; then prints how many were admitted.
PROGRAM = """
import asyncio, sys
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Demand

async def main(url, strategy):
    storage = RedisStorage(url, strategy, timeout_s=10)
    quotas = (Quota(20, 60), Quota(1000, 3600))
    await storage.decide((Demand("ada", quotas, 0),))
    print("ready", flush=True)
    sys.stdin.readline()
    verdicts = await asyncio.gather(*(storage.decide((Demand("ada", quotas, 1),)) for _ in range(50)))
    print(sum(not verdict.wait_ms for verdict in verdicts), flush=True)
    await storage.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_four_processes_at_once(valkey: Server, strategy: Strategy):
    """Of 200 requests from four processes exactly 20 are admitted, and the hour counts 20."""
    valkey.flush()
    assert_four_processes_admit_20(valkey.url, strategy)


def test_four_processes_at_once_in_a_cluster(valkey_cluster: Cluster):
    """A subject's quotas are exact in a cluster too."""
    valkey_cluster.flush()
    assert_four_processes_admit_20(valkey_cluster.url, "sliding-window-counter")


def assert_four_processes_admit_20(url: str, strategy: Strategy) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url, strategy],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        admitted = [int(process.communicate(timeout=10)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert sum(admitted) == 20
    assert asyncio.run(used(url, strategy)) == [20, 20]


async def used(url: str, strategy: Strategy) -> list[int]:
    storage = RedisStorage(url, strategy, timeout_s=10)
    verdict = await storage.decide((Demand("ada", QUOTAS, 0),))
    await storage.aclose()
    return [quota.amount - left for quota, left in zip(QUOTAS, verdict.remaining, strict=True)]
