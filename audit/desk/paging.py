"""Pages of the ledger by id: nothing is counted, and page 20 000 costs what the first does."""

from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import BadRequest
from django.http import QueryDict

from audit.models import Event, EventQuerySet

ROWS = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, the newest first, and from where on there are newer and older ones."""

    events: list[Event]
    newer: UUID | None = None
    older: UUID | None = None


def page_of(events: EventQuerySet, asked: QueryDict) -> Page:
    """The page that is asked for: `older=<id>` than an event, `newer=<id>`, or the first."""
    if newer := asked.get("newer", ""):
        found = list(events.filter(id__gt=_id(newer)).order_by("id")[: ROWS + 1])
        if len(found) > ROWS:
            shown = found[ROWS - 1 :: -1]
            return Page(shown, newer=shown[0].pk, older=shown[-1].pk)
        return _downwards(events, None)  # The beginning: shown whole.
    older = asked.get("older", "")
    return _downwards(events, _id(older) if older else None)


def _downwards(events: EventQuerySet, older_than: UUID | None) -> Page:
    if older_than:
        events = events.filter(id__lt=older_than)
    found = list(events.order_by("-id")[: ROWS + 1])
    shown = found[:ROWS]
    return Page(
        shown,
        newer=shown[0].pk if shown and older_than else None,
        older=shown[-1].pk if len(found) > ROWS else None,
    )


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("this place in the ledger was not given out here") from None
