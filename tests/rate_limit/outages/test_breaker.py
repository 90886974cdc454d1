"""When a storage is spared, when it is asked again, and what the log says about it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from envelope.errors.tree import ServiceUnavailableError
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.storages.outage import OnOutage, OutageGuard
from envelope.rate_limit.verdicts import Change, Demand, Verdict
from envelope.storage.errors import StorageUnavailableError
from tests.rate_limit.outages.watching import STRATEGY, Clock, demand, is_answered, is_local, run


class Moody:
    """A storage in memory that fails, or hangs, when it is told to."""

    def __init__(self) -> None:
        self.inner = MemoryStorage(STRATEGY)
        self.asked = 0
        self.fails = False
        self.gate: asyncio.Event | None = None

    def check(self, quota: Quota) -> None:
        self.inner.check(quota)

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        await self._answer()
        verdict = await self.inner.decide(demands)
        verdict.storage = self
        return verdict

    async def settle(self, changes: Sequence[Change], taken_at: Any) -> None:
        await self._answer()
        await self.inner.settle(changes, taken_at)

    async def reset(self, subject: str) -> None:
        await self._answer()
        await self.inner.reset(subject)

    async def aclose(self) -> None:
        pass

    async def _answer(self) -> None:
        self.asked += 1
        fails = self.fails
        if self.gate is not None:
            await self.gate.wait()
        if fails:
            raise StorageUnavailableError("in a bad mood")


class Guarded:
    """A guard, its storage and its clock."""

    def __init__(self, on_outage: OnOutage = "deny", timeout_s: float | None = None) -> None:
        self.clock, self.storage = Clock(), Moody()
        self.guard = OutageGuard(
            self.storage,
            "moody://",
            on_outage=on_outage,
            local=MemoryStorage(STRATEGY),
            timeout_s=timeout_s,
            clock=self.clock,
        )

    async def answers(self) -> bool:
        return await is_answered(self.guard.decide(demand("ada", "1000/minute")))

    async def open(self) -> None:
        self.storage.fails = True
        assert not any([await self.answers() for _ in range(5)])
        self.storage.asked = 0


def test_breaker_opens_after_five_failures_in_a_row(caplog: pytest.LogCaptureFixture):
    """Four failures and an answer begin anew; the fifth in a row opens. The first of a row is told, and its end."""

    async def main() -> None:
        guarded = Guarded()
        for _ in range(3):
            guarded.storage.fails = True
            assert not any([await guarded.answers() for _ in range(4)])
            guarded.storage.fails = False
            assert await guarded.answers()
        assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING] * 3
        caplog.clear()
        guarded.storage.fails = True
        guarded.storage.asked = 0
        assert not any([await guarded.answers() for _ in range(100)])
        assert guarded.storage.asked == 5

    run(main())
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("envelope.rate_limit", logging.ERROR)
    assert "in a bad mood" in record.getMessage()


def test_breaker_probes_once_per_pause(caplog: pytest.LogCaptureFixture):
    """While it fails, one request a second asks, neither sooner nor more; the others do not wait for it."""

    async def main() -> None:
        guarded = Guarded()
        await guarded.open()
        for number in range(1, 6):
            guarded.clock.pass_ms(999)
            await asyncio.gather(*(guarded.answers() for _ in range(10)))
            assert guarded.storage.asked == number - 1
            guarded.clock.pass_ms(1)
            await asyncio.gather(*(guarded.answers() for _ in range(10)))
            assert guarded.storage.asked == number

    run(main())
    assert len(caplog.records) == 1


def test_breaker_closes_on_the_first_answer(caplog: pytest.LogCaptureFixture):
    """The probe's answer is a real one, everybody is asked about again, and one line says so."""

    async def main() -> None:
        guarded = Guarded()
        await guarded.open()
        guarded.storage.fails = False
        assert not await guarded.answers()
        guarded.clock.pass_ms(1000)
        assert await guarded.answers()
        assert all([await guarded.answers() for _ in range(10)])
        assert guarded.storage.asked == 11
        assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
        # Closed is closed: again it takes five failures.
        guarded.storage.fails = True
        for _ in range(4):
            assert not await guarded.answers()
        guarded.storage.fails = False
        assert await guarded.answers()

    run(main())


