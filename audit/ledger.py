"""The slot: the only way into the ledger.

`record` redacts, takes the digest and writes. What an event tells of can be written beside it,
in the same statement on PostgreSQL (one round trip, one commit) and in one transaction
elsewhere: either both are there or neither.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.db import connection, models, transaction
from django.db.models import sql

from audit.canonical import storable_text
from audit.events import EventName
from audit.models import Event, local_now, new_id
from audit.redaction import PLAIN, Redactor


def record(
    event: EventName,
    *,
    event_id: UUID | None = None,
    actor: str = "",
    tool_name: str = "",
    status: str | None = None,
    reason: str = "",
    arguments: Any = None,
    result: Any = None,
    error: str | None = None,
    started_at: datetime | None = None,
    metadata: dict[str, Any] | None = None,
    invocation_id: UUID | None = None,
    approval_id: UUID | None = None,
    session_id: UUID | None = None,
    request_id: str = "",
    source: str = "",
    key_prefix: str = "",
    redactor: Redactor = PLAIN,
    beside: Sequence[models.Model] = (),
) -> Event:
    """Write one event, and the new rows `beside` it, all or nothing; return the event.

    Everything free (arguments, result, error, metadata) goes through `redactor` first. Database
    errors pass through: who asked must then not let happen what could not be recorded.
    """
    now = local_now()
    line = Event(
        id=event_id or new_id(),
        event=event,
        actor=_label(actor, 200),
        tool_name=_label(tool_name, 200),
        status=status,
        reason=_label(reason, 64),
        arguments=None if arguments is None else redactor(arguments),
        result=None if result is None else redactor(result),
        error=None if error is None else redactor.text(error),
        started_at=started_at or now,
        ended_at=now,
        metadata=redactor(metadata or {}),
        invocation_id=invocation_id,
        approval_id=approval_id,
        session_id=session_id,
        request_id=_label(request_id, 128),
        source=source,
        key_prefix=key_prefix,
    )
    line.digest = line.computed_digest()
    _insert([*beside, line])
    return line


def _label(text: str, longest: int) -> str:
    return storable_text(text)[:longest]


def _insert(rows: list[models.Model]) -> None:
    if len(rows) > 1 and connection.vendor == "postgresql":
        _insert_in_one_statement(rows)
        return
    with transaction.atomic():
        for row in rows:
            row.save(force_insert=True)


def _insert_in_one_statement(rows: list[models.Model]) -> None:
    """`WITH r0 AS (INSERT …), … INSERT …`: all rows in one round trip, without BEGIN and COMMIT."""
    compiled = [_insert_sql(row) for row in rows]
    first = ", ".join(f"r{n} AS ({text})" for n, (text, _) in enumerate(compiled[:-1]))
    params = [param for _, row_params in compiled for param in row_params]
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {first} {compiled[-1][0]}", params)
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def _insert_sql(row: models.Model) -> tuple[str, Sequence[Any]]:
    query = sql.InsertQuery(type(row))
    query.insert_values(row._meta.local_concrete_fields, [row])
    compiler = query.get_compiler(connection=connection)
    return cast("list[tuple[str, Sequence[Any]]]", compiler.as_sql())[0]
