"""Into the house: a call's first row, in whichever status it gets past the door.

A call of a session is charged in the transaction that writes its row: both happen or neither.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction

from approvals import vault
from approvals.door import Action
from approvals.errors import StaleTransition
from approvals.holding import new_approval
from approvals.models import Approval, Invocation
from approvals.policy import Judgement
from approvals.records import Ending, ending_columns, new_row, tell, tell_finished
from approvals.states import ApprovalStatus, InvocationStatus
from approvals.transitions.closing import expire
from approvals.transitions.moves import MESSAGE_TIME, now
from approvals.transitions.running import LEASE
from audit.events import EventName
from audit.models import local_now
from tools import sessions
from tools.models import ApiKey


def enter_finished(
    action: Action, ending: Ending, attempts: int, started_at: datetime
) -> Invocation:
    """Write a read-only call that has just run: row and outcome in one statement."""
    row = new_row(action, ending.status, attempts=attempts, started_at=started_at)
    redactor = action.visit.redactor
    for name, value in ending_columns(ending, redactor, local_now()).items():
        setattr(row, name, value)
    tell_finished(row, ending, redactor, beside=[row])
    return row.known_without_approval()


def enter_running(action: Action) -> Invocation:
    """Write a read-only call about to run here, because an idempotency key must be held first."""
    moment = now()
    row = new_row(action, InvocationStatus.RUNNING, started_at=moment, claims=1)
    row.lease_expires_at = moment + LEASE
    with transaction.atomic():
        _charge(action)
        _free_the_key_of_a_failed_twin(action)
        tell(row, EventName.INVOCATION_STARTED, beside=[row], redactor=action.visit.redactor)
    return row.known_without_approval()


def enter_queued(action: Action) -> Invocation:
    """Write a call that may run; the row is the outbox from which it is sent."""
    row = new_row(action, InvocationStatus.QUEUED)
    row.arguments_sealed = vault.seal(action.frozen)
    row.dispatch_after = now() + MESSAGE_TIME
    with transaction.atomic():
        _charge(action)
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
        kin = ApiKey.objects.select_for_update(no_key=True).filter(lineage=visit.caller.lineage)
        list(kin.order_by("pk"))  # No key: who has charged the session must be able to name one.
        held = Invocation.objects.held().of_lineage(visit.caller.lineage)
        if visit.call.idempotency_key is None:
            for twin in held.filter(asked_digest=action.digest()).select_related("approval"):
                if twin.approval.expires_at > moment:
                    return Held(twin.approval, is_new=False)
                with suppress(StaleTransition):  # Somebody else has moved it: it waits no more.
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


def _charge(action: Action) -> None:
    if action.visit.session is not None:
        sessions.charge(action.visit.session)


def _new_held(action: Action, judgement: Judgement, moment: datetime) -> Approval:
    _charge(action)
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
