"""Sentinels that promote another server, and clusters that lose a node or move a slot."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest

from envelope import RateLimiter
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.redis.errands import Arguments, Command, Errand
from envelope.storage.redis.links import _ClusterLink
from envelope.storage.redis.scripts import Script
from tests.rate_limit.outages.watching import (
    PATIENCE_S,
    STRATEGY,
    connections,
    counted,
    demand,
    eventually,
    guarded,
    is_answered,
    is_local,
    keys_of,
    remaining,
    run,
    timed,
)
from tests.servers.cluster import Cluster
from tests.servers.delay import Delay
from tests.servers.process import wait_until
from tests.servers.sentinel import Sentinel
from tests.servers.server import Server

pytestmark = [
    # A Sentinel's own connections are never closed: test_sentinel_connections_are_closed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


async def _asking_until(limiter: RateLimiter, new: Server, *, within_s: float) -> None:
    """Ask as a busy service does until the new primary counts; nobody waits long."""

    async def is_moved() -> bool:
        waits = await asyncio.gather(*(timed(limiter.check(f"{number}")) for number in range(5)))
        assert max(wait_s for wait_s, _ in waits) < PATIENCE_S
        return not any(is_local(outcome) for _, outcome in waits) and counted(new) > 0

    await eventually(is_moved, within_s=within_s)


def test_sentinel_planned_failover(own_sentinel: Sentinel):
    """The old primary lives on as a replica; within seconds the new one decides."""

    async def main() -> None:
        limiter = RateLimiter("1000/minute", storage=own_sentinel.url)
        async with aclosing(limiter):
            assert remaining(await limiter.check("ada")) == 999
            wait_until(
                lambda: counted(own_sentinel.replica) == 1, within_s=5, told=lambda: "a copy on the replica"
            )
            new = await asyncio.to_thread(own_sentinel.fail_over)
            await _asking_until(limiter, new, within_s=5)
            assert remaining(await limiter.check("ada")) == 998

    run(main())


def test_sentinel_primary_killed(own_sentinel: Sentinel):
    """When the primary dies this process counts until the replica has taken over."""

    async def main() -> None:
        limiter = RateLimiter("1000/minute", storage=own_sentinel.url)
        async with aclosing(limiter):
            await limiter.check("ada")
            own_sentinel.primary.kill()
            new = own_sentinel.servers[1]
            await _asking_until(limiter, new, within_s=10)
            assert not is_local(await limiter.check("ada"))

    run(main())


def test_sentinel_primary_suspended(own_sentinel: Sentinel):
    """A primary that hangs is left for the one that the Sentinel promotes."""

    async def main() -> None:
        limiter = RateLimiter("1000/minute", storage=own_sentinel.url)
        async with aclosing(limiter):
            await limiter.check("ada")
            own_sentinel.primary.suspend()
            await _asking_until(limiter, own_sentinel.servers[1], within_s=10)

    run(main())


def test_sentinel_gone_while_the_primary_lives(own_sentinel: Sentinel):
    """Without its Sentinel a connected limiter works on."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_sentinel.url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            await limiter.check("ada")
            own_sentinel.sentinel.stop()
            assert remaining(await limiter.check("ada")) == 18

    run(main())


def test_sentinel_that_hangs_is_passed_over(valkey_sentinel: Sentinel):
    """One Sentinel in a black hole, as with a machine that lost power: the next one is asked."""
    valkey_sentinel.flush()

    async def main() -> None:
        with Delay(valkey_sentinel.port) as hole:
            hole.pause()
            url = f"redis+sentinel://{hole.address},{valkey_sentinel.sentinel.address}/mymaster"
            storage = RedisStorage(url, STRATEGY, timeout_s=0.1)
            guard = guarded(url)
            async with aclosing(storage), aclosing(guard):
                await eventually(lambda: is_answered(guard.decide(demand())), within_s=3)

    run(main())


