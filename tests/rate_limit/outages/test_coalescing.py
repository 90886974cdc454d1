"""Round trips that are shared, and refusals that need none."""

import asyncio
from collections import Counter
from contextlib import aclosing

import pytest

from envelope import RateLimiter
from envelope.errors.tree import RateLimitedError
from envelope.rate_limit.storages.redis.scripts import load_scripts
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import Verdict
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.redis.errands import Arguments
from envelope.storage.redis.line import Line
from envelope.storage.redis.links import plan_connection
from tests.rate_limit.outages.watching import (
    STRATEGY,
    Clock,
    counted,
    demand,
    keys_of,
    remaining,
    run,
    settle,
)
from tests.servers.delay import Delay
from tests.servers.server import Server

THREE = ("200/second", "500/minute", "5000/hour")


@pytest.mark.parametrize("notations", [THREE[:1], THREE], ids=["1 limit", "3 limits"])
def test_lone_requests_cost_a_round_trip_each(valkey: Server, notations: tuple[str, ...]):
    """One command and one round trip, however many limits; nothing else is asked on the side."""
    valkey.flush()

    async def main() -> None:
        limiter = RateLimiter(*notations, storage=valkey.url, on_outage="deny", timeout_s=1)
        async with aclosing(limiter):
            await limiter.check("somebody else")
            with valkey.counting() as traffic:
                for _ in range(10):
                    assert len((await limiter.check("ada")).figures) == len(notations)
            assert traffic.commands == Counter({"evalsha": 10})
            assert traffic.round_trips == 10

    run(main())


def test_lone_request_is_sent_without_waiting(valkey: Server):
    """Nothing waits for company: what a lone request starts is due at once, except for its deadline."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, STRATEGY, timeout_s=5)
        async with aclosing(storage):
            await storage.decide(demand())
            loop = asyncio.get_running_loop()
            due: list[float] = []
            call_at = loop.call_at

            def noted(when: float, *args: object, **kwargs: object) -> asyncio.TimerHandle:
                due.append(when - loop.time())
                return call_at(when, *args, **kwargs)  # type: ignore[arg-type]

            loop.call_at = noted  # type: ignore[method-assign]
            try:
                await storage.decide(demand())
            finally:
                loop.call_at = call_at  # type: ignore[method-assign]
            assert len(due) == 1
            assert due[0] > 4

    run(main())


def test_requests_in_flight_share_round_trips(valkey: Server):
    """Sixty-four that begin together are one trip, those that come meanwhile the next; each has its own figures."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, STRATEGY, timeout_s=2)
        async with aclosing(storage):
            await storage.decide(demand("somebody else"))
            with valkey.counting() as traffic:
                asked = [demand(f"{number % 40}", *THREE, cost=number % 3) for number in range(128)]
                early = [asyncio.create_task(storage.decide(each)) for each in asked[:64]]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                late = [asyncio.create_task(storage.decide(each)) for each in asked[64:]]
                verdicts = await asyncio.gather(*early, *late)
            assert traffic.commands == Counter({"evalsha": 2})
            used: Counter[str] = Counter()
            for ((subject, quotas, cost, *_),), verdict in zip(asked, verdicts, strict=True):
                used[subject] += cost
                assert verdict.demands[0].subject == subject
                assert list(verdict.remaining) == [quota.amount - used[subject] for quota in quotas]

    run(main())


def test_requests_in_flight_share_round_trips_all_the_time(valkey: Server):
    """Sixty-four clients that go on asking cost far less than a command each."""
    valkey.flush()

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.001) as delay:
            limiter = RateLimiter("100000/minute", storage=delay.url, on_outage="deny", timeout_s=5)

            async def ask(subject: str) -> None:
                for number in range(20):
                    assert remaining(await limiter.check(subject)) == 99_999 - number

            async with aclosing(limiter):
                await limiter.check("somebody else")
                with valkey.counting() as traffic:
                    await asyncio.gather(*(ask(f"{number}") for number in range(64)))
            assert traffic.commands["evalsha"] < 64 * 20 / 8

    run(main())


