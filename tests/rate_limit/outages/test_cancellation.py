"""Requests that are given up: before they were sent, under way, while connecting."""

import asyncio
import random
from contextlib import aclosing

import pytest

from envelope import RateLimiter, ServiceUnavailableError
from envelope.errors.tree import RateLimitedError
from envelope.rate_limit.quotas import Strategy
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Verdict
from envelope.storage.errors import StorageUnavailableError
from tests.rate_limit.outages.watching import (
    STRATEGY,
    counted,
    demand,
    keys_of,
    remaining,
    run,
    wait_for_no_connections,
)
from tests.servers.delay import Delay
from tests.servers.server import Server


async def _cancelled(*tasks: asyncio.Task[Verdict]) -> None:
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


def test_first_of_a_trip_is_cancelled(valkey: Server):
    """Whoever began the trip may leave it: the others have their answers all the same."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.02) as delay:
            limiter = RateLimiter("20/minute", storage=delay.url, on_outage="deny", timeout_s=2)
            async with aclosing(limiter):
                for is_connected in (False, True):
                    first = asyncio.create_task(limiter.check("first"))
                    others = [asyncio.create_task(limiter.check("other")) for _ in range(5)]
                    await asyncio.sleep(0.01 if is_connected else 0)
                    await _cancelled(first)
                    left = [remaining(verdict) for verdict in await asyncio.gather(*others)]
                    assert left == ([14, 13, 12, 11, 10] if is_connected else [19, 18, 17, 16, 15])

    run(main(), debug=True)


def test_cancelled_before_sending_is_not_charged(valkey: Server):
    """Who left the queue is not charged, and those behind are decided as if it had not been there."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.02) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=2)
            async with aclosing(storage):
                await storage.decide(demand("somebody else", cost=0))
                before = counted(valkey)
                trip = asyncio.create_task(storage.decide(demand("somebody else", cost=0)))
                await asyncio.sleep(0)
                queue = [asyncio.create_task(storage.decide(demand("ada"))) for _ in range(20)]
                await asyncio.sleep(0)
                await _cancelled(*queue[::2])
                verdicts = await asyncio.gather(*queue[1::2])
                await trip
                assert [remaining(verdict) for verdict in verdicts] == list(range(19, 9, -1))
                assert counted(valkey) - before == 10

    run(main(), debug=True)


def test_all_of_the_queue_are_cancelled(valkey: Server):
    """A queue in which nobody is left costs no trip, and the next one is served."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.02) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=2)
            async with aclosing(storage):
                await storage.decide(demand("somebody else"))
                with valkey.counting() as traffic:
                    trip = asyncio.create_task(storage.decide(demand("somebody else")))
                    await asyncio.sleep(0)
                    queue = [asyncio.create_task(storage.decide(demand("ada"))) for _ in range(300)]
                    await asyncio.sleep(0)
                    await _cancelled(*queue)
                    await trip
                    assert remaining(await storage.decide(demand("ada"))) == 19
                assert sum(traffic.commands.values()) == 2

    run(main(), debug=True)


def test_cancelled_while_connecting_is_not_charged(valkey: Server):
    """Those who left before there was a connection were not sent, so they are not charged."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.02) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=2)
            async with aclosing(storage):
                leaving = [asyncio.create_task(storage.decide(demand("ada"))) for _ in range(10)]
                await asyncio.sleep(0.005)
                await _cancelled(*leaving[1:])
                assert remaining(await leaving[0]) == 19
                assert remaining(await storage.decide(demand("ada", cost=0))) == 19

    run(main(), debug=True)


def test_cancelled_while_connecting(own_valkey: Server):
    """Those who left before there was a connection take nothing with them: it serves the next."""
    own_valkey.flush()

    async def main() -> None:
        with Delay(own_valkey.port, each_way_s=0.02) as delay:
            storage = RedisStorage(delay.url, STRATEGY, timeout_s=2)
            async with aclosing(storage):
                leaving = [asyncio.create_task(storage.decide(demand("ada"))) for _ in range(50)]
                await asyncio.sleep(0.005)
                await _cancelled(*leaving[1:])
                assert remaining(await storage.decide(demand("grace"))) == 19
                await asyncio.gather(*leaving, return_exceptions=True)
        wait_for_no_connections(own_valkey)

    run(main(), debug=True)


