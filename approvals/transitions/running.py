"""The worker's arrows: claim, renew, finish; and what becomes of a call whose worker died."""

import os
import socket
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from approvals.errors import NoPlace, StaleTransition
from approvals.models import Approval, Invocation
from approvals.records import Ending, ending_columns, tell, tell_finished
from approvals.states import ApprovalStatus, InvocationStatus
from approvals.transitions.moves import MESSAGE_TIME, move_row, now
from audit.events import EventName
from audit.models import new_id
from audit.redaction import PLAIN, Redactor
from tools import sessions
from tools.models import Tool

LONGEST_MESSAGE_TIME = timedelta(minutes=2)
LEASE = timedelta(seconds=15)
"""How long a worker may be silent before its call counts as lost."""


def claim(row: Invocation, moment: datetime, *, is_limited: bool = False) -> Invocation:
    """Queued to running, and the approval consumed: the one run that it allows begins here.

    Of a tool with a limit, NoPlace if as many of its calls run as may.
    """
    with transaction.atomic():
        if is_limited:
            _take_place(row.tool_name)
        approval = row.decision_record
        if approval is not None and row.claims == 0:
            _consume(approval, moment)
        move_row(
            row,
            InvocationStatus.RUNNING,
            source={InvocationStatus.QUEUED},
            claims=row.claims + 1,
            started_at=moment,
            worker=this_process(),
            lease_expires_at=moment + LEASE,
        )
        tell(row, EventName.INVOCATION_STARTED)
    return row


def this_process() -> str:
    """Where a call runs, as people look for it: the machine's name and the process's number."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"


def _take_place(tool_name: str) -> None:
    """Look whether another call may run, with the tool's row locked until this one counts too."""
    tools = Tool.objects.select_for_update(no_key=True).filter(name=tool_name)
    most = tools.values_list("max_running", flat=True).get()
    running = Invocation.objects.running().filter(tool_name=tool_name).order_by()
    if most is not None and running[:most].count() >= most:
        raise NoPlace


def _consume(approval: Approval, moment: datetime) -> None:
    used = Approval.objects.filter(
        pk=approval.pk, status=ApprovalStatus.APPROVED, expires_at__gt=moment
    ).update(status=ApprovalStatus.CONSUMED)
    if used != 1:
        raise StaleTransition


def renew_lease(row: Invocation) -> bool:
    """Say that the worker lives; False once the lease is lost or the call is to be stopped."""
    mine = Invocation.objects.running().filter(pk=row.pk, claims=row.claims)
    return bool(mine.filter(cancel_requested_at=None).update(lease_expires_at=now() + LEASE))


def note_progress(row: Invocation, message: Any, redactor: Redactor) -> None:
    """Keep the last thing that the running tool told of itself."""
    mine = Invocation.objects.running().filter(pk=row.pk, claims=row.claims)
    mine.update(progress=redactor(message))


def ask_to_stop(row: Invocation, *, by: str) -> bool:
    """Ask the worker that runs the call to end its process, once; False if it runs no more."""
    with transaction.atomic():
        asked = (
            Invocation.objects.running()
            .filter(pk=row.pk, cancel_requested_at=None)
            .update(cancel_requested_at=now())
        )
        if asked:
            row.refresh_from_db()
            tell(
                row,
                EventName.INVOCATION_CANCELLED,
                actor=by,
                reason="cancel_requested",
                event_id=new_id(),
            )
    return bool(asked) or Invocation.objects.running().filter(pk=row.pk).exists()


def finish(row: Invocation, ending: Ending, redactor: Redactor, attempts: int) -> Invocation:
    """Running to its end, by the worker that holds the lease, arguments dropped."""
    moment = now()
    cost = None if row.session_id is None else sessions.size_of(ending.data)
    with transaction.atomic():
        move_row(
            row,
            InvocationStatus(ending.status),
            source={InvocationStatus.RUNNING},
            attempts=attempts,
            output_bytes=cost,
            **ending_columns(ending, redactor, moment),
        )
        if row.session_id is not None and cost:
            sessions.note_output(row.session_id, cost)
        tell_finished(row, ending, redactor)
    return row


def lose(row: Invocation) -> None:
    """Running to unknown: the worker is gone, and nobody can say what it had done."""
    moment = now()
    message = "the worker died while the tool ran; its effect may or may not have happened"
    ending = Ending(InvocationStatus.UNKNOWN, None, message, "OutcomeUnknown", "lease_lost")
    with transaction.atomic():
        move_row(
            row,
            InvocationStatus.UNKNOWN,
            source={InvocationStatus.RUNNING},
            silent_since=moment,
            **ending_columns(ending, PLAIN, moment),
        )
        tell(row, EventName.INVOCATION_LOST, reason="lease_lost")


def requeue(row: Invocation) -> None:
    """Running to queued again: the worker is gone, and running twice does no harm."""
    moment = now()
    with transaction.atomic():
        move_row(
            row,
            InvocationStatus.QUEUED,
            source={InvocationStatus.RUNNING},
            silent_since=moment,
            lease_expires_at=None,
            dispatches=0,
            dispatch_after=moment + MESSAGE_TIME,
        )
        tell(row, EventName.INVOCATION_REQUEUED, reason="lease_lost")


def note_dispatch(row: Invocation) -> None:
    """The message was sent (again): when to send the next one, later each time."""
    wait = min(MESSAGE_TIME * 2 ** min(row.dispatches, 10), LONGEST_MESSAGE_TIME)
    Invocation.objects.filter(pk=row.pk, status=InvocationStatus.QUEUED).update(
        dispatches=row.dispatches + 1, dispatch_after=now() + wait
    )


def drop_keepsakes(moment: datetime) -> int:
    """Drop raw results whose time is over; returns how many."""
    return Invocation.objects.with_keepsakes(moment).update(result_sealed=None)
