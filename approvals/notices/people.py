"""Which people are told of a step by mail, and when: found out by whoever delivers."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from django.contrib.auth.models import User
from django.db.models import QuerySet, prefetch_related_objects

from approvals import reviewers
from approvals.models import Approval, Notice, Wishes
from approvals.notices.kinds import ASKS, DIGEST, REMINDER
from audit.events import EventName

DIGEST_EVERY = timedelta(minutes=15)


def spread(notice: Notice, moment: datetime) -> None:
    """One notice for each of the people whom this one concerns.

    Each has an id that follows from whom and what: to do this twice writes nothing twice.
    """
    approval = notice.approval
    if approval is None:
        return
    told = list(
        _asked(notice, approval, moment) if notice.kind in ASKS else _told(notice, approval)
    )
    Notice.objects.bulk_create(told, ignore_conflicts=True)


def wants(person: User, risk: int) -> str:
    """When mail about a call of this risk may come to this person."""
    wishes: Wishes = getattr(person, "wishes", None) or Wishes(person=person)
    if not person.email or risk < wishes.mail_least_risk:
        return Wishes.Mail.OFF
    return wishes.mail


def waiting_for(person: User, moment: datetime) -> list[Approval]:
    """What this person could decide now and wants mail about, the soonest to expire first."""
    pending = Approval.objects.with_everything().pending().filter(expires_at__gt=moment)
    return [
        approval
        for approval in pending.order_by("expires_at")
        if wants(person, approval.risk) != Wishes.Mail.OFF
        and reviewers.why_not(approval, person, moment) is None
    ]


def _asked(notice: Notice, approval: Approval, moment: datetime) -> Iterable[Notice]:
    if not approval.is_pending:
        return
    prefetch_related_objects([approval], "votes", "edits")
    able = reviewers.able(approval, reviewers.deciders())
    prefetch_related_objects(able, "wishes")
    for person in able:
        match wants(person, approval.risk):
            case Wishes.Mail.AT_ONCE if person.get_username() != _reminder(notice):
                yield _for(person, notice, _ask_of(person, notice, approval))
            case Wishes.Mail.DIGEST:
                yield _digest_for(person, moment)


def _reminder(notice: Notice) -> str:
    """Who reminds others need not be reminded."""
    return str(notice.payload["by"]) if notice.kind == REMINDER else ""


def _told(notice: Notice, approval: Approval) -> Iterable[Notice]:
    by, owner = notice.payload.get("by"), approval.invocation.key.owner
    took_it_back = notice.kind == EventName.INVOCATION_CANCELLED.value and by in (
        owner.get_username(), approval.actor
    )  # fmt: skip
    if wants(owner, approval.risk) != Wishes.Mail.OFF and owner.is_active and not took_it_back:
        yield _for(owner, notice, uuid5(notice.pk, str(owner.pk)))
    for person in who_was_asked(approval).exclude(pk=owner.pk).select_related("wishes"):
        if person.get_username() != by and wants(person, approval.risk) != Wishes.Mail.OFF:
            yield _for(person, notice, uuid5(notice.pk, str(person.pk)))


def who_was_asked(approval: Approval) -> QuerySet[User]:
    """The people to whom mail has gone that asks for a decision."""
    asked = Notice.objects.filter(
        approval=approval, channel=None, kind__in=ASKS, status=Notice.Status.SENT
    )
    return User.objects.filter(pk__in=asked.values("recipient_id"), is_active=True)


def _ask_of(person: User, notice: Notice, approval: Approval) -> UUID:
    """Nobody is asked twice about the same content at the same stage, but by a reminder."""
    if notice.kind == REMINDER:
        return uuid5(notice.pk, str(person.pk))
    content = f"{approval.standing.open_stage}:{approval.invocation.digest}"
    return uuid5(approval.pk, f"{person.pk}:{content}")


def _for(person: User, notice: Notice, name: UUID) -> Notice:
    return Notice(
        id=name,
        kind=notice.kind,
        recipient=person,
        approval_id=notice.approval_id,
        invocation_id=notice.invocation_id,
        payload=notice.payload,
    )


def _digest_for(person: User, moment: datetime) -> Notice:
    """The one mail of this quarter of an hour; it finds out itself what waits."""
    quarter = int(moment.timestamp() // DIGEST_EVERY.total_seconds()) + 1
    due = datetime.fromtimestamp(quarter * DIGEST_EVERY.total_seconds(), moment.tzinfo)
    return Notice(
        id=uuid5(UUID(int=0), f"{DIGEST}:{person.pk}:{quarter}"),
        kind=DIGEST, recipient=person, due_at=due,
    )  # fmt: skip
