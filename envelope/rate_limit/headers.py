"""The header fields that tell a client how much it has left. Change their form here, and only here.

``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (UTC epoch seconds, rounded up) describe one quota.
``RateLimit-Policy`` and ``RateLimit`` describe all; their syntax is that of
draft-ietf-httpapi-ratelimit-headers-11, which is not settled yet: two lists of strings with parameters
(RFC 9651), q quota, w window in seconds, r remaining, t seconds until there is more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from envelope.rate_limit.quotas import Quota

Style = Literal["both", "legacy", "draft", "none"]
Fields = list[tuple[bytes, bytes]]

#: The styles and whether they have the legacy and the draft's fields.
STYLES: dict[Style, tuple[bool, bool]] = {
    "both": (True, True),
    "legacy": (True, False),
    "draft": (False, True),
    "none": (False, False),
}

#: A cache would give these figures to others, who have theirs.
_SHARED = (b"public", b"s-maxage")

_NAMES = frozenset(
    (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset", b"ratelimit-policy", b"ratelimit")
)


class FieldWriter:
    """Writes the fields of one list of quotas; what is constant is encoded once.

    Args:
        quotas: In the order of the figures; those in shadow stay out of sight.
        style: Which fields there are.
    """

    __slots__ = ("_legacy", "_limits", "_policy", "_template", "_visible")

    def __init__(self, quotas: Sequence[Quota], style: Style) -> None:
        visible = {quota.name: index for index, quota in enumerate(quotas) if not quota.is_shadow}
        names = [_quote(name) for name in visible]
        shown = [quotas[index] for index in visible.values()]
        # A quota that was charged twice is shown once, as it was last; None: the figures are as they come.
        self._visible = list(visible.values()) if len(visible) < len(quotas) else None
        self._legacy, draft = STYLES[style] if shown else (False, False)
        self._limits = [b"%d" % quota.amount for quota in shown]
        self._policy = self._template = b""
        if draft:
            self._policy = b", ".join(
                b"%b;q=%d;w=%d" % (name, quota.amount, quota.window_ms // 1000)
                for name, quota in zip(names, shown, strict=True)
            )
            self._template = b", ".join(b"%b;r=%%d;t=%%d" % name.replace(b"%", b"%%") for name in names)

    def write(self, remaining: Sequence[int], resets_ms: Sequence[int], waits_ms: Sequence[int] | None) -> Fields:
        """Write the fields for these figures of the quotas.

        Args:
            remaining: What is left.
            resets_ms: Milliseconds until there is more.
            waits_ms: Milliseconds until the cost fits; None if it fits everywhere.
        """
        if self._visible is not None:
            remaining = [remaining[index] for index in self._visible]
            resets_ms = [resets_ms[index] for index in self._visible]
            waits_ms = waits_ms and [waits_ms[index] for index in self._visible]
        fields: Fields = []
        if self._legacy:
            if waits_ms and any(waits_ms):
                reset_ms = max(waits_ms)
                index = waits_ms.index(reset_ms)
            else:
                index = remaining.index(min(remaining)) if len(remaining) > 1 else 0
                reset_ms = resets_ms[index]
            fields = [
                (b"x-ratelimit-limit", self._limits[index]),
                (b"x-ratelimit-remaining", b"%d" % remaining[index]),
                (b"x-ratelimit-reset", b"%d" % -((-time.time() * 1000 - reset_ms) // 1000)),
            ]
        if self._policy:
            # r and t in turn, as the template wants them; t rounded up.
            figures = [0] * (2 * len(remaining))
            figures[::2] = remaining
            figures[1::2] = [-(-reset_ms // 1000) for reset_ms in resets_ms]
            fields.append((b"ratelimit-policy", self._policy))
            fields.append((b"ratelimit", self._template % tuple(figures)))
        return fields


def add_fields(headers: Sequence[tuple[bytes, bytes]], fields: Fields) -> list[tuple[bytes, bytes]]:
    """Give headers with these fields added.

    Not if a shared cache may keep the response (RFC 9111, 3), nor if somebody further in has said its own: a
    mounted application with a limiter, or what refused the request.
    """
    headers = list(headers)
    for name, value in headers:
        if name in _NAMES or (name == b"cache-control" and any(word in value.lower() for word in _SHARED)):
            return headers
    headers += fields
    return headers


def _quote(name: str) -> bytes:
    """Write a string of RFC 9651, 3.3.3, which knows printable ASCII only."""
    ascii_only = "".join(char if " " <= char <= "~" else "?" for char in name)
    return b'"%b"' % ascii_only.replace("\\", "\\\\").replace('"', '\\"').encode()
