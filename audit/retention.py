"""What may go when its time is over, and how the ledger lets go of it.

A batch is one transaction under the tree's lock: the ids go into the door, the rows out of the
ledger, and a signed line says which leaves have no event any more. The leaves stay, so everything
else can be proven as before.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from itertools import islice, pairwise
from typing import NamedTuple
from uuid import UUID

from django.db import ProgrammingError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from audit import checkpoints, holds, ledger, notes, prunings, sealing
from audit.canonical import rfc3339
from audit.events import KEPT_FOR_EVER, EventName
from audit.models import Checkpoint, Door, Event, EventQuerySet, Leaf, Unsealed, first_id_at
from audit.notes import BadNote
from audit.planning import Among
from audit.prunings import NoKey
from audit.sealing import FIRST

AT_ONCE = 5000
"""Rows that are looked at in one go where they are only counted."""
COLUMNS = {
    "actor": "actor", "tool_name": "tool_name", "invocation_id": "invocation_id",
    "session_id": "session_id", "at": "ended_at",
}  # fmt: skip

StillOpen = Callable[[Collection[UUID]], set[UUID]]
still_open: list[StillOpen] = []
"""Who knows of calls that are not over: each says which of these are, and their events stay.

The ledger looks at no other room; rooms register here when they start.
"""


@dataclass(frozen=True, slots=True)
class Prunable:
    """A table whose rows may go when they are old enough."""

    name: str
    """The model's label, `audit.Event`."""
    due: Callable[[datetime], int]
    """How many rows older than the moment would go now."""
    take: Callable[[datetime, int], int]
    """Take at most so many of them, in one transaction; how many went. 0 says that none is left."""


class NotTheKeeper(ProgrammingError):
    """The database's role may not take events out of the ledger."""

    def __str__(self) -> str:
        return (
            "this role may not take anything out of the ledger: run this with the DATABASE_URL of"
            " the role that keeps it"
        )


def must_be_able() -> None:
    """Raise NoKey or NotTheKeeper where nothing could be taken, before anything is."""
    if not checkpoints.signers(sealing.the_tree().origin):
        raise NoKey
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT has_table_privilege('audit_door', 'INSERT')"
                " AND has_table_privilege('audit_event', 'DELETE')"
            )
            if not cursor.fetchone()[0]:
                raise NotTheKeeper


# Events.


class _Old(NamedTuple):
    """An event whose time is over, and its place in the tree, if it has one yet."""

    id: UUID
    invocation_id: UUID | None
    leaf: int | None


@dataclass(slots=True)
class Events:
    """Takes events from the oldest on, and remembers how far it has come.

    So what stays (held, open, kept for ever) is looked at once in a run, not before each batch.
    """

    cutoff: datetime | None = None
    last: UUID = FIRST

    def due(self, cutoff: datetime) -> int:
        """Those that are not sealed yet count: a run seals before it takes anything."""
        awaited = Exists(Unsealed.objects.filter(event_id=OuterRef("pk")))
        return sum(map(len, _batches(_old(cutoff, IS_SEALED | Q(awaited)), FIRST, AT_ONCE)))

    def take(self, cutoff: datetime, most: int) -> int:
        must_be_able()
        start = self.last if cutoff == self.cutoff else FIRST
        with transaction.atomic():
            origin = sealing.hold_tree().origin
            going = next(_batches(_old(cutoff, IS_SEALED), start, most), [])
            if going:
                _take_out(Event, [row.id for row in going])
                _tell(origin, cutoff, [row.leaf for row in going if row.leaf is not None])
        self.cutoff, self.last = cutoff, going[-1].id if going else FIRST
        return len(going)


IS_SEALED = Q(leaf__isnull=False)


def _old(cutoff: datetime, place: Q) -> EventQuerySet:
    """The events whose time is over and that nothing keeps, as far as the ledger knows."""
    rows = Event.objects.filter(pk__lt=first_id_at(cutoff), ended_at__lt=cutoff)
    leaf = Leaf.objects.filter(event_id=OuterRef("pk")).values("index")
    rows = rows.exclude(event__in=KEPT_FOR_EVER).exclude(holds.held(COLUMNS))
    return rows.annotate(leaf=Subquery(leaf)).filter(place)


