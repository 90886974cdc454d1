"""No regular expression of the package takes much longer than its text is long."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time

import pytest

import envelope

#: Every text is one of these again and again, behind a beginning and before an end that fits nothing.
_PARTS = (
    " ",
    "\n",
    "a",
    "A",
    "0",
    "/",
    ".",
    ":",
    "{",
    '"',
    "\\",
    '\\"',
    ";",
    ",",
    "=",
    "a ",
    "; a=1",
    "@",
    "a@",
    "%",
    "[",
)
_BEGINNINGS = ("", '"', "/", "{", "[", "a=", "per ")
_LENGTH = 4_000

#: Searched in what a checked service says; test_found.py has the two that are slow.
_KNOWN = {"_ALWAYS[a stack trace]", "_ALWAYS[an exception]"}


#: What an operator types is asked for as a whole only.
_ASKED_AS_A_WHOLE = {"envelope.conformance.command._EXEMPT", "envelope.conformance.targets.opening._ADDRESS"}


def _patterns() -> dict[str, re.Pattern[str]]:
    found: dict[str, re.Pattern[str]] = {}
    for module in pkgutil.walk_packages(envelope.__path__, "envelope."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            values = {f"[{key}]": each for key, each in value.items()} if isinstance(value, dict) else {"": value}
            for key, each in values.items():
                for pattern in each if isinstance(each, tuple) else (each,):
                    if isinstance(pattern, re.Pattern):
                        found[f"{module.name}.{name}{key}"] = pattern
    return found


PATTERNS = {name: each for name, each in _patterns().items() if not name.endswith(tuple(_KNOWN))}


def test_patterns_are_found() -> None:
    """Those that meet what clients choose are among them."""
    assert {
        "envelope.rate_limit.address._WITH_PORT",
        "envelope.errors.validation.redaction._WORD",
        "envelope.errors.validation.redaction._SECRET_PARTS",
        "envelope.storage.urls._NAMESPACE",
        "envelope.conformance.judging.fields._MEMBER",
    } <= PATTERNS.keys()


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern_is_not_slow(name: str) -> None:
    """The time of this process is measured, so that a busy machine is no slow pattern."""
    pattern = PATTERNS[name]
    slow = []
    for beginning in _BEGINNINGS:
        for part in _PARTS:
            text = beginning + part * (_LENGTH // len(part)) + "\x01"
            begun = time.process_time()
            pattern.fullmatch(text)
            if name not in _ASKED_AS_A_WHOLE:
                pattern.search(text)
            if time.process_time() - begun > 0.25:
                slow.append((beginning, part))

    assert slow == []


def test_slow_pattern_is_seen() -> None:
    """The texts above are such that a pattern that goes back and forth takes its time."""
    begun = time.process_time()
    re.search(r"(?:a\.)*(?:a\.)*b", "a." * (_LENGTH // 6))

    assert time.process_time() - begun > 0.25
