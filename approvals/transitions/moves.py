"""The conditional UPDATE that every arrow is, and the clock by which it is decided."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from approvals.errors import StaleTransition
from approvals.models import Invocation
from approvals.states import TRANSITIONS, InvocationStatus, sources_of
from audit.models import local_now, new_id

MESSAGE_TIME = timedelta(seconds=4)
"""How long a message to a worker may take before another is sent."""


def now() -> datetime:
    """The database's clock, the one by which everything is decided."""
    if connection.vendor != "postgresql":
        return local_now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def move_row(
    row: Invocation,
    target: InvocationStatus,
    *,
    source: Collection[str],
    silent_since: datetime | None = None,
    **columns: Any,
) -> None:
    """Move the call as this row's claim has it, and note in the row what was written."""
    row.audit_id = move(
        row.pk, target, source=source, claimed=row.claims, silent_since=silent_since, **columns
    )
    row.status = target
    for name, value in columns.items():
        setattr(row, name, value)


def move(
    invocation_id: UUID,
    target: InvocationStatus,
    *,
    source: Collection[str],
    claimed: int | None = None,
    silent_since: datetime | None = None,
    **columns: Any,
) -> UUID:
    """The conditional UPDATE; returns the id that the ledger's line must bear.

    Beside the status it may ask for the claim that is meant, and for a lease that has run out.
    """
    if illegal := [status for status in source if target not in TRANSITIONS[status]]:
        raise AssertionError(f"no arrow leads from {illegal} to {target}")
    audit_id = new_id()
    expected = Invocation.objects.filter(pk=invocation_id, status__in=source)
    if claimed is not None:
        expected = expected.filter(claims=claimed)
    if silent_since is not None:
        expected = expected.filter(lease_expires_at__lte=silent_since)
    if expected.update(status=target, audit_id=audit_id, **columns) != 1:
        raise StaleTransition
    return audit_id


def end_unrun(
    invocation_id: UUID, status: InvocationStatus, moment: datetime, *, reason: str = ""
) -> UUID:
    return move(
        invocation_id,
        status,
        source=sources_of(status, TRANSITIONS) - {InvocationStatus.RUNNING},
        finished_at=moment,
        arguments_sealed=None,
        reason=reason,
    )
