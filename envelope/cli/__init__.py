"""The command line: ``envelope``. It needs the extra ``asgi-envelope[cli]``, ``envelope check`` more."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from envelope.cli.streams import prepare, write_last
from envelope.terminal import printable

#: What a shell makes of Ctrl-C.
_INTERRUPTED = 130

#: Wrong usage, no answer of the storage, or a bug of ours.
_FAILED = 2

#: What the extra ``cli`` brings, and what ``check`` brings beside it.
_CLI = frozenset({"click", "rich"})
_CHECK = frozenset({"hypothesis", "jsonschema_rs", "requests", "schemathesis", "urllib3", "uvicorn", "yaml"})


def main() -> None:
    """Run the command line; ends the process."""
    prepare()
    try:
        code = _run()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - Python would make 1 of it, which is an answer of many a command
        write_last(_advise(error) or _describe(error))
        code = _FAILED
    sys.exit(code)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"Error: the system says: {printable(error.strerror)}"
    # Not its text, in which there may be a password.
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{'/'.join(Path(place.filename).parts[-2:])}:{place.lineno}"
    return f"Error: envelope itself failed, {type(error).__name__} at {where}; please report it"


def _advise(error: Exception) -> str | None:
    """Say what to install; None if that is not what is wrong."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    is_check = sys.argv[1:2] == ["check"]
    if missing in _CHECK or (missing in _CLI and is_check):
        return "envelope check needs more: pip install 'asgi-envelope[check]'"
    return "envelope needs more: pip install 'asgi-envelope[cli]'" if missing in _CLI else None


def _run() -> Any:
    group = build_group()
    import click  # noqa: PLC0415 - main() says what to do without it

    from envelope.cli.tables import writing  # noqa: PLC0415

    try:
        # Not by itself: it makes 1 of Ctrl-C, which says something else in many a command.
        return group(prog_name="envelope", standalone_mode=False)
    except click.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        with writing(err=True):
            error.show()
        return error.exit_code


def build_group() -> Any:
    """Build the group of all commands.

    Raises:
        ModuleNotFoundError: The extra is not installed.
    """
    import click  # noqa: PLC0415 - main() says what to do without it

    from envelope.cli.completion import completion  # noqa: PLC0415
    from envelope.cli.limits import limits  # noqa: PLC0415
    from envelope.cli.locks import locks  # noqa: PLC0415
    from envelope.cli.maintenance import maintenance  # noqa: PLC0415
    from envelope.conformance.command import check  # noqa: PLC0415

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(package_name="asgi-envelope", prog_name="envelope")
    def envelope() -> None:
        """Tools for services that speak one response convention."""

    for command in (check, locks, limits, maintenance, completion):
        envelope.add_command(command)
    return envelope
