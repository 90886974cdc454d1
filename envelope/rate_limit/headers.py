"""The header fields that tell a client how much it has left. Change their form here, and only here.

``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (UTC epoch seconds, rounded up) describe one quota.
``RateLimit-Policy`` and ``RateLimit`` describe all; their syntax is that of
draft-ietf-httpapi-ratelimit-headers-11, which is not settled yet: two lists of strings with parameters
(RFC 9651), q quota, w window in seconds, r remaining, t seconds until there is more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from time import time
from typing import Literal
from urllib.parse import quote

from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.verdicts import Verdict

Style = Literal["both", "legacy", "draft", "none"]
Fields = list[tuple[bytes, bytes]]

#: The styles and whether they have the legacy and the draft's fields.
STYLES: dict[Style, tuple[bool, bool]] = {
    "both": (True, True),
    "legacy": (True, False),
    "draft": (False, True),
    "none": (False, False),
}

_LEGACY = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_DRAFT = ("RateLimit-Policy", "RateLimit")

#: The styles and the names of their fields.
FIELD_NAMES: dict[Style, tuple[str, ...]] = {
    style: _LEGACY * has_legacy + _DRAFT * has_draft for style, (has_legacy, has_draft) in STYLES.items()
}

#: Our fields, and the one that may forbid them.
WATCHED = frozenset(name.lower().encode() for name in (*_LEGACY, *_DRAFT, "Cache-Control"))


class FieldWriter:
    """Writes the fields of one list of quotas; what is constant is encoded once.

    Args:
        quotas: In the order of the figures; those that are not exposed stay out of sight.
        style: Which fields there are.
    """

    __slots__ = ("_limits", "_policy", "_template", "_visible")

    def __init__(self, quotas: Sequence[Quota], style: Style) -> None:
        visible = {quota.name: index for index, quota in enumerate(quotas) if quota.is_exposed}
        shown = [quotas[index] for index in visible.values()]
        names = [_quote(name) for name in visible]
        has_legacy, has_draft = STYLES[style]
        # A quota that was charged twice is shown once, as it was last; None: the figures are as they come.
        self._visible = list(visible.values()) if len(visible) < len(quotas) else None
        self._limits = [(b"x-ratelimit-limit", b"%d" % quota.amount) for quota in shown if has_legacy]
        self._policy: tuple[bytes, bytes] | None = None
        self._template = b""
        if has_draft and shown:
            policies = [
                b"%b;q=%d;w=%d" % (name, quota.amount, quota.window_ms // 1000)
                for name, quota in zip(names, shown, strict=True)
            ]
            self._policy = b"ratelimit-policy", b", ".join(policies)
            self._template = b", ".join([b"%b;r=%%d;t=%%d" % name.replace(b"%", b"%%") for name in names])

    def write(self, verdict: Verdict) -> Fields:
        """Write the fields for a verdict about the quotas."""
        remaining, resets_ms, waits_ms = verdict.remaining, verdict.resets_ms, verdict.waits_ms
        if self._visible is not None:
            remaining = [remaining[index] for index in self._visible]
            resets_ms = [resets_ms[index] for index in self._visible]
            waits_ms = waits_ms and [waits_ms[index] for index in self._visible]
        fields: Fields = []
        if self._limits:
            if waits_ms and any(waits_ms):
                reset_ms = max(waits_ms)
                index = waits_ms.index(reset_ms)
            else:
                index = remaining.index(min(remaining)) if len(remaining) > 1 else 0
                reset_ms = resets_ms[index]
            fields = [
                self._limits[index],
                (b"x-ratelimit-remaining", b"%d" % remaining[index]),
                (b"x-ratelimit-reset", b"%d" % ceil(time() + reset_ms / 1000)),
            ]
        if self._policy is not None:
            figures: list[int] = []
            for left, reset_ms in zip(remaining, resets_ms, strict=True):
                figures += left, -(-reset_ms // 1000)
            fields += self._policy, (b"ratelimit", self._template % tuple(figures))
        return fields


def may_be_shared(cache_control: bytes) -> bool:
    """Tell whether a cache may give a response to others, whose figures are not these (RFC 9111, 5.2.2)."""
    directives = cache_control.lower()
    return b"public" in directives or b"s-maxage" in directives


def _quote(name: str) -> bytes:
    """Write a string of RFC 9651, 3.3.3, which knows printable ASCII only."""
    ascii_only = "".join(char if " " <= char <= "~" else quote(char, errors="replace") for char in name)
    return b'"%b"' % ascii_only.replace("\\", "\\\\").replace('"', '\\"').encode()
