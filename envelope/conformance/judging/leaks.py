"""Rule ENV015: a failure that tells what went wrong inside the service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

from envelope.conformance.exchanges import Exchange
from envelope.conformance.judging.departures import Departure

#: Characters that are searched; whoever leaks does it at the beginning.
_SEARCHED = 64 * 1024

#: Source and configuration files; the paths of a service's own resources seldom end like them.
_FILES = r"py|pyc|so|rb|php|java|go|rs|conf|cfg|ini|toml|ya?ml|env|pem|key|crt|sock|sqlite3?|db|log"

#: What is searched for, and how it is called. Case counts: "select one from the list" is no SQL.
_ALWAYS = {
    "a traceback": re.compile(r'Traceback \(most recent call last\)|File "[^"\n]+", line \d+|\bline \d+, in \w+'),
    "a stack trace": re.compile(r"(?m)^[ \t]+at [\w.$<>]+ ?\([^)\n]*:\d+\)|\bgoroutine \d+ \["),
    "an exception": re.compile(
        r"\b[A-Z]\w+(?:Error|Exception)(?:\(|: )|\b[a-z_]\w*(?:\.\w+){0,8}\.[A-Z]\w*(?:Error|Exception)\b"
        r"|\[Errno \d+\]"
    ),
    "an object of the program": re.compile(r"<class '[^']+'>|\bobject at 0x[0-9a-fA-F]+"),
    "SQL": re.compile(
        r"\bSELECT\s[^;]{1,300}?\sFROM\s|\bINSERT INTO\s|\bDELETE FROM\s|\bUPDATE\s+\S+\s+SET\s"
        r"|\[SQL: |\bSQLSTATE\b"
        r"|\bORA-\d{5}\b|\b[A-Z]+ constraint failed: |\bviolates [a-z-]+(?: [a-z]+)? constraint\b"
        r"|\bno such (?:table|column): |\bDuplicate entry '[^']*' for key\b"
    ),
    "a path of the server": re.compile(
        rf"(?<![\w./:~-])/(?:[\w.@+-]+/)+[\w.@+-]+\.(?:{_FILES})\b"
        r"|(?<![\w./:~-])/(?:usr/(?:lib|local|share|bin)|var/(?:lib|log|run|www)|home/[\w.-]+|root|etc|(?:opt|srv)/[\w.-]+"
        r"|proc/(?:self|\d+))/[\w.-]+|\b[A-Z]:\\(?:[\w .-]+\\)+"
    ),
    "an address of the inside": re.compile(
        r"\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01])|127\.\d{1,3})\.\d{1,3}\.\d{1,3}[:', ]+\d{2,5}\b"
    ),
}

#: What only an exception says. A request may be told that something is divided by zero, a crash may not.
_IN_CRASHES = {
    "the text of an exception": re.compile(
        r"'\w+' object (?:has no attribute|is not )|unsupported operand type|\bdivision by zero\b"
        r"|\bindex out of range\b|\bpositional arguments?\b|\binvalid literal for int\(\)"
    ),
}

#: Never quoted: it is a credential.
_CREDENTIALS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@")


def judge_leaks(exchange: Exchange, told: Any) -> Iterator[Departure]:
    """Find the first thing in a failure that only the service's log should know.

    Args:
        exchange: What the client sent itself is no secret.
        told: What the failure tells: a message, a whole body, a text.
    """
    text = "\n".join(_texts(told))[:_SEARCHED]
    sent = _sent(exchange)
    patterns = _ALWAYS | _IN_CRASHES if exchange.status >= 500 else _ALWAYS
    for name, pattern in patterns.items():
        for match in pattern.finditer(text):
            if match[0] not in sent:
                yield Departure("ENV015", _EXPECTED, f"{name}: {match[0].strip()[:40]!r}")
                return
    if any(match[0] not in sent for match in _CREDENTIALS.finditer(text)):
        yield Departure("ENV015", _EXPECTED, "a URL with a password")


_EXPECTED = "what the client can do about it; the cause stays in the service's log"


def _texts(value: Any) -> Iterator[str]:
    # Not recursive: a service may send what is nested deeper than Python calls.
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict | list):
            left += reversed(list(each.values()) if isinstance(each, dict) else each)


def _sent(exchange: Exchange) -> str:
    request = exchange.request
    body = (request.body or b"").decode("utf-8", "replace")
    values = [value for _, value in request.headers]
    # Also as a JSON string says it, and as a message that quotes it would.
    return "\n".join([unquote_plus(request.url), request.url, body, body.replace("\\\\", "\\"), *values])
