"""Verification of the ledger where it is kept: every event, leaf, node and checkpoint.

No transaction stays open, as it would hold back PostgreSQL's vacuum for as long as this takes. What
is below the tree's size never changes but by retention, so it can be read in any number of
statements; what is sealed meanwhile is walked to in the end.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import OperationalError
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from audit import checkpoints as signing
from audit.canonical import value_of
from audit.events import EventName
from audit.merkle import Frontier, Subtree, leaf_hash
from audit.models import Checkpoint, Event, Leaf, Node, Tree, Unsealed, local_now
from audit.models.tree import THE_ONE
from audit.notes import Verifier
from audit.planning import Among
from audit.records import Stored, stored
from audit.sealing import FIRST, STORED_LEVELS
from audit.verification.judging import Fault, Finding, Progress, Report, id_of, span
from audit.verification.pruned import Pruned
from audit.verification.trust import Claim, Trust, WrongRoot, claimed

BATCH = 4096
"""Leaves that are read at once: whole nodes of the lowest level that is stored."""
SIGNED_WITHIN = timedelta(minutes=1)
"""A key signs in the round that seals its announcement."""
KEPT_LEVELS = range(STORED_LEVELS, 64, STORED_LEVELS)
UNREADABLE = (ValueError, TypeError, AttributeError, OverflowError)
"""What drivers raise over nonsense in a column."""
Row = tuple[int, UUID, bytes]
"""A leaf: its index, its event's id, its hash."""


def verify(
    progress: Progress | None = None,
    checkpoints: Sequence[str] = (),
    keys: Sequence[Verifier] = (),
) -> Report:
    """Judge all that is committed, in the order of the leaves, until the first fault.

    `checkpoints` are signed notes that were kept elsewhere; `keys` are trusted, in place of
    `RAMPART_CHECKPOINT_KEY`'s. Raises CouldNotVerify for what is no checkpoint; database errors
    pass through.
    """
    return _Walk(progress, checkpoints, keys).report()


