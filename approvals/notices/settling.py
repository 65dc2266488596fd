"""What comes of an attempt: it is sent, sent again later, or given up; and its channel with it."""

import logging
import random
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from approvals.models import Channel, DeliveryAttempt, Notice
from approvals.notices import kinds, routes
from approvals.notices.faults import Taken, Undelivered
from approvals.notices.outbox import has_mail
from approvals.notices.posting import GONE
from audit import ledger
from audit.canonical import JSON
from audit.events import EventName
from audit.models import local_now

log = logging.getLogger(__name__)

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=3)
OTHERS_WAIT = timedelta(seconds=60)
"""How long a failing place is left alone, at most: what it refuses must not stop the rest."""
GIVEN_UP_AFTER = timedelta(days=3)


def sent(notice: Notice, taken: Taken, attempt: DeliveryAttempt) -> None:
    """It was taken: so the place works."""
    with transaction.atomic():
        attempt.save(force_insert=True)
        settle(notice, Notice.Status.SENT, thread=taken.thread)
        if notice.channel is not None and notice.channel.failing_since is not None:
            Channel.objects.filter(pk=notice.channel.pk).update(failing_since=None)


def failed(notice: Notice, fault: Undelivered, attempt: DeliveryAttempt) -> None:
    """It was not: again later, or never; and the place is left alone for a while."""
    moment = local_now()
    log.info("notice %s was not taken: %s %s", notice.pk, fault.phase, fault.code or "")
    with transaction.atomic():
        attempt.save(force_insert=True)
        if notice.kind == kinds.TEST:
            settle(notice, Notice.Status.FAILED)
            return
        if fault.is_final or moment - notice.created_at > GIVEN_UP_AFTER:
            settle(notice, Notice.Status.FAILED)
        else:
            _again(notice, moment + wait_after(notice.attempts))
        if fault.is_of_channel:
            _leave_alone(notice, moment + OTHERS_WAIT)
        if notice.channel is not None:
            _note_failure(notice.channel, fault, moment, since=notice.created_at)


def dropped(notice: Notice) -> None:
    """It is of no use any more. If nothing else waits there, nothing is known to fail either."""
    with transaction.atomic():
        settle(notice, Notice.Status.DROPPED)
        if notice.channel is not None and notice.channel.failing_since is not None:
            waiting = Notice.objects.filter(channel=notice.channel, status=Notice.Status.WAITING)
            if not waiting.exists():
                Channel.objects.filter(pk=notice.channel.pk).update(failing_since=None)


def wait_after(attempts: int) -> timedelta:
    """How long until the next attempt: twice as long each time, and never quite alike."""
    wait: timedelta = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), LONGEST_WAIT)
    return wait * random.uniform(0.75, 1.25)  # noqa: S311 - it only spreads the load


def settle(notice: Notice, status: Notice.Status, **columns: object) -> None:
    """The end of it, unless somebody else has claimed it meanwhile."""
    mine = Notice.objects.filter(pk=notice.pk, attempts=notice.attempts)
    mine.update(status=status, lease_expires_at=None, **columns)


def _again(notice: Notice, due_at: datetime) -> None:
    mine = Notice.objects.filter(pk=notice.pk, attempts=notice.attempts)
    mine.update(due_at=due_at, lease_expires_at=None)


def _leave_alone(notice: Notice, until: datetime) -> None:
    """Put off what else is due there: one attempt tells how all would fare."""
    until = min(until, local_now() + wait_after(notice.attempts))
    others = Notice.objects.due(until).filter(Q(channel_id=notice.channel_id)).exclude(pk=notice.pk)
    others.update(due_at=until)


def _note_failure(
    channel: Channel, fault: Undelivered, moment: datetime, *, since: datetime
) -> None:
    """Since when it fails; if it says that it is gone, or if three days have brought nothing, of
    which this message was tried for all, it is switched off.
    """
    Channel.objects.filter(pk=channel.pk, failing_since=None).update(failing_since=moment)
    since = max(since, channel.failing_since or moment)
    if fault.code == GONE:
        disable(channel, "the receiver says that it is gone (410)")
    elif moment - since > GIVEN_UP_AFTER:
        disable(channel, "nothing could be delivered for three days")


def disable(channel: Channel, because: str) -> None:
    """Switch it off, write that down, and tell the superusers."""
    with transaction.atomic():
        mine = Channel.objects.filter(pk=channel.pk, is_enabled=True)
        if not mine.update(is_enabled=False, disabled_because=because):
            return
        metadata = {"channel": channel.name, "because": because}
        ledger.record(EventName.CHANNEL_DISABLED, reason="undeliverable", metadata=metadata)
        _tell_superusers(channel, because)
        transaction.on_commit(routes.forget)


def _tell_superusers(channel: Channel, because: str) -> None:
    if not has_mail():
        return
    superusers = User.objects.filter(is_superuser=True, is_active=True).exclude(email="")
    said: JSON = {"channel": channel.name, "because": because}
    Notice.objects.bulk_create(
        Notice(kind=EventName.CHANNEL_DISABLED.value, recipient=person, payload=said)
        for person in superusers
    )