def test_breaker_probes_one_at_a_time():
    """While a probe is under way nobody else asks, and whoever else comes has the stand-in at once."""

    async def main() -> None:
        guarded = Guarded("local")
        await guarded.guard.decide(demand())
        guarded.storage.fails = True
        for _ in range(5):
            await guarded.guard.decide(demand())
        guarded.storage.asked = 0
        guarded.storage.fails = False
        guarded.storage.gate = asyncio.Event()
        guarded.clock.pass_ms(1000)
        probe = asyncio.create_task(guarded.guard.decide(demand()))
        await asyncio.sleep(0)
        assert guarded.storage.asked == 1
        for _ in range(10):
            assert is_local(await guarded.guard.decide(demand()))
        assert guarded.storage.asked == 1
        guarded.storage.gate.set()
        assert not is_local(await probe)

    run(main())


def test_breaker_probes_one_at_a_time_for_longer_than_the_pause():
    """With a deadline longer than the pause, the second probe waits for the first one's end."""

    async def main() -> None:
        guarded = Guarded("local", timeout_s=5)
        guarded.storage.fails = True
        for _ in range(5):
            await guarded.guard.decide(demand())
        guarded.storage.asked = 0
        guarded.storage.gate = asyncio.Event()
        probes = []
        for _ in range(3):
            guarded.clock.pass_ms(1000)
            probes.append(asyncio.create_task(guarded.guard.decide(demand())))
            await asyncio.sleep(0)
        asked = guarded.storage.asked
        guarded.storage.gate.set()
        await asyncio.gather(*probes)
        assert asked == 1

    run(main())


def test_breaker_survives_a_cancelled_probe(caplog: pytest.LogCaptureFixture):
    """A client that goes away takes its probe with it; the next one probes a pause later."""

    async def main() -> None:
        guarded = Guarded()
        await guarded.open()
        guarded.storage.fails = False
        guarded.storage.gate = asyncio.Event()
        for number in range(1, 4):
            guarded.clock.pass_ms(1000)
            probe = asyncio.create_task(guarded.answers())
            await asyncio.sleep(0)
            assert guarded.storage.asked == number
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
            assert not await guarded.answers()
        guarded.storage.gate = None
        guarded.clock.pass_ms(1000)
        assert await guarded.answers()

    run(main())
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_breaker_ignores_cancelled_requests():
    """A cancelled request says nothing about the storage."""

    async def main() -> None:
        guarded = Guarded()
        guarded.storage.gate = asyncio.Event()
        tasks = [asyncio.create_task(guarded.answers()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        guarded.storage.gate = None
        assert await guarded.answers()

    run(main())


def test_breaker_counts_failures_at_once_and_logs_once(caplog: pytest.LogCaptureFixture):
    """Two hundred requests that fail together are one change of state."""

    async def main() -> None:
        guarded = Guarded()
        guarded.storage.fails = True
        guarded.storage.gate = asyncio.Event()
        tasks = [asyncio.create_task(guarded.answers()) for _ in range(200)]
        await asyncio.sleep(0)
        guarded.storage.gate.set()
        assert not any(await asyncio.gather(*tasks))

    run(main())
    assert len(caplog.records) == 1


def test_breaker_with_a_storage_that_hangs():
    """A storage without a deadline of its own is given one, and what hung is cancelled."""

    async def main() -> None:
        guarded = Guarded(timeout_s=0.05)
        guarded.storage.gate = asyncio.Event()
        begun = asyncio.get_running_loop().time()
        assert not any(await asyncio.gather(*(guarded.answers() for _ in range(20))))
        assert asyncio.get_running_loop().time() - begun < 0.05 + 0.4
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_breaker_tells_when_to_come_back():
    """Retry-After is what is left of the pause in whole seconds, and never 0."""

    async def main() -> None:
        guarded = Guarded()
        guarded.storage.fails = True
        waits = []
        for pass_ms in (0, 0, 0, 0, 0, 0, 400, 599):
            guarded.clock.pass_ms(pass_ms)
            with pytest.raises(ServiceUnavailableError) as caught:
                await guarded.guard.decide(demand())
            waits.append(caught.value.retry_after)
        assert waits == [1] * 8

    run(main())


def test_breaker_is_closed_by_a_late_answer(caplog: pytest.LogCaptureFixture):
    """A request that was under way when the breaker opened has an answer like any other."""

    async def main() -> None:
        guarded = Guarded()
        guarded.storage.gate = asyncio.Event()
        late = asyncio.create_task(guarded.answers())
        await asyncio.sleep(0)
        gate, guarded.storage.gate = guarded.storage.gate, None
        await guarded.open()
        gate.set()
        assert await late
        guarded.storage.fails = False
        assert await guarded.answers()

    run(main())
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
