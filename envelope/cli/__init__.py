"""The command line: ``envelope``. It needs the extra ``asgi-envelope[check]``."""

from __future__ import annotations

import sys
from typing import Any

_MISSING = "envelope check needs more: pip install 'asgi-envelope[check]'"

#: What a shell makes of Ctrl-C.
_INTERRUPTED = 130

#: What the extra brings.
_EXTRA = frozenset(
    {"click", "hypothesis", "jsonschema_rs", "requests", "rich", "schemathesis", "urllib3", "uvicorn", "yaml"}
)


def main() -> None:
    """Run the command line; ends the process."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(_MISSING, file=sys.stderr)  # noqa: T201 - click may be what is missing
        sys.exit(2)


def _run() -> Any:
    group = build_group()
    import click  # noqa: PLC0415 - main() says what to do without it

    try:
        # Not by itself: it makes 1 of Ctrl-C, which says that there are departures.
        return group(standalone_mode=False)
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

    from envelope.conformance.command import check  # noqa: PLC0415

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(package_name="asgi-envelope", prog_name="envelope")
    def envelope() -> None:
        """Tools for services that speak one response convention."""

    envelope.add_command(check)
    return envelope


if __name__ == "__main__":
    main()
