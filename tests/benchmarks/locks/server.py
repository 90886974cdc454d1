"""Measures the locks on a real server: row 12."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import cycle

from tests.benchmarks.locks.overhear import overhear
from tests.benchmarks.locks.subjects import CONNECTION, FLOOR, OURS, SUBJECTS, Attempt, Keys
from tests.benchmarks.measure import Figures, Runs, compare
from tests.benchmarks.rate_limits.drive import IN_FLIGHT, FlawedError, InFlight, OneByOne, Sends
from tests.benchmarks.report import print_table, verdict
from tests.servers.server import Server

_COUNTS = (1, 3)
#: So many sets of objects take turns: no two in flight want the same.
_SETS = 4 * IN_FLIGHT
#: The most that lock and release, and a refusal, cost over the floor; and three objects over one.
_LOCKED, _REFUSED, _THREE = 1.12, 1.1, 1.1
#: Round trips of lock and release, and of a refusal.
_TRIPS = {"locked and released": 2, "refused": 1}


async def measure_server(*, rounds: int, batch_s: float) -> None:
    """Measure every subject on a server nearby, and print what was found."""
    with Server() as server:
        for title, run in (("one at a time", OneByOne), ("64 in flight", InFlight)):
            server.flush()
            async with AsyncExitStack() as stack:
                for outcome in _TRIPS:
                    runners, flaws = await _prepare(server, outcome, run, stack)
                    figures = await compare(runners, rounds=rounds, batch_s=batch_s)
                    trips = {name: await _count_trips(server, runners[name]) for name in runners}
                    _print(f"Valkey, {title}, {outcome} (row 12)", figures, trips, flaws, outcome, run)


class _Attempts:
    """Locks one set of objects after the other, and sees that each is what it should be: possible or refused."""

    def __init__(self, attempt: Attempt, sets: Sequence[Keys], *, is_free: bool) -> None:
        self._attempt = attempt
        self._sets: Iterator[Keys] = cycle(sets)
        self._is_free = is_free

    async def send(self) -> None:
        if await self._attempt(next(self._sets)) is not self._is_free:
            raise FlawedError("it is refused" if self._is_free else "somebody else's lock is taken")


async def _prepare(
    server: Server, outcome: str, run: Callable[[Sends], Runs], stack: AsyncExitStack
) -> tuple[dict[str, Runs], dict[str, str]]:
    runners: dict[str, Runs] = {}
    flaws: dict[str, str] = {}
    is_free = outcome != "refused"
    for count in _COUNTS:
        sets = [tuple(f"{outcome[:1]}{count}:{number}-{of}" for of in range(count)) for number in range(_SETS)]
        # First ours: the floors' commands are overheard from it while the objects are blocked already.
        for name in (OURS, *(name for name in SUBJECTS if name != OURS)):
            try:
                commands = await overhear(server.url, sets) if name in (FLOOR, CONNECTION) else {}
                attempt = await SUBJECTS[name](server.url, commands, stack)
                if not is_free:
                    for keys in sets:
                        await attempt.block(keys[-1:])
                sender = _Attempts(attempt, sets, is_free=is_free)
                for _ in sets:
                    await sender.send()
                runners[f"{name} {count}"] = run(sender)
            except (FlawedError, ImportError) as error:
                if name in (FLOOR, CONNECTION, OURS):
                    raise
                flaws[name] = f"- {error}" if isinstance(error, ImportError) else f"FLAWED: {error}"
    return {name: runner for name, runner in runners.items() if name.rpartition(" ")[0] not in flaws}, flaws


async def _count_trips(server: Server, runner: Runs) -> float:
    await runner.run(1)
    with server.counting() as traffic:
        await runner.run(IN_FLIGHT)
    return traffic.round_trips / IN_FLIGHT


def _print(
    title: str,
    figures: Mapping[str, Figures],
    trips: Mapping[str, float],
    flaws: Mapping[str, str],
    outcome: str,
    run: Callable[[Sends], Runs],
) -> None:
    rows: list[Sequence[str]] = []
    for name in SUBJECTS:
        if name in flaws:
            rows.append((name, flaws[name]))
            continue
        cells: list[str] = []
        for count in _COUNTS:
            own = figures[f"{name} {count}"]
            cells += [
                f"{own.median_us:.1f}",
                f"{own.ratio(figures[f'{FLOOR} {count}']):.3f}",
                f"{own.ratio(figures[f'{CONNECTION} {count}']):.3f}",
                f"{trips[f'{name} {count}']:.2f}",
            ]
        three = figures[f"{name} 3"].ratio(figures[f"{name} 1"])
        judged = ("", "")
        if name == OURS:
            most = _REFUSED if outcome == "refused" else _LOCKED
            ratios = [figures[f"{name} {count}"].ratio(figures[f"{FLOOR} {count}"]) for count in _COUNTS]
            most_trips = _TRIPS[outcome]
            held = max(ratios) <= most and all(trips[f"{name} {count}"] <= most_trips for count in _COUNTS)
            bar = f"{most} x floor"
            if outcome != "refused":
                held, bar = held and three <= _THREE, f"{bar}, {_THREE} x"
            judged = verdict(held, f"{bar}, {most_trips} trip{'s' * (most_trips > 1)}")
        rows.append((name, *cells, f"{three:.3f}", *judged))
    columns = [f"{count}: {column}" for count in _COUNTS for column in ("us", "x floor", "x conn", "trips")]
    print_table(title, rows, ("subject", *columns, "3 / 1", "bar", ""))