@pytest.mark.parametrize("count", [127, 128, 129, 130, 500])
def test_more_than_a_trip_can_take(valkey: Server, count: int):
    """Those who do not fit into a trip take the next, in their order, and nobody is left behind."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, STRATEGY, timeout_s=5)
        async with aclosing(storage):
            await storage.decide(demand("somebody else"))
            with valkey.counting() as traffic:
                asked = [storage.decide(demand("ada", "100000/hour")) for _ in range(count)]
                verdicts = await asyncio.gather(*asked)
            assert list(map(remaining, verdicts)) == [99_999 - number for number in range(count)]
            assert sum(traffic.commands.values()) == -(-count // 128)

    run(main())


def test_admission_is_exact_in_shared_trips(valkey: Server):
    """Of two hundred at once exactly twenty pass, the refused take nothing, and the hour counts twenty."""
    valkey.flush()

    async def main() -> None:
        limiter = RateLimiter("20/minute", "1000/hour", storage=valkey.url, on_outage="deny", timeout_s=2)
        async with aclosing(limiter):
            outcomes = await asyncio.gather(*(limiter.check("ada") for _ in range(200)), return_exceptions=True)
            admitted = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
            assert sorted(map(remaining, admitted)) == list(range(20))
            assert sum(isinstance(outcome, RateLimitedError) for outcome in outcomes) == 180
        (key,) = keys_of(valkey)
        assert [int(text.split()[1]) for text in valkey.call("HVALS", key)] == [20, 20]

    run(main())


def test_figures_are_ones_own_between_other_errands(valkey: Server):
    """Decisions of one, two and four quotas, corrections and resets in one trip: none has another's numbers."""
    valkey.flush()

    async def main() -> None:
        limiter = RateLimiter("50/minute", storage=valkey.url, on_outage="deny", timeout_s=2)
        async with aclosing(limiter):
            taken = [await limiter.check(f"settled {number}", cost=10) for number in range(5)]
            # A script that the server does not know is sent again after the others, and so out of order.
            await limiter.settle(await limiter.check("forgotten", cost=9), 8)
            await limiter.reset("nobody")
            first = asyncio.create_task(limiter.check("somebody else"))
            await asyncio.sleep(0)
            outcomes = await asyncio.gather(
                limiter.check("ada", "1/minute"),
                limiter.check("ada", "2/minute", "3/minute"),
                *(limiter.settle(verdict, number) for number, verdict in enumerate(taken)),
                limiter.check("ada", "4/minute", "5/minute", "6/minute", "7/minute", cost=2),
                limiter.reset("forgotten"),
                limiter.check("forgotten"),
                *(limiter.check(f"settled {number}", cost=0) for number in range(5)),
            )
            await first
            left = [
                [figure.remaining for figure in each.figures] for each in outcomes if isinstance(each, Verdict)
            ]
            assert left == [[0], [1, 2], [2, 3, 4, 5], [49], *[[50 - number] for number in range(5)]]

    run(main())


def test_poisoned_key_in_a_shared_trip(valkey: Server):
    """A key of another type fails its own request only; the others of its trip are charged, once."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, STRATEGY, timeout_s=2)
        async with aclosing(storage):
            valkey.call("SET", storage._key_of("poison"), "what is this?")
            await storage.decide(demand("somebody else", cost=0))
            trip = asyncio.create_task(storage.decide(demand("somebody else", cost=0)))
            await asyncio.sleep(0)
            subjects = ["ada", "grace", "poison", "edsger", "barbara"]
            outcomes = await asyncio.gather(
                *(storage.decide(demand(subject)) for subject in subjects), return_exceptions=True
            )
            await trip
            assert [isinstance(outcome, StorageUnavailableError) for outcome in outcomes].count(True) == 1
            assert isinstance(outcomes[2], StorageUnavailableError)
            valkey.call("DEL", storage._key_of("poison"))
            left = [remaining(await storage.decide(demand(subject, cost=0))) for subject in subjects]
            assert left == [19, 19, 20, 19, 19]

    run(main())


def test_poisoned_key_before_another_command(valkey: Server):
    """A reply that nobody has read after an error is nobody else's answer."""
    valkey.flush()

    async def main() -> None:
        storage = RedisStorage(valkey.url, STRATEGY, timeout_s=2)
        async with aclosing(storage):
            await storage.decide(demand("ada", cost=3))
            await storage.reset("nobody")
            valkey.call("SET", storage._key_of("poison"), "what is this?")
            outcomes = await asyncio.gather(
                storage.decide(demand("poison")), storage.reset("nobody"), return_exceptions=True
            )
            assert isinstance(outcomes[0], StorageUnavailableError)
            for number in range(3):
                assert remaining(await storage.decide(demand("ada"))) == 16 - number

    run(main())


