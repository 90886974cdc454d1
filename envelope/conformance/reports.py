"""Reports: what was found, for people (a table) and for machines (JSON, JUnit, SARIF)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, TextIO
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envelope.conformance.checking import Report
from envelope.conformance.findings import Finding
from envelope.conformance.ledger import Counted
from envelope.terminal import printable

#: Of the shape of ``--format json``; a change that adds keys does not change it.
_JSON_VERSION = 1

#: Where nobody looks at a terminal.
_WIDTH = 115

_TOOL = "envelope check"


def write_report(report: Report, form: str, file: TextIO) -> None:
    """Write a report.

    Args:
        report: What came of a check.
        form: One of ``FORMATS``.
        file: Where to; a terminal gets colours.
    """
    FORMATS[form](report, file)


# For people


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # Rich ends the process with 1, which says that there are departures.
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _write_table(report: Report, file: TextIO) -> None:
    console = _Console(file=file, highlight=False, width=None if file.isatty() else _WIDTH)
    if report.findings:
        console.print(_table(report))
    for counted in report.findings:
        _print_finding(console, counted)
    for reason, operations in _by_reason(report).items():
        _print(console, "")
        _print(console, f"Left out: {reason}", "bold")
        _print(console, f"  {', '.join(operations)}")
    for line in _summary(report):
        _print(console, line, "bold")


def _table(report: Report) -> Table:
    table = Table(title=_title(report), title_justify="left")
    for name in ("id", "operation", "what is wrong"):
        table.add_column(name, overflow="fold")
    table.add_column("times", justify="right")
    for finding, times in _rows(report):
        rule = finding.rule
        table.add_row(rule.id, Text(printable(finding.operation)), rule.title, str(times))
    return table


def _title(report: Report) -> Text:
    about = f"{report.title} {report.version}".strip()
    return Text(printable(f"{about} at {report.target}" if about else report.target))


def _print_finding(console: Console, counted: Counted) -> None:
    finding = counted.finding
    _print(console, "")
    _print(console, f"{finding.rule.id} {finding.operation}: {finding.rule.title}", "bold")
    _print(console, f"  expected: {finding.expected}")
    _print(console, f"  came:     {finding.came}")
    if finding.exchange is not None:
        _print(console, f"  {finding.exchange.request.as_curl()}")


def _print(console: Console, text: str, style: str = "") -> None:
    # Not wrapped: a curl line is copied.
    console.print(Text(printable(text), style), soft_wrap=True)


def _summary(report: Report) -> Iterator[str]:
    yield ""
    if report.stopped is not None:
        yield f"The check was not finished: {report.stopped}."
    counts = (
        _count(len(report.tested), "operation") + " tested",
        _count(report.requests_sent, "request") + " sent",
        _count(len(report.findings), "departure") + " found",
    )
    yield ", ".join(counts) + "."


def _by_reason(report: Report) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for note in report.left_out:
        reasons.setdefault(note.reason, []).append(note.operation)
    return reasons


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _rows(report: Report) -> Iterator[tuple[Finding, int]]:
    return ((each.finding, each.times) for each in report.findings)


# For machines


def _write_json(report: Report, file: TextIO) -> None:
    _dump(
        {
            "version": _JSON_VERSION,
            "tool": {"name": _TOOL, "version": version("asgi-envelope")},
            "target": report.target,
            "service": {"title": report.title, "version": report.version},
            "tested": list(report.tested),
            "left_out": [note._asdict() for note in report.left_out],
            "stopped": report.stopped,
            "requests_sent": report.requests_sent,
            "findings": [_as_json(finding, times) for finding, times in _rows(report)],
        },
        file,
    )


def _as_json(finding: Finding, times: int) -> dict[str, Any]:
    exchange = finding.exchange
    return {
        "id": finding.rule.id,
        "title": finding.rule.title,
        "why": finding.rule.why,
        "operation": finding.operation,
        "times": times,
        "expected": finding.expected,
        "came": finding.came,
        "curl": exchange.request.as_curl() if exchange else None,
        "status": exchange.status if exchange and exchange.status else None,
    }


def _write_junit(report: Report, file: TextIO) -> None:
    """Write a test case for each rule and operation that failed, each operation that did not, and the left out."""
    root = Element("testsuites", name=_TOOL)
    suite = SubElement(root, "testsuite", name=printable(f"{_TOOL} {report.target}"))
    for finding, times in _rows(report):
        name = f"{finding.rule.id} {finding.rule.title}"
        failure = SubElement(_case(suite, finding.operation, name), "failure")
        failure.set("type", finding.rule.id)
        failure.set("message", printable(f"expected {finding.expected}; came {finding.came}"))
        curl = [printable(finding.exchange.request.as_curl())] if finding.exchange else []
        failure.text = "\n".join([finding.rule.why, *curl, f"met {_count(times, 'time')}"]).strip()
    failed = {finding.operation for finding, _ in _rows(report)}
    for operation in report.tested:
        if operation not in failed:
            _case(suite, operation, "keeps the convention")
    for note in report.left_out:
        SubElement(_case(suite, note.operation, "left out"), "skipped", message=printable(note.reason))
    if report.stopped is not None:
        error = _case(suite, _TOOL, "the check was not finished")
        SubElement(error, "error", message=printable(report.stopped))
    for element in (suite, root):
        element.set("tests", str(len(suite)))
        element.set("failures", str(len(report.findings)))
        element.set("errors", str(int(report.stopped is not None)))
    suite.set("skipped", str(len(report.left_out)))
    indent(root)
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n")


def _case(suite: Element, operation: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=printable(operation), name=printable(name))


def _write_sarif(report: Report, file: TextIO) -> None:
    """Write SARIF 2.1.0 (OASIS): operations are logical locations, because nothing is known of files."""
    rules = sorted({finding.rule for finding, _ in _rows(report)})
    index = {rule.id: number for number, rule in enumerate(rules)}
    driver = {
        "name": _TOOL,
        "version": version("asgi-envelope"),
        "rules": [
            {
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                **({"fullDescription": {"text": rule.why}} if rule.why else {}),
                "defaultConfiguration": {"level": "error"},
            }
            for rule in rules
        ],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [_as_invocation(report.stopped)],
        "results": [_as_result(finding, times, index) for finding, times in _rows(report)],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    _dump({"$schema": schema, "version": "2.1.0", "runs": [run]}, file)


def _as_invocation(stopped: str | None) -> dict[str, Any]:
    if stopped is None:
        return {"executionSuccessful": True}
    notification = {"level": "error", "message": {"text": stopped}}
    return {"executionSuccessful": False, "toolExecutionNotifications": [notification]}


def _as_result(finding: Finding, times: int, index: Mapping[str, int]) -> dict[str, Any]:
    lines = [f"{finding.rule.title}: expected {finding.expected}; came {finding.came}"]
    if finding.exchange is not None:
        lines.append(finding.exchange.request.as_curl())
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": index[finding.rule.id],
        "level": "error",
        "message": {"text": "\n".join(lines)},
        "locations": [{"logicalLocations": [{"fullyQualifiedName": finding.operation, "kind": "resource"}]}],
        "occurrenceCount": times,
        # What makes it the same result in the next run, whatever was generated then.
        "partialFingerprints": {"operation/v1": f"{finding.rule.id} {finding.operation}"},
    }


def _dump(value: Any, file: TextIO) -> None:
    # ASCII: control characters and lone surrogates are escaped, and no encoding of a terminal can refuse it.
    json.dump(value, file, indent=2)
    file.write("\n")


#: By the word that ``--format`` takes.
FORMATS: dict[str, Callable[[Report, TextIO], None]] = {
    "table": _write_table,
    "json": _write_json,
    "junit": _write_junit,
    "sarif": _write_sarif,
}
