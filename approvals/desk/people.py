"""Who sits at the desk: which calls they see, which they may decide, and what is next for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest

from approvals import reviewers
from approvals.desk.keyset import SOONEST, Fits, Reach, page_of
from approvals.models import Approval, ApprovalQuerySet, Invocation
from audit.models import local_now
from tools.models import ApiKey
from tools.pages import the_person

VIEW = "approvals.view_approval"
MOST_COUNTED = 50
MOST_LOOKED_AT = 200
"""So many of those that wait are looked at, the soonest to expire first, to find somebody's."""


def sees_all(person: User) -> bool:
    """Whether they see everybody's calls."""
    return person.has_perm(reviewers.DECIDE) or person.has_perm(VIEW)


def owns_keys(person: User) -> bool:
    """Whether they answer for somebody who calls: then they see those calls. Strangers own none."""
    return person.is_active and ApiKey.objects.filter(owner=person).exists()


def visible_to(person: User) -> ApprovalQuerySet:
    """The approvals that a person sees: all, or those of the calls of their own keys."""
    rows = Approval.objects.all()
    return rows if sees_all(person) else rows.filter(invocation__key__owner=person)


def fits(person: User, moment: datetime) -> Fits:
    """Whether a person may decide a call at this moment."""

    def may_decide(approval: Approval) -> bool:
        return reviewers.why_not(approval, person, moment) is None

    return may_decide


def not_of(person: User, rows: ApprovalQuerySet) -> ApprovalQuerySet:
    """Without the calls of the person's own keys, which they never decide."""
    keys = Q(invocation__key__owner=person) | Q(invocation__key__created_by=person)
    return rows.exclude(keys)


@dataclass(frozen=True, slots=True)
class Share:
    """What of the waiting calls somebody may decide, as far as was looked."""

    approvals: list[Approval]
    is_more: bool

    @property
    def label(self) -> str:
        """`3`, or `50+`."""
        return f"{len(self.approvals)}{'+' if self.is_more else ''}"


def share_of(person: User, most: int = MOST_COUNTED) -> Share:
    """The calls that wait for a person, the soonest to expire first; no further than counted."""
    if not person.has_perm(reviewers.DECIDE):
        return Share([], is_more=False)
    moment = local_now()
    waiting = not_of(person, Approval.objects.pending().in_time(moment)).for_a_list()
    page = page_of(waiting, SOONEST, "", Reach(most, MOST_LOOKED_AT), fits(person, moment))
    return Share(page.rows, is_more=bool(page.after))


def next_for(request: HttpRequest) -> Approval | None:
    """The next call that this person may decide, the soonest to expire first."""
    share = share_of(the_person(request), most=1)
    return share.approvals[0] if share.approvals else None


def with_arguments(approvals: Iterable[Approval]) -> list[Approval]:
    """The same, with the arguments that a sentence about each is made of, in one query."""
    found = list(approvals)
    calls = {approval.invocation_id: approval.invocation for approval in found}
    for pk, arguments in Invocation.objects.filter(pk__in=calls).values_list("pk", "arguments"):
        calls[pk].arguments = arguments
    return found