class Refused:
    """A storage with a clock of its own for what it remembers, and a subject that is at its limit."""

    def __init__(self, server: Server) -> None:
        server.flush()
        self.server, self.clock = server, Clock()
        self.storage = RedisStorage(server.url, STRATEGY, timeout_s=2, clock=self.clock)

    async def block(self, subject: str = "ada") -> Verdict:
        await self.storage.decide(demand(subject, "5/hour", cost=5))
        verdict = await self.storage.decide(demand(subject, "5/hour"))
        assert verdict.wait_ms > 0
        return verdict


def test_refusal_is_repeated_without_asking(valkey: Server):
    """For a second the same request is refused from memory, with the time that has passed taken off."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            first = await refused.block()
            with valkey.counting() as traffic:
                for _ in range(3):
                    refused.clock.pass_ms(333)
                    again = await refused.storage.decide(demand("ada", "5/hour"))
                    assert list(again.remaining) == list(first.remaining) == [0]
            assert again.wait_ms == first.wait_ms - 999
            assert list(again.waits_ms or ()) == [first.wait_ms - 999]
            assert list(again.resets_ms) == [first.resets_ms[0] - 999]
            assert traffic.round_trips == 0
            with valkey.counting() as traffic:
                refused.clock.pass_ms(1)
                assert (await refused.storage.decide(demand("ada", "5/hour"))).wait_ms > 0
                assert (await refused.storage.decide(demand("ada", "5/hour"))).wait_ms > 0
            assert sum(traffic.commands.values()) == 1

    run(main())


def test_refusal_sees_what_others_do_within_a_second(valkey: Server):
    """A reset by another process is seen after a second at the latest."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            await refused.block()
            valkey.flush()
            refused.clock.pass_ms(999)
            assert (await refused.storage.decide(demand("ada", "5/hour"))).wait_ms > 0
            refused.clock.pass_ms(1)
            assert (await refused.storage.decide(demand("ada", "5/hour"))).wait_ms == 0

    run(main())


def test_refusal_ends_with_its_wait(valkey: Server):
    """A wait shorter than a second is not stretched to one."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            refused.storage = RedisStorage(valkey.url, "fixed-window", timeout_s=2, clock=refused.clock)
            await refused.storage.decide(demand("ada", "5/second", cost=5))
            wait_ms = 1000
            while wait_ms >= 1000:  # the server's clock, to the millisecond
                refused.clock.pass_ms(1000)
                wait_ms = (await refused.storage.decide(demand("ada", "5/second"))).wait_ms
            assert wait_ms > 0
            refused.clock.pass_ms(wait_ms - 1)
            assert (await refused.storage.decide(demand("ada", "5/second"))).wait_ms == 1
            refused.clock.pass_ms(1)
            with valkey.counting() as traffic:
                await refused.storage.decide(demand("ada", "5/second"))
            assert sum(traffic.commands.values()) == 1
            await refused.storage.aclose()

    run(main())


def test_refusal_is_of_its_own_demands_only(valkey: Server):
    """Another cost, another quota, another subject: asked for on its own."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            await refused.block()
            others = [
                demand("ada", "5/hour", cost=2),
                demand("ada", "5/hour", cost=0),
                demand("ada", "6/hour"),
                demand("ada", "5/hour", "6/hour"),
                demand("grace", "5/hour"),
                demand("grace", "5/hour") + demand("ada", "5/hour"),
            ]
            with valkey.counting() as traffic:
                verdicts = [await refused.storage.decide(other) for other in others]
            assert sum(traffic.commands.values()) == len(others)
            assert [bool(verdict.wait_ms) for verdict in verdicts] == [True, False, False, True, False, True]

    run(main())


