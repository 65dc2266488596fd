"""The slot: the only way into the ledger.

`record` redacts, takes the digest and writes. What an event tells of can be written beside it,
in the same statement on PostgreSQL (one round trip, one commit) and in one transaction
elsewhere: either both are there or neither. Beside each event stands that it is not sealed yet:
`audit.sealing` gives it its place in the tree later, away from whoever waits here.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any, TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, models, transaction

from audit.canonical import storable_text
from audit.events import EventName
from audit.models import Event, Unsealed, local_now, new_id
from audit.redaction import PLAIN, Redactor

Field: TypeAlias = "models.Field[Any, Any]"
PASSED_ON = {
    models.CharField, models.TextField, models.UUIDField, models.DateTimeField,
    models.PositiveIntegerField, models.BinaryField, models.ForeignKey,
}  # fmt: skip
"""Fields whose values the database's driver takes as they are."""


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
    errors pass through: who asked must then not let happen what could not be recorded. What the
    deployment is to be remembered by (`AUDIT_STAMP`) is added to the metadata of every event.
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
        metadata=redactor(metadata or {}) | settings.AUDIT_STAMP,
        invocation_id=invocation_id,
        approval_id=approval_id,
        session_id=session_id,
        request_id=_label(request_id, 128),
        source=source,
        key_prefix=key_prefix,
    )
    line.digest = line.computed_digest()
    _insert([*beside, line, Unsealed(event_id=line.id)])
    return line


def _label(text: str, longest: int) -> str:
    return storable_text(text)[:longest]


def _insert(rows: list[models.Model]) -> None:
    if connection.vendor == "postgresql":
        _insert_in_one_statement(rows)
        return
    with transaction.atomic(savepoint=False):
        for row in rows:
            row.save(force_insert=True)


def _insert_in_one_statement(rows: list[models.Model]) -> None:
    """`WITH r0 AS (INSERT …), … INSERT …`: all rows in one round trip, without BEGIN and COMMIT."""
    columns = [_filled_columns(row) for row in rows]
    statement = _statement(tuple(map(type, rows)), tuple(map(tuple, columns)))
    with connection.cursor() as cursor:
        cursor.execute(statement, list(chain.from_iterable(row.values() for row in columns)))
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def _filled_columns(row: models.Model) -> dict[str, Any]:
    """The values to write, by column; those that are NULL need not be said."""
    values = (
        (column, _prepared(field, row) if field else getattr(row, attribute))
        for column, attribute, field in _fields(type(row))
    )
    return {column: value for column, value in values if value is not None}


@cache
def _fields(model: type[models.Model]) -> "list[tuple[str, str, Field | None]]":
    """Each column with its attribute, and its field if that has to prepare what is stored."""
    return [
        (str(field.column), field.attname, None if _is_passed_on(field) else field)
        for field in model._meta.local_concrete_fields
    ]


def _is_passed_on(field: Field) -> bool:
    sets_itself = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    return type(field) in PASSED_ON and not sets_itself


def _prepared(field: Field, row: models.Model) -> Any:
    return field.get_db_prep_save(field.pre_save(row, add=True), connection)


@cache
def _statement(kinds: tuple[type[models.Model], ...], columns: tuple[tuple[str, ...], ...]) -> str:
    """The text for rows of these kinds with these columns: few there are, so each is kept."""
    inserts = [
        f"INSERT INTO {_quoted(kind._meta.db_table)} ({', '.join(map(_quoted, names))})"  # noqa: S608 - our own names
        f" VALUES ({', '.join(['%s'] * len(names))})"
        for kind, names in zip(kinds, columns, strict=True)
    ]
    first = ", ".join(f"r{number} AS ({insert})" for number, insert in enumerate(inserts[:-1]))
    return f"WITH {first} {inserts[-1]}" if first else inserts[-1]


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
