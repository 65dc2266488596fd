"""The verbs of people: approve, reject and edit. One function decides, behind every way to it.

A refused decision is a value too, and a line in the ledger: who tried, and why it was refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from approvals import dispatch, execution, transitions, upkeep, waiting
from approvals.errors import StaleTransition
from approvals.models import Approval
from approvals.reviewers import Reason, lacking, who_won, why_not, why_not_reject
from approvals.transitions import Said
from audit import ledger
from audit.events import EventName

SAID_NOTHING = Said()
PROVED_WITHIN = timedelta(minutes=5)
"""How fresh a person's proof has to be where the rules ask for one."""
MOST_TRIES = 5
"""How often a vote is tried again because another one came between."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was said stands; `is_resolved` tells whether it was the last word that was needed."""

    approval: Approval

    @property
    def is_resolved(self) -> bool:
        return not self.approval.is_pending

    @property
    def lacking(self) -> str:
        """What is still needed: `1 of finance`."""
        return lacking(self.approval) if self.approval.is_pending else ""


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
    """Say yes to exactly this call; the last yes that is needed queues it, and it runs once."""
    refused = (
        why_not(approval, reviewer)
        or seen_otherwise(approval, expected_digest)
        or unmet_to_decide(approval, said)
        or _unmet_to_approve(approval, said)
        or changed_since(approval)
    )
    return _decide(transitions.approve, refused, approval, reviewer, said)


def reject(
    approval: Approval,
    reviewer: User,
    said: Said = SAID_NOTHING,
    *,
    expected_digest: str | None = None,
) -> Decided | Undecided:
    """Say no; the call ends, and the agent is told the reason that is for it, never the note.

    Who has said yes may still say no, while others have yet to agree.
    """
    refused = (
        why_not_reject(approval, reviewer)
        or seen_otherwise(approval, expected_digest)
        or unmet_to_decide(approval, said)
    )
    return _decide(transitions.reject, refused, approval, reviewer, said)


def _decide(
    step: Step, refused: Reason | None, approval: Approval, reviewer: User, said: Said
) -> Decided | Undecided:
    tries, content = 0, approval.invocation.digest
    while refused is None:
        try:
            step(approval, reviewer, said, transitions.now())
        except (StaleTransition, IntegrityError):
            tries += 1
            approval = fresh_approval(approval.pk)
            may = why_not if step is transitions.approve else why_not_reject
            refused = may(approval, reviewer) or seen_otherwise(approval, content)
            if refused is None and tries == MOST_TRIES:
                refused = Reason("already_decided", who_won(approval))
        else:
            return _stands(fresh_approval(approval.pk), sends=step is transitions.approve)
    return refuse(approval, reviewer, refused, said)


def _stands(approval: Approval, *, sends: bool) -> Decided:
    row = approval.invocation
    if not approval.is_pending:
        if sends:
            transaction.on_commit(lambda: dispatch.send(row))
        transaction.on_commit(lambda: waiting.announce(row.pk))
    return Decided(approval)


def unmet_to_decide(approval: Approval, said: Said) -> Reason | None:
    """What the rules ask of any decision, and this one lacks."""
    agreed = approval.agreed
    if agreed.reason_required and not said.has_reason:
        return Reason("reason_required", "Say why: this call is not decided without a word.")
    if agreed.no_bulk and said.in_bulk:
        return Reason("single_only", "This call is decided on its own page, not with others.")
    return None


def _unmet_to_approve(approval: Approval, said: Said) -> Reason | None:
    agreed = approval.agreed
    if agreed.typed_confirmation and said.typed.strip() != approval.tool_name:
        return Reason("confirmation_required", f"Type {approval.tool_name} to confirm.")
    if agreed.step_up and not said.is_proved:
        return Reason("step_up_required", "Prove again who you are in the admin, then approve.")
    return None


def changed_since(approval: Approval) -> Reason | None:
    """Whether what was asked is no longer what would run; then it is void from now on."""
    if (reason := execution.authority_lost(approval.invocation)) is None:
        return None
    upkeep.void(approval.invocation, reason)
    return Reason(reason, "What was asked has changed since; it can't be approved any more.")


def seen_otherwise(approval: Approval, expected_digest: str | None) -> Reason | None:
    """Whether the person was shown something else than what this approval is for now."""
    if expected_digest in (None, "", approval.invocation.digest):
        return None
    return Reason(
        "digest_mismatch", "What you were shown is not what this approval is for; look again."
    )


def fresh_approval(approval_id: UUID) -> Approval:
    """The approval as it stands now, with all that a page shows of it."""
    return Approval.objects.with_everything().get(pk=approval_id)


def refuse(approval: Approval, reviewer: User, reason: Reason, said: Said) -> Undecided:
    """Write down who tried to decide, and why that was refused."""
    if reason.code == "expired":
        upkeep.expire(approval)
    row = approval.invocation
    ledger.record(
        EventName.APPROVAL_REFUSED,
        actor=reviewer.get_username(),
        tool_name=row.tool_name,
        reason=reason.code,
        approval_id=approval.pk,
        invocation_id=row.pk,
        request_id=said.request_id,
        source=said.source,
        metadata={"operator": said.operator} if said.operator else None,
    )
    return Undecided(reason.code, reason.sentence, approval)
