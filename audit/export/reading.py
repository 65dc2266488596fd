"""What an export reads: the selected events in the order of their leaves, a few at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce, Length

from audit.canonical import JSON
from audit.merkle import Frontier, Subtree, subtrees
from audit.models import Event, EventQuerySet, Leaf
from audit.planning import Among
from audit.proofs import TreeIsIncomplete, encoded, subtree_hash
from audit.records import Stored, stored

WINDOW = 2048
"""Leaves that are looked up at once."""
LOAD = 2**21
"""Characters of free text that are read at once, and more only where one event has more."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the sealed events: those that ended from `since` on and before `until`, and whose
    leaf comes after `after`.
    """

    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None

    @property
    def first(self) -> int:
        """The first leaf that may be among them."""
        return 0 if self.after is None else self.after + 1

    def events(self) -> EventQuerySet:
        found = Event.objects.order_by()
        if self.since is not None:
            found = found.filter(ended_at__gte=self.since)
        if self.until is not None:
            found = found.filter(ended_at__lt=self.until)
        return found


@dataclass(frozen=True, slots=True)
class Line:
    """A sealed event, and what its line adds to the proof of all lines up to it."""

    leaf: int
    event: Stored
    proof: dict[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """Leaves that follow each other: the first one's number, their events, and their hashes."""

    first: int
    events: dict[UUID, int]
    hashes: list[bytes]

    def roots(self, first: int, end: int) -> list[bytes]:
        """As `proofs.covering_hashes`, without asking for what is here."""
        return [self._root(one) for one in subtrees(first, end)]

    def _root(self, subtree: Subtree) -> bytes:
        level, index = subtree
        place, count = (index << level) - self.first, 1 << level
        if place < 0 or place + count > len(self.hashes):
            return subtree_hash(subtree)
        tree = Frontier()
        for leaf in self.hashes[place : place + count]:
            tree.append(leaf)
        return tree.root()


def selected(selection: Selection, size: int, told: int) -> Iterator[Line]:
    """The selected events below this size; the lines before have spoken for `told` leaves.

    The hashes of the leaves between two lines stand in the second one's proof.
    """
    for window in _windows(max(told, selection.first), size):
        for event in _events(selection, window):
            leaf = window.events[event.id]
            yield Line(leaf, event, _hidden(window, told, leaf) if told < leaf else {})
            told = leaf + 1


def _hidden(window: Window, first: int, end: int) -> dict[str, JSON]:
    return {"from": first, "roots": [encoded(one) for one in window.roots(first, end)]}


def _windows(first: int, size: int) -> Iterator[Window]:
    for start in range(first, size, WINDOW):
        end = min(start + WINDOW, size)
        rows = list(_leaves(start, end).values_list("index", "event_id", "hash"))
        if len(rows) < end - start:
            raise TreeIsIncomplete(f"leaves from {start} to {end}")
        yield Window(start, {one: index for index, one, _ in rows}, [bytes(row[2]) for row in rows])


def _events(selection: Selection, window: Window) -> Iterator[Stored]:
    """In the order of their leaves. Each statement is over before the next event is handed out:
    nothing is held open, however long the reader takes.
    """
    for first, end in _loads(selection, window):
        places = _leaves(first, end).order_by().values("event_id")
        events = stored(selection.events().filter(Among("pk", places)), chunk_size=WINDOW)
        yield from sorted(events, key=lambda event: window.events[event.id])


def _loads(selection: Selection, window: Window) -> Iterator[tuple[int, int]]:
    """The window in parts that are light enough to be read at once."""
    places = _leaves(window.first, window.first + len(window.hashes)).order_by().values("event_id")
    lengths = (Coalesce(Length(name), Value(0)) for name in ("arguments", "result", "metadata"))
    weight = sum(lengths, start=Coalesce(Length("error"), Value(0)))
    rows = selection.events().filter(Among("pk", places)).annotate(weight=weight)
    first, carried = window.first, 0
    weights = {window.events[pk]: load for pk, load in rows.values_list("pk", "weight")}
    for leaf in sorted(weights):
        if carried and carried + weights[leaf] > LOAD:
            yield first, leaf
            first, carried = leaf, 0
        carried += weights[leaf]
    if weights:
        yield first, window.first + len(window.hashes)


def _leaves(first: int, end: int) -> QuerySet[Leaf]:
    return Leaf.objects.filter(index__gte=first, index__lt=end).order_by("index")
