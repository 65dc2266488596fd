"""The arrows: the only place where a status is written.

Each function is one step of a call's life: a conditional UPDATE on the status that is expected,
and the ledger's line, in one transaction. If another process was first, StaleTransition is
raised and nothing is changed. Approvals are always touched before their invocations, so that two
steps at once wait for each other in the same order. Nothing is sent from here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction

from approvals import vault
from approvals.door import Action
from approvals.errors import StaleTransition
from approvals.holding import Revision, new_approval
from approvals.models import Approval, Edit, Invocation, Vote
from approvals.policy import Judgement
from approvals.records import Ending, ending_columns, new_row, tell
from approvals.states import (
    OPEN_APPROVAL,
    TRANSITIONS,
    ApprovalStatus,
    InvocationStatus,
    Verdict,
    sources_of,
)
from audit.events import EventName
from audit.models import local_now, new_id
from audit.redaction import PLAIN, Redactor
from tools.models import ApiKey

MESSAGE_TIME = timedelta(seconds=4)
"""How long a message to a worker may take before another is sent."""
LONGEST_MESSAGE_TIME = timedelta(minutes=2)
LEASE = timedelta(seconds=15)
"""How long a worker may be silent before its call counts as lost."""
USE_WITHIN = timedelta(hours=1)
"""How long an approved call may wait for a worker."""


def now() -> datetime:
    """The database's clock, the one by which everything is decided."""
    if connection.vendor != "postgresql":
        return local_now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


# Entering.


def enter_finished(
    action: Action, ending: Ending, attempts: int, started_at: datetime
) -> Invocation:
    """Write a read-only call that has just run: row and outcome in one statement."""
    row = new_row(action, ending.status, attempts=attempts, started_at=started_at)
    for name, value in ending_columns(ending, action.visit.redactor, local_now()).items():
        setattr(row, name, value)
    tell(row, EventName.INVOCATION_FINISHED, beside=[row], redactor=action.visit.redactor)
    return row.known_without_approval()


def enter_running(action: Action) -> Invocation:
    """Write a read-only call about to run here, because an idempotency key must be held first."""
    moment = now()
    row = new_row(action, InvocationStatus.RUNNING, started_at=moment, claims=1)
    row.lease_expires_at = moment + LEASE
    with transaction.atomic():
        _free_the_key_of_a_failed_twin(action)
        tell(row, EventName.INVOCATION_STARTED, beside=[row], redactor=action.visit.redactor)
    return row.known_without_approval()


def enter_queued(action: Action) -> Invocation:
    """Write a call that may run; the row is the outbox from which it is sent."""
    row = new_row(action, InvocationStatus.QUEUED)
    row.arguments_sealed = vault.seal(action.frozen)
    row.dispatch_after = now() + MESSAGE_TIME
    with transaction.atomic():
        _free_the_key_of_a_failed_twin(action)
        tell(row, EventName.INVOCATION_QUEUED, beside=[row], redactor=action.visit.redactor)
    return row.known_without_approval()


@dataclass(frozen=True, slots=True)
class Held:
    """The approval that a call waits for, and whether the call is the one it was made for."""

    approval: Approval
    is_new: bool


def enter_held(action: Action, judgement: Judgement) -> Held | None:
    """Write a call that waits for a person; None if the caller has too many of them waiting.

    The same action, already waiting for the same caller, is returned instead of a second one. The
    caller's keys are locked meanwhile, so that neither rule can be raced.
    """
    visit, moment = action.visit, now()
    with transaction.atomic():
        list(ApiKey.objects.select_for_update().filter(lineage=visit.caller.lineage).order_by("pk"))
        held = Invocation.objects.held().of_lineage(visit.caller.lineage)
        if visit.call.idempotency_key is None:
            for twin in held.filter(asked_digest=action.digest()).select_related("approval"):
                if twin.approval.expires_at > moment:
                    return Held(twin.approval, is_new=False)
                expire(twin.approval)
        most = settings.RAMPART_MAX_PENDING_PER_KEY
        if len(held.values_list("pk", flat=True).order_by()[:most]) >= most:
            return None
        return Held(_new_held(action, judgement, moment), is_new=True)


