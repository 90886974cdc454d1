"""Many processes and tasks want the same objects."""

from __future__ import annotations

from tests.faults.checker import Violation
from tests.faults.stage import OURS, Cast, Stage
from tests.servers.server import Server


def steady_contention(server: Server, cast: Cast = OURS, *, seconds: float = 8) -> list[Violation]:
    """Four processes with four tasks each change 20 objects: nobody loses a change, nobody is refused by nobody."""
    with Stage(server, cast) as stage:
        clients = stage.clients(4)
        for client in clients:
            client.begin("roam", 20, seconds, (0.001, 0.02), tasks=4)
        changes = sum(client.result() for client in clients)
        if changes < 50 * seconds or stage.count("acquire", "locked") < 5 * seconds:
            raise RuntimeError(f"{changes} changes prove nothing")
        return stage.judge()


def crossed_order(server: Server, cast: Cast = OURS, *, seconds: float = 4) -> list[Violation]:
    """Three at a time of five objects, in any order: nobody waits for anybody, and nobody holds a part of them."""
    with Stage(server, cast) as stage:
        clients = stage.clients(3)
        for client in clients:
            client.begin("roam", 5, seconds, (0.001, 0.005), tasks=2, together=3)
        counts = [client.result() for client in clients]
        if min(counts) == 0:
            stage.seen.append(
                Violation("liveness", f"of three processes these many changes got through: {counts}")
            )
        return stage.judge()
