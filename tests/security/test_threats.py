"""The page of threats names tests that are there, and all that were written for it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/threats.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def _tests_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{file}::{name}" for file, name in NAMED])
def test_named_test_exists(file: str, name: str) -> None:
    """A row whose test was renamed or deleted is no defence that is known to stand."""
    assert name in _tests_of(ROOT / file)


def test_every_row_names_a_test() -> None:
    """A threat without a test is none of this page."""
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
    ]

    assert len(rows) > 40
    assert [row[:60] for row in rows if "`tests/" not in row] == []


@pytest.mark.parametrize("file", ["test_found.py", "test_requests.py", "test_storages.py"])
def test_every_test_of_this_folder_is_named(file: str) -> None:
    """What was found or written for a row stands in that row, or among what is open."""
    named = {name for _, name in NAMED}
    listed = {"test_line_break_in_a_header_of_a_failure_reaches_no_server"}  # said in "What is open"
    tests = {name for name in _tests_of(ROOT / "tests/security" / file) if name.startswith("test_")}

    assert tests <= named | listed


def test_links_of_the_policy_lead_somewhere() -> None:
    """Also their headings are there."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", (ROOT / "SECURITY.md").read_text()):
        assert (ROOT / target).exists(), target
