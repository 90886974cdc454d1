"""The command ``envelope check``. What it needs beside click is only imported when it runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from envelope.conformance.exchanges import Fields

#: What a shell makes of Ctrl-C.
_INTERRUPTED = 130

_NOT_CHECKED = 2


#: A header field (RFC 9110, 5.1 and 5.5).
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*([\t\x20-\x7e\x80-\xff]+)")


class _NothingToCheckError(click.ClickException):
    exit_code = _NOT_CHECKED


def _read_headers(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Fields:
    fields = [_FIELD.fullmatch(value.strip()) for value in values]
    if None in fields:
        raise click.BadParameter("give 'Name: value'")  # the value is a secret: it is not repeated
    return tuple((field[1], field[2]) for field in fields if field)


@click.command(
    short_help="Check a service against the response convention.",
    epilog="Exit code: 0 nothing found, 1 departures found, 2 nothing checked or not finished, 130 interrupted.",
    context_settings={"max_content_width": 100},
)
@click.argument("target")
@click.option("--schema", metavar="FILE|URL", help="OpenAPI document, JSON or YAML  [default: the service's own].")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    callback=_read_headers,
    metavar="'NAME: VALUE'",
    help="Sent with every request; the value stands in no report. Can be given several times.",
)
@click.option("--writes", is_flag=True, help="Exercise operations that change something, too.")
@click.option(
    "--exempt",
    multiple=True,
    metavar="OPERATION|PATH",
    help="Output that is sent as it is: 'GET /jwks', /oauth/token, '/hooks/*'. Can be given several times.",
)
@click.option(
    "--burst",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Send up to N quick reads to meet a declared rate limit.",
)
@click.option(
    "--max-examples",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    metavar="N",
    help="Generated for each operation, valid input and again invalid.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another one generates other input.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For each response.",
)
@click.option(
    "--max-time",
    "max_time_s",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="For all requests together.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "junit", "sarif"]),
    default="table",
    show_default=True,
    help="Of the report.",
)
@click.option(
    "-o",
    "--output",
    type=click.File("w", encoding="utf-8", lazy=False),
    default="-",
    metavar="FILE",
    help="Where the report goes  [default: standard output].",
)
def check(target: str, form: str, output: TextIO, **options: Any) -> None:
    """Check a service against the response convention.

    TARGET is the URL of a service that runs, or module:app (also module:factory), which is served on this machine
    for as long as it takes. Every operation of its OpenAPI document is exercised with generated valid and invalid
    input, and every response is held against the convention and the document.

    Only reads are sent, unless you say --writes.

    \b
    envelope check main:app --writes
    envelope check https://staging.example.com -H 'Authorization: Bearer ...'
    envelope check http://127.0.0.1:8000 --format junit --output envelope.xml
    """  # noqa: D301 - click reads the \b
    # A second that --help does not need.
    from envelope.conformance import checking, reports  # noqa: PLC0415
    from envelope.conformance.targets import serving  # noqa: PLC0415

    try:
        with _progress() as progress:
            report = checking.check(target, checking.Options(**options), progress)
    except serving.TargetError as error:
        raise _NothingToCheckError(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    reports.write_report(report, form, output)
    output.flush()
    sys.exit(_exit_code(report))


def _exit_code(report: Any) -> int:
    from envelope.conformance import checking  # noqa: PLC0415

    if report.stopped == checking.INTERRUPTED:
        return _INTERRUPTED
    if report.findings:
        return 1
    # A check that was not finished, or that tested nothing, must not pass.
    return _NOT_CHECKED if report.stopped or not report.tested else 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on standard error, if somebody looks at it."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("starting", total=None)

        def show(done: int, steps: int, what: str) -> None:
            bar.update(task, completed=done, total=steps, description=what.replace("[", "\\["))

        yield show