def _free_the_key_of_a_failed_twin(action: Action) -> None:
    """Take the idempotency key from a failed call that may run again, for the one now written."""
    key, caller = action.visit.call.idempotency_key, action.visit.caller
    if key is not None and action.visit.tool.may_run_again:
        failed = Invocation.objects.of_lineage(caller.lineage).failed()
        failed.filter(idempotency_key=key).update(idempotency_key=None)


def _new_held(action: Action, judgement: Judgement, moment: datetime) -> Approval:
    _free_the_key_of_a_failed_twin(action)
    row = new_row(action, InvocationStatus.HELD)
    row.arguments_sealed = vault.seal(action.frozen)
    approval = new_approval(action, judgement, row, moment)
    approval.status = ApprovalStatus.PENDING
    row.save(force_insert=True)
    approval.save(force_insert=True)
    tell(
        row,
        EventName.INVOCATION_HELD,
        reason="approval_required",
        approval_id=approval.pk,
        redactor=action.visit.redactor,
        metadata={"held_because": approval.reason, "expires_at": approval.expires_at},
    )
    return approval


# Deciding.


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
            audit_id = _move(
                approval.invocation_id,
                InvocationStatus.QUEUED,
                source={InvocationStatus.HELD},
                dispatch_after=moment + MESSAGE_TIME,
            )
            _tell_decision(approval, EventName.APPROVAL_APPROVED, reviewer, said, audit_id)
        else:
            lacking = {"stage": stage, "lacking": standing.lacking}
            _tell_decision(approval, EventName.APPROVAL_VOTED, reviewer, said, new_id(), lacking)


def reject(approval: Approval, reviewer: User, said: Said, moment: datetime) -> None:
    """Pending and held to rejected, the vote and the line: one transaction. One no is enough."""
    with transaction.atomic():
        stage = _hold_still(approval, moment)
        _vote(approval, reviewer, Verdict.REJECT, said, moment, stage)
        _resolve(approval, reviewer, said, moment, ApprovalStatus.REJECTED)
        audit_id = _end_unrun(approval.invocation_id, InvocationStatus.REJECTED, moment)
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
    if stage is None or stage != seen or now_stands.invocation.digest != approval.invocation.digest:
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


# Ending without having run.


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
            if not approval.exists():
                raise StaleTransition
        approval.update(status=approval_status, resolved_at=moment)
        audit_id = _end_unrun(row.pk, status, moment, reason=reason)
        row.refresh_from_db()
        tell(row, _CLOSING_EVENT[status], actor=actor, reason=reason, event_id=audit_id)


def _end_unrun(
    invocation_id: UUID, status: InvocationStatus, moment: datetime, *, reason: str = ""
) -> UUID:
    return _move(
        invocation_id,
        status,
        source=sources_of(status, TRANSITIONS) - {InvocationStatus.RUNNING},
        finished_at=moment,
        arguments_sealed=None,
        reason=reason,
    )


# Running.


def claim(row: Invocation, moment: datetime) -> Invocation:
    """Queued to running, and the approval consumed: the one run that it allows begins here."""
    with transaction.atomic():
        approval = row.decision_record
        if approval is not None and row.claims == 0:
            _consume(approval, moment)
        _move_row(
            row,
            InvocationStatus.RUNNING,
            source={InvocationStatus.QUEUED},
            claims=row.claims + 1,
            started_at=moment,
            lease_expires_at=moment + LEASE,
        )
        tell(row, EventName.INVOCATION_STARTED)
    return row


def _consume(approval: Approval, moment: datetime) -> None:
    used = Approval.objects.filter(
        pk=approval.pk, status=ApprovalStatus.APPROVED, expires_at__gt=moment
    ).update(status=ApprovalStatus.CONSUMED)
    if used != 1:
        raise StaleTransition