class _Walk:
    """One walk along the leaves: how far it is, and what it has seen."""

    def __init__(
        self, progress: Progress | None, checkpoints: Sequence[str], keys: Sequence[Verifier]
    ) -> None:
        self.progress = progress or (lambda seen, total: None)
        self.tree = _tree()
        self.ours = [signer.verifier for signer in signing.signers(self.tree.origin)]
        self.trust = Trust(keys or self.ours, all_announced=True)
        self.must_be_signed = bool(keys)
        """A key was given, or announced so long ago that it must have signed something."""
        self.pruned = Pruned(self.tree.origin, self.trust)
        self.given = deque(sorted(map(claimed, checkpoints), key=lambda claim: claim.size))
        self.frontier = Frontier()
        self.agreed = 0
        """The size at which a signed root, or a stored node, was last found to be right."""
        self.events = self.unsealed = self.gone = 0
        self.newest: str | None = None
        self.signed_by: tuple[Verifier, ...] = ()

    def report(self) -> Report:
        finding = self._finding()
        return Report(
            self.events, self.frontier.size, self.unsealed, self.gone, self.newest, finding,
            signed_by=self.signed_by, is_own=not self.trust.given and not self.given,
        )  # fmt: skip

    def _finding(self) -> Finding | None:
        try:
            self._walk()
            self._strangers()
            self._waiting()
            self.tree = _tree()
            self._walk()
            self._frontier()
            self._beyond()
            self._trust()
        except Fault as fault:
            return fault.finding
        except UNREADABLE as error:
            return Finding("", f"a row beside the events cannot be read: {error}")
        return None

    # Along the leaves.

    def _walk(self) -> None:
        """Go on to the tree's size."""
        while self.frontier.size < self.tree.size:
            first = self.frontier.size
            end = min(first - first % BATCH + BATCH, self.tree.size)
            self._batch(first, end)
            self.progress(end, self.tree.size)

    def _batch(self, first: int, end: int) -> None:
        leaves = Leaf.objects.filter(index__gte=first, index__lt=end)
        rows = _rows(leaves, first, end)
        events = _events(leaves.values_list("event_id", flat=True))
        claims = self._claims(first, end)
        nodes = _nodes(first, end)
        for index, event_id, hashed in rows:
            if index != self.frontier.size:
                break
            self._event(index, event_id, hashed, events)
            for completed, computed in self.frontier.append(hashed):
                if completed[0] % STORED_LEVELS == 0:
                    self._node(completed, computed, nodes.get(completed))
            while claims and claims[0].size == self.frontier.size:
                self._claim(claims.popleft())
        if self.frontier.size < end:
            missing = self.frontier.size
            raise Fault(f"leaf {missing} is missing from the tree", leaf=missing)

    def _event(
        self, index: int, event_id: UUID, hashed: bytes, events: dict[UUID, Stored | None]
    ) -> None:
        if event_id not in events:
            self._must_be_pruned(index, event_id)
            return
        self.events += 1
        event = _as_written(event_id, events[event_id], index)
        if leaf_hash(bytes.fromhex(event.digest)) != hashed:
            raise Fault(
                "it does not match its leaf: it was changed with its digest", event_id, index
            )
        if event.event == EventName.CHECKPOINT_KEY_ANNOUNCED:
            self.trust.announce(value_of(event.metadata), index)
            self.must_be_signed |= event.ended_at < local_now() - SIGNED_WITHIN

    def _must_be_pruned(self, index: int, event_id: UUID) -> None:
        if not self.pruned.covers(index):
            raise Fault("it is gone, and no signed line says that it was pruned", event_id, index)
        self.gone += 1

    def _node(self, node: Subtree, computed: bytes, kept: bytes | None) -> None:
        level, index = node
        first, end = index << level, (index + 1) << level
        if kept != computed:
            self._differs(max(first, self.agreed), end, f"the stored node over {span(first, end)}")
        self.agreed = end

    def _claim(self, claim: Claim) -> None:
        try:
            signed_by = self.trust.judge(claim, self.tree.origin, self.frontier.root())
        except WrongRoot as fault:
            if self.agreed == claim.size:
                raise
            self._differs(self.agreed, claim.size, str(fault))
        self.agreed = claim.size
        if claim.is_stored or self.newest is None:
            self.newest, self.signed_by = claim.note, signed_by

    def _differs(self, first: int, end: int, what: str) -> None:
        """Each leaf fits its event, and still they don't lead where they should."""
        place = f"{span(first, end)} were changed, moved, added or taken away: they do not fit"
        odd = _out_of_order(first, end)
        if odd is None:
            raise Fault(f"{place} {what}", *_event_at(first))
        raise Fault(f"{place} {what}; the first out of order is leaf {odd[1]}", *odd)

    def _claims(self, first: int, end: int) -> deque[Claim]:
        """The checkpoints of the sizes beyond `first` up to `end`, the smallest first."""
        rows = Checkpoint.objects.filter(size__gt=first, size__lte=end).order_by("size", "id")
        found = [_stored_claim(row) for row in rows]
        while self.given and self.given[0].size <= end:
            found.append(self.given.popleft())
        return deque(sorted(found, key=lambda claim: claim.size))

    # Beside the leaves.

    def _strangers(self) -> None:
        """Events that came past the slot: nobody has made a leaf or an entry for them."""
        has_leaf = Exists(Leaf.objects.filter(event_id=OuterRef("pk")))
        has_entry = Exists(Unsealed.objects.filter(event_id=OuterRef("pk")))
        rows = Event.objects.filter(~has_leaf, ~has_entry).order_by("pk")
        event_id = rows.annotate(text=Cast("pk", TextField())).values_list("text", flat=True)[:1]
        for text in event_id:
            raise Fault(
                "it was inserted past the ledger: it has no leaf and waits for none", id_of(text)
            )

    def _waiting(self) -> None:
        """The events that wait for their leaf, of which some are sealed meanwhile."""
        after = FIRST
        while batch := _entries(after):
            events = _events(Unsealed.objects.filter(pk__in=batch).values_list("pk", flat=True))
            for event_id in batch:
                if event_id in events:
                    self.events, self.unsealed = self.events + 1, self.unsealed + 1
                    _as_written(event_id, events[event_id], None)
                elif not Leaf.objects.filter(event_id=event_id).exists():
                    raise Fault("it waited for its leaf, and is gone", event_id)
            self.progress(self.frontier.size, self.tree.size)
            after = batch[-1]

    def _frontier(self) -> None:
        hashes = b"".join(self.frontier.hashes)
        if bytes(self.tree.frontier) != hashes:
            raise Fault("the tree's row does not have the hashes that its leaves lead to")

    def _beyond(self) -> None:
        """What is where nothing can be."""
        ends = Leaf.objects.aggregate(Min("index"), Max("index"))
        levels = list(Node.objects.values_list("level").annotate(Max("index")).order_by())
        last = Checkpoint.objects.order_by("size", "id").last()
        size = _tree().size
        if ends["index__min"] is not None and ends["index__min"] < 0:
            raise Fault("a leaf was inserted before the first", *_event_at(ends["index__min"]))
        if ends["index__max"] is not None and ends["index__max"] >= size:
            raise Fault(f"a leaf was inserted beyond the tree's {size}", *_event_at(size))
        for level, index in levels:
            if level not in KEPT_LEVELS or (index + 1) << level > size:
                raise Fault(f"a node was inserted at level {level}, index {index}")
        if last is not None and last.size > size:
            self.trust.judge_beyond(_stored_claim(last), self.tree.origin, size)
        for claim in self.given:
            self.trust.judge_beyond(claim, self.tree.origin, size)
        self._twice()

    def _twice(self) -> None:
        """One event has one place."""
        again = Leaf.objects.values("event_id").annotate(Count("index")).filter(index__count__gt=1)
        for row in again.order_by()[:1]:
            raise Fault("it has two leaves", row["event_id"])
        sealed = Exists(Leaf.objects.filter(event_id=OuterRef("pk")))
        for event_id in Unsealed.objects.filter(sealed).values_list("pk", flat=True)[:1]:
            raise Fault("it has its leaf and is said to wait for one", event_id)
        nothing = Checkpoint.objects.filter(size__lt=1).first()
        if nothing is not None:
            raise Fault(f"{_stored_claim(nothing).name} covers nothing")

    def _trust(self) -> None:
        """Whether the keys that are trusted have signed."""
        if self.newest is None and self.must_be_signed and self.tree.size:
            raise Fault("a key signs here, and there is no checkpoint: all were taken away")
        if self.newest is not None and not self.trust.is_anchored:
            raise Fault("no checkpoint is signed by a key that is trusted")
        if self.newest is not None and self.ours and set(self.ours).isdisjoint(self.signed_by):
            raise Fault("the newest checkpoint is not signed with this deployment's key")
        self.pruned.judge()


