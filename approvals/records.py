"""How a call is written down: its first row, the columns of its ending, the ledger's line.

Everything that is kept in the clear goes through the call's redactor here.
"""

import logging
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from approvals import metrics, vault
from approvals.door import Action
from approvals.models import Invocation
from approvals.notices.bell import ring
from approvals.notices.outbox import notices_of
from approvals.states import InvocationStatus, api_word, is_final
from audit import ledger
from audit.canonical import is_recorded_as, storable_text
from audit.events import EventName
from audit.models import new_id
from audit.redaction import PLAIN, Redactor
from sandbox.outcomes import Outcome

log = logging.getLogger(__name__)

LONGEST_ERROR_TYPE = 200


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, ready to be kept: raw for the caller, redacted for everybody else."""

    status: str
    data: Any = None
    error: str | None = None
    error_type: str | None = None
    reason: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    """How it was run, for the ledger's metadata."""

    @classmethod
    def of(cls, outcome: Outcome) -> "Ending":
        """The ending that a process's outcome stands for."""
        return cls(
            str(outcome.status),
            outcome.data,
            outcome.error or None,
            storable_text(outcome.error_type)[:LONGEST_ERROR_TYPE] or None,
            told={"jail": outcome.jail, "usage": _usage(outcome)},
        )

    @property
    def is_violation(self) -> bool:
        """The tool's process was killed for what its jail forbids."""
        return (self.status, self.error_type) == (InvocationStatus.KILLED, "Violation")


def _usage(outcome: Outcome) -> dict[str, float | int]:
    """What the run has used, as far as it was measured: of a warm process only the time."""
    measured = {
        "seconds": round(outcome.seconds, 6),
        "cpu_seconds": None if outcome.cpu_seconds is None else round(outcome.cpu_seconds, 6),
        "max_rss_bytes": outcome.max_rss_bytes,
    }
    return {name: value for name, value in measured.items() if value is not None}


def new_row(action: Action, status: str, **columns: Any) -> Invocation:
    """The row of a call that gets past the door, in this status, not yet written."""
    visit, call, caller = action.visit, action.visit.call, action.visit.caller
    digest = action.digest()
    return Invocation(
        status=status,
        tool_name=visit.tool.name,
        tool_version_id=action.version.version_id,
        policy_version=visit.policy_version,
        tool_version_number=action.version.version,
        key_id=caller.key_id,
        key_prefix=caller.prefix,
        lineage=caller.lineage,
        actor=caller.actor,
        source=call.source,
        request_id=call.request_id,
        session_id=visit.session_id,
        metadata=visit.redactor(call.metadata),
        idempotency_key=call.idempotency_key,
        digest=digest,
        asked_digest=digest,
        request_digest=visit.request_digest,
        arguments=visit.redactor(action.frozen),
        audit_id=new_id(),
        **columns,
    )


def ending_columns(ending: Ending, redactor: Redactor, moment: datetime) -> dict[str, Any]:
    """What is kept of an ending, by column: raw and sealed for a time, redacted for good.

    A result in which there was nothing to redact is its own redacted form, and kept once.
    """
    result = None if ending.data is None else redactor(ending.data)
    return {
        "finished_at": moment,
        "arguments_sealed": None,
        "lease_expires_at": None,
        "result": result,
        "result_sealed": None if is_recorded_as(ending.data, result) else vault.seal(ending.data),
        "result_expires_at": moment + settings.RAMPART_RESULT_RETENTION,
        "error": None if ending.error is None else redactor.text(ending.error),
        "error_type": None if ending.error_type is None else redactor.text(ending.error_type),
        "reason": ending.reason,
    }


def tell(
    row: Invocation,
    event: EventName,
    *,
    actor: str | None = None,
    reason: str = "",
    approval_id: UUID | None = None,
    event_id: UUID | None = None,
    metadata: dict[str, Any] | None = None,
    redactor: Redactor = PLAIN,
    beside: list[Invocation] | None = None,
) -> None:
    """The ledger's line about a call, as the call stands now, and beside it what is to be told."""
    approval = None if beside or approval_id else row.decision_record
    approval_id = approval_id or (approval.pk if approval else None)
    by = row.actor if actor is None else actor
    notices = notices_of(row, event, approval_id=approval_id, actor=by, metadata=metadata or {})
    ledger.record(
        event,
        event_id=event_id or row.audit_id,
        actor=by,
        tool_name=row.tool_name,
        status=api_word(row.status),
        reason=reason,
        arguments=row.arguments,
        result=row.result if is_final(row.status) else None,
        error=row.error,
        started_at=row.started_at,
        metadata={"caller": row.metadata, "digest": row.digest, **(metadata or {})},
        invocation_id=row.pk,
        approval_id=approval_id,
        session_id=row.session_id,
        request_id=row.request_id,
        source=row.source,
        key_prefix=row.key_prefix,
        redactor=redactor,
        beside=[*(beside or ()), *notices],
    )
    if notices:
        transaction.on_commit(ring)
    transaction.on_commit(lambda: metrics.moved(row, event))


def tell_finished(
    row: Invocation, ending: Ending, redactor: Redactor, *, beside: list[Invocation] | None = None
) -> None:
    """How a run ended; a violation is two lines, of which both are written or neither."""
    with transaction.atomic() if ending.is_violation else nullcontext():
        tell(
            row,
            EventName.INVOCATION_FINISHED,
            metadata=ending.told,
            redactor=redactor,
            beside=beside,
        )
        if ending.is_violation:
            _tell_violation(row, ending, redactor)


def _tell_violation(row: Invocation, ending: Ending, redactor: Redactor) -> None:
    """A line of its own, and loud: what the jail forbids is no tool's ordinary failure."""
    log.warning("a process of the tool %s was killed by its jail, call %s", row.tool_name, row.pk)
    tell(
        row,
        EventName.SANDBOX_VIOLATED,
        event_id=new_id(),
        metadata=ending.told,
        redactor=redactor,
    )
