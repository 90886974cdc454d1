"""Draws the dashboard's panels in the manner of Grafana, as one page of HTML with SVG in it.

What Grafana would show is read from the dashboard's file: places, titles, units, colours, stacking, thresholds,
value mappings. Only what this dashboard uses is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tests.dashboard.panels import Panel, Query

#: Pixels of the page, and of the grid on it.
WIDTH = 1400
_MARGIN, _GAP, _UNIT = 12, 8, 30
_COLUMN = (WIDTH - 2 * _MARGIN + _GAP) / 24
_HEADER = 54

#: Of a panel's inside.
_LEFT, _TOP, _BOTTOM, _RIGHT = 54, 34, 22, 20

_PALETTE = (
    *("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#C0D8FF", "#37872D"),
    *("#FADE2A", "#E02F44", "#447EBC", "#C15C17", "#705DA0", "#96D98D", "#FFB357"),
)
_NAMED = {"green": "#73BF69", "red": "#F2495C"}
_DASHES = {"solid": "none", "dash": "6 3", "dot": "1.5 2.5"}
_TEXT, _FAINT, _LINE = "#ccccdc", "#8e8e99", "#2a2d33"

_STYLE = f"""
body {{ margin: 0; background: #111217; color: {_TEXT}; font: 12px Inter, Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }}
.panel, .row, header {{ position: absolute; }}
.panel {{ background: #181b1f; border: 1px solid #24272c; border-radius: 2px; overflow: hidden; box-sizing: border-box; }}
.title {{ position: absolute; left: 10px; top: 8px; font-weight: 500; color: #e6e6f0; font-size: 13px; }}
.row {{ font-weight: 500; font-size: 15px; line-height: {_UNIT}px; }}
header {{ left: {_MARGIN}px; right: {_MARGIN}px; top: 12px; display: flex; gap: 10px; align-items: center; }}
header b {{ font-size: 18px; font-weight: 500; margin-right: 14px; }}
header span {{ background: #181b1f; border: 1px solid #2f3238; border-radius: 2px; padding: 5px 9px; }}
header i {{ color: #6e9fff; font-style: normal; margin-right: 6px; }}
header .range {{ margin-left: auto; }}
.legend {{ position: absolute; left: 10px; right: 8px; bottom: 6px; line-height: 16px; font-size: 11px; }}
.legend span {{ white-space: nowrap; margin-right: 10px; display: inline-block; }}
.legend i {{ display: inline-block; width: 12px; height: 4px; border-radius: 2px; margin-right: 5px; vertical-align: middle; }}
text {{ font-size: 10.5px; fill: {_FAINT}; }}
"""


@dataclass(frozen=True)
class Series:
    """A line of a panel.

    Attributes:
        query: Its query's number in the panel.
        name: In the legend.
        labels: As Prometheus gave them.
        values: By the number of the step; nothing where there was nothing.
    """

    query: int
    name: str
    labels: dict[str, str]
    values: dict[int, float]


@dataclass(frozen=True)
class Span:
    """The time that is shown: seconds since 1970, and how many steps."""

    begin: float
    step_s: int
    steps: int


Answer = Sequence[tuple[Query, list[dict[str, Any]]]]


def read_series(answer: Answer, span: Span) -> list[Series]:
    """Make series of what Prometheus answered to a panel's queries."""
    found = []
    for number, (query, results) in enumerate(answer):
        for result in results:
            values = {
                round((at - span.begin) / span.step_s): float(value)
                for at, value in result["values"]
                if math.isfinite(float(value))
            }
            if values:
                found.append(Series(number, query.name(result["metric"]), result["metric"], values))
    return found


def draw_page(drawn: Iterable[tuple[Panel, list[Series]]], span: Span, title: str) -> tuple[str, int]:
    """Draw everything.

    Returns:
        The page in HTML, and its height in pixels.
    """
    parts, bottom = [], 0.0
    for panel, series in drawn:
        left, top = _MARGIN + panel.x * _COLUMN, _HEADER + panel.y * (_UNIT + _GAP)
        width, height = panel.width * _COLUMN - _GAP, panel.height * (_UNIT + _GAP) - _GAP
        bottom = max(bottom, top + height)
        place = f"left:{left:.0f}px;top:{top:.0f}px;width:{width:.0f}px;height:{height:.0f}px"
        if panel.kind == "row":
            parts.append(f'<div class="row" style="{place}">&#9662; {escape(panel.title)}</div>')
            continue
        inside = _KINDS[panel.kind](panel, series, span, width, height)
        parts.append(
            f'<div class="panel" style="{place}"><div class="title">{escape(panel.title)}</div>{inside}</div>'
        )
    header = (
        f"<header><b>{escape(title)}</b><span><i>Data source</i>Prometheus</span><span><i>Job</i>All</span>"
        f'<span><i>Instance</i>All</span><span class="range">minutes 0:00 to '
        f"{_clock(span.steps * span.step_s)} of the run</span></header>"
    )
    return (
        f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style>{header}{"".join(parts)}',
        math.ceil(bottom) + _MARGIN,
    )


def _draw_lines(panel: Panel, series: list[Series], span: Span, width: float, height: float) -> str:
    custom = panel.look["custom"]
    colours = _colours(panel, series)
    legend, legend_height = _draw_legend(
        [(each.name, colour) for each, colour in zip(series, colours, strict=True)], width
    )
    longest_gap = max(1, int(custom["spanNulls"]) // 1000 // span.step_s)
    is_stacked = custom["stacking"]["mode"] == "normal"
    columns = _stack(series, span) if is_stacked else [(None, each.values) for each in series]
    most = max((value for _, values in columns for value in values.values()), default=0)
    bottom, top, tick = _scale(panel.look, most)
    frame = _Frame(span, width, height - legend_height, bottom, top)
    parts = [frame.draw_axes(tick, _unit(panel.look["unit"], tick))]
    parts += [_draw_threshold(step, frame) for step in _thresholds(panel, top)]
    for each, (floor, values), colour in reversed(list(zip(series, columns, colours, strict=True))):
        if custom["drawStyle"] == "bars":
            parts.append(_draw_bars(values, floor, frame, colour, custom["fillOpacity"] / 100))
        else:
            dash = _DASHES[_line_style(panel, each.query)]
            parts.append(_draw_line(values, floor, frame, colour, custom["fillOpacity"] / 100, dash, longest_gap))
    return f"{_svg(width, height, parts)}{legend}"


def _draw_line(
    values: dict[int, float],
    floor: dict[int, float] | None,
    frame: _Frame,
    colour: str,
    opacity: float,
    dash: str,
    longest_gap: int,
) -> str:
    parts = []
    for run in _runs(sorted(values), longest_gap):
        points = [(frame.x(step), frame.y(values[step])) for step in run]
        if len(points) == 1:
            parts.append(f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="1.5" fill="{colour}"/>')
            continue
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        below = "L".join(
            f"{frame.x(step):.1f} {frame.y(floor[step] if floor else 0):.1f}" for step in reversed(run)
        )
        if opacity:
            parts.append(f'<path d="M{path}L{below}Z" fill="{colour}" fill-opacity="{opacity}"/>')
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.3" stroke-dasharray="{dash}"/>'
        )
    return "".join(parts)


def _draw_bars(
    values: dict[int, float], floor: dict[int, float] | None, frame: _Frame, colour: str, opacity: float
) -> str:
    parts = []
    for step, value in values.items():
        top, bottom = frame.y(value), frame.y(floor[step] if floor else 0)
        if bottom - top > 0.3:
            left = frame.x(step) - frame.step * 0.4
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{frame.step * 0.8:.1f}" height="{bottom - top:.1f}"'
                f' fill="{colour}" fill-opacity="{opacity}" stroke="{colour}" stroke-width="0.6"/>'
            )
    return "".join(parts)


def _draw_heatmap(panel: Panel, series: list[Series], span: Span, width: float, height: float) -> str:
    """Draw how many values lie between a bound and the next; Prometheus counts all up to a bound."""
    ordered = sorted(series, key=lambda each: float(each.labels["le"]))
    cells: list[tuple[int, int, float]] = []
    for number, each in enumerate(ordered):
        for step, value in each.values.items():
            below = ordered[number - 1].values.get(step, 0) if number else 0
            cells.append((number, step, max(0.0, value - below)))
    most = max((value for *_, value in cells), default=1) or 1
    shown = [each for each in ordered if each.labels["le"] != "+Inf"]
    frame = _Frame(span, width, height - 22, 0, len(shown))
    parts = [frame.draw_times()]
    for number, each in enumerate(shown):
        y = (frame.y(number) + frame.y(number + 1)) / 2
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_percent(float(each.labels["le"]))}</text>'
        )
    for number, step, value in cells:
        if value > 0.01 and number < len(shown):
            share = (value / most) ** panel.given["options"]["color"]["exponent"]
            parts.append(
                f'<rect x="{frame.x(step) - frame.step / 2:.1f}" y="{frame.y(number + 1) + 0.5:.1f}" width="{frame.step - 0.7:.1f}"'
                f' height="{frame.y(number) - frame.y(number + 1) - 1:.1f}" fill="{_ramp(share)}"/>'
            )
    scale = "".join(
        f'<rect x="{_LEFT + 12 * at}" y="{height - 18:.0f}" width="12" height="8" fill="{_ramp(at / 9)}"/>'
        for at in range(10)
    )
    ends = (
        f'<text x="{_LEFT - 6}" y="{height - 10:.0f}" text-anchor="end">0</text>'
        f'<text x="{_LEFT + 126}" y="{height - 10:.0f}">{most:.0f} decisions</text>'
    )
    return _svg(width, height, [*parts, scale, ends])


def _draw_states(panel: Panel, series: list[Series], span: Span, width: float, height: float) -> str:
    states = panel.look["mappings"][0]["options"]
    legend, legend_height = _draw_legend([(state["text"], state["color"]) for state in states.values()], width)
    frame = _Frame(span, width, height - legend_height, 0, max(1, len(series)), left=112)
    parts = [frame.draw_times()]
    thickness = (frame.y(0) - frame.y(1)) * panel.given["options"]["rowHeight"]
    for number, each in enumerate(sorted(series, key=lambda each: each.name, reverse=True)):
        middle = (frame.y(number) + frame.y(number + 1)) / 2
        parts.append(
            f'<text x="{frame.left - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(each.name)}</text>'
        )
        steps = sorted(each.values)
        begin = 0
        for at in range(1, len(steps) + 1):
            value = each.values[steps[begin]]
            if at < len(steps) and each.values[steps[at]] == value and steps[at] == steps[at - 1] + 1:
                continue
            left, right = frame.x(steps[begin]), min(frame.x(steps[at - 1] + 1), frame.x(span.steps))
            state = states[f"{value:g}"]
            parts.append(
                f'<rect x="{left:.1f}" y="{middle - thickness / 2:.1f}" width="{right - left:.1f}"'
                f' height="{thickness:.1f}" fill="{state["color"]}" fill-opacity="0.8"/>'
            )
            if right - left > 60:
                parts.append(
                    f'<text x="{left + 6:.1f}" y="{middle + 4:.1f}" style="fill:#111">{state["text"]}</text>'
                )
            begin = at
    return f"{_svg(width, height, parts)}{legend}"


_KINDS: dict[str, Callable[[Panel, list[Series], Span, float, float], str]] = {
    "timeseries": _draw_lines,
    "heatmap": _draw_heatmap,
    "state-timeline": _draw_states,
}


class _Frame:
    """Where values and times lie in a panel."""

    def __init__(
        self, span: Span, width: float, height: float, bottom: float, top: float, left: float = _LEFT
    ) -> None:
        self.left = left
        self._span, self._bottom, self._top = span, bottom, top
        self._right, self._floor = width - _RIGHT, height - _BOTTOM
        self.step = (self._right - left) / span.steps

    def x(self, step: float) -> float:
        return self.left + step * self.step

    def y(self, value: float) -> float:
        share = (value - self._bottom) / (self._top - self._bottom)
        return self._floor - min(1.0, max(0.0, share)) * (self._floor - _TOP)

    def draw_axes(self, tick: float, show: Callable[[float], str]) -> str:
        parts = [self.draw_times()]
        for number in range(round((self._top - self._bottom) / tick) + 1):
            value = self._bottom + number * tick
            y = self.y(value)
            parts.append(f'<path d="M{self.left} {y:.1f}H{self._right:.1f}" stroke="{_LINE}"/>')
            parts.append(
                f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(show(value))}</text>'
            )
        return "".join(parts)

    def draw_times(self) -> str:
        parts = []
        lasts_s = self._span.steps * self._span.step_s
        for second in range(0, lasts_s + 1, 30):
            x = self.x(second / self._span.step_s)
            parts.append(f'<path d="M{x:.1f} {_TOP}V{self._floor:.1f}" stroke="{_LINE}" stroke-opacity="0.6"/>')
            if second % 60 == 0:
                parts.append(
                    f'<text x="{x:.1f}" y="{self._floor + 15:.1f}" text-anchor="middle">{_clock(second)}</text>'
                )
        return "".join(parts)


def _stack(series: list[Series], span: Span) -> list[tuple[dict[int, float], dict[int, float]]]:
    """Put each series on those before it: where each begins and ends at each step."""
    floor = dict.fromkeys(range(span.steps + 1), 0.0)
    columns = []
    for each in series:
        top = {step: floor[step] + value for step, value in each.values.items()}
        columns.append((dict(floor), top))
        floor.update(top)
    return columns


def _runs(steps: Sequence[int], longest_gap: int) -> Iterable[list[int]]:
    """Give steps that follow each other; over a longer gap there is no line."""
    run: list[int] = []
    for step in steps:
        if run and step > run[-1] + longest_gap:
            yield run
            run = []
        run.append(step)
    if run:
        yield run


def _scale(look: dict[str, Any], most: float) -> tuple[float, float, float]:
    """Give the lowest and highest value of the axis, and the distance of its lines."""
    bottom = look.get("min", 0)
    top = look.get("max", most) or 1
    rough = (top - bottom) / 4
    power = 10 ** math.floor(math.log10(rough))
    tick = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    if look.get("decimals") == 0:
        tick = max(1, round(tick))
    return bottom, bottom + math.ceil((top - bottom) / tick - 0.05) * tick, tick


def _thresholds(panel: Panel, top: float) -> list[dict[str, Any]]:
    if panel.look["custom"]["thresholdsStyle"]["mode"] == "off":
        return []
    return [
        step for step in panel.look["thresholds"]["steps"] if step["value"] is not None and step["value"] <= top
    ]


def _draw_threshold(step: dict[str, Any], frame: _Frame) -> str:
    y = frame.y(step["value"])
    return (
        f'<path d="M{frame.left} {y:.1f}H{frame.x(frame._span.steps):.1f}" stroke="{_NAMED[step["color"]]}"'
        ' stroke-dasharray="8 6" stroke-opacity="0.7"/>'
    )


def _colours(panel: Panel, series: list[Series]) -> list[str]:
    given = _overrides(panel, "byName")
    return [
        given[each.name]["fixedColor"] if each.name in given else _PALETTE[number % len(_PALETTE)]
        for number, each in enumerate(series)
    ]


def _line_style(panel: Panel, query: int) -> str:
    given = _overrides(panel, "byFrameRefID")
    reference = panel.given["targets"][query]["refId"]
    style: str = given[reference]["fill"] if reference in given else "solid"
    return style


def _overrides(panel: Panel, matcher: str) -> dict[str, dict[str, Any]]:
    """Give what is set for some of the series; by what they are chosen by."""
    return {
        override["matcher"]["options"]: override["properties"][0]["value"]
        for override in panel.given["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == matcher
    }


def _draw_legend(entries: list[tuple[str, str]], width: float) -> tuple[str, int]:
    """Draw the legend, in as many lines as it needs; the browser breaks them, and this guesses how many they are."""
    lines, used = 1, 0.0
    for name, _ in entries:
        needs = 29 + 6.6 * len(name)
        if used and used + needs > width - 18:
            lines, used = lines + 1, 0
        used += needs
    shown = "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in entries)
    return f'<div class="legend">{shown}</div>', lines * 16 + 6


def _unit(unit: str, tick: float) -> Callable[[float], str]:
    """Show values as Grafana's units do, all of an axis alike."""
    if unit == "percentunit":
        return _percent
    if unit == "s":
        factor, name = next((f, n) for f, n in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if tick * f >= 0.099)
        return lambda value: f"{value * factor:g} {name}" if value else "0 s"
    suffix = {"reqps": " req/s", "ops": " ops/s", "short": ""}[unit]
    return lambda value: f"{round(value, 6):g}{suffix}"


def _percent(value: float) -> str:
    return f"{round(value * 100, 4):g}%"


def _clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}"


def _ramp(share: float) -> str:
    """Give a colour between the dark of nothing and the light of most."""
    dark, light = (58, 34, 20), (255, 190, 110)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(dark, light, strict=True))


def _svg(width: float, height: float, parts: Iterable[str]) -> str:
    return f'<svg width="{width:.0f}" height="{height:.0f}">{"".join(parts)}</svg>'
