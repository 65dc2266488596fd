"""Legal holds: what retention must not take, whatever its age.

A hold is placed and released under the tree's lock, as batches of retention are taken: once
`place` has returned, nothing that it names goes any more.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from operator import or_
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from audit import ledger, sealing
from audit.canonical import rfc3339
from audit.changes import Facts, difference
from audit.events import EventName
from audit.models import LegalHold, local_now

NAMED = ("actor", "tool_name", "invocation_id", "session_id")
"""What a hold may be narrowed by, besides the time."""
NOTHING = Q(pk__in=())
EVERYTHING = Q(pk__isnull=False)


class AlreadyReleased(Exception):
    """Somebody has released this hold before."""


def held(columns: Mapping[str, str]) -> Q:
    """The rows that an active hold covers, in a table whose columns are said.

    `columns` gives the table's field for each of a hold's criteria (`NAMED`, and `at` for the
    time). One that the table lacks narrows nothing: rather too much is kept than too little.
    """
    return reduce(or_, (_covered(hold, columns) for hold in LegalHold.objects.active()), NOTHING)


def _covered(hold: LegalHold, columns: Mapping[str, str]) -> Q:
    named = [(name, "exact", getattr(hold, name)) for name in NAMED]
    said = [*named, ("at", "gte", hold.since), ("at", "lte", hold.until)]
    conditions = {
        f"{columns[name]}__{how}": value for name, how, value in said if value and name in columns
    }
    return Q(**conditions) if conditions else EVERYTHING


def place(hold: LegalHold, *, by: str, source: str = "", request_id: str = "") -> None:
    """Store a new hold and tell of it; from the return on, retention heeds it."""
    sealing.the_tree()
    with transaction.atomic():
        sealing.hold_tree()
        hold.placed_by, hold.placed_at = by, local_now()
        hold.save(force_insert=True)
        _tell(EventName.HOLD_PLACED, hold, None, by, source, request_id)


def release(hold_id: UUID, *, by: str, source: str = "", request_id: str = "") -> LegalHold:
    """Let go of what a hold covers; raises LegalHold.DoesNotExist, AlreadyReleased."""
    sealing.the_tree()
    with transaction.atomic():
        sealing.hold_tree()
        hold = LegalHold.objects.get(pk=hold_id)
        if hold.released_at is not None:
            raise AlreadyReleased
        before = described(hold)
        hold.released_by, hold.released_at = by, local_now()
        hold.save(update_fields=["released_by", "released_at"])
        _tell(EventName.HOLD_RELEASED, hold, before, by, source, request_id)
    return hold


def described(hold: LegalHold) -> dict[str, str | None]:
    """A hold as commands print it and the ledger tells it."""
    return {field.attname: _plain(getattr(hold, field.attname)) for field in hold._meta.fields}


def _plain(value: str | UUID | datetime | None) -> str | None:
    match value:
        case datetime():
            return rfc3339(value)
        case UUID():
            return str(value)
        case _:
            return value


def _tell(
    event: EventName, hold: LegalHold, before: Facts, by: str, source: str, request_id: str
) -> None:
    changed = difference(before, described(hold))
    metadata = {"hold": str(hold.pk), "reason": hold.reason, **changed}
    ledger.record(event, actor=by, metadata=metadata, source=source, request_id=request_id)