@pytest.mark.parametrize("way", ["reset", "settle"])
def test_refusal_is_forgotten_after_a_reset_or_a_refund(valkey: Server, way: str):
    """What this process itself gives back is seen at once."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            taken = await refused.storage.decide(demand("ada", "5/hour", cost=5))
            assert (await refused.storage.decide(demand("ada", "5/hour"))).wait_ms > 0
            await (refused.storage.reset("ada") if way == "reset" else settle(taken, 0))
            assert (await refused.storage.decide(demand("ada", "5/hour"))).wait_ms == 0

    run(main())


@pytest.mark.parametrize("way", ["reset", "settle"])
def test_refusal_under_way_is_forgotten_too(valkey: Server, way: str):
    """A refusal that was decided before the reset, and arrives while that waits, does not outlive it."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            taken = await refused.storage.decide(demand("ada", "5/hour", cost=5))
            refusing = asyncio.create_task(refused.storage.decide(demand("ada", "5/hour")))
            await asyncio.sleep(0)
            await (refused.storage.reset("ada") if way == "reset" else settle(taken, 0))
            assert (await refusing).wait_ms > 0
            assert (await refused.storage.decide(demand("ada", "5/hour"))).wait_ms == 0

    run(main())


def test_refusal_of_two_subjects_is_forgotten_after_a_reset_of_either(valkey: Server):
    """A request on two budgets that one of them refuses is asked again once that one is reset."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            await refused.block("tenant")
            both = demand("ada", "100/hour") + demand("tenant", "5/hour")
            assert (await refused.storage.decide(both)).wait_ms > 0
            await refused.storage.reset("tenant")
            assert (await refused.storage.decide(both)).wait_ms == 0

    run(main())


def test_refusals_remembered_are_bounded(valkey: Server):
    """Neither many clients nor one with many plans makes the memory grow without bounds."""
    refused = Refused(valkey)

    async def main() -> None:
        async with aclosing(refused.storage):
            await refused.storage.decide(demand("ada", "100/hour", cost=100))
            for cost in range(1, 60):
                await refused.storage.decide(demand("ada", "100/hour", cost=cost))
            assert len(refused.storage._refusals._young["ada"]) == 16
            for start in range(0, 12_000, 2000):
                numbers = range(start, start + 2000)
                await asyncio.gather(*(refused.storage.decide(demand(f"{n}", "1/hour")) for n in numbers))
                await asyncio.gather(*(refused.storage.decide(demand(f"{n}", "1/hour")) for n in numbers))
            found = refused.storage._refusals
            assert len(found._young) <= 10_000
            for _ in range(3):
                refused.clock.pass_ms(1000)
                await refused.storage.decide(demand("0", "1/hour"))
            assert len(found._young) + len(found._old) <= 2

    run(main())


class Stuck:
    """A link whose server refuses everything, and whose end takes for ever."""

    is_worn = False

    def is_lost(self) -> bool:
        return False

    async def exchange(self, commands: object) -> None:
        raise RuntimeError("refused")

    async def close(self) -> None:
        await asyncio.Event().wait()


def test_deadline_while_a_link_is_closed():
    """A connection that does not end, as TLS waits for the other side's farewell, keeps nobody waiting."""

    async def connect() -> Stuck:
        return Stuck()

    async def main() -> None:
        line = Line(connect, 0.05)
        reset = load_scripts(STRATEGY).reset
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                async with asyncio.timeout(1):
                    await line.run(reset, [b"key"], _none())

    run(main())


def _none() -> Arguments:
    return Arguments.of()


def test_line_closed_while_connecting(valkey: Server):
    """Whoever waits for a connection when the line is closed is told so, and the connection is not kept."""

    async def main() -> None:
        with Delay(valkey.port, each_way_s=0.05) as delay:
            line = Line(plan_connection(delay.url, 2), 2)
            reset = load_scripts(STRATEGY).reset
            task = asyncio.create_task(line.run(reset, [b"key"], _none()))
            await asyncio.sleep(0.02)
            await line.close()
            with pytest.raises(StorageUnavailableError, match="closed"):
                await task
            # And it works again.
            assert len(await line.run(reset, [b"key"], _none())) <= 1
            await line.close()

    valkey.flush()
    run(main(), debug=True)
    assert counted(valkey) == 0
