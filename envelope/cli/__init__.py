"""The command line: ``envelope``. It needs the extra ``asgi-envelope[cli]``, ``envelope check`` more."""

from __future__ import annotations

import sys
from typing import Any

#: What a shell makes of Ctrl-C.
_INTERRUPTED = 130

#: What the extra ``cli`` brings, and what ``check`` brings beside it.
_CLI = frozenset({"click", "rich"})
_CHECK = frozenset({"hypothesis", "jsonschema_rs", "requests", "schemathesis", "urllib3", "uvicorn", "yaml"})


def main() -> None:
    """Run the command line; ends the process."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except ModuleNotFoundError as error:
        advice = _advise((error.name or "").partition(".")[0])
        if advice is None:
            raise
        print(advice, file=sys.stderr)  # noqa: T201 - click may be what is missing
        sys.exit(2)


def _advise(missing: str) -> str | None:
    """Say what to install; None if no extra brings it."""
    is_check = sys.argv[1:2] == ["check"]
    if missing in _CHECK or (missing in _CLI and is_check):
        return "envelope check needs more: pip install 'asgi-envelope[check]'"
    return "envelope needs more: pip install 'asgi-envelope[cli]'" if missing in _CLI else None


def _run() -> Any:
    group = build_group()
    import click  # noqa: PLC0415 - main() says what to do without it

    try:
        # Not by itself: it makes 1 of Ctrl-C, which says something else in many a command.
        return group(prog_name="envelope", standalone_mode=False)
    except click.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
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
