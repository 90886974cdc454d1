"""Measures the limits in memory: rows 5, 7 and 8."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median

from tests.benchmarks.measure import Figures, Runs, compare
from tests.benchmarks.rate_limits.apps import ample, path_of, tight
from tests.benchmarks.rate_limits.drive import Driver, FlawedError, OneByOne, admit, exhaust
from tests.benchmarks.rate_limits.subjects import (
    FASTAPI,
    FLOOR,
    INSTALLED,
    OURS,
    STARLETTE,
    SUBJECTS,
    Setup,
    build,
    build_bare,
)
from tests.benchmarks.report import print_table, verdict

_COUNTS = (1, 3)
#: What a bare Starlette request costs where the bars were set: microseconds are judged as if it did here.
_BARE_US = 8.0
#: The most microseconds that a limiter adds, by the number of limits (row 5), and the most that a thousand routes
#: add to that (row 7).
_ADDED_US = {1: 4.0, 3: 8.0}
_ROUTES_US = 0.3
#: The most that a 429 costs, over the bare 200 (row 8).
_REFUSED = 0.7
_ROUTES = 1000
_TURN = "the loop's turn"
#: Routes with limits of their own; the one that is requested is not among them.
_TABLE = {f"GET {path_of(number)}": ("5/minute",) for number in range(1, 101)}


async def measure_requests(*, rounds: int, batch_s: float) -> None:
    """Measure admitted and refused requests, and print what they add to the bare application."""
    async with AsyncExitStack() as stack:
        runners: dict[str, Runs] = {
            name: OneByOne(Driver(await build_bare(name))) for name in (STARLETTE, FASTAPI, INSTALLED)
        }
        runners[_TURN] = OneByOne(_Idle())
        flaws: dict[str, str] = {}
        for name, subject in SUBJECTS.items():
            if reason := subject.unable.get("memory"):
                flaws[name] = f"- {reason}"
                continue
            try:
                runners |= await _prepare(name, stack)
            except FlawedError as flaw:
                flaws[name] = f"FLAWED: {flaw}"
        figures = await compare(runners, rounds=rounds, batch_s=batch_s)
    turn = figures.pop(_TURN)
    _print_requests({name: Figures(_differences(own, turn)) for name, own in figures.items()}, flaws)


class _Idle:
    """Sends nothing: what is left is the turn of the loop after a request."""

    async def send(self) -> None:
        pass


async def _prepare(name: str, stack: AsyncExitStack) -> dict[str, Runs]:
    runners: dict[str, Runs] = {}
    for count in _COUNTS:
        refused = Driver(await build(name, Setup(limits=tight(count)), stack))
        await exhaust(refused)
        runners[f"{name} {count} refused"] = OneByOne(refused)
        runners[f"{name} {count}"] = OneByOne(Driver(await build(name, Setup(limits=ample(count)), stack)))
    return runners


def _print_requests(figures: dict[str, Figures], flaws: dict[str, str]) -> None:
    rows: list[Sequence[str]] = [
        (name, f"{figures[name].median_us:.2f}", *[""] * 7) for name in (STARLETTE, FASTAPI, INSTALLED)
    ]
    for name, subject in SUBJECTS.items():
        if name in flaws:
            rows.append((name, flaws[name]))
            continue
        # What install() itself adds is measured elsewhere (row 14); the limiter is judged by what it adds.
        own_bare = figures[INSTALLED if name == OURS else subject.bare]
        one, three = (figures[f"{name} {count}"] for count in _COUNTS)
        refused = [figures[f"{name} {count} refused"].ratio(figures[subject.bare]) for count in _COUNTS]
        scale = _BARE_US / figures[STARLETTE].median_us
        scaled = {count: own.added_us(own_bare) * scale for count, own in ((1, one), (3, three))}
        held = all(scaled[count] <= _ADDED_US[count] for count in _COUNTS) and max(refused) <= _REFUSED
        bar = f"{_ADDED_US[1]:.0f}, {_ADDED_US[3]:.0f}; {_REFUSED} x"
        rows.append(
            (
                name,
                f"{one.median_us:.2f}",
                f"{one.added_us(own_bare):+.2f}",
                f"{three.added_us(own_bare):+.2f}",
                f"{scaled[1]:+.1f}, {scaled[3]:+.1f}",
                f"{refused[0]:.3f}",
                f"{refused[1]:.3f}",
                *(verdict(held, bar) if name == OURS else ("", "")),
            )
        )
    print_table(
        "In memory (rows 5 and 8); added to the own bare application, ours to install() without limits",
        rows,
        (
            "subject",
            "1: us",
            "1: added us",
            "3: added us",
            "where bare takes 8",
            "1: 429 x bare 200",
            "3: 429 x bare 200",
            "bar",
            "",
        ),
    )


async def measure_routes(*, rounds: int, batch_s: float) -> None:
    """Measure what a thousand routes add to a limiter's work, and print it."""
    setups = {
        "1 route": Setup(limits=ample(1)),
        "1,000": Setup(limits=ample(1), routes=_ROUTES),
        "1,000, 100 with own limits": Setup(limits=ample(1), routes=_ROUTES, table=_TABLE),
    }
    names = [name for name in (FLOOR, OURS, "limits, plainly", "slowapi", "throttled-py") if name in SUBJECTS]
    runners: dict[str, Runs] = {}
    flaws: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for name in {STARLETTE, FASTAPI, INSTALLED}:
            runners[f"{name} 1"] = OneByOne(Driver(await build_bare(name)))
            runners[f"{name} {_ROUTES}"] = OneByOne(Driver(await build_bare(name, _ROUTES)))
        for name in names:
            for title, setup in setups.items():
                if setup.table and name != OURS:
                    continue
                try:
                    driver = Driver(await build(name, setup, stack))
                    await admit(driver)
                except FlawedError as flaw:
                    flaws[name] = f"FLAWED: {flaw}"
                    continue
                runners[f"{name} {title}"] = OneByOne(driver)
        figures = await compare(runners, rounds=rounds, batch_s=batch_s)
    rows: list[Sequence[str]] = []
    for name in names:
        if name in flaws:
            rows.append((name, flaws[name]))
            continue
        bare = INSTALLED if name == OURS else SUBJECTS[name].bare
        few = _differences(figures[f"{name} 1 route"], figures[f"{bare} 1"])
        for title in [title for title in setups if f"{name} {title}" in figures]:
            many = _differences(
                figures[f"{name} {title}"], figures[f"{bare} {1 if title == '1 route' else _ROUTES}"]
            )
            more = median(there - here for there, here in zip(many, few, strict=True)) * 1e6
            scaled = more * _BARE_US / figures[f"{STARLETTE} 1"].median_us
            judged = (
                verdict(scaled <= _ROUTES_US, f"{_ROUTES_US}") if name == OURS and title != "1 route" else ("", "")
            )
            rows.append((name, title, f"{median(many) * 1e6:+.2f}", f"{more:+.2f}", *judged))
    print_table(
        "A thousand routes, the first is requested (row 7); added to the bare application with as many",
        rows,
        ("subject", "routes", "added us", "more us", "bar", ""),
    )


def _differences(own: Figures, bare: Figures) -> list[float]:
    return [limited - other for limited, other in zip(own.seconds, bare.seconds, strict=True)]
