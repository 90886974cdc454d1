"""Plays the comparable scenarios with our locks and with redis-py's own, and prints what went wrong as a table."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from typing import Any

from tests.faults.checker import Violation
from tests.faults.scenarios import cancellation, contention, network, processes, requests
from tests.faults.stage import Cast
from tests.faults.subjects import SUBJECTS
from tests.servers.server import Server

SCENARIOS: dict[str, Callable[..., list[Violation]]] = {
    "4 processes × 4 tasks want 20 objects": partial(contention.steady_contention, seconds=4),
    "3 objects of 5 at a time, in any order": contention.crossed_order,
    "holders are killed": processes.killed_holders,
    "a holder stands still for longer than its lease": processes.suspended_holders,
    "a holder blocks its event loop for longer than its lease": processes.stalled_event_loop,
    "the server stands still": network.suspended_server,
    "the answer to an acquire is lost, the connection reset": network.lost_reply_of_acquire,
    "the answer to an acquire never comes": partial(network.lost_reply_of_acquire, loss="silence"),
    "the answer to a release is lost, the connection reset": network.lost_reply_of_release,
    "the answer to a release never comes": partial(network.lost_reply_of_release, loss="silence"),
    "somebody who asks for a busy object hears nothing": network.unanswered_contender,
    "the holder is cut off from the server": network.partition,
    "whoever waits for an acquire is cancelled": cancellation.cancelled_acquire,
    "whoever waits for a release is cancelled": cancellation.cancelled_release,
    "somebody deletes all keys": network.flushed_server,
    "1,000 clients create an object, then change it": partial(requests.create_then_update, times=1000),
}


def main() -> None:
    logging.disable()
    print(f"| what happens | asgi-envelope | redis-py {version('redis')} |\n| --- | --- | --- |", flush=True)
    for title, scenario in SCENARIOS.items():
        cells = [_tell(_play(scenario, Cast(subject))) for subject in SUBJECTS]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def _play(scenario: Callable[..., Any], cast: Cast) -> list[Violation]:
    with Server() as server:
        found: list[Violation] = scenario(server, cast)
    return found


def _tell(found: Iterable[Violation]) -> str:
    kinds = Counter(violation.kind for violation in found)
    return ", ".join(f"{kind} ({count})" for kind, count in kinds.items()) or "nothing went wrong"


if __name__ == "__main__":
    main()
