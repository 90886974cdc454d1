"""The commands ``envelope limits``: what is counted for a client, and how to forget it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import click

from envelope.cli.durations import spell
from envelope.cli.storages import Place, ask, check_terminal, confirm, with_storage
from envelope.cli.tables import Column, ToolError, iso, write_json, write_lines, write_table
from envelope.rate_limit.quotas import Quota, Strategy
from envelope.storage.urls import REDIS_SCHEMES, read_url
from envelope.terminal import printable

#: Keys the digests that stand for subjects. Not an option: everybody on a machine sees the arguments of a command.
_SECRET = "ENVELOPE_KEY_SECRET"  # noqa: S105

_COLUMNS = (
    Column("limit"),
    Column("scope"),
    Column("amount", is_whole=True),
    Column("used", is_whole=True),
    Column("remaining", is_whole=True),
    Column("more in", is_whole=True),
    Column("more at", is_extra=True),
    Column("shadow", is_whole=True),
)

_strategy = click.option(
    "--strategy",
    type=click.Choice(get_args(Strategy)),
    default="sliding-window-counter",
    show_default=True,
    help="Of the service's limiter; each strategy counts on its own.",
)

#: A quota, what remains of it, and the milliseconds until there is more.
_Count = tuple[Quota, int, int]


def _read_subject(_: click.Context, __: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("it is empty; give what the limiter's key function returns, such as 203.0.113.7")
    return value


_subject = click.argument("subject", callback=_read_subject)


@click.group(short_help="See what is counted for a client, and forget it.")
def limits() -> None:
    """See what is counted for a client, and forget it.

    SUBJECT is what the limiter's key function returns: by default an IPv4 address, or of an IPv6 address the
    network, 2001:db8:1:2::/64. If the limiter has a key_secret, put it into ENVELOPE_KEY_SECRET.

    \b
    export ENVELOPE_STORAGE=redis://host:6379/0
    envelope limits inspect 203.0.113.7
    envelope limits inspect 203.0.113.7 20/second 5000/day
    envelope limits reset 203.0.113.7
    """  # noqa: D301 - click reads the \b


@limits.command(
    short_help="Show what is counted for a client.",
    epilog="Exit code: 0 done, also if nothing is counted; 2 wrong usage or no answer; 130 interrupted.",
)
@_subject
@click.argument("limit", nargs=-1)
@_strategy
@click.option(
    "--scope",
    metavar="NAME",
    help="What is counted together: 'POST /reports' for a limit of that route  [default: all that is found; for a"
    " LIMIT, that of every request].",
)
@with_storage("await limiter.inspect(subject)")
def inspect(
    place: Place, subject: str, limit: tuple[str, ...], strategy: str, scope: str | None, as_json: bool
) -> None:
    """Show what is counted for SUBJECT: with LIMITs for those, without for all that is found. Charges nothing."""
    counts = _count(place, subject, limit, strategy, scope)
    if as_json:
        documents = [_document(*count) for count in counts]
        write_json(**place.describe(), strategy=strategy, subject=subject, limits=documents)
        return
    _show(counts)
    if not counts:
        write_lines(f"Nothing is counted for {subject} by {strategy} in {place.where}.", err=True)


@limits.command(
    short_help="Forget what is counted for a client.",
    epilog="Exit code: 0 done; 1 nothing is counted, or you said no; 2 wrong usage or no answer; 130 interrupted.",
)
@_subject
@_strategy
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@with_storage("await limiter.reset(subject)")
def reset(place: Place, subject: str, strategy: str, is_sure: bool, as_json: bool) -> None:
    """Forget everything that is counted for SUBJECT, so that it begins anew.

    A process that has just refused the client may go on for a second.
    """
    if read_url(place.url).scheme not in REDIS_SCHEMES:
        raise ToolError(
            f"{printable(place.name)} does not tell what is counted for a client; only the service can forget it"
        )
    if not is_sure:
        check_terminal("--yes")
    counts = _count(place, subject, (), strategy, None)
    said = f"Nothing is counted for {subject} by {strategy} in {place.where}."
    is_done = bool(counts)
    if counts and not is_sure:
        _show(counts, err=True)
        is_done = confirm(f"Forget all that is counted for {subject}?")
        said = "Nothing was changed."
    if is_done:
        _forget(place, subject, strategy)
        said = f"{subject} begins anew."
    if as_json:
        write_json(**place.describe(), strategy=strategy, subject=subject, reset=is_done)
    else:
        write_lines(said)
    sys.exit(int(not is_done))


def _count(place: Place, subject: str, notations: Sequence[str], strategy: str, scope: str | None) -> list[_Count]:
    async def look() -> Any:
        async with aclosing(_open(place, strategy)) as limiter:
            if notations:
                return await limiter.check(subject, *notations, cost=0, scope=scope or "")
            return await limiter.inspect(subject)

    try:
        verdict = ask(place, look)
    except ValueError as error:
        if notations:
            raise ToolError(str(error)) from None
        # The limiter's own words are for those who write code.
        raise ToolError(
            f"{printable(place.name)} finds only the limits that it is asked for;"
            " name them: envelope limits inspect SUBJECT 5/minute"
        ) from None
    counts = zip(verdict.quotas(), verdict.remaining, verdict.resets_ms, strict=True)
    is_wanted = notations or scope is None
    found = [count for count in counts if is_wanted or count[0].scope == scope]
    return sorted(found, key=lambda count: (count[0].scope, count[0].window_ms, count[0].amount))


def _forget(place: Place, subject: str, strategy: str) -> None:
    async def forget() -> None:
        async with aclosing(_open(place, strategy)) as limiter:
            await limiter.reset(subject)

    ask(place, forget, "whether anything was forgotten is not known, inspect it")


def _open(place: Place, strategy: str) -> Any:
    from envelope.rate_limit.limiter import RateLimiter  # noqa: PLC0415 - what --help does not need

    return RateLimiter(
        storage=place.url,
        strategy=strategy,  # type: ignore[arg-type]
        on_outage="deny",
        timeout_s=place.timeout_s,
        namespace=place.namespace,
        key_secret=os.environ.get(_SECRET) or None,
    )


def _show(counts: Sequence[_Count], *, err: bool = False) -> None:
    rows = [
        (
            quota.notation,
            quota.scope,
            quota.amount,
            quota.amount - left,
            left,
            spell(reset_ms / 1000) if reset_ms else "-",
            iso(_instant(reset_ms)) if reset_ms else "-",
            "yes" if quota.is_shadow else "no",
        )
        for quota, left, reset_ms in counts
    ]
    if rows:
        write_table(_COLUMNS, rows, err=err)


def _document(quota: Quota, left: int, reset_ms: int) -> dict[str, Any]:
    return {
        "limit": quota.notation,
        "scope": quota.scope,
        "shadow": quota.is_shadow,
        "amount": quota.amount,
        "remaining": left,
        "reset_s": reset_ms / 1000,
        "reset_at": iso(_instant(reset_ms)) if reset_ms else None,
    }


def _instant(in_ms: int) -> datetime:
    return datetime.now(UTC) + timedelta(milliseconds=in_ms)
