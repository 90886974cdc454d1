"""Switches to use: each off, and closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envelope.maintenance import background
from tests.locks.storages.fixtures import socket_valkey
from tests.maintenance.switches import Place, Watched, place_of

__all__ = ["socket_valkey"]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = place_of(request.param, request, tmp_path)
    yield place
    place.close()


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(*args: Any, **options: Any) -> Watched:
        made.append(Watched(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.switch.gate.set()
        each.watch.close()


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """Close what a test has opened by itself."""
    yield
    for each in list(background._all):
        each.close()