def test_sentinel_that_refuses_is_passed_over(valkey_sentinel: Sentinel, own_valkey: Server):
    """One Sentinel that is down costs nobody an answer."""
    valkey_sentinel.flush()
    own_valkey.stop()

    async def main() -> None:
        url = f"redis+sentinel://{own_valkey.address},{valkey_sentinel.sentinel.address}/mymaster"
        limiter = RateLimiter("20/minute", storage=url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            assert remaining(await limiter.check("ada")) == 19

    run(main())


def test_sentinel_options_are_numbers(valkey_sentinel: Sentinel):
    """What the URL says of the Sentinels' connections is read as what it says of the server's."""
    valkey_sentinel.flush()

    async def main() -> None:
        url = f"{valkey_sentinel.url}?sentinel_socket_timeout=0.5&socket_timeout=0.5"
        limiter = RateLimiter("20/minute", storage=url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            assert remaining(await limiter.check("ada")) == 19

    run(main())


def test_sentinel_connections_are_closed(valkey_sentinel: Sentinel):
    """Neither the primary nor the Sentinel has a connection more after aclose()."""

    async def main() -> None:
        watcher, primary = valkey_sentinel.sentinel, valkey_sentinel.primary
        before = connections(watcher), connections(primary)
        limiter = RateLimiter("20/minute", storage=valkey_sentinel.url, on_outage="deny", timeout_s=1)
        await limiter.check("ada")
        await limiter.aclose()
        await asyncio.sleep(0.05)
        assert (connections(watcher), connections(primary)) == before

    valkey_sentinel.flush()
    run(main())


def _subjects(cluster: Cluster, url: str, each: int) -> list[list[str]]:
    """Give so many subjects of each node."""
    storage = RedisStorage(url, STRATEGY, timeout_s=1)
    found: list[list[str]] = [[] for _ in cluster.servers]
    number = 0
    while min(map(len, found)) < each:
        number += 1
        server = cluster.server_of(storage._key_of(f"{number}").decode())
        found[cluster.servers.index(server)].append(f"{number}")
    return [subjects[:each] for subjects in found]


@contextmanager
def _moved(slot: int, old: Server, new: Server) -> Iterator[None]:
    """Give an empty slot to another node, and back in the end."""
    for servers in ((new, old), (old, new)):
        for server in servers:
            server.call("CLUSTER", "SETSLOT", slot, "NODE", servers[0].call("CLUSTER", "MYID"))
        if servers[0] is new:
            try:
                yield
            finally:
                new.flush()


def test_cluster_node_killed(own_cluster: Cluster):
    """Without one node, its subjects are counted in this process, and all others by their own nodes."""
    subjects = _subjects(own_cluster, own_cluster.url, 3)
    down = 1

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_cluster.url, timeout_s=1)
        async with aclosing(limiter):
            for mine in subjects:
                assert not is_local(await limiter.check(mine[0]))
            own_cluster.servers[down].kill()
            for turn in range(4):
                for node, mine in enumerate(subjects):
                    wait_s, outcome = await timed(limiter.check(mine[1]))
                    assert wait_s < 1 + 0.4
                    assert is_local(outcome) == (node == down), (turn, node)
                    assert remaining(outcome) == 19 - turn
            # A request on budgets of several nodes is decided by all of them, or by this process.
            both = (*demand(subjects[0][2]), *demand(subjects[down][2]))
            assert is_local(await limiter.storage.decide(both))
            assert not is_local(await limiter.check(subjects[0][1]))

    run(main())


def test_cluster_node_killed_with_shared_trips(own_cluster: Cluster):
    """Who shares a trip with a subject of the node that is down has its own node's answer, and is charged once."""
    subjects = _subjects(own_cluster, own_cluster.url, 8)
    everybody = [subject for mine in zip(*subjects, strict=True) for subject in mine]

    async def main() -> tuple[set[str], list[int]]:
        storage = RedisStorage(own_cluster.url, STRATEGY, timeout_s=1)
        async with aclosing(storage):
            for mine in subjects:
                await storage.decide(demand(mine[0], cost=0))
            own_cluster.servers[1].kill()
            outcomes = await asyncio.gather(
                *(storage.decide(demand(subject)) for subject in everybody), return_exceptions=True
            )
        failed = {s for s, outcome in zip(everybody, outcomes, strict=True) if isinstance(outcome, Exception)}
        return failed, [counted(own_cluster.servers[node]) for node in (0, 2)]

    failed, charged = run(main())
    assert failed == set(subjects[1])
    assert charged == [8, 8]


def test_cluster_first_node_suspended(own_cluster: Cluster):
    """Which node hangs makes no difference: the subjects of the others are decided by their nodes."""
    subjects = _subjects(own_cluster, own_cluster.url, 2)

    async def main() -> None:
        guard = guarded(own_cluster.url, timeout_s=0.2)
        async with aclosing(guard):
            for mine in subjects:
                await guard.decide(demand(mine[0]))
            own_cluster.servers[0].suspend()
            try:
                assert not await is_answered(guard.decide(demand(subjects[0][0])))
                await eventually(lambda: is_answered(guard.decide(demand(subjects[1][1]))), within_s=3)
            finally:
                own_cluster.servers[0].resume()

    run(main())


def test_cluster_node_suspended(own_cluster: Cluster):
    """A node that hangs keeps only its own subjects waiting, and them no longer than the deadline."""
    subjects = _subjects(own_cluster, own_cluster.url, 3)

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_cluster.url, timeout_s=1)
        async with aclosing(limiter):
            for mine in subjects:
                assert not is_local(await limiter.check(mine[0]))
            own_cluster.servers[2].suspend()
            try:
                for node in (2, 0, 1):
                    wait_s, outcome = await timed(limiter.check(subjects[node][1]))
                    assert wait_s < 1 + 0.4
                    assert is_local(outcome) == (node == 2)
            finally:
                own_cluster.servers[2].resume()

            async def is_back() -> bool:
                return not is_local(await limiter.check(subjects[2][2]))

            await eventually(is_back, within_s=5)

    run(main())


