"""What is measured while the soak goes on, and whether it is flat.

Figures of a process come from ``/proc``, so that nothing has to be installed and nothing runs inside of it.
"""

from __future__ import annotations

import math
import re
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.servers.server import Server
from tests.soak.service import CLAIM_WITHIN_S, TTL_S, WINDOW_S

_MB = 1024 * 1024

#: Of noise: neighbouring samples tell the same, so a block of them counts as one.
_BLOCK_S = 10

#: What a free object's fence is kept for, as ``docs/reference/locks.md`` says, in seconds.
_FENCE_KEPT_S = 60

#: Names of keys -> the longest that one may lie there, in seconds. Whatever else lies there is not ours.
LIFETIMES = {
    r"envelope:\{locks:soak\}:1:[0-9a-f]{32}": max(TTL_S, CLAIM_WITHIN_S) + _FENCE_KEPT_S,
    r"envelope:\{locks:soak\}:1:holds": 24 * 3600,
    # A sliding window's count matters for one more window.
    r"envelope:rate-limit:1:soak:sliding-window-counter:\{[0-9a-f]{32}\}": 2 * WINDOW_S,
}

#: What may stay for a day: one key, of a bounded size.
LASTING = "envelope:{locks:soak}:1:holds"

#: After so long without a request nothing else may be there.
LONGEST_S = max(seconds for name, seconds in LIFETIMES.items() if not name.endswith("holds"))


class Sample(NamedTuple):
    """One moment.

    Attributes:
        at_s: Since the beginning.
        rss: Bytes of memory that the process has.
        fds: Open files, sockets included.
        threads: Of the process.
        tasks: Of its event loop.
        keys: On the storage's server; None while that is down.
    """

    at_s: float
    rss: int
    fds: int
    threads: int
    tasks: int
    keys: int | None


class Slope(NamedTuple):
    """How fast something grows, and its standard error, in MB an hour."""

    mb_per_h: float
    error: float


def read_process(pid: int) -> tuple[int, int, int]:
    """Give the resident bytes, the open files and the threads of a process."""
    proc = Path("/proc", str(pid))
    pages = int((proc / "statm").read_text().split()[1])
    threads = re.search(r"^Threads:\s+(\d+)", (proc / "status").read_text(), re.MULTILINE)
    assert threads is not None
    return pages * resource.getpagesize(), len(list((proc / "fd").iterdir())), int(threads[1])


def slope_of(samples: Sequence[Sample]) -> Slope:
    """Fit a line through the memory of the last two thirds; the first third is warming up."""
    begun = samples[-1].at_s / 3
    blocks: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.at_s >= begun:
            blocks.setdefault(int(sample.at_s / _BLOCK_S), []).append(sample)
    points = [
        (sum(each.at_s for each in block) / len(block) / 3600, sum(each.rss for each in block) / len(block) / _MB)
        for block in blocks.values()
    ]
    if len(points) < 3:
        return Slope(0.0, math.inf)
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
    rest = sum((y - middle_y - slope * (x - middle_x)) ** 2 for x, y in points)
    return Slope(slope, math.sqrt(rest / (len(points) - 2) / spread))


def find_illegal_keys(server: Server) -> list[str]:
    """Find keys that have no end, one that is too far away, or a name that nobody knows."""
    illegal = []
    for key in server.call("KEYS", "*"):
        lifetime = next((seconds for name, seconds in LIFETIMES.items() if re.fullmatch(name, key)), None)
        rest_ms = server.call("PTTL", key)
        if lifetime is None or rest_ms == -1 or rest_ms > lifetime * 1000:
            illegal.append(f"{key} ({rest_ms} ms)")
    return illegal


def find_locked(server: Server) -> list[str]:
    """Find objects that somebody has: a lease that was never released lies there still when it is over."""
    seconds, micros = map(int, server.call("TIME"))
    now_ms = seconds * 1000 + micros // 1000
    keys = [key for key in server.call("KEYS", "envelope:{locks:*") if key != LASTING]
    return [key for key in keys if int(server.call("HGET", key, "e") or 0) > now_ms]
