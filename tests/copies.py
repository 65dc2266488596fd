"""Many stored calls, made from one that went through the door."""

from copy import copy
from datetime import timedelta
from typing import Any

from approvals.models import Approval, Invocation
from approvals.states import ApprovalStatus
from audit.models import local_now, new_id

BATCH = 500


def copies_of(approval: Approval, count: int, **changes: Any) -> list[Approval]:
    """So many approvals like this one, a second apart, each with a call of its own."""
    made: list[Approval] = []
    while len(made) < count:
        made += _batch(approval, min(BATCH, count - len(made)), len(made), changes)
    return made


def _batch(model: Approval, count: int, start: int, changes: dict[str, Any]) -> list[Approval]:
    calls = [_copy(model.invocation, idempotency_key=str(new_id())) for _ in range(count)]
    if changes.get("status", ApprovalStatus.PENDING) != ApprovalStatus.PENDING:
        for call in calls:
            call.status, call.finished_at = "rejected", local_now()
    approvals = [
        _copy(
            model,
            invocation=call,
            expires_at=model.expires_at + timedelta(seconds=start + number + 1),
            **changes,
        )
        for number, call in enumerate(calls)
    ]
    Invocation.objects.bulk_create(calls)
    return Approval.objects.bulk_create(approvals)


def _copy(row: Any, **changes: Any) -> Any:
    twin = copy(row)
    twin._state = copy(row._state)
    twin._state.adding = True
    twin.pk = new_id()
    for name, value in changes.items():
        setattr(twin, name, value)
    return twin
