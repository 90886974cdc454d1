"""Locks: how they are had, held, lost and handed on is measured by operation."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from envelope import Lease, LeaseLostError, ObjectLockedError, ObjectLocks, ServiceUnavailableError, install
from envelope.locks.storages.memory import MemoryLocks
from tests.locks.storages.places import Clock, eventually, run
from tests.servers.server import Server
from tests.telemetry.conftest import Metrics


def ends(metrics: Metrics) -> dict[Any, int]:
    return metrics.read("lock.hold.duration", "operation", "end")


def taken(metrics: Metrics) -> dict[Any, int]:
    return metrics.read("lock.acquire.duration", "operation", "outcome")


@pytest.mark.anyio
async def test_attempts_and_holds_are_measured(metrics: Metrics):
    """Whoever has an object, and whoever is refused; the hold as long as it lasted."""
    clock = Clock()
    locks = ObjectLocks(MemoryLocks(max_hold_s=15, clock=clock))
    async with locks.hold("a", operation="first"):
        other = ObjectLocks(locks.storage)
        with pytest.raises(ObjectLockedError):
            await asyncio.create_task(other.acquire("b", "a", operation="second"), context=None)
        clock.pass_s(3)

    assert taken(metrics) == {("first", "granted"): 1, ("second", "refused"): 1}
    assert ends(metrics) == {("first", "released"): 1}
    assert metrics.sums("lock.hold.duration") == [3]
    assert all(0 <= seconds < 1 for seconds in metrics.sums("lock.acquire.duration"))


def test_guarded_endpoint_is_the_operation(metrics: Metrics):
    """As in the log and in Retry-After."""
    locks = ObjectLocks()
    app = FastAPI()
    install(app, locks=locks)

    @app.post("/{item}")
    @locks.guarded("item:{item}")
    async def change(item: int) -> None:
        pass

    TestClient(app).post("/1")

    assert taken(metrics) == {("change", "granted"): 1}
    assert ends(metrics) == {("change", "released"): 1}


@pytest.mark.parametrize("on_outage", ["deny", "allow"])
def test_outage_is_an_outcome(metrics: Metrics, on_outage: Any):
    """Also if the work goes on without a lock."""

    async def main() -> None:
        locks = ObjectLocks("redis://127.0.0.1:1", on_outage=on_outage)
        async with aclosing(locks):
            try:
                async with locks.hold("a"):
                    pass
            except ServiceUnavailableError:
                assert on_outage == "deny"

    run(main())
    assert taken(metrics) == {("a", "unavailable"): 1}
    assert ends(metrics) == {}


@pytest.mark.anyio
async def test_attempt_that_is_cancelled_is_none(metrics: Metrics):
    """It says nothing about the storage."""

    class Slow(MemoryLocks):
        async def acquire(self, keys: tuple[str, ...], operation: str) -> Any:
            await asyncio.sleep(60)

    task = asyncio.create_task(ObjectLocks(Slow(max_hold_s=15)).acquire("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taken(metrics) == {}


@pytest.mark.anyio
async def test_broken_lock_is_lost_once(metrics: Metrics):
    """The end is a loss, whatever the holder does afterwards."""
    locks = ObjectLocks()
    lease = await locks.acquire("a", operation="work")
    assert await locks.break_lock("a", fence=lease.fence)
    await lease.release()

    assert metrics.read("lock.lost", "operation", "cause") == {("work", "broken"): 1}
    assert ends(metrics) == {("work", "lost"): 1}


@pytest.mark.anyio
async def test_lease_that_was_held_too_long_is_lost_when_somebody_looks(metrics: Metrics):
    """Also if whoever held it never releases it."""
    clock = Clock()
    locks = ObjectLocks(MemoryLocks(max_hold_s=15, clock=clock))
    lease = await locks.acquire("a", operation="work")
    clock.pass_s(20)
    await locks.acquire("a", operation="next")

    assert metrics.read("lock.lost", "operation", "cause") == {("work", "max_hold"): 1}
    await lease.release()
    assert ends(metrics) == {("work", "lost"): 1}


@pytest.mark.anyio
async def test_lease_that_ended_before_its_release_is_lost(metrics: Metrics):
    """Nobody looked meanwhile; the release finds out."""
    clock = Clock()
    locks = ObjectLocks(MemoryLocks(max_hold_s=15, clock=clock))
    lease = await locks.acquire("a", operation="work")
    clock.pass_s(20)
    await lease.release()

    assert metrics.read("lock.lost", "cause") == {"late_release": 1}
    assert ends(metrics) == {("work", "lost"): 1}


@pytest.mark.anyio
async def test_lease_that_is_let_go_is_released(metrics: Metrics):
    """As by a request that was cancelled."""
    locks = ObjectLocks()
    lease = await locks.acquire("a", operation="work")
    lease.let_go()
    lease.let_go()
    assert ends(metrics) == {("work", "released"): 1}


@pytest.mark.anyio
async def test_release_that_is_cancelled_is_a_release(metrics: Metrics):
    """The storage goes on with it in the background."""

    class Slow(MemoryLocks):
        async def release(self, lease: Lease) -> bool:
            await asyncio.sleep(60)
            return True

    locks = ObjectLocks(Slow(max_hold_s=15))
    lease = await locks.acquire("a", operation="work")
    task = asyncio.create_task(lease.release())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends(metrics) == {("work", "released"): 1}


# On a server


def test_losses_on_a_server_have_a_cause(metrics: Metrics, valkey: Server):
    """Held too long, or taken away."""
    valkey.flush()

    async def main() -> None:
        locks = ObjectLocks(valkey.url, ttl_s=1.5, max_hold_s=1.4, timeout_s=0.4)
        async with aclosing(locks):
            too_long, taken_away = await locks.acquire("a"), await locks.acquire("b")
            await locks.break_lock("b", fence=taken_away.fence)
            await eventually(lambda: taken_away.lost and too_long.has_ended)

    run(main())
    assert metrics.read("lock.lost", "operation", "cause") == {("a", "max_hold"): 1, ("b", "taken"): 1}


def test_lease_that_cannot_be_renewed_has_a_cause(metrics: Metrics, own_valkey: Server):
    """The server stands still for longer than the lease lasts."""

    async def main() -> None:
        locks = ObjectLocks(own_valkey.url, ttl_s=1, timeout_s=0.3)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            own_valkey.suspend()
            await eventually(lambda: lease.has_ended)
            own_valkey.resume()

    run(main())
    assert metrics.read("lock.lost", "cause") == {"not_renewed": 1}


def test_hand_offs_are_counted_and_pending_until_claimed(metrics: Metrics, valkey: Server):
    """The giver learns of the claim by asking; a token that is withdrawn does not wait any more."""
    valkey.flush()

    def pending() -> int:
        return sum(metrics.read("lock.hand_offs.pending").values())

    async def main() -> None:
        giver = ObjectLocks(valkey.url, ttl_s=1.5, timeout_s=0.45)
        worker = ObjectLocks(valkey.url, ttl_s=1.5, timeout_s=0.45)
        async with aclosing(giver), aclosing(worker):
            claimed, withdrawn = await giver.acquire("a", operation="work"), await giver.acquire("b")
            token = await claimed.hand_off(claim_within_s=60)
            await withdrawn.hand_off(claim_within_s=60)
            assert pending() == 2
            await withdrawn.release()
            assert pending() == 1
            await asyncio.sleep(0.3)  # a look or two
            assert pending() == 1
            async with worker.claim(token):
                await eventually(lambda: pending() == 0)
            with pytest.raises(LeaseLostError):
                async with worker.claim(token):
                    pass

    run(main())
    assert metrics.read("lock.hand_offs", "outcome") == {"offered": 2, "withdrawn": 1, "claimed": 1, "missed": 1}
    assert ends(metrics) == {("work", "handed_off"): 1, ("b", "handed_off"): 1, ("work", "released"): 1}


def test_hand_off_that_nobody_claims_ends_by_itself(metrics: Metrics, valkey: Server):
    """And one that is given by a process that ends is not its own any more."""
    valkey.flush()

    async def main() -> None:
        locks = ObjectLocks(valkey.url, ttl_s=1.5, timeout_s=0.45)
        async with aclosing(locks):
            short, long = await locks.acquire("a"), await locks.acquire("b")
            await short.hand_off(claim_within_s=0.3)
            await long.hand_off(claim_within_s=60)
            begun = time.monotonic()
            await eventually(lambda: sum(metrics.read("lock.hand_offs.pending").values()) == 1)
            assert time.monotonic() - begun < 3

    run(main())
    assert sum(metrics.read("lock.hand_offs.pending").values()) == 0


def test_hand_off_waits_while_the_server_does_not_answer(metrics: Metrics, own_valkey: Server):
    """Nothing is known, so nothing is said."""

    async def main() -> None:
        locks = ObjectLocks(own_valkey.url, ttl_s=0.8, timeout_s=0.2)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            await lease.hand_off(claim_within_s=60)
            own_valkey.suspend()
            await asyncio.sleep(0.6)
            assert sum(metrics.read("lock.hand_offs.pending").values()) == 1
            own_valkey.resume()

    run(main())


def test_offers_are_looked_at_one_by_one_whatever_else_happens(metrics: Metrics, valkey: Server):
    """The thread is woken by every lease; how often the server is asked does not depend on that."""
    valkey.flush()

    async def main() -> None:
        locks = ObjectLocks(valkey.url, ttl_s=6, timeout_s=1)
        async with aclosing(locks):
            for number in range(300):
                await (await locks.acquire(f"job {number}")).hand_off(claim_within_s=60)
            assert sum(metrics.read("lock.hand_offs.pending").values()) == 300
            with valkey.counting() as traffic:
                begun = time.monotonic()
                while time.monotonic() < begun + 1.5:
                    await (await locks.acquire("b")).release()
            asked = traffic.commands["evalsha"]
            taken_and_given_back = 2 * sum(
                count for (operation, _), count in taken(metrics).items() if operation == "b"
            )
            assert asked - taken_and_given_back <= 3 * 300  # each second once, give or take a look

    run(main())
    assert sum(metrics.read("lock.hand_offs.pending").values()) == 0


def test_offers_of_a_guard_in_trouble_are_no_outage(
    metrics: Metrics, own_valkey: Server, caplog: pytest.LogCaptureFixture
):
    """Looking at them is nobody's request: it opens no breaker, and raises no alarm."""

    async def main() -> None:
        locks = ObjectLocks(own_valkey.url, ttl_s=0.8, timeout_s=0.2)
        async with aclosing(locks):
            await (await locks.acquire("a")).hand_off(claim_within_s=60)
            own_valkey.suspend()
            await asyncio.sleep(0.8)
            own_valkey.resume()

    run(main())
    assert "does not answer" not in caplog.text
    assert metrics.read("storage.duration", "outcome") == {"answered": 2}


