"""The verbs of agents: submit, and cancel.

`submit` is the walk of one call, a step a line. A refusal is a value, written in the ledger and
returned; only a bug or a lost race raises. Work is sent to the workers after the commit.
"""

import logging
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError, IntegrityError, transaction

from approvals import (
    dispatch,
    door,
    execution,
    idempotency,
    metrics,
    places,
    transitions,
    upkeep,
    waiting,
)
from approvals.door import Action, Call, Refusal, Visit
from approvals.errors import DATABASE_AWAY, StaleTransition
from approvals.idempotency import Earlier
from approvals.models import Approval, Invocation
from approvals.policy import Deny, Judgement, NeedsApproval
from approvals.results import Answer
from approvals.states import InvocationStatus, is_final
from audit import ledger
from audit.events import EventName
from audit.models import local_now
from sandbox.errors import SandboxUnavailable
from tools import registry
from tools.definition import ToolDefinition
from tools.errors import BudgetExceeded, LimiterUnavailable, SessionNotFound, UnknownTool
from tools.identity import Caller

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a caller waits for a run, and whether for a person too."""

    seconds: float
    for_people: bool = False


def submit(call: Call, caller: Caller, patience: Patience) -> Answer:
    """One call, from the door to its answer. Raises UnknownTool and SessionNotFound, no others.

    What can't be counted, run or recorded is not done: the answer is then `unavailable`.
    """
    try:
        tool = registry.find(call.tool_name)
    except UnknownTool:
        _tell_unknown_tool(call, caller)
        raise
    visit = door.visit_of(call, caller, tool, local_now())
    try:
        return _walk(visit, patience)
    except SessionNotFound:
        _tell_unknown_session(visit)
        raise
    except LimiterUnavailable as error:
        return _refuse(visit, Refusal("unavailable", "LimiterUnavailable", str(error), 5))
    except SandboxUnavailable as error:
        return _refuse(visit, Refusal("unavailable", "SandboxUnavailable", str(error), 5))


def _walk(visit: Visit, patience: Patience) -> Answer:
    if refusal := door.closed(visit) or door.without_idempotency_key(visit):
        return _refuse(visit, refusal)

    earlier = idempotency.look_up(visit)
    if isinstance(earlier, Refusal):
        return _refuse(visit, earlier)
    if isinstance(earlier, Earlier):
        return _replay(visit, earlier.invocation, patience)

    in_session = door.in_session(visit)
    if isinstance(in_session, Refusal):
        return _refuse(visit, in_session)
    visit = in_session
    action = door.validated(visit)
    if isinstance(action, Refusal):
        return _refuse(visit, action)
    if visit.call.approval_id is not None:
        return _redeem(action, visit.call.approval_id, patience)

    if refusal := door.out_of_scope(visit) or door.unjailed(visit):
        return _refuse(visit, refusal)
    judgement = door.judged(action)
    if isinstance(judgement.decision, Deny):
        deny = judgement.decision
        return _refuse(visit, Refusal("denied", deny.error_type, deny.message))
    count = door.counted(visit)
    try:
        refusal = door.too_many(count)
        answer = _refuse(visit, refusal) if refusal else _admitted(action, judgement, patience)
    except BudgetExceeded as error:
        door.uncount(visit, count)
        return _refuse(visit, door.over_budget(error))
    except SessionNotFound:
        door.uncount(visit, count)
        raise
    answer.count = count
    return answer


def _admitted(action: Action, judgement: Judgement, patience: Patience) -> Answer:
    """Nothing speaks against the call any more: hold it, or run it here or by a worker."""
    try:
        if isinstance(judgement.decision, NeedsApproval):
            return _hold(action, judgement, patience)
        if _runs_inline(action.visit.tool):
            with places.for_running() as has_place:
                if has_place:
                    return _run_inline(action)
        return _run_by_worker(action, patience)
    except IntegrityError:
        return _beaten(action.visit, patience)


def _refuse(visit: Visit, refusal: Refusal) -> Answer:
    """One line in the ledger, no row. A ledger that is down refuses too, only unrecorded."""
    try:
        event = ledger.record(
            EventName.INVOCATION_REFUSED,
            actor=visit.caller.actor,
            tool_name=visit.tool.name,
            status=refusal.status,
            reason=_snake_case(refusal.error_type),
            arguments=visit.call.arguments,
            error=refusal.message,
            started_at=visit.started_at,
            metadata={"caller": visit.call.metadata, "fields": list(refusal.fields)},
            session_id=visit.session_id,
            request_id=visit.call.request_id,
            source=visit.call.source,
            key_prefix=visit.caller.prefix,
            redactor=visit.redactor,
        )
        audit_id = str(event.pk)
    except DatabaseError:
        if refusal.status != "unavailable":
            raise
        audit_id = None
    metrics.refused(visit.tool.name, refusal.status)
    return Answer(refusal=refusal, visit=visit, audit_id=audit_id)


def _tell_unknown_tool(call: Call, caller: Caller) -> None:
    """Arguments for a tool that nobody knows are not kept: nobody knows what is secret in them."""
    ledger.record(
        EventName.INVOCATION_REFUSED,
        actor=caller.actor,
        tool_name=call.tool_name,
        reason="unknown_tool",
        request_id=call.request_id,
        source=call.source,
        key_prefix=caller.prefix,
    )


def _tell_unknown_session(visit: Visit) -> None:
    """A session that is not the caller's, or takes no more calls: it is charged for nothing."""
    ledger.record(
        EventName.INVOCATION_REFUSED,
        actor=visit.caller.actor,
        tool_name=visit.tool.name,
        reason="session_not_found",
        arguments=visit.call.arguments,
        metadata={"caller": visit.call.metadata, "named": visit.call.session_id},
        request_id=visit.call.request_id,
        source=visit.call.source,
        key_prefix=visit.caller.prefix,
        redactor=visit.redactor,
    )


