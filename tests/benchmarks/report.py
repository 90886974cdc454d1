"""Prints tables of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks.imports import OPTIONAL, ImportFigures
from tests.benchmarks.measure import Figures
from tests.benchmarks.subjects import BARE, FLOOR, OURS, Bar, Work

_COLUMNS = ("work", "subject", "us/request", "least", "added us", "x bare", "x floor", "bar", "")

LONGEST_IMPORT_MS = 25


def rows_of(work: Work, figures: Mapping[str, Figures], flaws: Mapping[str, str]) -> list[Sequence[str]]:
    """Give one row for each subject; one whose answer is wrong has the reason instead of figures."""
    rows: list[Sequence[str]] = []
    for subject in work.dresses:
        if subject in flaws:
            rows.append((work.name, subject, f"WRONG: {flaws[subject]}"))
            continue
        own = figures[subject]
        judged = _judge(own.ratio(figures[work.bar.over]), work.bar) if subject in OURS else ("", "")
        rows.append(
            (
                work.name if subject == BARE else "",
                subject,
                f"{own.median_us:.2f}",
                f"{own.least_us:.2f}",
                f"{own.added_us(figures[BARE]):+.2f}",
                f"{own.ratio(figures[BARE]):.3f}",
                f"{own.ratio(figures[FLOOR]):.3f}",
                *judged,
            )
        )
    return rows


def print_table(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str] = _COLUMNS) -> None:
    """Print rows in columns; texts to the left, figures to the right."""
    full = [row for row in (columns, *rows) if len(row) == len(columns)]
    widths = [max(len(row[column]) for row in full) for column in range(len(columns))]
    print(f"\n{title}")
    for row in (columns, *rows):
        cells = [
            cell.ljust(width) if column < 2 or column >= len(columns) - 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        print("  ".join(cells).rstrip())


def print_peaks(title: str, peaks: Mapping[str, int], most: int) -> None:
    """Print the memory of a stream; ours may hold ``most`` bytes."""
    rows = []
    for subject, peak in peaks.items():
        judged = verdict(peak <= most, f"{most // 1024}") if subject in OURS else ("", "")
        rows.append(("", subject, f"{peak / 1024:.0f}", *judged))
    print_table(title, rows, ("", "subject", "peak KB", "bar", ""))


def print_import(figures: ImportFigures) -> None:
    """Print what the import costs, and whether an optional package came with it."""
    loaded = ", ".join(figures.loaded) or "none"
    judged = verdict(figures.median_ms <= LONGEST_IMPORT_MS, str(LONGEST_IMPORT_MS))
    rows = [
        ("", "ms", f"{figures.median_ms:.1f}", f"{figures.least_ms:.1f}", *judged),
        ("", f"of {', '.join(OPTIONAL)}", loaded, "", *verdict(not figures.loaded, "none")),
    ]
    print_table("import envelope, after fastapi (row 15)", rows, ("", "", "median", "least", "bar", ""))


def _judge(ratio: float, bar: Bar) -> tuple[str, str]:
    return verdict(ratio <= bar.ratio, f"{bar.ratio:.2f} x {bar.over}")


def verdict(holds: bool, bar: str) -> tuple[str, str]:
    """Give the bar, and whether it holds."""
    return bar, "ok" if holds else "over"
