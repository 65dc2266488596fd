"""What of calls, their notices, their sessions and their keys may go when its time is over.

What is not over never goes: calls that are held, queued, running or unknown, notices that will
still be sent, open sessions, keys that work; nor does anything that a legal hold covers. A call
goes with its approval, its votes and its edits in one transaction, so that nobody meets half of
it. Its idempotency key is free again then.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from approvals.models import (
    Approval,
    Channel,
    DeliveryAttempt,
    Edit,
    Invocation,
    InvocationQuerySet,
    Notice,
    NoticeQuerySet,
    Vote,
)
from approvals.states import OPEN, InvocationStatus
from audit import holds
from audit.models import first_id_at
from tools.models import ApiKey, Session, SessionQuerySet
from tools.retention import batch, hold_still, spent_keys, take_keys

LASTING = OPEN | {InvocationStatus.UNKNOWN}
"""Not over: somebody or something has yet to act."""
OF_CALL = {
    "actor": "actor", "tool_name": "tool_name", "invocation_id": "pk", "session_id": "session_id",
    "at": "created_at",
}  # fmt: skip
OF_NOTICE = {
    name: "invocation_id" if path == "pk" else f"invocation__{path}"
    for name, path in OF_CALL.items()
}
OF_SESSION = {"actor": "actor", "session_id": "pk"}


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The moments before which each kind of thing must be over to go."""

    calls: datetime
    notices: datetime
    sessions: datetime
    keys: datetime


@dataclass(frozen=True, slots=True)
class Kind:
    """Tables whose rows go together, by the period of one of the cutoffs."""

    period: str
    models: tuple[type[Model], ...]
    due: Callable[[Cutoffs], Counter[str]]
    """How many rows of each table would go in a run of all kinds in their order."""
    take: Callable[[Cutoffs, int], Counter[str]]
    """Take a batch of at most so many, and what hangs on them; empty says that none is left."""


def not_over(calls: Collection[UUID]) -> set[UUID]:
    """Which of these calls are not over: the ledger keeps their events."""
    rows = Invocation.objects.filter(pk__in=calls, status__in=LASTING)
    return set(rows.values_list("pk", flat=True))


def _count(*querysets: QuerySet[Model]) -> Counter[str]:
    return Counter({rows.model._meta.label: rows.count() for rows in querysets})


def _delete(*querysets: QuerySet[Model]) -> Counter[str]:
    gone = Counter[str]()
    for rows in querysets:
        gone.update(rows.delete()[1])
    return gone


# Calls.


def _calls(at: Cutoffs) -> InvocationQuerySet:
    """Those that ended before then, and of which nothing is still to be told.

    Ids are in order of time, so that the database need not read what is younger.
    """
    untold = Notice.objects.filter(invocation=OuterRef("pk"), status=Notice.Status.WAITING)
    over = Invocation.objects.exclude(status__in=LASTING)
    old = over.filter(pk__lt=first_id_at(at.calls), finished_at__lt=at.calls)
    return old.exclude(holds.held(OF_CALL)).exclude(Exists(untold)).order_by("pk")


def _due_calls(at: Cutoffs) -> Counter[str]:
    calls = _calls(at).order_by()
    approvals = Approval.objects.filter(invocation__in=calls)
    votes = Vote.objects.filter(approval__invocation__in=calls)
    return _count(votes, Edit.objects.filter(approval__invocation__in=calls), approvals, calls)


def _take_calls(at: Cutoffs, most: int) -> Counter[str]:
    """The calls first, then their approvals, all without waiting; who is busy with one keeps it."""
    with batch():
        calls = set(hold_still(_calls(at), most))
        approvals = Approval.objects.filter(invocation__in=calls).order_by("pk")
        busy = approvals.exclude(pk__in=hold_still(approvals))
        calls -= set(busy.values_list("invocation_id", flat=True))
        calls -= set(_notices_of(calls).values_list("invocation_id", flat=True))
        approvals = Approval.objects.filter(invocation__in=calls)
        return _delete(
            Vote.objects.filter(approval__in=approvals),
            Edit.objects.filter(approval__in=approvals),
            approvals,
            Invocation.objects.filter(pk__in=calls).only("pk"),
        )


def _notices_of(calls: Collection[UUID]) -> NoticeQuerySet:
    return Notice.objects.filter(invocation__in=calls)


# Notices.


def _notices(at: Cutoffs) -> NoticeQuerySet:
    """Those that are settled and old, or whose call goes."""
    settled = Notice.objects.exclude(status=Notice.Status.WAITING)
    going = Q(created_at__lt=at.notices) | Q(invocation__in=_calls(at).order_by())
    alone = Q(invocation=None) & holds.held({"at": "created_at"})
    return settled.filter(going).exclude(holds.held(OF_NOTICE)).exclude(alone).order_by("pk")


def _due_notices(at: Cutoffs) -> Counter[str]:
    notices = _notices(at).order_by()
    return _count(DeliveryAttempt.objects.filter(notice__in=notices), notices)


def _take_notices(at: Cutoffs, most: int) -> Counter[str]:
    with batch():
        return _delete(Notice.objects.filter(pk__in=hold_still(_notices(at), most)))


# Sessions.


def _sessions(at: Cutoffs, calls: InvocationQuerySet) -> SessionQuerySet:
    """Those that were over by then, and have none of these calls."""
    over = Session.objects.filter(Q(closed_at__lt=at.sessions) | Q(ends_at__lt=at.sessions))
    in_use = Exists(calls.filter(session_id=OuterRef("pk")))
    return over.exclude(in_use).exclude(holds.held(OF_SESSION)).order_by("pk")


def _that_stay(at: Cutoffs) -> InvocationQuerySet:
    """The calls that there will be when those that may go are gone."""
    return Invocation.objects.exclude(pk__in=_calls(at).order_by()).order_by()


def _due_sessions(at: Cutoffs) -> Counter[str]:
    return _count(_sessions(at, _that_stay(at)).order_by())


def _take_sessions(at: Cutoffs, most: int) -> Counter[str]:
    with batch():
        going = hold_still(_sessions(at, Invocation.objects.order_by()), most)
        return _delete(Session.objects.filter(pk__in=going))


# Keys.


def _in_use(calls: InvocationQuerySet, sessions: QuerySet[Session]) -> Q:
    """Keys on which one of these calls or sessions hangs, or a channel."""
    return (
        Q(Exists(calls.filter(key=OuterRef("pk"))))
        | Q(Exists(sessions.filter(lineage=OuterRef("lineage"))))
        | Q(Exists(Channel.objects.filter(caller=OuterRef("pk"))))
    )


def _due_keys(at: Cutoffs) -> Counter[str]:
    calls = _that_stay(at)
    sessions = Session.objects.exclude(pk__in=_sessions(at, calls).order_by()).order_by()
    return _count(spent_keys(at.keys, _in_use(calls, sessions)).order_by())


def _take_keys(at: Cutoffs, most: int) -> Counter[str]:
    in_use = _in_use(Invocation.objects.order_by(), Session.objects.order_by())
    return take_keys(at.keys, in_use, most)


KINDS = (
    Kind("notices", (DeliveryAttempt, Notice), _due_notices, _take_notices),
    Kind("calls", (Vote, Edit, Approval, Invocation), _due_calls, _take_calls),
    Kind("sessions", (Session,), _due_sessions, _take_sessions),
    Kind("keys", (ApiKey,), _due_keys, _take_keys),
)
"""In the order in which they go: each hangs on the next."""
