"""The worker's half: claim a call, run it, write down how it ended.

It shares with the other half nothing but the row and its id. The authority is checked again at
the claim, because hours may lie between a yes and a worker.
"""

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import close_old_connections

from approvals import transitions, vault, waiting
from approvals.door import Action
from approvals.errors import DATABASE_AWAY, StaleTransition, UnreadableArguments
from approvals.models import Invocation
from approvals.records import Ending
from approvals.rulebook import rulebook
from approvals.states import ApprovalStatus, InvocationStatus
from audit.redaction import Redactor
from sandbox.errors import SandboxUnavailable
from sandbox.outcomes import Outcome
from tools import registry, scopes
from tools.catalogue import switchboard
from tools.definition import ToolDefinition
from tools.errors import UnknownTool
from tools.models import ApiKey
from tools.workshop import run_tool

log = logging.getLogger(__name__)

PAUSES_BEFORE_GIVING_UP = (0.1, 0.3, 1.0, 2.0, 4.0)
"""Seconds between attempts to write an outcome; afterwards the reaper calls it unknown."""


def run(invocation_id: UUID) -> None:
    """Run one queued call, if it still may: at most once, whoever else tries."""
    row = Invocation.objects.select_related("approval", "tool_version").get(pk=invocation_id)
    if row.status != InvocationStatus.QUEUED:
        return
    try:
        _run_queued(row)
    except StaleTransition:
        log.info("call %s was moved by somebody else", invocation_id)
    waiting.announce(invocation_id)


def run_inline(action: Action, row: Invocation | None = None) -> tuple[Ending, int]:
    """Run a read-only action now, in a warm process; returns its ending and the attempts.

    A row, if there is one already, has its lease renewed meanwhile.
    """
    tool = action.visit.tool
    on_tick = (lambda: _still_wanted(row)) if row is not None else None
    return _attempts(tool, lambda: run_tool(tool, action.frozen, fresh=False, on_tick=on_tick))


def run_entered(action: Action, row: Invocation) -> None:
    """Run a read-only action that has a row already, and write down how it ended, once."""
    redactor = action.visit.redactor
    try:
        ending, attempts = run_inline(action, row)
    except SandboxUnavailable as error:
        ending, attempts = _not_started(error), 0
    _finish(row, ending, redactor, attempts)


def authority_lost(row: Invocation) -> str | None:
    """Why the call may not run any more, as a reason code; None if it still may."""
    try:
        tool = registry.find(row.tool_name)
    except UnknownTool:
        return "tool_gone"
    board = switchboard(fresh=True)
    switch = board.switches.get(row.tool_name)
    if switch is None or switch.version_id != row.tool_version_id:
        return "tool_changed"
    if board.closed_because(tool):
        return "tool_disabled"
    if row.policy_version != rulebook(fresh=True).version(tool, row.actor):
        return "policy_changed"
    return _key_lost(row, tool)


def _key_lost(row: Invocation, tool: ToolDefinition) -> str | None:
    usable = ApiKey.objects.usable(transitions.now()).filter(lineage=row.lineage)
    rows = list(usable.values_list("issuer", "scopes", "tools"))
    if not rows:
        return "key_revoked"
    # What a token allowed it allowed when the call was made: it is gone, its holder may not be.
    covers = any(
        (issuer or scopes.allows(held, tool.scope)) and (not named or tool.name in named)
        for issuer, held, named in rows
    )
    return None if covers else "scope_lost"


def _run_queued(row: Invocation) -> None:
    moment = transitions.now()
    approval = row.decision_record
    if approval and approval.status == ApprovalStatus.APPROVED and approval.expires_at <= moment:
        transitions.expire(approval)
        return
    if reason := authority_lost(row):
        transitions.void(row, reason)
        return
    try:
        arguments = vault.unseal(row.arguments_sealed or b"")
    except UnreadableArguments:
        transitions.void(row, "arguments_unreadable")
        return
    claimed = transitions.claim(row, moment)
    _run_claimed(claimed, registry.find(row.tool_name), arguments)


def _run_claimed(row: Invocation, tool: ToolDefinition, arguments: dict[str, Any]) -> None:
    redactor = Redactor.over(arguments, tool.redacts)

    def attempt() -> Outcome:
        return run_tool(
            tool,
            arguments,
            fresh=True,
            on_tick=lambda: _still_wanted(row),
            on_progress=lambda message: _note_progress(row, message, redactor),
        )

    try:
        ending, attempts = _attempts(tool, attempt)
    except SandboxUnavailable as error:
        ending, attempts = _not_started(error), 0
    _finish(row, ending, redactor, attempts)


def _not_started(error: SandboxUnavailable) -> Ending:
    """A call that was claimed and could not be run: nothing has happened, and it says so."""
    message = f"nothing was run: {error}"
    return Ending(InvocationStatus.KILLED, None, message, "SandboxUnavailable")


def _finish(row: Invocation, ending: Ending, redactor: Redactor, attempts: int) -> None:
    """Write the outcome, unless somebody else has ended the call meanwhile."""
    try:
        write_down(lambda: transitions.finish(row, ending, redactor, attempts))
    except StaleTransition:
        log.warning("call %s was ended by somebody else; its outcome is not kept", row.pk)


def _still_wanted(row: Invocation) -> bool:
    """Renew the lease; a database that does not answer must not end the tool's work."""
    try:
        return transitions.renew_lease(row)
    except DATABASE_AWAY:
        close_old_connections()
        return True


def _note_progress(row: Invocation, message: Any, redactor: Redactor) -> None:
    """Keep what the tool told, if the database answers: losing a hint must not end its work."""
    try:
        transitions.note_progress(row, message, redactor)
    except DATABASE_AWAY:
        close_old_connections()


def _attempts(tool: ToolDefinition, attempt: Callable[[], Outcome]) -> tuple[Ending, int]:
    """Try, and again after a failure as often as the tool allows.

    SandboxUnavailable says that nothing has run: after an attempt that did run, its ending counts.
    """
    count, ending = 0, None
    while True:
        try:
            ending = Ending.of(attempt())
        except SandboxUnavailable:
            if ending is None:
                raise
            return ending, count
        count += 1
        done = ending.status in (InvocationStatus.SUCCESS, InvocationStatus.CANCELLED)
        if done or count >= tool.attempts_allowed:
            return ending, count


def write_down(write: Callable[[], Any]) -> None:
    """Write an outcome, again and again while the database is away, within the lease."""
    for pause in PAUSES_BEFORE_GIVING_UP:
        try:
            write()
            return
        except DATABASE_AWAY:
            log.warning("the database does not answer; an outcome waits %s s", pause)
            close_old_connections()
            time.sleep(pause)
    write()