def renew_lease(row: Invocation) -> bool:
    """Say that the worker lives; False once the lease is lost or the call is to be stopped."""
    mine = Invocation.objects.running().filter(pk=row.pk, claims=row.claims)
    return bool(mine.filter(cancel_requested_at=None).update(lease_expires_at=now() + LEASE))


def note_progress(row: Invocation, message: Any, redactor: Redactor) -> None:
    """Keep the last thing that the running tool told of itself."""
    mine = Invocation.objects.running().filter(pk=row.pk, claims=row.claims)
    mine.update(progress=redactor(message))


def ask_to_stop(row: Invocation, *, by: str) -> bool:
    """Ask the worker that runs the call to end its process, once; False if it runs no more."""
    with transaction.atomic():
        asked = (
            Invocation.objects.running()
            .filter(pk=row.pk, cancel_requested_at=None)
            .update(cancel_requested_at=now())
        )
        if asked:
            row.refresh_from_db()
            tell(
                row,
                EventName.INVOCATION_CANCELLED,
                actor=by,
                reason="cancel_requested",
                event_id=new_id(),
            )
    return bool(asked) or Invocation.objects.running().filter(pk=row.pk).exists()


def finish(row: Invocation, ending: Ending, redactor: Redactor, attempts: int) -> Invocation:
    """Running to its end, by the worker that holds the lease, arguments dropped."""
    moment = now()
    with transaction.atomic():
        _move_row(
            row,
            InvocationStatus(ending.status),
            source={InvocationStatus.RUNNING},
            attempts=attempts,
            **ending_columns(ending, redactor, moment),
        )
        tell(row, EventName.INVOCATION_FINISHED, redactor=redactor)
    return row


def lose(row: Invocation) -> None:
    """Running to unknown: the worker is gone, and nobody can say what it had done."""
    moment = now()
    message = "the worker died while the tool ran; its effect may or may not have happened"
    ending = Ending(InvocationStatus.UNKNOWN, None, message, "OutcomeUnknown", "lease_lost")
    with transaction.atomic():
        _move_row(
            row,
            InvocationStatus.UNKNOWN,
            source={InvocationStatus.RUNNING},
            silent_since=moment,
            **ending_columns(ending, PLAIN, moment),
        )
        tell(row, EventName.INVOCATION_LOST, reason="lease_lost")


def requeue(row: Invocation) -> None:
    """Running to queued again: the worker is gone, and running twice does no harm."""
    moment = now()
    with transaction.atomic():
        _move_row(
            row,
            InvocationStatus.QUEUED,
            source={InvocationStatus.RUNNING},
            silent_since=moment,
            lease_expires_at=None,
            dispatches=0,
            dispatch_after=moment + MESSAGE_TIME,
        )
        tell(row, EventName.INVOCATION_REQUEUED, reason="lease_lost")


# Housekeeping that is no transition.


def note_dispatch(row: Invocation) -> None:
    """The message was sent (again): when to send the next one, later each time."""
    wait = min(MESSAGE_TIME * 2 ** min(row.dispatches, 10), LONGEST_MESSAGE_TIME)
    Invocation.objects.filter(pk=row.pk, status=InvocationStatus.QUEUED).update(
        dispatches=row.dispatches + 1, dispatch_after=now() + wait
    )


def drop_keepsakes(moment: datetime) -> int:
    """Drop raw results whose time is over; returns how many."""
    return Invocation.objects.with_keepsakes(moment).update(result_sealed=None)


# What all of them share.


def _move_row(
    row: Invocation,
    target: InvocationStatus,
    *,
    source: Collection[str],
    silent_since: datetime | None = None,
    **columns: Any,
) -> None:
    """Move the call as this row's claim has it, and note in the row what was written."""
    row.audit_id = _move(
        row.pk, target, source=source, claimed=row.claims, silent_since=silent_since, **columns
    )
    row.status = target
    for name, value in columns.items():
        setattr(row, name, value)


def _move(
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
