"""What people say of a held call: a yes, a no, or other arguments in place of those it has."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction

from approvals.errors import StaleTransition
from approvals.holding import Revision
from approvals.models import Approval, Edit, Invocation, Vote
from approvals.records import tell
from approvals.states import ApprovalStatus, InvocationStatus, Verdict
from approvals.transitions.moves import MESSAGE_TIME, end_unrun, move
from audit.events import EventName
from audit.models import new_id

USE_WITHIN = timedelta(hours=1)
"""How long an approved call may wait for a worker."""


@dataclass(frozen=True, slots=True)
class Said:
    """What comes with a yes or a no, and by which way it came."""

    note: str = ""
    """For people only."""
    reason_to_agent: str = ""
    request_id: str = ""
    source: str = ""
    """`rest`, `admin` or `command`."""
    operator: str = ""
    """Who ran the command, if it was one."""
    typed: str = ""
    """What was typed to confirm."""
    is_proved: bool = False
    """Whether the person has lately proved who they are, in the session in which they say it."""
    in_bulk: bool = False
    shown_at: datetime | None = None
    """When the page was rendered on which it was said."""

    @property
    def has_reason(self) -> bool:
        """Whether anything was written to say why."""
        return bool(self.note.strip() or self.reason_to_agent.strip())

    def about(self) -> dict[str, str]:
        """How it was said, for the ledger's line."""
        about = {"request_id": self.request_id, "source": self.source, "operator": self.operator}
        return {name: text for name, text in about.items() if text}


def approve(approval: Approval, reviewer: User, said: Said, moment: datetime) -> None:
    """A yes for the stage that is open; the last one that was needed moves pending to approved
    and held to queued. The vote, the moves and the line: one transaction.
    """
    with transaction.atomic():
        stage = _hold_still(approval, moment)
        _vote(approval, reviewer, Verdict.APPROVE, said, moment, stage)
        standing = _votes_read_again(approval).standing
        if standing.is_complete:
            _resolve(approval, reviewer, said, moment, ApprovalStatus.APPROVED, USE_WITHIN)
            audit_id = move(
                approval.invocation_id,
                InvocationStatus.QUEUED,
                source={InvocationStatus.HELD},
                dispatch_after=moment + MESSAGE_TIME,
            )
            use_by = {"use_by": moment + USE_WITHIN}
            _tell_decision(approval, EventName.APPROVAL_APPROVED, reviewer, said, audit_id, use_by)
        else:
            lacking = {"stage": stage, "lacking": standing.lacking}
            _tell_decision(approval, EventName.APPROVAL_VOTED, reviewer, said, new_id(), lacking)


def reject(approval: Approval, reviewer: User, said: Said, moment: datetime) -> None:
    """Pending and held to rejected, the vote and the line: one transaction. One no is enough."""
    with transaction.atomic():
        stage = _hold_still(approval, moment)
        _vote(approval, reviewer, Verdict.REJECT, said, moment, stage)
        _resolve(approval, reviewer, said, moment, ApprovalStatus.REJECTED)
        audit_id = end_unrun(approval.invocation_id, InvocationStatus.REJECTED, moment)
        _tell_decision(approval, EventName.APPROVAL_REJECTED, reviewer, said, audit_id)


def edit(approval: Approval, editor: User, new: Revision, said: Said, moment: datetime) -> None:
    """Put other arguments in the place of those that are held; the call stays held.

    What was said of the old ones counts no more, since every vote bears a digest.
    """
    row = approval.invocation
    before, digest = row.arguments, row.digest
    with transaction.atomic():
        _hold_still(approval, moment)
        changed = Invocation.objects.held().filter(pk=row.pk, digest=digest)
        audit_id = new_id()
        if changed.update(audit_id=audit_id, **new.invocation_columns) != 1:
            raise StaleTransition
        Approval.objects.filter(pk=approval.pk).update(**new.approval_columns(approval))
        Edit.objects.create(
            approval=approval, editor=editor, before=before, after=new.shown,
            digest_before=digest, digest_after=new.digest,
            reason_to_agent=said.reason_to_agent, at=moment,
        )  # fmt: skip
        told = {"before": before, "after": new.shown, "changes": new.changes, "was": digest}
        _tell_decision(approval, EventName.APPROVAL_EDITED, editor, said, audit_id, told)


def _hold_still(approval: Approval, moment: datetime) -> int:
    """Lock the approval, and see that it stands as it was read; returns the open stage's number.

    Whoever votes at the same instant waits here, and then finds the other's vote counted. What was
    checked of the person was checked for that stage and that content: StaleTransition otherwise.
    """
    seen = approval.standing.open_stage
    locked = Approval.objects.select_for_update().pending()
    if not locked.filter(pk=approval.pk, expires_at__gt=moment).exists():
        raise StaleTransition
    now_stands = _votes_read_again(approval)
    stage = now_stands.standing.open_stage
    is_same = now_stands.invocation.digest == approval.invocation.digest
    if stage is None or stage != seen or not is_same or now_stands.editors != approval.editors:
        raise StaleTransition
    return stage


def _votes_read_again(approval: Approval) -> Approval:
    return (
        Approval.objects.select_related("invocation").prefetch_related("votes").get(pk=approval.pk)
    )


def _vote(
    approval: Approval,
    reviewer: User,
    verdict: Verdict,
    said: Said,
    moment: datetime,
    stage: int,
) -> None:
    Vote.objects.create(
        approval=approval,
        reviewer=reviewer,
        stage=stage,
        verdict=verdict,
        note=said.note,
        reason_to_agent=said.reason_to_agent,
        digest=approval.invocation.digest,
        source=said.source,
        in_bulk=said.in_bulk,
        shown_at=said.shown_at,
        at=moment,
    )


def _resolve(
    approval: Approval,
    reviewer: User,
    said: Said,
    moment: datetime,
    status: ApprovalStatus,
    use_within: timedelta | None = None,
) -> None:
    """Pending to what was decided, with the words of whoever was the last to say so."""
    use_by = {} if use_within is None else {"expires_at": moment + use_within}
    decided = (
        Approval.objects.pending()
        .filter(pk=approval.pk, expires_at__gt=moment)
        .update(
            status=status,
            resolved_at=moment,
            resolved_by=reviewer,
            resolution_note=said.note,
            reason_to_agent=said.reason_to_agent,
            **use_by,
        )
    )
    if decided != 1:
        raise StaleTransition


def _tell_decision(
    approval: Approval,
    event: EventName,
    reviewer: User,
    said: Said,
    audit_id: UUID,
    more: dict[str, Any] | None = None,
) -> None:
    row = Invocation.objects.get(pk=approval.invocation_id)
    tell(
        row,
        event,
        actor=reviewer.get_username(),
        approval_id=approval.pk,
        event_id=audit_id,
        metadata={
            "requester": row.actor,
            "digest": row.digest,
            "note": said.note,
            "reason_to_agent": said.reason_to_agent,
            **said.about(),
            **(more or {}),
        },
    )
