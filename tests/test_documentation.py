"""The README's code does what it says, and the page of wire cases and the tests know the same cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_readme_example_answers_as_the_readme_says() -> None:
    """The first block is a service; its success, 404 and 400 read as the paragraph below it says."""
    namespace: dict[str, Any] = {}
    exec(python_blocks(DOCS[0])[0], namespace)
    client = TestClient(namespace["app"])

    assert client.get("/users/1").text == '{"status":"success","content":{"name":"Ada"}}'
    assert client.get("/users/2").status_code == 404
    assert client.get("/users/x").json()["message"]["message"] == ["'x' is not of type 'integer'"]


def test_python_blocks_of_all_pages_run() -> None:
    """No block of the documentation raises."""
    blocks = [block for page in DOCS for block in python_blocks(page)]

    for block in blocks:
        exec(block, {"__name__": "documentation"})

    assert len(blocks) >= 3


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link names a file of the repository."""
    links = [(page, link) for page in DOCS for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())]

    broken = [(page.name, link) for page, link in links if not (page.parent / link).exists()]

    assert links
    assert broken == []


def test_wire_cases_each_have_a_row_and_a_test() -> None:
    """Cases 1 to 76 stand on the page and in the docstrings of tests."""
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs/reference/wire-cases.md").read_text(), re.MULTILINE)
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {
        int(number)
        for group in re.findall(r"[Cc]ases? ([\d, and]+)", tests)
        for number in re.findall(r"\d+", group)
    }

    assert [int(number) for number in rows] == list(range(1, 77))
    assert set(range(1, 77)) - named == set()
