"""Who sits at the desk, and what is next for them."""

from typing import cast

from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest

from approvals import reviewers
from approvals.models import Approval

NEXT_LOOKED_AT = 20


def the_person(request: HttpRequest) -> User:
    """Who is signed in: the admin lets nobody else this far."""
    return cast("User", request.user)


def next_for(request: HttpRequest) -> Approval | None:
    """The next call that this person may decide, the soonest to expire first."""
    person = the_person(request)
    others = Approval.objects.with_everything().exclude(
        Q(invocation__key__owner=person) | Q(invocation__key__created_by=person)
    )
    waiting = others.pending().soonest_first()[:NEXT_LOOKED_AT]
    return next((one for one in waiting if reviewers.why_not(one, person) is None), None)