def test_late_hand_off_is_a_loss(metrics: Metrics, valkey: Server):
    """Nothing is left to hand off."""
    valkey.flush()

    async def main() -> None:
        locks = ObjectLocks(valkey.url)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            await locks.break_lock("a", fence=lease.fence)
            with pytest.raises(LeaseLostError):
                await lease.hand_off(claim_within_s=1)

    run(main())
    assert metrics.read("lock.lost", "cause") == {"late_hand_off": 1}


def test_nothing_is_asked_of_the_server_without_a_listener(valkey: Server):
    """Who waits for a claim is only watched while somebody listens."""
    valkey.flush()

    async def main() -> None:
        locks = ObjectLocks(valkey.url, ttl_s=1.5, timeout_s=0.45)
        async with aclosing(locks):
            lease = await locks.acquire("a")
            await lease.hand_off(claim_within_s=60)
            await asyncio.sleep(0.1)
            with valkey.counting() as traffic:
                await asyncio.sleep(0.6)
            assert traffic.round_trips == 0

    run(main())


# Refusals, and what became of them


@pytest.mark.anyio
async def test_blocked_time_and_retry_after_are_measured(metrics: Metrics):
    """From the first refusal until somebody has the object; and whether the announced time was right."""
    clock = Clock()
    from envelope import signals
    from envelope.telemetry.blocked import BlockedObjects

    listener: Any = signals.listener
    listener._blocked = BlockedObjects(clock)
    locks = ObjectLocks(MemoryLocks(max_hold_s=15, clock=clock))

    async def refused() -> float | None:
        with pytest.raises(ObjectLockedError) as refusal:
            await locks.acquire("a", operation="second")
        return refusal.value.retry_after

    lease = await locks.acquire("a", operation="first")
    assert await refused() == 2
    clock.pass_s(1.9)  # not as late as announced, whatever the estimate was before it was rounded
    await refused()
    clock.pass_s(1.1)  # later than announced, but it is still held
    await refused()
    await lease.release()
    clock.pass_s(3)
    await (await locks.acquire("a", operation="second")).release()

    assert metrics.read("lock.retry_after", "held_for", "outcome") == {
        ("first", "early"): 1,
        ("first", "right"): 1,
    }
    assert metrics.read("lock.blocked.duration", "operation") == {"second": 1}
    assert metrics.sums("lock.blocked.duration") == [6]


