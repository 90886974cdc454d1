"""Uses a subject, and writes down each thing that it does."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import Any

from tests.faults.history import Event, Op, Outcome, Recorder, clock
from tests.faults.register import Register
from tests.faults.subjects import BusyError, Held, LostError, Subject, UnavailableError

#: How long whoever was refused waits at the most before the next attempt.
_PAUSE_S = 0.02


class Worker:
    """One process, or one part of one, that takes objects, changes them and gives them back.

    Leases have names; the methods that take one give an event that has it.
    """

    def __init__(self, name: str, subject: Subject, recorder: Recorder, register: Register) -> None:
        self.name = name
        self.subject = subject
        self._recorder = recorder
        self._register = register
        self._count = 0
        self._held: dict[str, Held] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        self._seen: dict[str, dict[str, int | None]] = {}

    async def acquire(self, *keys: str) -> Event:
        return await self._take("acquire", keys, self.subject.acquire(*keys))

    async def poll(self, *keys: str, within_s: float = 10) -> Event:
        """Acquire again and again until the objects are ours."""
        deadline = clock() + within_s
        while True:
            event = await self.acquire(*keys)
            if event.outcome == "ok" or clock() > deadline:
                return event
            await asyncio.sleep(_PAUSE_S)

    async def claim(self, token: str, parent: str, *keys: str) -> Event:
        return await self._take("claim", keys, self.subject.claim(token), parent)

    async def look(self, lease: str) -> Event:
        """Note until when the process may believe in its lease."""
        now = clock()
        until = self._held[lease].until()
        return self._recorder.write(
            Event("hold", self.name, lease, self._keys[lease], now, now, "ok" if until else "lost", until=until)
        )

    async def read(self, lease: str) -> None:
        """Read the objects' values, to be changed."""
        fence = self._held[lease].fence
        self._seen[lease] = {key: self._register.read(key, fence) for key in self._keys[lease]}

    async def write(self, lease: str) -> Event:
        """Write the values back, with one more."""
        held, begun = self._held[lease], clock()
        outcome: Outcome = "ok"
        written = []
        for key, value in self._seen[lease].items():
            if value is not None and self._register.write(key, value + 1, held.fence, lease):
                written.append(key)
            else:
                outcome = "refused"
        return self._recorder.write(
            Event("write", self.name, lease, tuple(written), begun, clock(), outcome, until=held.until())
        )

    async def release(self, lease: str) -> Event:
        begun = self._begin("release", lease)
        try:
            outcome = await self._held[lease].release()
        except asyncio.CancelledError:
            self._end(begun, "cancelled")
            raise
        return self._end(begun, outcome)

    async def hand_off(self, lease: str, within_s: float) -> str:
        """Pass the lease on, and give the token; nothing if it could not be."""
        begun = self._begin("hand_off", lease, claimed_by=clock() + within_s)
        token = ""
        try:
            token = await self._held[lease].hand_off(within_s)
        except LostError:
            self._end(begun, "lost")
        except UnavailableError:
            self._end(begun, "unavailable")
        except asyncio.CancelledError:
            self._end(begun, "cancelled")
            raise
        else:
            self._end(begun, "ok")
        return token

    async def stall(self, seconds: float) -> None:
        """Keep the event loop busy, as code that blocks does."""
        time.sleep(seconds)

    async def roam(
        self,
        keys: int,
        seconds: float,
        hold_s: tuple[float, float],
        *,
        tasks: int = 1,
        together: int = 1,
        seed: int = 0,
    ) -> int:
        """Change random objects for a while, in several tasks at once, and give how often that succeeded.

        Args:
            keys: How many objects there are.
            seconds: How long.
            hold_s: The shortest and the longest time that an object is held.
            tasks: How many at once.
            together: How many objects are taken at once, in any order.
            seed: Of what is random.
        """
        end = clock() + seconds

        async def one(number: int) -> int:
            chance = random.Random(f"{self.name} {number} {seed}")
            count = 0
            while clock() < end:
                names = [f"entity:{n}" for n in chance.sample(range(keys), together)]
                count += await self.change(*names, hold_s=chance.uniform(*hold_s))
                await asyncio.sleep(chance.uniform(0, _PAUSE_S))
            return count

        return sum(await asyncio.gather(*(one(number) for number in range(tasks))))

    async def change(self, *keys: str, hold_s: float) -> bool:
        """Read, work and write under a lock; give whether all that was done."""
        taken = await self.acquire(*keys)
        if taken.outcome != "ok":
            return False
        await self.read(taken.lease)
        await asyncio.sleep(hold_s)
        written = await self.write(taken.lease)
        await self.release(taken.lease)
        return written.outcome == "ok"

    async def _take(self, op: Op, keys: tuple[str, ...], taking: Any, parent: str = "") -> Event:
        self._count += 1
        lease = f"{self.name}-{self._count}"
        event = Event(op, self.name, lease, keys, clock(), parent=parent)
        self._recorder.write(event)
        try:
            held = await taking
        except BusyError as error:
            return self._end(event, "locked", retry_after=error.retry_after)
        except LostError:
            return self._end(event, "lost")
        except UnavailableError:
            return self._end(event, "unavailable")
        except asyncio.CancelledError:
            self._end(event, "cancelled")
            raise
        self._held[lease], self._keys[lease] = held, keys
        return self._end(event, "ok", fence=held.fence, until=held.until())

    def _begin(self, op: Op, lease: str, claimed_by: float = 0) -> Event:
        held = self._held[lease]
        until = claimed_by or held.until()
        if claimed_by:
            now = clock()
            self._recorder.write(Event("hold", self.name, lease, self._keys[lease], now, now, until=held.until()))
        return self._recorder.write(Event(op, self.name, lease, self._keys[lease], clock(), until=until))

    def _end(self, event: Event, outcome: Outcome, **more: Any) -> Event:
        return self._recorder.write(replace(event, ended=clock(), outcome=outcome, **more))
