"""Ending without having run: taken back, void, or out of time."""

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Coalesce

from approvals.errors import StaleTransition
from approvals.models import Approval, Invocation
from approvals.records import tell
from approvals.states import OPEN_APPROVAL, ApprovalStatus, InvocationStatus
from approvals.transitions.moves import end_unrun, now
from audit.events import EventName


def cancel(row: Invocation, *, by: str) -> None:
    """Held or queued to cancelled; a running call is only asked to stop, see `ask_to_stop`."""
    _close(row, InvocationStatus.CANCELLED, ApprovalStatus.CANCELLED, actor=by)


def void(row: Invocation, reason: str) -> None:
    """Held or queued to void: what was asked is no longer what would run."""
    _close(row, InvocationStatus.VOID, ApprovalStatus.VOID, reason=reason)


def expire(approval: Approval) -> None:
    """A call whose time to be decided, or to be used, is over."""
    row = Invocation.objects.get(pk=approval.invocation_id)
    _close(row, InvocationStatus.EXPIRED, ApprovalStatus.EXPIRED, reason="approval_expired")


_CLOSING_EVENT = {
    InvocationStatus.CANCELLED: EventName.INVOCATION_CANCELLED,
    InvocationStatus.VOID: EventName.INVOCATION_VOIDED,
    InvocationStatus.EXPIRED: EventName.INVOCATION_EXPIRED,
}


def _close(
    row: Invocation,
    status: InvocationStatus,
    approval_status: ApprovalStatus,
    *,
    actor: str | None = None,
    reason: str = "",
) -> None:
    moment = now()
    with transaction.atomic():
        approval = Approval.objects.filter(invocation_id=row.pk, status__in=OPEN_APPROVAL)
        if approval_status is ApprovalStatus.EXPIRED:
            approval = approval.expired(moment)
        closed = approval.update(
            status=approval_status, resolved_at=Coalesce("resolved_at", Value(moment))
        )
        if approval_status is ApprovalStatus.EXPIRED and not closed:
            raise StaleTransition  # It was decided in time, or somebody else has closed it.
        audit_id = end_unrun(row.pk, status, moment, reason=reason)
        row.refresh_from_db()
        tell(row, _CLOSING_EVENT[status], actor=actor, reason=reason, event_id=audit_id)
