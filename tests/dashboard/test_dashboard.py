"""The dashboard and the alerts ask for what is exported, and for all of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations

import pytest

from tests.dashboard.alerts import Alert, read_alerts
from tests.dashboard.drawing import Series, Span, draw_page, read_series
from tests.dashboard.exported import exported, prometheus_names
from tests.dashboard.panels import Mention, Panel, Query, grouped_by, mentions, read_dashboard, read_panels

#: How many requests there were: of OpenTelemetry's instrumentations for servers, with the stable and the old name.
REQUESTS = {"http_server_request_duration_seconds_count", "http_server_duration_milliseconds_count"}

#: What Prometheus puts on every series.
TARGET = {"job", "instance"}

PANELS = [panel for panel in read_panels() if panel.kind != "row"]
QUERIES = [(panel, query) for panel in PANELS for query in panel.queries]


def find_problems(expression: str) -> list[str]:
    """Name the metrics and labels of an expression that are not exported."""
    known = prometheus_names()
    others = dict.fromkeys(REQUESTS, frozenset[str]())
    problems, labels = [], set(TARGET)
    for mention in mentions(expression):
        fitting = [name for name in known | others if re.fullmatch(mention.metric, name)]
        alternatives = alternatives_of(mention)
        problems += [
            f"no metric {one}" for one in alternatives if not any(re.fullmatch(one, name) for name in fitting)
        ]
        own = set().union(*(known.get(name, ()) for name in fitting))
        problems += [f"{mention.metric} has no label {label}" for label in mention.labels - own - TARGET]
        labels |= own
    return problems + [
        f"no metric of {expression} has the label {label}" for label in grouped_by(expression) - labels
    ]


def alternatives_of(mention: Mention) -> list[str]:
    return mention.metric.split("|")


def name_of(parameter: object) -> str | None:
    return parameter.name if isinstance(parameter, Alert) else getattr(parameter, "title", "")


@pytest.mark.parametrize(("panel", "query"), QUERIES, ids=name_of)
def test_query_asks_for_what_is_exported(panel: Panel, query: Query):
    """Each metric and label is one of ours, and each query is of the chosen jobs and instances."""
    assert find_problems(query.expression) == []
    assert all(mention.labels >= TARGET for mention in mentions(query.expression))
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= grouped_by(query.expression)


@pytest.mark.parametrize("alert", read_alerts(), ids=name_of)
def test_alert_asks_for_what_is_exported(alert: Alert):
    """Each metric and label is one of ours, and the text names labels that the expression has."""
    assert find_problems(alert.expression) == []
    assert set(re.findall(r"\$labels\.(\w+)", " ".join(alert.texts))) <= grouped_by(alert.expression)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("rate(envelope_failure_total[5m])", "no metric envelope_failure_total"),
        (
            'envelope_lock_lost_total{envelope_lock_why="taken"}',
            "envelope_lock_lost_total has no label envelope_lock_why",
        ),
        ('{__name__=~"envelope_storage_breaker_shut"}', "no metric envelope_storage_breaker_shut"),
        ("sum by (envelope_lock_key) (envelope_lock_lost_total)", "no metric of"),
        ('envelope_lock_lost_total{le="1"}', "envelope_lock_lost_total has no label le"),
    ],
)
def test_wrong_names_are_found(expression: str, problem: str):
    """The other tests can fail."""
    assert [found for found in find_problems(expression) if found.startswith(problem)]


def test_every_metric_is_on_the_dashboard():
    """Nothing is measured that nobody sees."""
    asked = {mention.metric for _, query in QUERIES for mention in mentions(query.expression)}
    names = {name: name.replace(".", "_") for name in exported()}

    missing = [name for name, ours in names.items() if not any(metric.startswith(ours) for metric in asked)]

    assert missing == []


def test_panels_explain_themselves():
    """Each has a title of its own, a description and a unit, and asks the chosen data source."""
    assert [panel.title for panel in PANELS if len(panel.description) < 40 or not panel.look["unit"]] == []
    assert len({panel.title for panel in PANELS}) == len(PANELS)
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(panel.given["datasource"] == chosen for panel in PANELS)
    assert all(target["datasource"] == chosen for panel in PANELS for target in panel.given["targets"])


def test_panels_lie_beside_each_other():
    """None covers another, and none stands out of the grid."""
    panels = read_panels()
    assert all(panel.x + panel.width <= 24 for panel in panels)
    assert len({panel.given["id"] for panel in panels}) == len(panels)
    assert [(one.title, other.title) for one, other in combinations(panels, 2) if covers(one, other)] == []


def covers(one: Panel, other: Panel) -> bool:
    is_beside = one.x + one.width <= other.x or other.x + other.width <= one.x
    return not is_beside and one.y < other.y + other.height and other.y < one.y + one.height


def test_variables_are_declared():
    """What queries use is on top of the dashboard."""
    variables = {variable["name"] for variable in read_dashboard()["templating"]["list"]}
    used = {name for _, query in QUERIES for name in re.findall(r"\$(\w+)", query.expression)}

    assert used - {"__rate_interval"} | {"datasource"} == variables


def test_every_panel_is_drawn():
    """The program that makes the picture knows all that the dashboard uses."""
    span = Span(begin=0, step_s=3, steps=20)

    page, height = draw_page([(panel, list(make_series(panel, span))) for panel in read_panels()], span, "title")

    assert page.count("<svg") == len(PANELS)
    assert "nan" not in page
    assert height > 1000


def make_series(panel: Panel, span: Span) -> Iterable[Series]:
    for query in panel.queries:
        labels = dict.fromkeys(grouped_by(query.expression), "2.5")
        results = [{"metric": labels, "values": [[at * 3.0, "1"] for at in (0, 1, 2, 7, 9)] + [[30.0, "NaN"]]}]
        yield from read_series([(query, results)], span)
