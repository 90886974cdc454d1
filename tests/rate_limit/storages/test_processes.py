"""Four processes at once on one server: what all of them are admitted together is one limit's worth."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envelope.rate_limit.quotas import Quota, Strategy
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Demand
from tests.rate_limit.storages.clocks import STRATEGIES
from tests.servers.cluster import Cluster
from tests.servers.server import Server

QUOTAS = (Quota(20, 60), Quota(1000, 3600))

#: For each line of its input, "url strategy": connects, says so, begins at the next line, and prints how many were
#: admitted.
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

for line in sys.stdin:
    asyncio.run(main(*line.split()))
"""


class Workers:
    def __init__(self) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                cwd=Path(__file__).parents[3],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]

    def tell(self, line: str) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()

    def hear(self) -> list[str]:
        return [process.stdout.readline().strip() for process in self.processes if process.stdout is not None]

    def admitted(self, url: str, strategy: Strategy) -> int:
        """Have all processes ask at once, and give how many requests were admitted."""
        self.tell(f"{url} {strategy}")
        assert self.hear() == ["ready"] * 4
        self.tell("go")
        return sum(map(int, self.hear()))


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    for process in workers.processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_four_processes_at_once(workers: Workers, valkey: Server, strategy: Strategy):
    """Of 200 requests from four processes exactly 20 are admitted, and the hour counts 20."""
    valkey.flush()
    assert workers.admitted(valkey.url, strategy) == 20
    assert asyncio.run(used(valkey.url, strategy)) == [20, 20]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_four_processes_at_once_in_a_cluster(workers: Workers, valkey_cluster: Cluster, strategy: Strategy):
    """A subject's quotas are exact in a cluster too."""
    valkey_cluster.flush()
    assert workers.admitted(valkey_cluster.url, strategy) == 20
    assert asyncio.run(used(valkey_cluster.url, strategy)) == [20, 20]


async def used(url: str, strategy: Strategy) -> list[int]:
    storage = RedisStorage(url, strategy, timeout_s=10)
    verdict = await storage.decide((Demand("ada", QUOTAS, 0),))
    await storage.aclose()
    return [quota.amount - left for quota, left in zip(QUOTAS, verdict.remaining, strict=True)]
