"""Reminding those who may decide a call: by hand, and at most once an hour for each call."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction

from approvals import reviewers
from approvals.models import Approval, Channel, Notice, Wishes
from approvals.notices import people
from approvals.notices.bell import ring
from approvals.notices.kinds import REMINDER
from approvals.notices.outbox import channels_for, has_mail, reminders_of
from audit import ledger
from audit.events import EventName
from audit.models import local_now

EVERY = timedelta(hours=1)


def remind(approval: Approval, person: User) -> datetime | None:
    """Remind them, in this person's name; the time from which one may again, if it was done lately.

    Two people at once: the approval's row is locked, and the second one finds the first's reminder.
    """
    moment = local_now()
    with transaction.atomic():
        Approval.objects.select_for_update().get(pk=approval.pk)
        if (again_at := reminded_until(approval, moment)) is not None:
            return again_at
        _write(approval, person)
    return None


def in_vain(approval: Approval, person: User) -> str:
    """Why no reminder of this person's would reach anybody who can decide; empty if one would."""
    able = [one for one in reviewers.able(approval, reviewers.deciders()) if one.pk != person.pk]
    if not able:
        return "Nobody else can decide it now, so nobody was reminded."
    if _reaches_a_channel(approval) or (
        has_mail() and any(people.wants(one, approval.risk) != Wishes.Mail.OFF for one in able)
    ):
        return ""
    return "Nobody was reminded: no mail goes to those who can decide it, and no channel is told."


def _reaches_a_channel(approval: Approval) -> bool:
    told = Channel.objects.filter(pk__in=channels_for(approval), is_enabled=True)
    return (told if has_mail() else told.exclude(kind=Channel.Kind.EMAIL)).exists()


def reminded_until(approval: Approval, moment: datetime) -> datetime | None:
    """The time until which nobody is reminded again; None if one may now."""
    done = Notice.objects.filter(
        approval=approval, kind=REMINDER, channel=None, recipient=None,
        created_at__gt=moment - EVERY,
    )  # fmt: skip
    last = done.order_by("-created_at").first()
    return None if last is None else last.created_at + EVERY


def _write(approval: Approval, person: User) -> None:
    row = approval.invocation
    by = person.get_username()
    Notice.objects.bulk_create(reminders_of(approval, by))
    ledger.record(
        EventName.APPROVAL_REMINDED,
        actor=by,
        tool_name=row.tool_name,
        invocation_id=row.pk,
        approval_id=approval.pk,
        session_id=row.session_id,
        source="admin",
        metadata={"requester": row.actor},
    )
    transaction.on_commit(ring)
