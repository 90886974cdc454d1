"""The alerts of the documentation: the block of YAML on the page about observing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import yaml  # type: ignore[import-untyped]  # its types are not installed

PAGE = Path(__file__).parents[2] / "docs/how-to/observe.md"


class Alert(NamedTuple):
    """A rule.

    Attributes:
        expression: In PromQL; the alert fires while it gives something.
        texts: What is told to whoever is on call.
    """

    name: str
    expression: str
    texts: tuple[str, ...]

    def within(self, *, seconds: int) -> str:
        """Give the expression with shorter windows, for a run that does not last for hours."""
        return re.sub(r"\b\d+[mh]\b", f"{seconds}s", self.expression)


def read_alerts() -> list[Alert]:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [
        Alert(rule["alert"], rule["expr"], tuple(rule["annotations"].values()))
        for block in blocks
        for group in yaml.safe_load(block)["groups"]
        for rule in group["rules"]
    ]
