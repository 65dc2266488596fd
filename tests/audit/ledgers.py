"""Ledgers of any size, made in bulk, for tests that need more than a handful of events."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from audit.events import EventName
from audit.models import Event, Unsealed, new_id

FIRST_MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc)
AT_ONCE = 2000
Columns = Callable[[int], dict[str, Any]]


def usual(number: int) -> dict[str, Any]:
    """The columns of one call's end; events end a second apart."""
    moment = FIRST_MOMENT + timedelta(seconds=number)
    return {
        "event": EventName.INVOCATION_FINISHED,
        "actor": f"agent-{number % 7}",
        "tool_name": "pay",
        "status": "success",
        "arguments": {"amount": number, "to": "Ann"},
        "result": {"paid": True},
        "started_at": moment,
        "ended_at": moment,
        "metadata": {"number": number},
        "invocation_id": new_id(),
        "request_id": f"r-{number}",
        "source": "rest",
    }


def make_events(count: int, columns: Columns = lambda number: {}) -> list[Event]:
    """So many events that wait to be sealed, as `ledger.record` would leave them; `columns` says
    what is unusual about each, by its number.
    """
    made: list[Event] = []
    for start in range(0, count, AT_ONCE):
        events = list(_events(range(start, min(start + AT_ONCE, count)), columns))
        Event.objects.bulk_create(events)
        Unsealed.objects.bulk_create(Unsealed(event_id=event.pk) for event in events)
        made += events
    return made


def _events(numbers: range, columns: Columns) -> Iterator[Event]:
    for number in numbers:
        event = Event(**{"id": new_id()} | usual(number) | columns(number))
        event.digest = event.computed_digest()
        yield event
