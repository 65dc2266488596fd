"""Finding events among millions: each way to ask is answered by an index.

Time has no index of its own. An id begins with the time at which it was made (RFC 9562), so the
index of ids leads to the place, and the event's own time decides.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from audit.models import EventQuerySet, first_id_at

COLUMNS = {
    "event": "event", "actor": "actor", "tool": "tool_name", "status": "status",
    "request_id": "request_id", "invocation": "invocation_id",
}  # fmt: skip
"""What events are asked for by, and the column where it stands."""

SLACK = timedelta(minutes=10)
"""How far an event's id may be from its time: ids are made before their event is told, and where
a clock was put back they go on from where they were. What is further off is missed by the filters
of time, and by nothing else."""


def narrowed(events: EventQuerySet, wanted: Mapping[str, Any]) -> EventQuerySet:
    """Those that have just these values, told from `since` on and before `until`.

    What is None is not asked for.
    """
    for name, column in COLUMNS.items():
        if wanted.get(name) is not None:
            events = events.filter(**{column: wanted[name]})
    return told_between(events, wanted.get("since"), wanted.get("until"))


def told_between(
    events: EventQuerySet, since: datetime | None, until: datetime | None
) -> EventQuerySet:
    """The events of a span of time; the first moment is in it, the last is not."""
    if since is not None:
        events = events.filter(id__gte=first_id_at(since, -SLACK), ended_at__gte=since)
    if until is not None:
        events = events.filter(id__lt=first_id_at(until, SLACK), ended_at__lt=until)
    return events
