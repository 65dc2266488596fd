"""What the deployment has on record, as plain JSON. Runs inside the deployment's Django."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from approvals.models import Invocation
from approvals.states import api_word
from audit.models import Event


def write(path: str) -> None:
    """Write every call and every line of the ledger about calls."""
    rows = Invocation.objects.select_related("approval__resolved_by")
    rows = rows.prefetch_related("approval__votes")
    held = {
        "rows": [_row(row) for row in rows.order_by("id")],
        "lines": [_line(event) for event in Event.objects.order_by("id")],
    }
    Path(path).write_text(json.dumps(held))


def _row(row: Invocation) -> dict[str, Any]:
    approval = row.decision_record
    return {
        "id": str(row.pk),
        "tool": row.tool_name,
        "ticket": row.arguments["ticket"],
        "status": row.status,
        "word": api_word(row.status),
        "key": row.idempotency_key,
        "lineage": str(row.lineage),
        "claims": row.claims,
        "attempts": row.attempts,
        "created_at": row.created_at.timestamp(),
        "started_at": _seconds(row.started_at),
        "finished_at": _seconds(row.finished_at),
        "result": row.result,
        "error_type": row.error_type,
        "audit_id": str(row.audit_id),
        "keeps_arguments": row.arguments_sealed is not None,
        "approval": approval
        and {
            "id": str(approval.pk),
            "status": approval.status,
            "by": approval.resolved_by and approval.resolved_by.get_username(),
            "expires_at": approval.expires_at.timestamp(),
            "votes": [vote.verdict for vote in approval.votes.all()],
        },
    }


def _line(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.pk),
        "event": event.event,
        "word": event.status,
        "reason": event.reason,
        "invocation": event.invocation_id and str(event.invocation_id),
        "approval": event.approval_id and str(event.approval_id),
        "at": event.ended_at.timestamp(),
    }


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
