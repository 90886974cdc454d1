"""What the dashboard's file says: its panels, and what their queries speak of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

DASHBOARD = Path(__file__).parents[2] / "docs/dashboards/envelope.json"

_NAME = re.compile(r"\b(?:envelope|http_server)_\w+")
_SELECTOR = re.compile(r"([a-z_]\w*)?\{([^{}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")


class Query(NamedTuple):
    """One of a panel's queries.

    Attributes:
        expression: In PromQL, with Grafana's variables.
        legend: Names a series by its labels: ``"{{job}}"``.
    """

    expression: str
    legend: str

    def filled(self, *, rate_s: int) -> str:
        """Give the expression with all variables filled in, as for "All"."""
        text = self.expression.replace("$__rate_interval", f"{rate_s}s")
        return re.sub(r"\$\w+", ".*", text)

    def name(self, labels: dict[str, str]) -> str:
        """Give the name of a series in the legend."""
        return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), self.legend)


@dataclass(frozen=True)
class Panel:
    """A panel, or a row of panels.

    Attributes:
        x, y, width, height: Its place on a grid that is 24 wide.
        given: All that the file says about it.
    """

    kind: str
    title: str
    description: str
    x: int
    y: int
    width: int
    height: int
    queries: tuple[Query, ...]
    given: dict[str, Any]

    @property
    def look(self) -> dict[str, Any]:
        """How its fields are shown: unit, limits, colours."""
        look: dict[str, Any] = self.given["fieldConfig"]["defaults"]
        return look


def read_dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return dashboard


def read_panels() -> list[Panel]:
    """Give the panels in their order, rows among them."""
    return [
        Panel(
            given["type"],
            given["title"],
            given.get("description", ""),
            given["gridPos"]["x"],
            given["gridPos"]["y"],
            given["gridPos"]["w"],
            given["gridPos"]["h"],
            tuple(Query(target["expr"], target["legendFormat"]) for target in given.get("targets", ())),
            given,
        )
        for given in read_dashboard()["panels"]
    ]


class Mention(NamedTuple):
    """A metric that an expression names.

    Attributes:
        metric: A pattern that names fit, or a name.
        labels: That are compared, beside it.
    """

    metric: str
    labels: frozenset[str]


def mentions(expression: str) -> Iterator[Mention]:
    """Find the metrics of an expression, each with the labels that it is chosen by."""
    for name, inside in _SELECTOR.findall(expression):
        matchers = {label: value for label, _, value in _MATCHER.findall(inside)}
        yield Mention(matchers.pop("__name__", name), frozenset(matchers))
    without_selectors = _SELECTOR.sub("", expression)
    without_groupings = _GROUPING.sub("", without_selectors)
    for name in _NAME.findall(without_groupings):
        yield Mention(name, frozenset())


def grouped_by(expression: str) -> set[str]:
    """Find the labels that an expression groups or joins by."""
    lists = _GROUPING.findall(expression)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}
