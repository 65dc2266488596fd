"""Verification: each event's digest is computed again and compared."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import TextField
from django.db.models.functions import Cast

from audit.canonical import canonical_text, value_of
from audit.fields import CanonicalJSONField
from audit.models import Event

BATCH = 2000
JSON_COLUMNS = [
    field.attname for field in Event._meta.concrete_fields if isinstance(field, CanonicalJSONField)
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One event that does not say what it said when it was written."""

    event_id: str
    fault: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification saw; `finding` is the first fault in the ledger's order, if any."""

    events: int
    finding: Finding | None


def verify() -> Report:
    """Recompute every digest, oldest first, and stop at the first that differs."""
    count = 0
    try:
        for event in _oldest_first():
            count += 1
            if not _is_as_written(event):
                return Report(count, Finding(str(event.id), "its columns do not match its digest"))
    except (ValueError, TypeError, AttributeError):  # What drivers raise over nonsense in a column.
        return Report(count + 1, Finding(_raw_id(count), "a column of it cannot be read"))
    return Report(count, None)


def _oldest_first() -> Iterator[Event]:
    """Every event, its JSON as the very text that is stored."""
    texts = {_text_of(column): Cast(column, TextField()) for column in JSON_COLUMNS}
    rows = Event.objects.order_by("id").defer(*JSON_COLUMNS).annotate(**texts)
    return rows.iterator(chunk_size=BATCH)


def _is_as_written(event: Event) -> bool:
    """The stored text must be canonical itself: others may read it otherwise than we do."""
    for column in JSON_COLUMNS:
        text = getattr(event, _text_of(column))
        try:
            value = None if text is None else value_of(text)
            if text is not None and canonical_text(value) != text:
                return False
        except (ValueError, OverflowError, RecursionError):
            return False
        setattr(event, column, value)
    return event.digest == event.computed_digest()


def _text_of(column: str) -> str:
    return f"{column}_text"


def _raw_id(position: int) -> str:
    """The id of the event at this place, as text: it may be what cannot be read."""
    ids = Event.objects.order_by("id").values_list(Cast("id", TextField()), flat=True)
    return str(ids[position])
