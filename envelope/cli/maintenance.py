"""The commands ``envelope maintenance``: the switch that has a service answer 503."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import click

from envelope.cli.durations import Duration, spell
from envelope.cli.storages import Place, ask, with_storage
from envelope.cli.tables import iso, write_json, write_lines
from envelope.maintenance.readings import Announcement, Reading, SharedSwitch


@click.group(short_help="Switch maintenance on and off.")
def maintenance() -> None:
    """Switch maintenance on and off: while it is on, the service answers 503.

    \b
    export ENVELOPE_STORAGE=redis://host:6379/0      # or file:///run/api/maintenance
    envelope maintenance on --for 10m
    envelope maintenance status
    envelope maintenance off
    """  # noqa: D301 - click reads the \b


@maintenance.command(
    short_help="Begin maintenance, or announce another end.",
    epilog="Exit code: 0 it is on; 2 wrong usage or no answer; 130 interrupted.",
)
@click.option(
    "--for",
    "lasting_s",
    type=Duration(),
    metavar="10m",
    help="When clients are told to come back: 90, 90s, 10m, 2h, 1d, 1h30m. It announces an end and does not make"
    " one  [default: none is announced].",
)
@with_storage("maintenance.start()")
def on(place: Place, lasting_s: int | None, as_json: bool) -> None:
    """Begin maintenance, or announce another end. It stays on until 'envelope maintenance off'."""
    rest_ms = None if lasting_s is None else lasting_s * 1000
    found = _ask(place, lambda switch: switch.begin(rest_ms), "whether maintenance has begun")
    _tell(place, found, as_json=as_json)


@maintenance.command(
    short_help="End maintenance.",
    epilog="Exit code: 0 it is off, also if it was before; 2 wrong usage or no answer; 130 interrupted.",
)
@with_storage("maintenance.stop()")
def off(place: Place, as_json: bool) -> None:
    """End maintenance. Each process of the service knows within about three seconds."""
    found = _ask(place, lambda switch: switch.end(), "whether maintenance has ended")
    _tell(place, found, as_json=as_json)


@maintenance.command(
    short_help="Tell whether maintenance is on.",
    epilog="Exit code: 0 it is off; 1 it is on; 2 wrong usage or no answer; 130 interrupted.",
)
@with_storage("maintenance.read()")
def status(place: Place, as_json: bool) -> None:
    """Tell whether maintenance is on, since when, and which end is announced."""
    found = _ask(place, lambda switch: switch.read())
    _tell(place, found, as_json=as_json)
    sys.exit(int(found is not None))


def _ask(place: Place, act: Callable[[SharedSwitch], Awaitable[Reading | None]], what: str = "") -> Any:
    # Not through Maintenance, whose background thread would outlive the command where a name server hangs.
    from envelope.maintenance.knowledge import Knowledge  # noqa: PLC0415 - what --help does not need
    from envelope.maintenance.storages.opening import open_watch  # noqa: PLC0415

    async def work() -> Announcement | None:
        watch = open_watch(place.url, Knowledge(), timeout_s=place.timeout_s, namespace=place.namespace)
        assert watch is not None  # memory:// is refused before
        async with aclosing(watch.switch) as switch:
            reading = await act(switch)
        return None if reading is None else Announcement.of(reading)

    return ask(place, work, what and f"{what} is not known, ask with status")


def _tell(place: Place, found: Any, *, as_json: bool) -> None:
    if as_json:
        since, until = (found.since, found.until) if found is not None else (None, None)
        write_json(
            **place.describe(), on=found is not None, since=since and iso(since), until=until and iso(until)
        )
        return
    if found is None:
        write_lines(f"Maintenance is off ({place.where}).")
        return
    write_lines(
        f"Maintenance is on ({place.where}), since {iso(found.since)}; {_announced(found.until)}.",
        "It stays on until: envelope maintenance off",
    )


def _announced(until: datetime | None) -> str:
    if until is None:
        return "no end is announced"
    left_s = (until - datetime.now(UTC)).total_seconds()
    when = f"in {spell(left_s)}" if left_s > 0 else "which has passed"
    return f"announced until {iso(until)}, {when}"
