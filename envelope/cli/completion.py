"""The command ``envelope completion``: what makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Print what makes your shell complete commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete the commands and options of envelope.

    \b
    bash, in ~/.bashrc:                       eval "$(envelope completion bash)"
    zsh, in ~/.zshrc:                         eval "$(envelope completion zsh)"
    fish, ~/.config/fish/completions/envelope.fish:
                                              envelope completion fish | source
    """  # noqa: D301 - click reads the \b
    kind = get_completion_class(shell)
    assert kind is not None
    source = kind(context.find_root().command, {}, "envelope", "_ENVELOPE_COMPLETE").source()
    click.echo(source.rstrip("\n"))
