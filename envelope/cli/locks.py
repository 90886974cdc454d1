"""The commands ``envelope locks``: who holds which object, and how to free one."""

from __future__ import annotations

import heapq
import itertools
import sys
from contextlib import aclosing
from typing import Any

import click

from envelope.cli.durations import Duration, spell
from envelope.cli.storages import Place, ask, check_terminal, confirm, with_storage
from envelope.cli.tables import Column, iso, write_facts, write_json, write_lines, write_table
from envelope.locks.grants import LockInfo

_COLUMNS = (
    Column("key"),
    Column("operation"),
    Column("holder"),
    Column("since", is_extra=True),
    Column("age", is_whole=True),
    Column("ends in", is_whole=True),
    Column("state", is_whole=True),
    Column("fence", is_whole=True),
)

_MEANING = (
    "Breaking the lock lets others have the object at once. It does not stop the holder, who works on until its",
    "next renewal tells it. Only a fenced table refuses what it writes meanwhile, when the next one has written.",
)

#: Stands behind a key of which a server knows only the beginning.
_CUT = "..."


def _read_key(_: click.Context, __: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("it is empty; name an object: entity:42")
    return value


_key = click.argument("key", callback=_read_key)


@click.group(short_help="See who holds objects, and free them.")
def locks() -> None:
    """See who holds objects, and free them.

    \b
    export ENVELOPE_STORAGE=redis://host:6379/0
    envelope locks list --older-than 1m
    envelope locks inspect entity:42
    envelope locks break entity:42
    """  # noqa: D301 - click reads the \b


@locks.command(
    "list",
    short_help="List the objects that are locked.",
    epilog="Exit code: 0 done, also if nothing is locked; 2 wrong usage or no answer; 130 interrupted.",
)
@with_storage("async for info in locks.survey()")
@click.option("--operation", metavar="NAME", help="Only those that were locked for this.")
@click.option("--state", type=click.Choice(["held", "handed_off"]), help="Only those in this state.")
@click.option(
    "--older-than",
    "older_than_s",
    type=Duration(),
    metavar="30s",
    help="Only those that have been busy for longer.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="The most to show.",
)
def list_(place: Place, limit: int, as_json: bool, **wanted: Any) -> None:
    """List the objects that are locked, the oldest first.

    The server is asked in many short steps, so that it serves others in between.
    """
    count, oldest = ask(place, lambda: _survey(place, limit, **wanted))
    if as_json:
        write_json(**place.describe(), total=count, locks=[_document(info) for info in oldest])
        return
    if oldest:
        write_table(_COLUMNS, [_row(info) for info in oldest])
    about = f"{count} {'object is' if count == 1 else 'objects are'} locked in {place.where}"
    if count > len(oldest):
        about += f"; the oldest {len(oldest)} are shown, --limit shows more"
    write_lines(f"{about}.", err=True)


@locks.command(
    short_help="Show who holds an object.",
    epilog="Exit code: 0 it is locked; 1 it is free; 2 wrong usage or no answer; 130 interrupted.",
)
@_key
@with_storage("await locks.inspect(key)")
def inspect(place: Place, key: str, as_json: bool) -> None:
    """Show who holds the object KEY, since when and for what."""
    info = _look(place, key)
    if as_json:
        write_json(**place.describe(), key=key, lock=info and _document(info))
    elif info is not None:
        _show(info)
    else:
        write_lines(f"{key} is free in {place.where}.")
    sys.exit(int(info is None))


@locks.command(
    "break",
    short_help="Free an object from whoever holds it.",
    epilog="Exit code: 0 it was broken; 1 nothing was changed: it is free, somebody else has it, or you said no;"
    " 2 wrong usage or no answer; 130 interrupted.",
)
@_key
@click.option(
    "--yes",
    "fence",
    type=click.IntRange(0),
    metavar="FENCE",
    help="Do not ask, but break only the lease with this fence, as inspect shows it.",
)
@with_storage("await locks.break_lock(key, fence=...)")
def break_(place: Place, key: str, fence: int | None, as_json: bool) -> None:
    """Free the object KEY from whoever holds it.

    Shows the holder and asks. What is broken is the lease that was shown: if somebody else has the object by then,
    nothing is changed.
    """
    if fence is None:
        check_terminal("--yes FENCE, with the fence that 'envelope locks inspect' shows")
    info = _look(place, key)
    is_broken = False
    if info is not None and (fence is None or fence == info.fence):
        _show(info, err=True)
        if fence is None:
            write_lines(*_MEANING, err=True)
            if not confirm("Break it?"):
                _tell(place, key, None, info, as_json=as_json)
        is_broken = _break(place, key, info.fence)
        if not is_broken:
            info = _look(place, key)
    _tell(place, key, is_broken, info, as_json=as_json)


def _tell(place: Place, key: str, is_broken: bool | None, info: LockInfo | None, *, as_json: bool) -> None:
    """Tell what came of it, and end the process; ``is_broken`` is None if nobody wanted to."""
    if as_json:
        write_json(**place.describe(), key=key, broken=bool(is_broken), lock=info and _document(info))
    elif is_broken:
        write_lines(f"The lock on {key} is broken.")
    elif is_broken is None:
        write_lines("Nothing was changed.")
    elif info is None:
        write_lines(f"Nothing was changed: {key} is free in {place.where}.")
    else:
        write_lines(f"Nothing was changed: another lease has {key} now.")
        _show(info)
    sys.exit(int(not is_broken))


async def _survey(
    place: Place, limit: int, *, operation: str | None, state: str | None, older_than_s: int | None
) -> tuple[int, list[LockInfo]]:
    """Give how many leases are wanted, and the oldest of them."""
    count, numbers = 0, itertools.count()
    oldest: list[tuple[float, int, LockInfo]] = []  # a heap with the youngest of them on top
    async with aclosing(_open(place)) as opened, aclosing(opened.survey()) as found:
        async for info in found:
            if (
                operation not in {None, info.operation}
                or state not in {None, info.state}
                or info.age_s <= (older_than_s or -1)
            ):
                continue
            count += 1
            entry = (info.age_s, next(numbers), info)
            if len(oldest) < limit:
                heapq.heappush(oldest, entry)
            else:
                heapq.heappushpop(oldest, entry)
    return count, [info for _, _, info in sorted(oldest, key=lambda entry: (-entry[0], entry[2].key))]


def _look(place: Place, key: str) -> LockInfo | None:
    async def look() -> LockInfo | None:
        async with aclosing(_open(place)) as opened:
            return await opened.inspect(key)  # type: ignore[no-any-return]

    return ask(place, look)


def _break(place: Place, key: str, fence: int) -> bool:
    async def break_lock() -> bool:
        async with aclosing(_open(place)) as opened:
            return await opened.break_lock(key, fence=fence)  # type: ignore[no-any-return]

    return ask(place, break_lock, "whether the lock was broken is not known, inspect it")


def _open(place: Place) -> Any:
    from envelope.locks.object_locks import ObjectLocks  # noqa: PLC0415 - what --help does not need

    # Nothing is held here; how long a lease lasts must only fit to the time for an answer.
    lasting_s = max(15, 4 * place.timeout_s)
    return ObjectLocks(
        place.url,
        ttl_s=lasting_s,
        max_hold_s=lasting_s,
        timeout_s=place.timeout_s,
        namespace=place.namespace,
    )


def _name(info: LockInfo) -> str:
    return f"{info.key}{_CUT}" if info.is_cut else info.key


def _row(info: LockInfo) -> tuple[object, ...]:
    age, rest = spell(info.age_s), spell(info.expires_in_s)
    return _name(info), info.operation, info.holder, iso(info.since), age, rest, info.state, info.fence


def _show(info: LockInfo, *, err: bool = False) -> None:
    states = {"held": "held", "handed_off": "handed off: nobody has claimed it yet"}
    facts = {
        "operation": info.operation,
        "holder": info.holder,
        "since": f"{iso(info.since)} ({spell(info.age_s)} ago)",
        "ends in": f"{spell(info.expires_in_s)}, unless it is renewed",
        "state": states[info.state],
        "fence": info.fence,
    }
    write_lines(f"{info.key} is locked:", err=err)
    write_facts(facts, err=err)


def _document(info: LockInfo) -> dict[str, Any]:
    return {
        "key": info.key,
        "is_cut": info.is_cut,
        "operation": info.operation,
        "holder": info.holder,
        "since": iso(info.since),
        "age_s": info.age_s,
        "expires_in_s": info.expires_in_s,
        "state": info.state,
        "fence": info.fence,
    }
