"""The command ``envelope check``. What it needs beside click is only imported when it runs."""

from __future__ import annotations

import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPMethod
from pathlib import Path
from typing import Any

import click

from envelope.conformance.exchanges import Fields
from envelope.terminal import printable

#: What a shell makes of Ctrl-C.
_INTERRUPTED = 130

_NOT_CHECKED = 2

#: A header field (RFC 9110, 5.1 and 5.5).
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*([\t\x20-\x7e\x80-\xff]+)")

#: What requests are made with, and probes change.
_OURS = frozenset({"accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"})

#: The methods of RFC 9110, RFC 5789, RFC 4918 and OpenAPI 3.2.
_METHODS = frozenset({*HTTPMethod, "QUERY", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"})

#: An operation or a path; an asterisk stands for what follows a slash.
_EXEMPT = re.compile(r"(?:(\S+) )?/(?:[^\s*]*|(?:[^\s*]*/)?\*)")

#: What sockets can wait for, in whatever system.
_LONGEST_S = 1_000_000


class _NothingToCheckError(click.ClickException):
    exit_code = _NOT_CHECKED


def _read_headers(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Fields:
    fields = [_FIELD.fullmatch(value.strip()) for value in values]
    if None in fields:
        raise click.BadParameter("give 'Name: value'")  # the value is a secret: it is not repeated
    names = [field[1].lower() for field in fields if field]
    for name in names:
        if name in _OURS:
            raise click.BadParameter(f"{name} is what the check itself sets; leave it out")
        if names.count(name) > 1:
            raise click.BadParameter(f"{name} stands twice; give it once")
    return tuple((field[1], field[2]) for field in fields if field)


def _read_exempt(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        form = _EXEMPT.fullmatch(value)
        if form is None or (form[1] or HTTPMethod.GET).upper() not in _METHODS:
            raise click.BadParameter(f"{value!r} is neither 'METHOD /path' nor '/path' nor '/path/*'")
    return values


def _read_seconds(_: click.Context, __: click.Parameter, value: float) -> float:
    if math.isnan(value):
        raise click.BadParameter("give a number of seconds")  # it is in every range
    return value


def _read_output(_: click.Context, __: click.Parameter, value: str) -> str:
    # Now, and not after minutes; but what stands in the file stays there until there is a report.
    if not Path(value).parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(Path(value).parent)!r}")
    return value


@click.command(
    short_help="Check a service against the response convention.",
    epilog="Exit code: 0 nothing found, 1 departures found, 2 nothing checked or not finished, 130 interrupted.",
    context_settings={"max_content_width": 100},
)
@click.argument("target")
@click.option(
    "--schema",
    metavar="FILE|URL",
    help="OpenAPI document, JSON or YAML; also a path of the service  [default: its own].",
)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    callback=_read_headers,
    metavar="'NAME: VALUE'",
    help="Sent with every request, but not to a --schema elsewhere; stands in no report. Repeatable.",
)
@click.option("--writes", is_flag=True, help="Exercise operations that change something, too.")
@click.option(
    "--exempt",
    multiple=True,
    callback=_read_exempt,
    metavar="OPERATION|PATH",
    help="Output that is sent as it is: 'GET /jwks', /oauth/token, '/hooks/*'. Can be given several times.",
)
@click.option(
    "--burst",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Send each read that declares 429 up to N times at once, to meet its limit.",
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
    type=click.FloatRange(0, _LONGEST_S, min_open=True),
    callback=_read_seconds,
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For each response.",
)
@click.option(
    "--max-time",
    "max_time_s",
    type=click.FloatRange(0, _LONGEST_S, min_open=True),
    callback=_read_seconds,
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
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    callback=_read_output,
    default="-",
    metavar="FILE",
    help="Where the report goes  [default: standard output].",
)
def check(target: str, form: str, output: str, **options: Any) -> None:
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
    try:
        sys.exit(_check(target, form, output, options))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _check(target: str, form: str, output: str, options: Mapping[str, Any]) -> int:
    # A second that --help does not need.
    from envelope.conformance import checking, reports  # noqa: PLC0415
    from envelope.conformance.targets import serving  # noqa: PLC0415

    try:
        with _progress() as progress:
            report = checking.check(target, checking.Options(**options), progress)
        _write(lambda file: reports.write_report(report, form, file), output)
    except serving.TargetError as error:
        raise _NothingToCheckError(printable(str(error))) from error
    except _NothingToCheckError:
        raise
    except Exception:  # noqa: BLE001 - told, and not taken for a departure
        traceback.print_exc()
        # 1 would say that the service departs from the convention.
        raise _NothingToCheckError("the check itself failed, as above; please report it") from None
    return _exit_code(report)


def _write(write: Callable[[Any], None], output: str) -> None:
    try:
        with click.open_file(output, "w", encoding="utf-8") as file:
            write(file)
            file.flush()
    except OSError as error:
        if output == "-":
            # What could not be written would be tried again when Python ends.
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise _NothingToCheckError(f"the report cannot be written: {error.strerror}") from error


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
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("starting", total=None)

        def show(done: int, steps: int, what: str) -> None:
            bar.update(task, completed=done, total=steps, description=escape(printable(what)))

        yield show
