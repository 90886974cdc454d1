"""The page about testing: its blocks are test files, and they pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs/how-to/test-your-app.md"


def test_blocks_of_the_page_pass_as_a_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conftest is the page's, each other block a file of tests; nothing is added."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    suites = [block for block in blocks if not block.startswith("# conftest.py\n")]
    (conftest,) = (block for block in blocks if block not in suites)
    pytester.makeconftest(conftest)
    pytester.makepyfile(**{f"test_block_{number}": block for number, block in enumerate(suites)})

    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=sum(block.count("\ndef test_") for block in suites))
    assert len(suites) == 5
