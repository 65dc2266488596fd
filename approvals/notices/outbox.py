"""The outbox: notices are rows, written in the transaction of the step that they tell of.

A step that is undone takes its notices along; nothing is sent from here. One row stands for all
people together, and whoever delivers finds out who they are: the caller's transaction does not
wait for that.
"""

from typing import Any
from uuid import UUID

from django.conf import settings

from approvals.models import Approval, Invocation, Notice
from approvals.notices.kinds import ASKS, OF_CALLER, OUTCOMES, REMINDER
from approvals.notices.routes import Route, Routes, routes
from approvals.states import api_word, is_final
from audit.canonical import JSON, rfc3339
from audit.events import EventName
from audit.models import local_now

TAKEN_OVER = ("reason_to_agent", "stage", "lacking")
"""From the ledger's line: never arguments, results or private notes."""
DECISIONS = {EventName.APPROVAL_APPROVED: "approved", EventName.APPROVAL_REJECTED: "rejected"}


def has_mail() -> bool:
    """Whether there is a mail server: without one no mail is written."""
    return bool(settings.EMAIL_HOST)


def notices_of(
    row: Invocation,
    event: EventName,
    *,
    approval_id: UUID | None,
    actor: str,
    metadata: dict[str, Any],
) -> list[Notice]:
    """What is to be told of this step, not yet written; usually nothing, and that costs nothing."""
    known = routes()
    is_of_desk = approval_id is not None and (known.of_desk or has_mail())
    if row.lineage not in known.of_callers and not is_of_desk:
        return []
    if event is EventName.INVOCATION_CANCELLED and not is_final(row.status):
        return []  # It is only asked to stop.
    said: JSON = {
        "at": rfc3339(local_now()),
        "status": api_word(row.status),
        "by": actor,
        "decision": DECISIONS.get(event, ""),
        **{name: metadata[name] for name in TAKEN_OVER if name in metadata},
    }
    return [
        *_to_caller(row, event, known, approval_id, said),
        *_to_desk(row, event, known, approval_id, said),
    ]


def reminders_of(approval: Approval, by: str) -> list[Notice]:
    """What asks once more for a decision, not yet written; also the mark that it was done.

    So there is one for people even where no mail is sent: it goes to nobody then.
    """
    row = approval.invocation
    said: JSON = {"at": rfc3339(local_now()), "status": api_word(row.status), "by": by}
    to_channels = [
        _notice(row, REMINDER, approval.pk, said, channel_id=number)
        for number in channels_for(approval)
    ]
    return [_notice(row, REMINDER, approval.pk, said), *to_channels]


def channels_for(approval: Approval) -> list[int]:
    """The desk's channels in which calls like this one are told."""
    fitting = _fitting(routes().of_desk, approval.invocation, approval.pk)
    return [route.channel_id for route in fitting]


def _to_caller(
    row: Invocation, event: EventName, known: Routes, approval_id: UUID | None, said: JSON
) -> list[Notice]:
    return [
        _notice(row, kind, approval_id, said, channel_id=route.channel_id)
        for route in known.of_callers.get(row.lineage, ())
        if route.is_for(row.tool_name)
        for kind in OF_CALLER.get(event, ())
    ]


def _to_desk(
    row: Invocation, event: EventName, known: Routes, approval_id: UUID | None, said: JSON
) -> list[Notice]:
    if approval_id is None or event.value not in ASKS | OUTCOMES:
        return []
    if event is EventName.APPROVAL_VOTED and _open_stage_of(approval_id) == said.get("stage"):
        return []  # Its stage is open still: those whom it asks have been asked.
    told = [
        _notice(row, event.value, approval_id, said, channel_id=route.channel_id)
        for route in _fitting(known.of_desk, row, approval_id)
    ]
    if has_mail():
        told.append(_notice(row, event.value, approval_id, said))
    return told


def _open_stage_of(approval_id: UUID) -> int | None:
    rows = Approval.objects.select_related("invocation").prefetch_related("votes")
    return rows.get(pk=approval_id).standing.open_stage


def _fitting(desk: tuple[Route, ...], row: Invocation, approval_id: UUID) -> list[Route]:
    if not desk:
        return []
    risk = Approval.objects.values_list("risk", flat=True).get(pk=approval_id)
    return [route for route in desk if route.leads_from(row.tool_name, risk)]


def _notice(
    row: Invocation,
    kind: str,
    approval_id: UUID | None,
    said: JSON,
    channel_id: int | None = None,
) -> Notice:
    """One for a channel, or without one for all the people whom it concerns."""
    return Notice(
        kind=kind,
        channel_id=channel_id,
        approval_id=approval_id,
        invocation_id=row.pk,
        payload=said,
    )