@pytest.mark.anyio
async def test_refused_read_is_an_attempt_that_was_refused(metrics: Metrics):
    """Nobody can see whether a read comes back: it blocks nothing, and says nothing about Retry-After."""
    locks = ObjectLocks()
    app = FastAPI()
    install(app, locks=locks)

    @app.get("/{item}")
    @locks.guarded("item:{item}", reads="refuse")
    async def read(item: int) -> None:
        pass

    lease = await locks.acquire("item:1", operation="work")
    assert TestClient(app).get("/1").status_code == 423
    await lease.release()
    await locks.acquire("item:1", operation="work")

    assert taken(metrics) == {("work", "granted"): 2, ("read", "refused"): 1}
    assert metrics.points("lock.blocked.duration") == []


def test_lease_that_was_read_too_late_is_no_hold(metrics: Metrics, valkey: Server):
    """The process stood still while the server answered: it was never had."""
    valkey.flush()

    async def main() -> None:
        locks = ObjectLocks(valkey.url)
        times = iter([0.0, *[1000.0] * 1000])
        locks.storage.clock = lambda: next(times)  # type: ignore[method-assign]
        async with aclosing(locks):
            with pytest.raises(ServiceUnavailableError):
                await locks.acquire("a")

    run(main())
    assert taken(metrics) == {("a", "unavailable"): 1}
    assert ends(metrics) == {}
