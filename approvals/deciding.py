"""The verbs of people: approve and reject. One function decides, behind the admin and the API.

A refused decision is a value too, and a line in the ledger: who tried, and why it was refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from approvals import dispatch, execution, transitions, upkeep, waiting
from approvals.errors import StaleTransition
from approvals.models import Approval
from approvals.states import ApprovalStatus
from approvals.transitions import Said
from audit import ledger
from audit.events import EventName

DECIDE = "approvals.decide_approval"
"""The permission to decide calls."""
SAID_NOTHING = Said()


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision stands."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class Undecided:
    """The decision was refused: `code` is stable, `sentence` is for the person."""

    code: str
    sentence: str
    approval: Approval


Step = Callable[[Approval, User, Said, datetime], None]


def approve(
    approval: Approval,
    reviewer: User,
    said: Said = SAID_NOTHING,
    *,
    expected_digest: str | None = None,
) -> Decided | Undecided:
    """Say yes to exactly this call; it is queued in the same transaction and runs once."""
    refused = why_not(approval, reviewer) or _seen_otherwise(approval, expected_digest)
    if refused is None and (reason := execution.authority_lost(approval.invocation)):
        upkeep.void(approval.invocation, reason)
        refused = reason, "What was asked has changed since; it can't be approved any more."
    return _decide(transitions.approve, refused, approval, reviewer, said)


def reject(
    approval: Approval,
    reviewer: User,
    said: Said = SAID_NOTHING,
    *,
    expected_digest: str | None = None,
) -> Decided | Undecided:
    """Say no; the call ends, and the agent is told the reason that is for it, never the note."""
    refused = why_not(approval, reviewer) or _seen_otherwise(approval, expected_digest)
    return _decide(transitions.reject, refused, approval, reviewer, said)


def _decide(
    step: Step,
    refused: tuple[str, str] | None,
    approval: Approval,
    reviewer: User,
    said: Said,
) -> Decided | Undecided:
    moment = transitions.now()
    if refused is None:
        try:
            step(approval, reviewer, said, moment)
        except (StaleTransition, IntegrityError):
            approval = fresh_approval(approval.pk)
            refused = why_not(approval, reviewer) or ("already_decided", _who_won(approval))
    if refused is not None:
        if refused[0] == "expired":
            upkeep.expire(approval)
        return _refuse_decision(approval, reviewer, *refused, said)
    row = approval.invocation
    if step is transitions.approve:
        transaction.on_commit(lambda: dispatch.send(row))
    transaction.on_commit(lambda: waiting.announce(row.pk))
    return Decided(fresh_approval(approval.pk))


def why_not(approval: Approval, reviewer: User) -> tuple[str, str] | None:
    """Why this person can't decide this call, as code and sentence; None if they can."""
    if not reviewer.is_active or not reviewer.has_perm(DECIDE):
        return "permission_denied", "You don't have the permission to decide calls."
    if reviewer.pk in approval.requesting_side:
        return "self_approval", "The call was made with a key of yours; somebody else decides it."
    if approval.status == ApprovalStatus.EXPIRED or (
        approval.is_pending and approval.expires_at <= transitions.now()
    ):
        return "expired", "The time to decide this call is over."
    if not approval.is_pending:
        return "already_decided", _who_won(approval)
    return None


def fresh_approval(approval_id: UUID) -> Approval:
    """The approval as it stands now, with all that a page shows of it."""
    return Approval.objects.with_everything().get(pk=approval_id)


def _seen_otherwise(approval: Approval, expected_digest: str | None) -> tuple[str, str] | None:
    if expected_digest in (None, "", approval.invocation.digest):
        return None
    return "digest_mismatch", "What you were shown is not what this approval is for; look again."


def _who_won(approval: Approval) -> str:
    if approval.resolved_by is None:
        return f"The call is {approval.get_status_display()} already."
    when = f"{approval.resolved_at:%Y-%m-%d %H:%M:%S} UTC"
    verb = "rejected" if approval.status == ApprovalStatus.REJECTED else "approved"
    return f"{approval.resolved_by.get_username()} {verb} this call at {when}."


def _refuse_decision(
    approval: Approval, reviewer: User, code: str, sentence: str, said: Said
) -> Undecided:
    row = approval.invocation
    ledger.record(
        EventName.APPROVAL_REFUSED,
        actor=reviewer.get_username(),
        tool_name=row.tool_name,
        reason=code,
        approval_id=approval.pk,
        invocation_id=row.pk,
        request_id=said.request_id,
        source=said.source,
        metadata={"operator": said.operator} if said.operator else None,
    )
    return Undecided(code, sentence, approval)
