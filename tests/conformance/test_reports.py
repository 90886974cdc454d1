"""What people and machines read of a check."""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from xml.etree.ElementTree import fromstring

import pytest

from envelope.conformance.asking.generated import Note
from envelope.conformance.checking import Report
from envelope.conformance.exchanges import Exchange, Request
from envelope.conformance.findings import RULES, Finding
from envelope.conformance.ledger import Counted
from envelope.conformance.reports import FORMATS, write_report

NASTY = "\x1b[31mred\x1b[0m \x00 [bold]<&>\ud800 \u2028 \n\u202e é"


def finding(
    rule="ENV001", operation="GET /things", came="a bare object", url="http://h/things", status=200
) -> Finding:
    exchange = None
    if url:
        request = Request(method="GET", url=url, path="/things", headers=(("Authorization", "Bearer s3cret"),))
        exchange = Exchange(request, status, (), b"")
    return Finding(rule=RULES[rule], operation=operation, expected="the envelope", came=came, exchange=exchange)


def report(*findings: Finding, **changes) -> Report:
    whole = {
        "target": "main:app",
        "title": "Things",
        "version": "7",
        "tested": ("GET /things", "GET /fine"),
        "left_out": (Note("POST /things", "it writes"), Note("PUT /things", "it writes")),
        "stopped": None,
        "requests_sent": 99,
        "findings": tuple(Counted(each, times) for times, each in enumerate(findings, 1)),
    }
    return Report(**{**whole, **changes})


def written(form: str, shown: Report) -> str:
    file = io.StringIO()
    write_report(shown, form, file)
    return file.getvalue()


def test_table_shows_findings_and_how_to_send_them_again() -> None:
    """First all in short, then each with what was expected, what came and a curl line that is not wrapped."""
    url = "http://h/" + "x" * 300
    text = written("table", report(finding(url=url), finding("ENV050", "document", url=None)))

    assert "Things 7 at main:app" in text
    assert "ENV001" in text
    assert "success is not wrapped" in text
    assert (
        "  expected: the envelope\n  came:     a bare object\n  curl -i -H 'Authorization: ...' " + url + "\n"
        in text
    )
    assert "Left out: it writes\n  POST /things, PUT /things\n" in text
    assert text.endswith("\n2 operations tested, 99 requests sent, 2 departures found.\n")
    assert "s3cret" not in text


def test_table_without_findings_is_a_line() -> None:
    """There is nothing else to say."""
    shown = report(left_out=(), tested=("GET /x",), requests_sent=1, title="", version="")

    assert written("table", shown) == "\n1 operation tested, 1 request sent, 0 departures found.\n"


def test_table_says_that_the_check_was_not_finished() -> None:
    """So that nobody takes the rest for tested."""
    text = written("table", report(finding(), stopped="interrupted", title="", version=""))

    assert "The check was not finished: interrupted.\n" in text
    assert "main:app" in text.splitlines()[0]


def test_table_on_a_terminal_has_colours() -> None:
    """And the width of the terminal."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = Terminal()
    write_report(report(finding()), "table", file)

    assert "\x1b[1m" in file.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_report_that_nobody_reads_is_no_end_of_the_process(form) -> None:
    """``| head`` has read enough: the exit code is the command's to choose."""
    reader, writer = os.pipe()
    os.close(reader)
    file = os.fdopen(writer, "w")
    with pytest.raises(BrokenPipeError, match="Broken pipe"):
        write_report(report(finding()), form, file)
        file.flush()
    with suppress(BrokenPipeError):
        file.close()


