"""Events whose time is over, for the tests of retention and of what keeps from it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from audit.events import EventName
from audit.models import Event, Unsealed, local_now
from audit.retention import Checkpoints, Events
from tests.past import id_at

DAY = timedelta(days=1)
NOW = local_now()
CUTOFF = NOW - 30 * DAY
SEEDS = [bytes([number]) * 32 for number in range(1, 4)]


@pytest.fixture
def a_key(settings: Settings) -> None:
    """Checkpoints are signed here."""
    settings.RAMPART_CHECKPOINT_KEY = SEEDS[:1]


def events_at(moment: datetime, count: int = 1, **columns: Any) -> list[Event]:
    """Events that were written then, and wait to be sealed."""
    made = [_event(moment + timedelta(milliseconds=number), columns) for number in range(count)]
    Event.objects.bulk_create(made)
    Unsealed.objects.bulk_create(Unsealed(event_id=event.pk) for event in made)
    return made


def _event(moment: datetime, columns: dict[str, Any]) -> Event:
    usual = {
        "id": id_at(moment), "event": EventName.INVOCATION_FINISHED, "actor": "ann",
        "tool_name": "pay", "invocation_id": uuid4(), "started_at": moment, "ended_at": moment,
    }  # fmt: skip
    event = Event(**usual | columns)
    event.digest = event.computed_digest()
    return event


def old(count: int = 1, **columns: Any) -> list[Event]:
    """Events whose time is over."""
    return events_at(CUTOFF - DAY, count, **columns)


def taken(kind: Events | Checkpoints, most: int = 1000) -> int:
    """A whole run: how many went."""
    return sum(iter(lambda: kind.take(CUTOFF, most), 0))


def there() -> set[UUID]:
    return set(Event.objects.values_list("pk", flat=True))
