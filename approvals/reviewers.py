"""Who may decide which call, and why not: the one place that knows, behind every way to decide."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import QuerySet, prefetch_related_objects

from approvals import transitions
from approvals.models import Approval
from approvals.states import ApprovalStatus

DECIDE = "approvals.decide_approval"
"""The permission to decide calls."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody can't decide: a stable code, and a sentence for the person."""

    code: str
    sentence: str


def why_not(approval: Approval, person: User, moment: datetime | None = None) -> Reason | None:
    """Why this person can't decide this call now; None if they can.

    Whoever asks about many of them gives the moment; else it is the database's.
    """
    return _never(approval, person) or _too_late(approval, moment) or _not_now(approval, person)


def why_not_reject(approval: Approval, person: User) -> Reason | None:
    """Why this person can't say no: as for a yes, but who has said yes may think better of it."""
    refused = why_not(approval, person)
    return None if refused and refused.code == "already_voted" else refused


def _never(approval: Approval, person: User) -> Reason | None:
    if not person.is_active or not person.has_perm(DECIDE):
        return Reason("permission_denied", "You don't have the permission to decide calls.")
    if person.pk in approval.requesting_side:
        return Reason(
            "self_approval", "The call was made with a key of yours; somebody else decides it."
        )
    if person.pk in approval.editors:
        return Reason("self_approval", "You edited what would run; somebody else decides it.")
    return None


def _too_late(approval: Approval, moment: datetime | None) -> Reason | None:
    if approval.status == ApprovalStatus.EXPIRED or (
        approval.is_pending and approval.expires_at <= (moment or transitions.now())
    ):
        return Reason("expired", "The time to decide this call is over.")
    if not approval.is_pending:
        return Reason("already_decided", who_won(approval))
    return None


def _not_now(approval: Approval, person: User) -> Reason | None:
    """A yes that is already given, or a stage that is somebody else's."""
    if person.pk in approval.approvers:
        return Reason("already_voted", f"You have approved it; it needs {lacking(approval)} more.")
    number = approval.standing.open_stage
    stage = approval.standing.stages[number or 0]
    if not stage.is_open_to(groups_of(person)):
        return Reason("not_in_group", f"It needs somebody of {stage.group} now.")
    return None


def lacking(approval: Approval) -> str:
    """What its stages still need: `1 of ops, then 2 of finance`."""
    return approval.standing.lacking


def who_won(approval: Approval) -> str:
    """Who decided it, and when."""
    if approval.resolved_by is None:
        return f"The call is {approval.get_status_display()} already."
    when = f"{approval.resolved_at:%Y-%m-%d %H:%M:%S} UTC"
    verb = "rejected" if approval.status == ApprovalStatus.REJECTED else "approved"
    return f"{approval.resolved_by.get_username()} {verb} this call at {when}."


def groups_of(person: User) -> frozenset[int]:
    """The person's groups; asked once for each object that stands for the person."""
    prefetch_related_objects([person], "groups")
    return frozenset(group.pk for group in person.groups.all())


def deciders() -> list[User]:
    """Everybody who is active and holds the permission to decide, with their groups."""
    holders: QuerySet[User] = get_user_model().objects.with_perm(
        DECIDE, backend="django.contrib.auth.backends.ModelBackend"
    )
    return list(holders.order_by("username").prefetch_related("groups"))


def able(approval: Approval, holders: Iterable[User]) -> list[User]:
    """The people who may decide this call as it stands now."""
    apart = approval.requesting_side | approval.editors | approval.approvers
    number = approval.standing.open_stage
    if number is None:
        return []
    stage = approval.standing.stages[number]
    return [user for user in holders if user.pk not in apart and stage.is_open_to(groups_of(user))]


def eligible(approval: Approval, holders: Iterable[User]) -> list[str]:
    """Their names."""
    return [user.get_username() for user in able(approval, holders)]
