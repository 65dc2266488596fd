"""A ledger that nobody wrote: so many events over ninety days, with the digests that they need.

Written by COPY, as fast as digests can be computed; what is measured comes afterwards.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from audit.models import local_now
from audit.records import Stored, digest_of
from audit.retention import first_id_at

DAYS = 90
ACTORS, TOOLS, CALLS = 1000, 50, 4
"""How many actors and tools there are, and of how many events a call is."""
KINDS = (
    ("invocation:queued", "pending", ""),
    ("invocation:started", "pending", ""),
    ("invocation:finished", "success", ""),
    ("invocation:finished", "error", "ToolError"),
    ("invocation:refused", "denied", "scope_missing"),
    ("invocation:held", "requires_approval", "amount exceeds 500"),
    ("approval:approved", None, ""),
    ("key:created", None, ""),
)
WEIGHTS = (30, 30, 28, 2, 5, 2, 2, 1)
COPY = f"COPY audit_event ({', '.join(Stored._fields)}) FROM STDIN"


def write(count: int, seed: int = 7) -> None:
    """So many more events; each waits for its leaf."""
    connection.ensure_connection()
    with connection.connection.cursor() as cursor:
        with cursor.copy(COPY) as copy:
            for row in _rows(count, random.Random(seed)):
                copy.write_row(row)
        cursor.execute(
            "INSERT INTO audit_unsealed SELECT id FROM audit_event"
            " WHERE NOT EXISTS (SELECT 1 FROM audit_leaf WHERE event_id = audit_event.id)"
            " ON CONFLICT DO NOTHING"
        )
        cursor.execute("ANALYZE")


def _rows(count: int, dice: random.Random) -> Iterator[Stored]:
    """From the oldest to yesterday; the last of a ledger is what happens now."""
    begin = local_now() - timedelta(days=DAYS + 1)
    step = timedelta(days=DAYS) / count
    for number in range(count):
        yield _row(begin + number * step, number, dice)


def _row(moment: datetime, number: int, dice: random.Random) -> Stored:
    event, status, reason = dice.choices(KINDS, WEIGHTS)[0]
    row = Stored(
        actor=f"agent-{dice.randrange(ACTORS)}",
        approval_id=None,
        arguments=f'{{"amount":{number % 500},"order_id":"A-{number}"}}',
        ended_at=moment,
        error="the tool raised" if status == "error" else None,
        event=event,
        id=UUID(int=first_id_at(moment).int | dice.getrandbits(62)),
        invocation_id=UUID(int=number // CALLS + 1),
        key_prefix="rmp_abcdefghij",
        metadata='{"waived":[]}',
        reason=reason,
        request_id=f"{number:032x}",
        result='{"ok":true}' if status == "success" else None,
        session_id=None,
        source="rest",
        started_at=moment,
        status=status,
        tool_name=f"tool_{dice.randrange(TOOLS)}",
        digest="",
    )
    return row._replace(digest=digest_of(row.text()))
