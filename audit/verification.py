"""Verification: each event's digest is computed again and compared."""

from collections.abc import Iterator
from dataclasses import dataclass

from audit.models import Event

BATCH = 2000


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
    for event in _oldest_first():
        count += 1
        if event.digest != event.computed_digest():
            return Report(count, Finding(str(event.id), "its columns do not match its digest"))
    return Report(count, None)


def _oldest_first() -> Iterator[Event]:
    return Event.objects.order_by("id").iterator(chunk_size=BATCH)
