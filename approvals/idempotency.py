"""Idempotency keys: the same call again gets the first one's outcome, and nothing runs twice.

A key belongs to the caller's lineage and stands on the invocation itself, under a unique
constraint. A refusal at the door leaves no row and so no key; a failed call of a tool that may
run again gives its key to the next one, in the transaction that writes that one.
"""

from dataclasses import dataclass

from approvals.door import Refusal, Visit
from approvals.models import Invocation
from approvals.states import FAILED, InvocationStatus

LONGEST_KEY = 255
KEY_FORM = f"1 to {LONGEST_KEY} printable characters"

CONFLICT = Refusal(
    "idempotency_conflict",
    "IdempotencyConflict",
    "idempotency key was already used with different arguments",
)
IN_PROGRESS = Refusal(
    "idempotency_conflict",
    "IdempotencyInProgress",
    "idempotency key is already in progress",
    retry_after=1,
)


def is_key(text: str) -> bool:
    """Whether the text may serve as an idempotency key."""
    return 0 < len(text) <= LONGEST_KEY and text.isprintable()


@dataclass(frozen=True, slots=True)
class Earlier:
    """The call that holds this idempotency key."""

    invocation: Invocation


def look_up(visit: Visit) -> Earlier | Refusal | None:
    """The earlier call under the visit's key, the conflict with it, or None if the key is free."""
    key = visit.call.idempotency_key
    if key is None:
        return None
    row = (
        Invocation.objects.of_lineage(visit.caller.lineage)
        .filter(idempotency_key=key)
        .select_related("approval__resolved_by")
        .first()
    )
    if row is None:
        return None
    if row.request_digest != visit.request_digest:
        return CONFLICT
    if row.status in FAILED and visit.tool.may_run_again:
        return None
    if row.status in (InvocationStatus.QUEUED, InvocationStatus.RUNNING):
        return _in_progress(visit, row)
    return Earlier(row)


def _in_progress(visit: Visit, row: Invocation) -> Earlier | Refusal:
    """A call that names its approval asks for the result and may wait; any other may not."""
    approval = row.decision_record
    if approval is not None and visit.call.approval_id == str(approval.pk):
        return Earlier(row)
    return IN_PROGRESS
