"""Shells complete commands, options and their values."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cli.running import COMMAND, environment, run

#: This machine may be busy.
pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_that_of_click(shell) -> None:
    """The same as with the variable that click knows."""
    own = run("completion", shell)
    ran = subprocess.run(
        [COMMAND],
        capture_output=True,
        text=True,
        check=True,
        timeout=40,
        env=environment(_ENVELOPE_COMPLETE=f"{shell}_source"),
    )

    assert own.exit_code == 0
    assert own.stdout.rstrip("\n") == ran.stdout.rstrip("\n")
    assert "_ENVELOPE_COMPLETE" in own.stdout


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["lo"], {"locks"}),
        (["locks", ""], {"list", "inspect", "break"}),
        (["limits", "re"], {"reset"}),
        (["locks", "list", "--state", "h"], {"held", "handed_off"}),
        (["maintenance", "on", "--f"], {"--for"}),
        (["limits", "inspect", "ada", "--strategy", "m"], {"moving-window"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_bash_completes(typed, words) -> None:
    """With the script that was printed, as it does when somebody presses Tab."""
    line = " ".join(f"'{word}'" for word in ("envelope", *typed))
    script = (
        'eval "$(envelope completion bash)"\n'
        f"COMP_WORDS=({line}); COMP_CWORD={len(typed)}; COMPREPLY=()\n"
        "_envelope_completion envelope\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=40,
        env=environment(PATH=f"{COMMAND.parent}:{os.environ['PATH']}"),
    )

    assert set(ran.stdout.split()) == words
    assert ran.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered(shell) -> None:
    """By the protocol of click's scripts for them; the storage's absence is no obstacle."""
    ran = subprocess.run(
        [COMMAND],
        capture_output=True,
        text=True,
        check=True,
        timeout=40,
        env=environment(
            _ENVELOPE_COMPLETE=f"{shell}_complete",
            COMP_WORDS="envelope locks list --st",
            COMP_CWORD="--st" if shell == "fish" else "3",
        ),
    )

    assert "--state" in ran.stdout
    assert "--storage" in ran.stdout
    assert ran.stderr == ""


def test_other_shells_are_refused() -> None:
    """With those that are known."""
    result = run("completion", "tcsh")

    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.output
