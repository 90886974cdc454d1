"""Finds the event loop that services run on: uvloop where it is installed."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable


def find_event_loop() -> tuple[str, Callable[[], asyncio.AbstractEventLoop] | None]:
    """Give its name, and what makes one; None makes asyncio's own."""
    if importlib.util.find_spec("uvloop") is None:
        return "asyncio (uvloop is not installed)", None
    uvloop = importlib.import_module("uvloop")
    return f"uvloop {uvloop.__version__}", uvloop.new_event_loop
