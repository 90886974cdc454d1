"""Rules for header fields: ENV018 to ENV022."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial

from envelope.conformance.exchanges import Exchange
from envelope.conformance.judging.departures import Departure, quote

#: Fields that a failure must have: status -> rule, field, how it looks.
_REQUIRED = {
    401: ("ENV020", "WWW-Authenticate", "WWW-Authenticate with a challenge, such as Bearer (RFC 9110, 15.5.2)"),
    405: ("ENV021", "Allow", "Allow with the methods that there are (RFC 9110, 15.5.6)"),
    423: ("ENV018", "Retry-After", "Retry-After in whole seconds, from 1"),
    429: ("ENV018", "Retry-After", "Retry-After in whole seconds, from 1"),
    503: ("ENV018", "Retry-After", "Retry-After in whole seconds, from 1"),
}

_LEGACY = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

#: Seconds by which clocks may differ.
_SKEW_S = 60

#: Before this instant (2001) nobody spoke of rate limits: smaller numbers are durations.
_FIRST_INSTANT = 1_000_000_000
_YEAR_S = 366 * 24 * 3600

#: No instant of ours in seconds, but any in milliseconds.
_LAST_INSTANT = 100_000_000_000

#: The draft's fields and the parameters that are numbers; the first is required.
_DRAFT = {"RateLimit-Policy": ("q", "w"), "RateLimit": ("r", "t")}

_NAME = r"[a-z*][a-z0-9_.*-]*"
_VALUE = r'"[^"]*"|:[^:]*:|[^\s;,"]+'

#: One member of a list of strings with parameters (RFC 9651, 3.1), as far as the draft needs it.
_MEMBER = re.compile(rf'\s*"((?:[^"\\]|\\["\\])*)"((?:\s*;\s*{_NAME}(?:=(?:{_VALUE}))?)*)\s*(,|$)')
_PARAMETER = re.compile(rf";\s*({_NAME})(?:=({_VALUE}))?")

#: Policies or quotas by name, each with its parameters.
_Members = dict[str, dict[str, str]]


def judge_fields(exchange: Exchange) -> Iterator[Departure]:
    """Find what is wrong with the header fields of a response that is not exempt."""
    if exchange.status >= 400:
        yield from _judge_required(exchange)
        yield from _judge_retry_after(exchange)
    contradiction = next(_find_contradictions(exchange), None)
    if contradiction is not None:
        yield Departure("ENV022", *contradiction)


def _judge_required(exchange: Exchange) -> Iterator[Departure]:
    if exchange.status in _REQUIRED:
        rule, name, expected = _REQUIRED[exchange.status]
        value = exchange.header(name)
        # An empty Allow is one: the resource has no methods now. Retry-After is read below.
        if value is None or (name == "WWW-Authenticate" and not value.strip()):
            yield Departure(rule, expected, f"no {name}" if value is None else f"an empty {name}")


def _judge_retry_after(exchange: Exchange) -> Iterator[Departure]:
    value = exchange.header("retry-after")
    if value is not None and not (_is_number(value.strip()) and int(value) >= 1):
        yield Departure("ENV019", "whole seconds, from 1", quote(value))


def _find_contradictions(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """Give what was expected and what came; only the first is taken, later ones may follow from it."""
    draft: dict[str, _Members] = {}
    for name, figures in _DRAFT.items():
        if (text := _read(exchange, name)) is not None:
            members = _parse(text)
            if not members or not all(map(partial(_has_figures, figures), members.values())):
                yield f'{name} as a list: "name";{figures[0]}=10;{figures[1]}=60', quote(text)
            draft[name] = members
    if len(draft) == len(_DRAFT):
        yield from _compare(*draft.values())
    yield from _judge_legacy(exchange, draft.get("RateLimit-Policy", {}), draft.get("RateLimit", {}))


def _has_figures(figures: Sequence[str], parameters: Mapping[str, str]) -> bool:
    required = figures[0] in parameters
    return required and all(_is_number(parameters[figure]) for figure in figures if figure in parameters)


def _compare(policies: _Members, quotas: _Members) -> Iterator[tuple[str, str]]:
    for name, quota in quotas.items():
        policy = policies.get(name)
        if policy is None:
            yield f"a name of RateLimit-Policy: {', '.join(map(quote, policies))}", quote(name)
        for figure, bound in (("r", "q"), ("t", "w")):
            if policy and figure in quota and bound in policy and int(quota[figure]) > int(policy[bound]):
                yield f"{figure} up to {bound}={policy[bound]}", f"{quote(name)};{figure}={quota[figure]}"


def _judge_legacy(exchange: Exchange, policies: _Members, quotas: _Members) -> Iterator[tuple[str, str]]:
    texts = {name: text for name in _LEGACY if (text := _read(exchange, name)) is not None}
    yield from (
        (f"one whole number in {name}", quote(text)) for name, text in texts.items() if not _is_number(text)
    )
    limit, remaining, reset = (int(texts[name]) if name in texts else None for name in _LEGACY)
    if limit is not None and remaining is not None and remaining > limit:
        yield f"X-RateLimit-Remaining up to {limit}", str(remaining)
    if limit is not None and policies and limit not in {int(policy["q"]) for policy in policies.values()}:
        yield "X-RateLimit-Limit that RateLimit-Policy has", str(limit)
    told = {
        int(quotas[name]["r"]) for name, policy in policies.items() if name in quotas and int(policy["q"]) == limit
    }
    if told and remaining is not None and remaining not in told:
        yield f"X-RateLimit-Remaining that RateLimit has: {', '.join(map(str, sorted(told)))}", str(remaining)
    if reset is not None:
        yield from _judge_reset(exchange, reset, policies)


def _judge_reset(exchange: Exchange, reset: int, policies: _Members) -> Iterator[tuple[str, str]]:
    now = _read_date(exchange)
    windows = [int(policy.get("w", _YEAR_S)) for policy in policies.values()]
    first = _FIRST_INSTANT if now is None else now - _SKEW_S
    last = _LAST_INSTANT if now is None else now + max(windows, default=_YEAR_S) + _SKEW_S
    if not first <= reset <= last:
        came = str(reset) if now is None else f"{reset}, which is {reset - now} seconds from Date"
        yield "X-RateLimit-Reset as UTC epoch seconds, within the longest window from now", came


def _read(exchange: Exchange, name: str) -> str | None:
    """Give a field's value, all its lines (RFC 9110, 5.3), each once."""
    lines = [value.strip() for each, value in exchange.headers if each.lower() == name.lower()]
    return ", ".join(dict.fromkeys(lines)) if lines else None


def _read_date(exchange: Exchange) -> int | None:
    try:
        return int(parsedate_to_datetime(exchange.header("date") or "").timestamp())
    except (ValueError, OverflowError):
        return None


def _parse(text: str) -> _Members:
    """Read a list of strings with parameters; empty if it is none."""
    members: _Members = {}
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            return {}
        members[member[1]] = dict(_PARAMETER.findall(member[2]))
        position = member.end()
    return members


def _is_number(text: str) -> bool:
    # Longer ones are not integers of RFC 9651, 3.3.1, and Python refuses to read some of them.
    return text.isascii() and text.isdigit() and len(text) <= 15
