"""What was found, counted once for each rule and operation."""

from __future__ import annotations

from envelope.conformance.exchanges import Exchange, Request
from envelope.conformance.findings import RULES, Finding
from envelope.conformance.ledger import Ledger


def finding(rule: str = "ENV001", operation: str = "GET /x", url: str | None = "http://h/x", **more) -> Finding:
    request = Request(method="GET", url=url, path="/x") if url else None
    exchange = Exchange(request, 200, (), b"") if request else None
    return Finding(
        rule=RULES[rule], operation=operation, **{"expected": "e", "came": "c", **more}, exchange=exchange
    )


def test_findings_are_counted_by_rule_and_operation() -> None:
    """The one with the smallest request is kept, whenever it came; they are given in order."""
    ledger = Ledger()
    small = finding(url="http://h/x")
    ledger.add_all([finding(url="http://h/x?y=1"), small, finding(url="http://h/x?z=22"), finding("ENV002")])
    ledger.add(finding(operation="GET /a"))

    assert [(each.finding.rule.id, each.finding.operation, each.times) for each in ledger.findings] == [
        ("ENV001", "GET /a", 1),
        ("ENV001", "GET /x", 3),
        ("ENV002", "GET /x", 1),
    ]
    assert ledger.findings[1].finding == small
    assert ledger.has("ENV002", "GET /x")
    assert not ledger.has("ENV002", "GET /a")


def test_finding_without_a_request_is_the_smallest() -> None:
    """The document alone shows it."""
    ledger = Ledger()
    ledger.add_all([finding(), finding(url=None)])

    assert ledger.findings[0].finding.exchange is None


def test_users_header_values_stand_in_no_finding() -> None:
    """Whole or in part, also where the service sent them back; short values are words, not secrets."""
    ledger = Ledger((("Authorization", "Bearer s3cret-token"), ("X-Tenant", "a")))
    ledger.add(finding(came="a token 's3cret-token' of Bearer s3cret-token", url="http://h/xx"))
    ledger.add(finding(came="s3cret-token", url="http://h/x"))

    assert ledger.findings[0].finding.came == "..."
    ledger.add(finding(operation="GET /y", came="a token 's3cret-token' of Bearer s3cret-token"))
    assert ledger.findings[1].finding.came == "a token '...' of ..."