def _replay(visit: Visit, row: Invocation, patience: Patience) -> Answer:
    """An earlier call's answer, and a line in the ledger that it was asked for again."""
    row = _waited_for(row, patience)
    _tell_asked_again(visit, row)
    return Answer(row, replayed=is_final(row.status))


def _tell_asked_again(visit: Visit, row: Invocation) -> None:
    ledger.record(
        EventName.INVOCATION_REPLAYED,
        actor=visit.caller.actor,
        tool_name=row.tool_name,
        reason="" if is_final(row.status) else "not_ended_yet",
        invocation_id=row.pk,
        request_id=visit.call.request_id,
        source=visit.call.source,
        key_prefix=visit.caller.prefix,
    )


def _redeem(action: Action, approval_id: str, patience: Patience) -> Answer:
    """The result of the call that this approval was for, if it was for exactly this action."""
    approval = _own_approval(action.visit.caller, approval_id)
    if approval is None:
        return _refuse(
            action.visit, Refusal("denied", "NotYours", "there is no such approval of yours")
        )
    row = approval.invocation
    if row.tool_name != action.visit.tool.name or row.asked_digest != action.digest_under(
        row.tool_version_number, row.policy_version
    ):
        return _refuse(
            action.visit,
            Refusal("denied", "ActionMismatch", "the approval is for another action than this"),
        )
    if row.status == InvocationStatus.HELD and approval.expires_at <= transitions.now():
        upkeep.expire(approval)
        row = _again(row.pk)
    return _replay(action.visit, row, patience)


def _own_approval(caller: Caller, approval_id: str) -> Approval | None:
    try:
        wanted = UUID(approval_id)
    except ValueError:
        return None
    approvals = Approval.objects.with_everything().filter(invocation__lineage=caller.lineage)
    return approvals.filter(pk=wanted).first()


def _hold(action: Action, judgement: Judgement, patience: Patience) -> Answer:
    held = transitions.enter_held(action, judgement)
    if held is None:
        message = "too many of your calls wait for a person already"
        return _refuse(action.visit, Refusal("rate_limited", "RateLimited", message, 60))
    row = _again(held.approval.invocation_id)
    if not held.is_new:
        _tell_asked_again(action.visit, row)
    return Answer(_waited_for(row, patience))


def _runs_inline(tool: ToolDefinition) -> bool:
    """Reading may happen here, in a warm process; everything else is the workers' business.

    It holds a thread of the server, so only so much of it happens at once (see `places`).
    """
    return tool.is_read_only and not (tool.isolated or tool.secrets)


def _run_inline(action: Action) -> Answer:
    """Run a read-only call and write it once, when it ends; its result waits for that row.

    Under an idempotency key the row comes first, so that a twin finds the key taken; in a session
    too, so that it is charged before it runs.
    """
    if action.visit.call.idempotency_key is None and action.visit.session is None:
        started_at = local_now()
        ending, attempts = execution.run_inline(action)
        row = transitions.enter_finished(action, ending, attempts, started_at)
        return Answer(row, ending=ending)
    row = transitions.enter_running(action)
    execution.run_entered(action, row)
    return Answer(_again(row.pk))


def _run_by_worker(action: Action, patience: Patience) -> Answer:
    row = transitions.enter_queued(action)
    transaction.on_commit(lambda: dispatch.send(row))
    return Answer(_waited_for(row, patience))


def _beaten(visit: Visit, patience: Patience) -> Answer:
    """Another call with the same idempotency key was written first: answer as its twin."""
    earlier = idempotency.look_up(visit)
    if isinstance(earlier, Earlier):
        return _replay(visit, earlier.invocation, patience)
    return _refuse(visit, earlier or idempotency.IN_PROGRESS)


def cancel(row: Invocation, *, by: str) -> bool:
    """Take a call back; a running one is asked to stop. False once it has ended."""
    try:
        transitions.cancel(row, by=by)
        stopped = True
    except StaleTransition:
        stopped = transitions.ask_to_stop(row, by=by)
    waiting.announce(row.pk)
    return stopped


# Waiting.


def when_moved(row: Invocation, seconds: float) -> Invocation:
    """The call at its end, or as soon as a person has decided, or when the time is over."""
    if row.status == InvocationStatus.HELD:
        moved = waiting.wait_until(lambda: _moved(row.pk, InvocationStatus.HELD), row.pk, seconds)
        return moved or _again(row.pk)
    return _when_final(row, seconds)


def _waited_for(row: Invocation, patience: Patience) -> Invocation:
    """The call at its end, as far as the caller's patience goes; none at all: as it was written."""
    waits_for_people = row.status == InvocationStatus.HELD
    if not patience.seconds or (waits_for_people and not patience.for_people):
        return row
    return _when_final(row, patience.seconds)


def _when_final(row: Invocation, seconds: float) -> Invocation:
    if is_final(row.status):
        return row
    try:
        return waiting.wait_until(lambda: _final(row.pk), row.pk, seconds) or _again(row.pk)
    except DATABASE_AWAY:
        return row  # The call is on record: its caller learns where to look again.


def _again(invocation_id: UUID) -> Invocation:
    return Invocation.objects.select_related("approval__resolved_by").get(pk=invocation_id)


def _final(invocation_id: UUID) -> Invocation | None:
    row = _again(invocation_id)
    return row if is_final(row.status) else None


def _moved(invocation_id: UUID, away_from: InvocationStatus) -> Invocation | None:
    row = _again(invocation_id)
    return row if row.status != away_from else None


def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