@pytest.mark.parametrize("strategy", ["sliding-window-counter", "fixed-window", "moving-window"])
def test_cancelled_at_random(own_valkey: Server, strategy: Strategy):
    """Hundreds who leave at any point harm nobody: answers are right, keys expire, the line works on."""
    own_valkey.flush()
    chance = random.Random(7)
    charged: list[int] = []

    async def main() -> None:
        with Delay(own_valkey.port, each_way_s=0.002) as delay:
            limiter = RateLimiter(
                "10000/minute", "9000/hour", storage=delay.url, strategy=strategy, on_outage="deny", timeout_s=5
            )

            async def ask(subject: str, leaves_after_s: float | None) -> None:
                try:
                    async with asyncio.timeout(leaves_after_s):
                        charged.append(remaining(await limiter.check(subject)))
                except (TimeoutError, ServiceUnavailableError):  # left, or sat on the connection that was cut
                    pass

            async with aclosing(limiter):
                async with asyncio.TaskGroup() as group:
                    for number in range(600):
                        stays = number % 3 == 0
                        group.create_task(ask(f"{number % 7}", None if stays else chance.random() * 0.02))
                        if chance.random() < 0.2:
                            await asyncio.sleep(chance.random() * 0.004)
                        if number % 150 == 149:
                            delay.drop()
                used = [
                    9000 - (await limiter.check(f"{n}", "9000/hour", cost=0)).figures[0].remaining
                    for n in range(7)
                ]
                assert min(f.remaining for f in (await limiter.check("a new one")).figures) == 8999
            assert len(charged) <= sum(used) <= 600 + 4 * 128

    run(main(), debug=True)
    assert 200 <= len(charged) < 600
    assert keys_of(own_valkey)
    assert all(own_valkey.call("PTTL", key) > 0 for key in own_valkey.call("KEYS", "*"))
    wait_for_no_connections(own_valkey)


def test_cancelled_during_an_outage(own_valkey: Server):
    """Who leaves while the server hangs leaves nothing; then the line works."""

    async def main() -> None:
        storage = RedisStorage(own_valkey.url, STRATEGY, timeout_s=0.1)
        async with aclosing(storage):
            for is_connected in (False, True):
                if is_connected:
                    await storage.decide(demand("somebody else"))
                own_valkey.suspend()
                tasks = [asyncio.create_task(storage.decide(demand("ada"))) for _ in range(200)]
                await asyncio.sleep(0.01)
                await _cancelled(*tasks[::2])
                outcomes = await asyncio.gather(*tasks[1::2], return_exceptions=True)
                assert all(isinstance(outcome, StorageUnavailableError) for outcome in outcomes)
                own_valkey.resume()
                for _ in range(3):
                    try:
                        await storage.decide(demand("grace"))
                        break
                    except StorageUnavailableError:
                        continue
                else:
                    pytest.fail("the line is stuck")

    run(main(), debug=True)


def test_cancelled_together_with_the_loop(own_valkey: Server):
    """A loop that ends while a trip hangs ends at once, and nothing is left over."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, timeout_s=5)
        await limiter.check("ada")
        own_valkey.suspend()
        for _ in range(10):
            asyncio.get_running_loop().create_task(limiter.check("ada"))
        await asyncio.sleep(0.01)
        await limiter.aclose()

    run(main(), debug=True)
    own_valkey.resume()


def test_cancelled_and_answered_at_once(valkey: Server):
    """A request that is cancelled when its answer lies there already is cancelled, or answered; never both."""
    valkey.flush()

    async def main() -> None:
        limiter = RateLimiter("100/minute", storage=valkey.url, on_outage="deny", timeout_s=2)
        async with aclosing(limiter):
            await limiter.check("ada")
            for turns in range(12):
                task = asyncio.create_task(limiter.check("ada"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert remaining(await limiter.check("ada", cost=0)) >= 99 - 12

    run(main(), debug=True)


def test_timeout_of_the_caller(own_valkey: Server):
    """A caller's own, shorter deadline is its own: a TimeoutError, no outage."""

    async def main() -> None:
        storage = RedisStorage(own_valkey.url, STRATEGY, timeout_s=5)
        async with aclosing(storage):
            await storage.decide(demand())
            own_valkey.suspend()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await storage.decide(demand())
            own_valkey.resume()
            assert remaining(await storage.decide(demand())) <= 18

    run(main(), debug=True)


def test_refused_ones_are_cancelled_too(valkey: Server):
    """Refusals and cancellations in one trip: each task ends in its own way."""
    valkey.flush()

    async def main() -> None:
        limiter = RateLimiter("5/minute", storage=valkey.url, on_outage="deny", timeout_s=2)
        async with aclosing(limiter):
            tasks = [asyncio.create_task(limiter.check("ada")) for _ in range(60)]
            await asyncio.sleep(0)
            for task in tasks[10:40]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(outcome, Verdict) for outcome in outcomes) == 5
        assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 30
        assert sum(isinstance(outcome, RateLimitedError) for outcome in outcomes) == 25

    run(main(), debug=True)
