"""The rules and the page that explains them are the same."""

from __future__ import annotations

import re
from pathlib import Path

from envelope.conformance.findings import RULES

PAGE = Path(__file__).parents[2] / "docs/reference/conformance.md"


def test_page_has_every_rule_as_it_is() -> None:
    """Id, title and reason are the report's, in its order, and each has a way to mend it."""
    rows = [row.strip("| ").split(" | ") for row in PAGE.read_text().splitlines() if re.match(r"\| ENV\d", row)]

    assert [row[:3] for row in rows] == [list(rule) for rule in RULES.values()]
    assert all(len(row) == 4 and row[3] for row in rows)


def test_rules_are_told_in_words_of_their_own() -> None:
    """No two have the same title, and every reason is one or more whole sentences."""
    assert len({rule.title for rule in RULES.values()}) == len(RULES)
    assert all(re.fullmatch(r"\S.*[^. ]\.", rule.why) for rule in RULES.values())
    assert list(RULES) == sorted(RULES)