# Reading.


def _tree() -> Tree:
    """The tree's row; one of no leaves where there is none yet. Verifying writes nothing."""
    return Tree.objects.filter(pk=THE_ONE).first() or Tree(origin="", size=0, frontier=b"")


def _rows(leaves: QuerySet[Leaf], first: int, end: int) -> list[Row]:
    columns = leaves.order_by("index").values_list("index", "event_id", "hash")
    try:
        return [(index, event_id, bytes(hashed)) for index, event_id, hashed in columns]
    except UNREADABLE:
        raise Fault(f"one of {span(first, end)} cannot be read", leaf=first) from None


def _events(ids: QuerySet[Any, UUID]) -> dict[UUID, Stored | None]:
    """Those of the events that are there; None for one with a column that cannot be read."""
    try:
        return {event.id: event for event in stored(Event.objects.filter(Among("pk", ids)))}
    except UNREADABLE:
        return dict(_one_by_one(ids))
    except OperationalError as error:
        if "UTF-8" not in str(error):  # SQLite's word for bytes that are no text.
            raise
        return dict(_one_by_one(ids))


def _one_by_one(ids: QuerySet[Any, UUID]) -> Iterator[tuple[UUID, Stored | None]]:
    for event_id in ids:
        try:
            yield from ((event.id, event) for event in stored(Event.objects.filter(pk=event_id)))
        except (*UNREADABLE, OperationalError):
            yield event_id, None


def _as_written(event_id: UUID, event: Stored | None, leaf: int | None) -> Stored:
    try:
        if event is not None and event.is_as_written():
            return event
    except UNREADABLE:
        event = None
    what = (
        "a column of it cannot be read" if event is None else "its columns do not match its digest"
    )
    raise Fault(what, event_id, leaf)


def _entries(after: UUID) -> list[UUID]:
    entries = Unsealed.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)
    try:
        return list(entries[:BATCH])
    except UNREADABLE:
        raise Fault("an entry of what waits for its leaf cannot be read") from None


def _nodes(first: int, end: int) -> dict[Subtree, bytes]:
    """The stored nodes that are complete once the leaves from `first` up to `end` are there."""
    wanted, level = Q(), STORED_LEVELS
    while end >> level:
        wanted |= Q(level=level, index__gte=first >> level, index__lt=end >> level)
        level += STORED_LEVELS
    rows = Node.objects.filter(wanted).values_list("level", "index", "hash") if wanted else ()
    return {(level, index): bytes(hashed) for level, index, hashed in rows}


def _stored_claim(row: Checkpoint) -> Claim:
    return Claim(row.size, row.note, f"the checkpoint {row.pk} over {row.size} leaves", True)


def _event_at(index: int) -> tuple[UUID | str, int]:
    ids = Leaf.objects.filter(index__gte=index).order_by("index").values_list("event_id", "index")
    return ids.first() or ("", index)


def _out_of_order(first: int, end: int) -> tuple[UUID, int] | None:
    """The first leaf whose successor's event is older, as is rare among honest ones."""
    rows = Leaf.objects.filter(index__gte=first, index__lt=end).order_by("index")
    columns = rows.values_list("event_id", "index").iterator()
    return next((row for row, following in pairwise(columns) if following[0] < row[0]), None)
