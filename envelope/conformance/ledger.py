"""Ledger: what was found so far, once for each rule and operation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from envelope.conformance.exchanges import Exchange, Fields
from envelope.conformance.findings import RULES, Finding

#: Shorter values are no secrets, and hiding them would hide words.
_SHORTEST_SECRET = 8


@dataclass(frozen=True)
class Counted:
    """A finding and how often it was met.

    Attributes:
        finding: The one with the smallest request.
        times: With this rule at this operation.
    """

    finding: Finding
    times: int


class Ledger:
    """Collects findings.

    Args:
        headers: The user's own; their values stand nowhere in a finding, also if the service sent them back.
    """

    def __init__(self, headers: Fields = ()) -> None:
        self._secrets = _secrets(headers)
        self._found: dict[tuple[str, str], Counted] = {}

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if its request is the smallest."""
        key = (finding.rule.id, finding.operation)
        known = self._found.get(key)
        if known is None:
            self._found[key] = Counted(self._without_secrets(finding), 1)
            return
        smallest = known.finding
        if _size(finding) < _size(smallest):
            smallest = self._without_secrets(finding)
        self._found[key] = Counted(smallest, known.times + 1)

    def add_all(self, findings: Iterable[Finding]) -> None:
        """Count several."""
        for finding in findings:
            self.add(finding)

    def found(self, rule_id: str, operation: str, *, expected: str, came: str, exchange: Exchange) -> None:
        """Count a departure that an exchange shows."""
        self.add(
            Finding(rule=RULES[rule_id], operation=operation, expected=expected, came=came, exchange=exchange)
        )

    def has(self, rule_id: str, operation: str) -> bool:
        """Tell whether an operation has broken a rule."""
        return (rule_id, operation) in self._found

    @property
    def findings(self) -> tuple[Counted, ...]:
        """All, by rule and operation."""
        return tuple(self._found[key] for key in sorted(self._found))

    def _without_secrets(self, finding: Finding) -> Finding:
        return replace(finding, expected=self._scrub(finding.expected), came=self._scrub(finding.came))

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return text


def _secrets(headers: Fields) -> list[str]:
    """Give the values, and their parts: of ``Bearer x`` a service may send back the ``x``."""
    found = {part for _, value in headers for part in (value, *value.split())}
    return sorted((each for each in found if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)


def _size(finding: Finding) -> int:
    if finding.exchange is None:
        return 0
    request = finding.exchange.request
    return len(request.url) + len(request.body or b"")
