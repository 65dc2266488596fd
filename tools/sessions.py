"""Sessions: opened with budgets, charged call by call, closed; the ledger is told.

A charge is one conditional UPDATE, made in the transaction that writes the call. So of many calls
at once no more pass than there is room for, a call that is not written costs nothing, and after
a session is closed there is none that it has not seen. If the database does not answer, nothing
is charged and nothing runs.
"""

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from audit import ledger
from audit.events import EventName
from tools.budgets import Budgets, within
from tools.errors import BudgetExceeded, SessionNotFound, TooManySessions
from tools.identity import Caller
from tools.models import ApiKey, Session

MOST_OPEN = 100
"""Sessions that a caller may have at a time; one counts for a minute, however short it was."""
SHORTEST_STAY = timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)


@transaction.atomic
def open_session(
    caller: Caller, asked: Mapping[str, Any], *, request_id: str = "", source: str = ""
) -> Session:
    """A new session of the caller; ValueError where its budgets can't be, or TooManySessions.

    The caller's keys are locked meanwhile, so that the number of its sessions can't be raced.
    """
    kin = ApiKey.objects.select_for_update(no_key=True).filter(lineage=caller.lineage)
    found = kin.order_by("pk").values_list("pk", "ceilings", Now())
    keys = {pk: (ceilings, now) for pk, ceilings, now in found}
    ceilings, now = keys[caller.key_id]
    budgets = within(asked, Budgets(**ceilings))
    recently = now - SHORTEST_STAY
    lasting = Q(closed_at__isnull=True, ends_at__gt=now) | Q(created_at__gt=recently)
    kept = Session.objects.of_lineage(caller.lineage).filter(lasting, ends_at__gt=recently)
    if kept.count() >= MOST_OPEN:
        raise TooManySessions
    row = Session(
        lineage=caller.lineage,
        actor=caller.actor,
        key_prefix=caller.prefix,
        config=budgets.describe(),
        created_at=now,
        ends_at=now + budgets.timeout_ms * MILLISECOND,
    )
    ledger.record(
        EventName.SESSION_CREATED,
        actor=caller.actor,
        session_id=row.pk,
        request_id=request_id,
        source=source,
        key_prefix=caller.prefix,
        metadata={"config": row.config},
        beside=[row],
    )
    return row


def find(lineage: UUID, session_id: UUID | str) -> Session:
    """The caller's session, open or not; SessionNotFound for others', unknown ones and nonsense."""
    try:
        wanted = UUID(str(session_id))
    except ValueError:
        raise SessionNotFound from None
    row = Session.objects.of_lineage(lineage).filter(pk=wanted).first()
    if row is None:
        raise SessionNotFound
    return row


def charge(session: Session) -> None:
    """Take one call from the session's budget; BudgetExceeded, or SessionNotFound once closed.

    Output counts when it is there, so the call that passes its budget is the last one let in.
    """
    budgets = session.budgets
    with_room = Session.objects.open().filter(
        pk=session.pk,
        tool_calls__lt=budgets.max_tool_calls,
        output_bytes__lt=budgets.max_output_bytes,
    )
    if with_room.update(tool_calls=F("tool_calls") + 1) != 1:
        _refuse(session.pk)


def note_output(session_id: UUID, size: int) -> None:
    """Count the bytes of a result that a call of the session has come to."""
    Session.objects.filter(pk=session_id).update(output_bytes=F("output_bytes") + size)


def size_of(data: Any) -> int:
    """The bytes of a result as compact JSON in UTF-8; none for a call that has none."""
    if data is None:
        return 0
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode(errors="surrogatepass"))


@transaction.atomic
def close(session: Session, *, by: str, request_id: str = "", source: str = "") -> bool:
    """Let the session take no more calls; False if it was closed already."""
    still_open = Session.objects.filter(pk=session.pk, closed_at__isnull=True)
    if not still_open.update(closed_at=Now()):
        return False
    session.refresh_from_db()
    ledger.record(
        EventName.SESSION_CLOSED,
        actor=by,
        session_id=session.pk,
        request_id=request_id,
        source=source,
        key_prefix=session.key_prefix,
        metadata={"tool_calls": session.tool_calls, "output_bytes": session.output_bytes},
    )
    return True


def _refuse(session_id: UUID) -> None:
    """Say why the session takes no call, in the words that the RLM gateway's clients know."""
    row = Session.objects.with_clock().filter(pk=session_id, closed_at__isnull=True).first()
    if row is None:
        raise SessionNotFound
    budgets, seconds = row.budgets, math.ceil((row.ends_at - row.asked_at).total_seconds())
    if row.tool_calls >= budgets.max_tool_calls:
        what = f"Tool call budget exceeded: {row.tool_calls} >= {budgets.max_tool_calls}"
    elif row.output_bytes >= budgets.max_output_bytes:
        what = f"Output budget exceeded: {row.output_bytes} >= {budgets.max_output_bytes}"
    else:
        elapsed = max((row.asked_at - row.created_at) // MILLISECOND, budgets.timeout_ms)
        what = f"Timeout exceeded: {elapsed}ms >= {budgets.timeout_ms}ms"
    raise BudgetExceeded(what, seconds)