def test_cluster_node_restarted(own_cluster: Cluster):
    """Nodes that all restarted between two requests, and know the cluster by their files, answer the second."""

    async def main() -> None:
        guard = guarded(own_cluster.url, timeout_s=1)
        async with aclosing(guard):
            await guard.decide(demand())
            for server in own_cluster.servers:
                server.stop()
                server.start()
            for server in own_cluster.servers:
                wait_until(server.is_in_cluster, within_s=10, told=lambda: "a cluster again")
            await eventually(lambda: is_answered(guard.decide(demand())), within_s=6)

    run(main())


def test_cluster_scripts_flushed(valkey_cluster: Cluster):
    """Each node that forgot the script gets it again, within the same request."""
    valkey_cluster.flush()
    subjects = _subjects(valkey_cluster, valkey_cluster.url, 3)

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=valkey_cluster.url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            await limiter.check(subjects[0][0])
            for server in valkey_cluster.servers:
                server.call("SCRIPT", "FLUSH")
            everybody = [subject for mine in subjects for subject in mine]
            outcomes = await asyncio.gather(*(limiter.check(subject) for subject in everybody))
            assert sorted(map(remaining, outcomes)) == [18] + [19] * 8

    run(main())


def test_cluster_slot_moved(own_cluster: Cluster):
    """A slot that moved is found where it is now, without a failed request."""
    (subject, *_), *_ = _subjects(own_cluster, own_cluster.url, 1)

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_cluster.url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            await limiter.check(subject)
            old, new = own_cluster.servers[0], own_cluster.servers[1]
            (key,) = keys_of(old)
            slot = old.call("CLUSTER", "KEYSLOT", key)
            old.flush()
            with _moved(slot, old, new):
                assert remaining(await limiter.check(subject)) == 19
                assert (counted(old), counted(new)) == (0, 1)
                assert remaining(await limiter.check(subject)) == 18

    run(main())


def test_cluster_slot_moved_for_many_at_once(own_cluster: Cluster):
    """Those who share a trip with a subject whose slot moved are charged once, and it too."""
    subjects = _subjects(own_cluster, own_cluster.url, 6)
    moved = subjects[0][0]

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_cluster.url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            await limiter.check(moved)
            old, new = own_cluster.servers[0], own_cluster.servers[2]
            (key,) = keys_of(old)
            slot = old.call("CLUSTER", "KEYSLOT", key)
            old.flush()
            everybody = [subject for mine in subjects for subject in mine]
            with _moved(slot, old, new):
                outcomes = await asyncio.gather(*(limiter.check(subject) for subject in everybody))
                assert list(map(remaining, outcomes)) == [19] * len(everybody)
                assert sum(map(counted, own_cluster.servers)) == len(everybody)

    run(main())


def test_cluster_node_killed_spares_the_others(own_cluster: Cluster):
    """The failures of one node do not make the others' subjects pay for a new connection each time."""
    subjects = _subjects(own_cluster, own_cluster.url, 2)

    async def main() -> None:
        storage = RedisStorage(own_cluster.url, STRATEGY, timeout_s=1)
        async with aclosing(storage):
            for mine in subjects:
                await storage.decide(demand(mine[0]))
            own_cluster.servers[1].kill()
            with own_cluster.servers[0].counting() as traffic:
                for _ in range(5):
                    with pytest.raises(StorageUnavailableError):
                        await storage.decide(demand(subjects[1][1]))
                    await storage.decide(demand(subjects[0][1]))
        assert traffic.commands["command"] <= 1

    run(main())


def test_slot_that_moved_to_nowhere_is_an_outage_of_its_subjects():
    """The server that should have it does not answer; the others of the trip are decided."""
    import redis.asyncio
    from redis.exceptions import MovedError

    class Node:
        name = "here"

        async def execute_pipeline(self, parts: list[Any]) -> None:
            parts[0].result, parts[1].result = MovedError("1 127.0.0.1:1"), b"7"

    class FakeCluster:
        def get_node_from_key(self, key: bytes) -> Node:
            return Node()

        async def execute_command(self, *words: Any) -> None:
            raise redis.exceptions.ConnectionError("nobody there")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        script = Script(b"return 7", b"0" * 40, most=2)
        errands = [Errand(script, [b"k"], Arguments.of(), 0, 0.0, loop.create_future()) for _ in range(2)]
        link = _ClusterLink(redis.asyncio, FakeCluster())
        await link.exchange([Command(script, errands)])
        assert link.is_worn
        assert await errands[1].answer == [b"7"]
        with pytest.raises(StorageUnavailableError, match="nobody there"):
            await errands[0].answer

    run(main())
