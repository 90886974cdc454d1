"""What the commands print: tables for people, lines for pipes, JSON for programs.

What comes from a storage was once sent by clients. No control character of it reaches the terminal, and nothing
that is spelled out looks like another name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from envelope.cli.streams import write_nowhere
from envelope.terminal import unmistakable

#: Of the shapes of ``--json``; a change that adds keys does not change it.
_VERSION = 1

#: What a shell makes of the signal that ends whoever writes to a pipe that nobody reads.
_UNREAD = 141


class ToolError(click.ClickException):
    """Something is wrong with the call or the storage: one line, and exit code 2."""

    exit_code = 2


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        name: Its head.
        is_whole: Is never broken into several lines.
        is_extra: Stands in pipes only; on a terminal there is no room for it.
    """

    name: str
    is_whole: bool = False
    is_extra: bool = False


def write_lines(*lines: str, err: bool = False) -> None:
    """Write lines; what is not seen is spelled out."""
    with writing(err=err):
        for line in lines:
            click.echo(unmistakable(line), err=err)


def write_json(**document: Any) -> None:
    """Write one document; instants are in ISO 8601, in UTC."""
    with writing():
        # ASCII: what is not seen is escaped.
        click.echo(json.dumps({"version": _VERSION, **document}, indent=2))


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, err: bool = False) -> None:
    """Write a table for a terminal, and elsewhere the same separated by tabs, with nothing left out.

    Args:
        columns: What the values of a row are.
        rows: What is in it.
        err: Write it to standard error.
    """
    texts = [[unmistakable(value) for value in row] for row in rows]
    file = sys.stderr if err else sys.stdout
    with writing(err=err):
        if file.isatty():
            click.echo(_draw(columns, texts, file), nl=False, err=err)  # which knows how the terminal encodes
            return
        for row in ([column.name for column in columns], *texts):
            click.echo("\t".join(row), err=err)


def write_facts(facts: Mapping[str, object], *, err: bool = False) -> None:
    """Write names and values below each other."""
    width = max(map(len, facts)) + 2
    write_lines(*(f"  {name:<{width}}{value}" for name, value in facts.items()), err=err)


def iso(instant: datetime) -> str:
    """Write an instant: ``"2030-01-31T18:00:00.000Z"``."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _draw(columns: Sequence[Column], rows: Sequence[Sequence[str]], file: Any) -> str:
    from rich.console import Console  # noqa: PLC0415 - what --help does not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    shown = [index for index, column in enumerate(columns) if not column.is_extra]
    for index in shown:
        table.add_column(columns[index].name, overflow="fold", no_wrap=columns[index].is_whole)
    for row in rows:
        table.add_row(*(Text(row[index]) for index in shown))
    console = Console(file=file, highlight=False)
    with console.capture() as drawn:  # rich would end the process with 1 where nobody reads
        console.print(table)
    return drawn.get()


@contextmanager
def writing(*, err: bool = False) -> Iterator[None]:
    """Write to the end, and say so if that is not possible.

    Args:
        err: Standard error is written. If that is not possible, nobody can be told, and the work goes on.

    Raises:
        ToolError: Standard output cannot be written.
    """
    file = sys.stderr if err else sys.stdout
    try:
        yield
        file.flush()
    except OSError as error:
        write_nowhere(file)
        if err:
            return
        if isinstance(error, BrokenPipeError):
            sys.exit(_UNREAD)
        raise ToolError(f"the output cannot be written: {error.strerror}") from None
