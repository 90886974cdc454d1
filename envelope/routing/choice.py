"""The router's own choice, made before it: the first route that fits in path and method."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

from starlette.types import Scope

from envelope.routing.keys import WEBSOCKET
from envelope.routing.places import Place
from envelope.wire.paths import route_path

Entry = TypeVar("Entry")


class _Candidate(NamedTuple, Generic[Entry]):
    position: int
    place: Place
    entry: Entry | None
    inner: Level[Entry] | None
    rivals: list[Place]


class Level(Generic[Entry]):
    """One router, as far as its places have entries or hold places that have."""

    def __init__(
        self, places: list[Place], methods: Collection[str], entry_of: Callable[[Place, str], Entry | None]
    ) -> None:
        self.indexes: dict[str, _Index[Entry]] = {}
        inners = [Level(place.inner, methods, entry_of) if place.inner else None for place in places]
        for method in methods:
            candidates: list[_Candidate[Entry]] = []
            others: list[Place] = []
            for position, (place, inner) in enumerate(zip(places, inners, strict=True)):
                if method not in place.methods:
                    continue
                entry = entry_of(place, method)
                if entry is None and (inner is None or method not in inner.indexes):
                    others.append(place)
                    continue
                rivals = [other for other in others if other.may_meet(place)]
                candidates.append(_Candidate(position, place, entry, inner, rivals))
            if candidates:
                self.indexes[method] = _Index(candidates)

    def find(self, scope: Scope) -> Entry | None:
        """Give the entry of the place that will be chosen; None if it has none, or nothing will be chosen."""
        kind = scope["type"]
        if kind == "http":
            # As the client spelled it, which applications behind mounts may forgive.
            method = scope["method"].upper()
            if method == WEBSOCKET:
                return None
        elif kind == "websocket":
            method = WEBSOCKET
        else:
            return None
        try:
            return self.choose(scope, method)
        except Exception:  # noqa: BLE001 - a convertor's; the router meets it too, and serves nothing
            return None

    def choose(self, scope: Scope, method: str) -> Entry | None:
        """Do as ``find`` does, with the method in capitals; a convertor may raise."""
        index = self.indexes.get(method)
        if index is None:
            return None
        path = route_path(scope)
        for _, place, entry, inner, rivals in index.look_up(path):
            inside = place.enter(scope, path)
            if inside is None:
                continue
            for rival in rivals:  # earlier in the router, and without entries
                if rival.enter(scope, path) is not None:
                    return None
            found = None if inner is None else inner.choose(inside, method)
            return entry if found is None else found
        return None


class _Index(Generic[Entry]):
    """Finds places by the number of segments of a path and by those that are fixed."""

    def __init__(self, candidates: Sequence[_Candidate[Entry]]) -> None:
        self._largest = max(len(candidate.place.segments) for candidate in candidates)
        tables: dict[tuple[int, bool, tuple[int, ...]], dict[object, list[_Candidate[Entry]]]] = {}
        for candidate in candidates:
            segments, is_open = candidate.place.segments, candidate.place.is_open
            fixed = tuple(position for position, segment in enumerate(segments) if segment)
            table = tables.setdefault((len(segments), is_open, fixed), {})
            table.setdefault(_reader(fixed)(segments), []).append(candidate)
        self._tables = [
            [
                (_reader(fixed), table)
                for (size, is_open, fixed), table in tables.items()
                if count == size or (is_open and count > size)
            ]
            for count in range(self._largest + 2)
        ]

    def look_up(self, path: str) -> list[_Candidate[Entry]]:
        """Give those that the path may fit, in the router's order."""
        # The "$" of a regular expression also stands before a newline at the end.
        segments = path.rstrip("\n").split("/", self._largest)
        found: list[_Candidate[Entry]] = []
        for read, table in self._tables[len(segments)]:
            found += table.get(read(segments), ())
        if len(found) > 1:
            found.sort(key=itemgetter(0))
        return found


def _reader(positions: tuple[int, ...]) -> Callable[[Sequence[str | None]], object]:
    return itemgetter(*positions) if positions else lambda _: None