def _batches(rows: EventQuerySet, after: UUID, most: int) -> Iterator[list[_Old]]:
    """Those of them that are of no open call, in the order of their ids; no batch is empty."""
    columns = rows.order_by("pk").values_list(*_Old._fields)
    while found := [_Old(*row) for row in columns.filter(pk__gt=after)[:most]]:
        open_calls = _open({row.invocation_id for row in found if row.invocation_id})
        if free := [row for row in found if row.invocation_id not in open_calls]:
            yield free
        after = found[-1].id


def _open(calls: set[UUID]) -> set[UUID]:
    return {call for knows in still_open for call in knows(calls)} if calls else set()


def _tell(origin: str, cutoff: datetime, leaves: list[int]) -> None:
    """Write down, signed, which leaves have no event any more."""
    runs = prunings.runs(sorted(leaves))
    ledger.record(
        EventName.LEDGER_PRUNED,
        actor="ledger",
        metadata={
            "before": rfc3339(cutoff),
            "leaves": runs,
            "count": len(leaves),
            "note": prunings.signed(origin, runs),
        },
    )


# Checkpoints.


@dataclass(slots=True)
class Checkpoints:
    """Takes checkpoints as `Events` takes events, from the smallest tree on.

    The last of each day stays, and each that other keys have signed than the one before it: by
    these a verifier learns to trust a new key. The newest can't go at all.
    """

    cutoff: datetime | None = None
    last: Checkpoint | None = None

    def due(self, cutoff: datetime) -> int:
        return sum(1 for _ in _outlived(cutoff, None))

    def take(self, cutoff: datetime, most: int) -> int:
        must_be_able()
        start = self.last if cutoff == self.cutoff else None
        with transaction.atomic():
            sealing.hold_tree()
            going = list(islice(_outlived(cutoff, start), most))
            if going:
                _take_out(Checkpoint, [row.pk for row in going])
        self.cutoff, self.last = cutoff, going[-1] if going else None
        return len(going)


def _outlived(cutoff: datetime, after: Checkpoint | None) -> Iterator[Checkpoint]:
    """The old ones that nobody needs, beyond this one."""
    newest = checkpoints.latest()
    if newest is None:
        return
    rows = Checkpoint.objects.filter(signed_at__lt=cutoff, size__lt=newest.size)
    rows = rows.filter(size__gt=after.size if after else -1).order_by("size", "pk")
    signers = _signers(after) if after else None
    for row, follower in pairwise(rows.iterator(chunk_size=AT_ONCE)):
        signers, before = _signers(row), signers
        is_last_of_day = _day(row) != _day(follower)
        if signers == before and not is_last_of_day:
            yield row


def _signers(checkpoint: Checkpoint) -> set[str]:
    """The keys that it names; one that can't be read names nobody, and is not passed over."""
    with contextlib.suppress(BadNote):
        return set(notes.named(checkpoint.note))
    return {str(checkpoint.pk)}


def _day(checkpoint: Checkpoint) -> date:
    return checkpoint.signed_at.astimezone(timezone.utc).date()


# Both.


def _take_out(model: type[Event] | type[Checkpoint], ids: list[UUID]) -> None:
    """Delete these rows, through the door, and close it."""
    Door.objects.all().delete()
    _let_in(ids)
    rows: QuerySet[Event | Checkpoint] = QuerySet(model)
    rows = rows.filter(Among("pk", Door.objects.values("row_id")))
    rows._raw_delete(rows.db)  # The ledger's own querysets refuse to delete.
    Door.objects.all().delete()


def _let_in(ids: list[UUID]) -> None:
    """On PostgreSQL as one value: thousands of them cost more than all the rest of a batch."""
    if connection.vendor != "postgresql":
        Door.objects.bulk_create([Door(row_id=one) for one in ids])
        return
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO audit_door (row_id) SELECT unnest(%s::uuid[])", [ids])


_events, _checkpoints = Events(), Checkpoints()
PRUNABLE = (
    Prunable("audit.Event", _events.due, _events.take),
    Prunable("audit.Checkpoint", _checkpoints.due, _checkpoints.take),
)
