"""A forked process begins anew: it has none of its parent's threads, and a lock that one of them had stays so."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that knows how to begin anew."""

    def begin_anew(self) -> None:
        """Forget what belongs to the parent, and make the locks anew."""


_renewed: WeakSet[Forkable] = WeakSet()


def renew_after_fork(thing: Forkable) -> None:
    """Call ``thing.begin_anew()`` in each forked process, as long as it lives."""
    _renewed.add(thing)


def _renew_all() -> None:  # pragma: no cover - in the child of a fork
    for thing in _renewed:
        thing.begin_anew()


os.register_at_fork(after_in_child=_renew_all)