@pytest.mark.parametrize("form", ["table", "junit"])
def test_control_characters_are_spelled_out(form) -> None:
    """What a service sends reaches neither into a terminal nor breaks XML; nor does it mean anything to rich."""
    text = written(
        form, report(finding(operation=f"GET /{NASTY}", came=NASTY), title=NASTY, target=NASTY, tested=(NASTY,))
    )

    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\\x1b[31mred" in text
    assert "\\n\\u202e é" in text
    assert "\u202e" not in text
    assert "\u2028" not in text
    text.encode()  # no lone surrogates


def test_json_has_a_stable_shape() -> None:
    """Machines read it; a change of the shape is a new version."""
    shown = json.loads(written("json", report(finding(), finding("ENV050", "document", url=None))))

    assert shown == {
        "version": 1,
        "tool": {"name": "envelope check", "version": shown["tool"]["version"]},
        "target": "main:app",
        "service": {"title": "Things", "version": "7"},
        "tested": ["GET /things", "GET /fine"],
        "left_out": [
            {"operation": "POST /things", "reason": "it writes"},
            {"operation": "PUT /things", "reason": "it writes"},
        ],
        "stopped": None,
        "requests_sent": 99,
        "findings": [
            {
                "id": "ENV001",
                "title": "success is not wrapped",
                "why": RULES["ENV001"].why,
                "operation": "GET /things",
                "times": 1,
                "expected": "the envelope",
                "came": "a bare object",
                "curl": "curl -i -H 'Authorization: ...' http://h/things",
                "status": 200,
            },
            {
                "id": "ENV050",
                "title": "document is not valid OpenAPI",
                "why": RULES["ENV050"].why,
                "operation": "document",
                "times": 2,
                "expected": "the envelope",
                "came": "a bare object",
                "curl": None,
                "status": None,
            },
        ],
    }


def test_json_of_a_request_without_response_has_no_status() -> None:
    """0 is no status."""
    shown = json.loads(written("json", report(finding(status=0))))

    assert shown["findings"][0]["status"] is None


def test_junit_has_a_case_for_each_rule_and_operation() -> None:
    """Failed ones, operations that keep the convention, and what was left out."""
    root = fromstring(written("junit", report(finding(), finding("ENV050", "document", url=None))))
    [suite] = root

    cases = [(case.get("classname"), case.get("name"), [child.tag for child in case]) for case in suite]
    assert cases == [
        ("GET /things", "ENV001 success is not wrapped", ["failure"]),
        ("document", "ENV050 document is not valid OpenAPI", ["failure"]),
        ("GET /fine", "keeps the convention", []),
        ("POST /things", "left out", ["skipped"]),
        ("PUT /things", "left out", ["skipped"]),
    ]
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "0",
        "skipped": "2",
    }
    assert (root.get("tests"), root.get("failures")) == ("5", "2")
    failure = suite[0][0]
    assert failure.get("message") == "expected the envelope; came a bare object"
    assert "curl -i -H 'Authorization: ...' http://h/things\nmet 1 time" in str(failure.text)


def test_junit_says_that_the_check_was_not_finished() -> None:
    """As an error of the suite, because a run that was cut short must not pass."""
    [suite] = fromstring(written("junit", report(stopped="interrupted")))

    assert suite.get("errors") == "1"
    assert [(case.get("name"), case[0].get("message")) for case in suite if case.find("error") is not None] == [
        ("the check was not finished", "interrupted")
    ]


def test_sarif_is_what_its_readers_need() -> None:
    """The essentials of SARIF 2.1.0: one run, rules that results refer to, and where they are."""
    shown = json.loads(
        written("sarif", report(finding("ENV010"), finding("ENV001"), finding("ENV001", "GET /other")))
    )

    assert (shown["version"], "sarif" in shown["$schema"]) == ("2.1.0", True)
    [run] = shown["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "envelope check"
    assert [rule["id"] for rule in rules] == ["ENV001", "ENV010"]
    assert rules[0]["shortDescription"] == {"text": "success is not wrapped"}
    assert run["invocations"] == [{"executionSuccessful": True}]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"
        assert result["message"]["text"].endswith("curl -i -H 'Authorization: ...' http://h/things")
        [location] = result["locations"]
        assert location["logicalLocations"][0].keys() == {"fullyQualifiedName", "kind"}
    fingerprints = [result["partialFingerprints"]["operation/v1"] for result in run["results"]]
    assert fingerprints == ["ENV010 GET /things", "ENV001 GET /things", "ENV001 GET /other"]


def test_sarif_says_that_the_check_was_not_finished() -> None:
    """The document alone shows a finding without a request."""
    [run] = json.loads(written("sarif", report(finding(url=None), stopped="interrupted")))["runs"]

    assert run["invocations"] == [
        {
            "executionSuccessful": False,
            "toolExecutionNotifications": [{"level": "error", "message": {"text": "interrupted"}}],
        }
    ]
    assert "curl" not in run["results"][0]["message"]["text"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_can_be_written_without_findings(form) -> None:
    """Nothing found is a report as well."""
    assert written(form, report(left_out=(), tested=()))


def test_rule_without_a_reason_has_no_description_in_sarif() -> None:
    """An empty text is not allowed there."""
    shown = finding()
    bare = Finding(rule=shown.rule._replace(why=""), operation="GET /x", expected="e", came="c")
    told = Finding(rule=shown.rule._replace(why="Because."), operation="GET /x", expected="e", came="c")

    [run] = json.loads(written("sarif", report(bare)))["runs"]
    assert "fullDescription" not in run["tool"]["driver"]["rules"][0]
    [run] = json.loads(written("sarif", report(told)))["runs"]
    assert run["tool"]["driver"]["rules"][0]["fullDescription"] == {"text": "Because."}
