"""By which way a notice is sent, and whether it is still of use when its turn has come."""

from collections.abc import Callable

from django.contrib.auth.models import User
from django.db.models import Q

from approvals import reviewers
from approvals.models import Approval, Channel, Notice
from approvals.notices import chat, kinds, mail, people, webhook, wording
from approvals.notices.facts import facts_of, facts_of_pending, wishes_page
from approvals.notices.faults import Taken
from approvals.notices.outbox import has_mail
from audit.models import local_now


def way_of(notice: Notice) -> Callable[[], Taken] | None:
    """How it is sent; None if it need not be any more."""
    if notice.channel is not None:
        return _way_of_channel(notice, notice.channel)
    return _way_of_person(notice, notice.recipient) if notice.recipient else None


def _way_of_channel(notice: Notice, channel: Channel) -> Callable[[], Taken] | None:
    if not channel.is_enabled and notice.kind != kinds.TEST:
        return None
    if channel.kind == Channel.Kind.WEBHOOK:
        return lambda: webhook.send(notice, channel)
    if _is_idle(notice) or (notice.kind in kinds.OUTCOMES and not _first(notice)):
        return None
    if channel.kind == Channel.Kind.SLACK:
        return lambda: chat.send(notice, channel)
    to = [word.strip() for word in channel.address.split(",") if word.strip()]
    return lambda: _mail(notice, to)


def _way_of_person(notice: Notice, person: User) -> Callable[[], Taken] | None:
    if not has_mail() or not person.is_active or not person.email:
        return None
    if notice.kind == kinds.DIGEST:
        waiting = people.waiting_for(person, local_now())
        return (lambda: _digest(notice, person, waiting)) if waiting else None
    if _is_idle(notice) or _may_not(notice, person):
        return None
    return lambda: _mail(notice, [person.email])


def _is_idle(notice: Notice) -> bool:
    """Whether it asks for a decision that has been made meanwhile."""
    approval = notice.approval
    return notice.kind in kinds.ASKS and approval is not None and not approval.is_pending


def _may_not(notice: Notice, person: User) -> bool:
    """Whether it asks somebody who may not decide the call any more."""
    approval = notice.approval
    if notice.kind not in kinds.ASKS or approval is None:
        return False
    return reviewers.why_not(approval, person) is not None


def _mail(notice: Notice, to: list[str]) -> Taken:
    facts, first = facts_of(notice), _first(notice)
    thread = first.thread if first else ""
    subject = wording.subject(facts, joins=bool(thread))
    return mail.send(notice, to, subject, wording.mail_text(facts), thread)


def _digest(notice: Notice, person: User, waiting: list[Approval]) -> Taken:
    text = wording.digest_text([facts_of_pending(one) for one in waiting], wishes_page())
    return mail.send(notice, [person.email], wording.digest_subject(len(waiting)), text)


def _first(notice: Notice) -> Notice | None:
    """The first that was sent there about the same call."""
    if notice.approval_id is None:
        return None
    earlier = Notice.objects.filter(
        Q(channel_id=notice.channel_id, recipient_id=notice.recipient_id),
        approval_id=notice.approval_id,
        status=Notice.Status.SENT,
    )
    return earlier.exclude(pk=notice.pk).order_by("created_at").first()
