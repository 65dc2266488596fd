"""Saying what became of a call whose outcome nobody knew: by a person, with what they have seen.

Whoever may decide calls may say it, but not of a call of their own keys. What failed may be asked
for once more, and what is done is done: the side that wants the effect does not say which it was.
"""

from django.contrib.auth.models import User

from approvals import reviewers, transitions, waiting
from approvals.errors import StaleTransition
from approvals.models import Invocation
from approvals.reviewers import Reason
from approvals.states import InvocationStatus

LONGEST_NOTE = 10_000


def why_not(row: Invocation, person: User) -> Reason | None:
    """Why this person can't say what became of this call; None if they can."""
    if not person.is_active or not person.has_perm(reviewers.DECIDE):
        return Reason("permission_denied", "You don't have the permission to decide calls.")
    if person.pk in row.key.people_behind:
        return Reason(
            "self_approval", "The call was made with a key of yours; somebody else reconciles it."
        )
    return None if row.status == InvocationStatus.UNKNOWN else _settled(row)


def reconcile(
    row: Invocation, *, succeeded: bool, note: str, by: str, source: str, request_id: str = ""
) -> Reason | None:
    """Write down what became of it, and tell whoever waits; or why that can't be done any more."""
    try:
        transitions.reconcile(
            row, succeeded=succeeded, note=note, by=by, source=source, request_id=request_id
        )
    except StaleTransition:
        row.refresh_from_db(fields=["status", "reason"])
        return _settled(row)
    waiting.announce(row.pk)
    return None


def _settled(row: Invocation) -> Reason:
    already = "reconciled already, " if row.reason == transitions.RECONCILED else ""
    return Reason("not_unknown", f"The call is {already}{row.get_status_display()}.")
