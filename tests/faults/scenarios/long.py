"""What takes minutes: servers that start anew, fail over, move slots, lose their clock; and a long day."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.checker import Violation
from tests.faults.history import clock
from tests.faults.stage import OURS, Cast, Stage
from tests.servers.cluster import Cluster
from tests.servers.sentinel import Sentinel
from tests.servers.server import Server

_KEYS = 8


class SkewedServer(Server):
    """A server whose clock can be set.

    Args:
        directory: Where the library is built that sets it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._library = directory / "skew.so"
        self._file = directory / "skew"
        source = Path(__file__).parents[1] / "skew.c"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(self._library), str(source)], check=True)

    def command(self) -> list[str]:
        return ["env", f"LD_PRELOAD={self._library}", f"SKEW_FILE={self._file}", *super().command()]

    def set_clock(self, seconds: int) -> None:
        """Set the clock to so many seconds more than the right time."""
        self._file.write_text(str(seconds))
        told = int(self.call("TIME")[0]) - time.time()
        if abs(told - seconds) > 5:
            raise RuntimeError(f"the clock goes {told:.0f} s ahead, not {seconds}")


def restarted_server(server: Server, cast: Cast = OURS) -> list[Violation]:
    """Three times the server dies with everything that it knew, and starts anew: fences have to do."""

    def restart() -> None:
        server.kill()
        server.start()

    with Stage(server, cast) as stage:
        _under_load(stage, [restart] * 3)
        return stage.judge(exclusion=False)


def forgotten_scripts(server: Server, cast: Cast = OURS) -> list[Violation]:
    """The server forgets its scripts again and again: nothing at all happens."""

    def forget() -> None:
        server.call("SCRIPT", "FLUSH")

    with Stage(server, cast) as stage:
        _under_load(stage, [forget] * 50, pause_s=0.1)
        return stage.judge()


def flushed_under_load(server: Server, cast: Cast = OURS) -> list[Violation]:
    """Somebody deletes all keys, ten times: fences have to do."""
    with Stage(server, cast) as stage:
        _under_load(stage, [server.flush] * 10, pause_s=0.5)
        return stage.judge(exclusion=False)


def failed_over(sentinel: Sentinel, cast: Cast = OURS) -> list[Violation]:
    """The primary dies, and its replica, which may not have the last leases, takes over: fences have to do."""
    with Stage(sentinel.primary, cast) as stage:
        _under_load(stage, [lambda: _failed_over(sentinel)], url=sentinel.url, pause_s=2, last_s=4)
        return stage.judge(exclusion=False)


def moved_slot(cluster: Cluster, cast: Cast = OURS) -> list[Violation]:
    """The slot of all the locks moves to another server and back while they are taken and freed."""
    slot = int(cluster.servers[0].call("CLUSTER", "KEYSLOT", "envelope:{locks:}:1:holds"))
    home = cluster.server_of("envelope:{locks:}:1:holds")
    other = next(server for server in cluster.servers if server is not home)
    with Stage(home, cast, ttl_s=3, grace_s=1.6) as stage:

        def move(source: Server, target: Server) -> None:
            with stage.fault():
                _move(slot, source, target)

        moves = [lambda: move(home, other), lambda: move(other, home)]
        _under_load(stage, moves, url=cluster.url, pause_s=2, last_s=3)
        return stage.judge()


def clock_set(server: SkewedServer, cast: Cast = OURS) -> list[Violation]:
    """The server's clock is set a minute forward, which ends leases early, and eleven minutes back."""
    with Stage(server, cast) as stage:
        steps = [lambda: server.set_clock(60), lambda: server.set_clock(0)]
        _under_load(stage, steps, pause_s=2)
        found = stage.judge(exclusion=False)
    with Stage(server, cast) as stage:
        server.set_clock(0)
        # Backwards nothing ends early, and nothing lasts eleven minutes: all that was promised holds.
        _under_load(stage, [lambda: server.set_clock(-660)], pause_s=2, last_s=4)
        asyncio.run(_all_free(stage))
        return [*found, *stage.judge()]


def soak(server: Server, cast: Cast = OURS, *, seconds: float = 600) -> list[Violation]:
    """Hours in minutes: the memory of clients and server stays, and nothing is kept for ever."""
    with Stage(server, cast) as stage:
        clients = stage.clients(2)
        for client in clients:
            client.begin("roam", 200, seconds, (0, 0.005), tasks=8)
        time.sleep(min(seconds / 4, 60))
        before = [client.memory_kb() for client in clients]
        for client in clients:
            client.result()
        after = [client.memory_kb() for client in clients]
        for early, late in zip(before, after, strict=True):
            if late > 1.2 * early + 4000:
                stage.seen.append(Violation("answer", f"a client grew from {early} to {late} KiB"))
        keys = server.call("KEYS", "*")
        kept = [key for key in keys if server.call("PTTL", key) < 0]
        if len(keys) > 201 or kept:
            stage.seen.append(
                Violation("answer", f"{len(keys)} keys for 200 objects, {len(kept)} of them for ever")
            )
        return stage.judge()


def _under_load(
    stage: Stage,
    steps: Sequence[Callable[[], object]],
    *,
    url: str | None = None,
    pause_s: float = 1.5,
    last_s: float = 1.5,
) -> None:
    """Do things to the server while processes take objects and change them."""
    seconds = len(steps) * (pause_s + 0.5) + last_s
    clients = stage.clients(3, url)
    for client in clients:
        client.begin("roam", _KEYS, seconds, (0.01, 0.1), tasks=3)
    for step in steps:
        time.sleep(pause_s)
        step()
    counts = [client.result() for client in clients]
    if min(counts) == 0:
        stage.seen.append(Violation("liveness", f"changes of three processes: {counts}"))


async def _all_free(stage: Stage) -> None:
    async with stage.worker() as worker:
        end = clock() + stage.ttl_s + stage.terms.grace_s
        for number in range(_KEYS):
            taken = await worker.poll(f"entity:{number}", within_s=max(0, end - clock()))
            if taken.outcome == "ok":
                await worker.release(taken.lease)
            else:
                stage.seen.append(Violation("liveness", f"entity:{number} is not free"))


def _failed_over(sentinel: Sentinel) -> None:
    sentinel.kill_primary()


def _move(slot: int, source: Server, target: Server) -> None:
    ids = {server: server.call("CLUSTER", "MYID") for server in (source, target)}
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, 3):
        source.call("MIGRATE", target.host, target.port, "", 0, 1000, "KEYS", *keys)
        time.sleep(0.05)
    for server in (target, source):
        server.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
