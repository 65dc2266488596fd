"""The worker's half: claim a call, run it, write down how it ended.

It shares with the other half nothing but the row and its id. The authority is checked again at
the claim, because hours may lie between a yes and a worker.
"""

import hmac
import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import close_old_connections

from approvals import dispatch, order, transitions, vault, waiting
from approvals.digests import digest_of_row
from approvals.door import Action
from approvals.errors import DATABASE_AWAY, NoPlace, StaleTransition, UnreadableArguments
from approvals.models import Invocation
from approvals.order import Passed
from approvals.records import Ending
from approvals.rulebook import rulebook
from approvals.states import ApprovalStatus, InvocationStatus
from audit.redaction import Redactor
from sandbox.errors import SandboxUnavailable
from sandbox.outcomes import Outcome
from tools import registry, scopes
from tools.catalogue import Switchboard, switchboard
from tools.definition import ToolDefinition
from tools.errors import SecretUnavailable, UnknownTool
from tools.models import ApiKey
from tools.workshop import run_tool

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds between the first attempt of a tool and the second, and at most between any two."""
TICK = 0.5
"""Seconds between two looks whether a call that waits for its next attempt is still wanted."""
STOPPED_BETWEEN_ATTEMPTS = Ending(
    InvocationStatus.CANCELLED, None, "the call was cancelled before its next attempt", "Cancelled"
)
PAUSES_BEFORE_GIVING_UP = (0.1, 0.3, 1.0, 2.0, 4.0)
"""Seconds between attempts to write an outcome; afterwards the reaper calls it unknown."""


def run(invocation_id: UUID) -> None:
    """Take the call whose turn it is, and run it if it still may: once, whoever else tries.

    The message's own call, mostly; see `order`. For so many messages so many calls are taken.
    """
    asked = Invocation.objects.for_a_worker().filter(pk=invocation_id).first()
    if asked is None:
        log.warning("a message names a call that there is not: %s", invocation_id)
        return
    board, passed = switchboard(fresh=True), Passed()
    while row := order.next_call(asked, board, passed):
        try:
            _run_queued(row, board)
        except NoPlace:
            passed.tools.add(row.tool_name)
        except StaleTransition:
            log.info("call %s was moved by somebody else", row.pk)
            passed.calls.add(row.pk)
        else:
            _make_way(row, board)
            return


def _make_way(row: Invocation, board: Switchboard) -> None:
    """Tell whoever waits for the call, and send for the one that waits for its place."""
    waiting.announce(row.pk)
    if board.most_running(row.tool_name) is not None:
        dispatch.send_waiting(row.tool_name)


def run_inline(action: Action, row: Invocation | None = None) -> tuple[Ending, int]:
    """Run a read-only action now, in a warm process; returns its ending and the attempts.

    A row, if there is one already, has its lease renewed meanwhile.
    """
    tool = action.visit.tool
    if row is None:
        return _attempts(tool, lambda: run_tool(tool, action.frozen, fresh=False))
    wanted = partial(_still_wanted, row)
    return _attempts(
        tool, lambda: run_tool(tool, action.frozen, fresh=False, on_tick=wanted), wanted
    )


def run_entered(action: Action, row: Invocation) -> None:
    """Run a read-only action that has a row already, and write down how it ended, once."""
    redactor = action.visit.redactor
    try:
        ending, attempts = run_inline(action, row)
    except SandboxUnavailable as error:
        ending, attempts = _not_started(error), 0
    _finish(row, ending, redactor, attempts)


def authority_lost(
    row: Invocation, board: Switchboard | None = None, moment: datetime | None = None
) -> str | None:
    """Why the call may not run any more, as a reason code; None if it still may.

    By these switches and at this moment, or as they stand now.
    """
    try:
        tool = registry.find(row.tool_name)
    except UnknownTool:
        return "tool_gone"
    board = board or switchboard(fresh=True)
    switch = board.switches.get(row.tool_name)
    if switch is None or switch.version_id != row.tool_version_id:
        return "tool_changed"
    if board.closed_because(tool):
        return "tool_disabled"
    if row.policy_version != rulebook(fresh=True).version(tool, row.actor):
        return "policy_changed"
    return _key_lost(row, tool, moment or transitions.now())


def _key_lost(row: Invocation, tool: ToolDefinition, moment: datetime) -> str | None:
    usable = ApiKey.objects.usable(moment).filter(lineage=row.lineage)
    rows = list(usable.values_list("issuer", "scopes", "tools"))
    if not rows:
        return "key_revoked"
    # What a token allowed it allowed when the call was made: it is gone, its holder may not be.
    covers = any(
        (issuer or scopes.allows(held, tool.scope)) and (not named or tool.name in named)
        for issuer, held, named in rows
    )
    return None if covers else "scope_lost"


def _run_queued(row: Invocation, board: Switchboard) -> None:
    moment = transitions.now()
    approval = row.decision_record
    if approval and approval.status == ApprovalStatus.APPROVED and approval.expires_at <= moment:
        transitions.expire(approval)
        return
    if reason := authority_lost(row, board, moment):
        transitions.void(row, reason)
        return
    try:
        arguments = vault.unseal(row.arguments_sealed or b"")
    except UnreadableArguments:
        transitions.void(row, "arguments_unreadable")
        return
    if not hmac.compare_digest(digest_of_row(row, arguments), row.digest):
        transitions.void(row, "arguments_changed")  # Sealed by us, but not for this call.
        return
    is_limited = board.most_running(row.tool_name) is not None
    claimed = transitions.claim(row, moment, is_limited=is_limited)
    _run_claimed(claimed, registry.find(row.tool_name), arguments)


def _run_claimed(row: Invocation, tool: ToolDefinition, arguments: dict[str, Any]) -> None:
    redactor = Redactor.over(arguments, tool.redacts)
    wanted = partial(_still_wanted, row)

    def attempt() -> Outcome:
        return run_tool(
            tool,
            arguments,
            fresh=True,
            on_tick=wanted,
            on_progress=lambda message: _note_progress(row, message, redactor),
        )

    try:
        ending, attempts = _attempts(tool, attempt, wanted)
    except SandboxUnavailable as error:
        ending, attempts = _not_started(error), 0
    _finish(row, ending, redactor, attempts)


def _not_started(error: SandboxUnavailable) -> Ending:
    """A call that was claimed and could not be run: nothing has happened, and it says so."""
    message = f"nothing was run: {error}"
    is_secret = isinstance(error, SecretUnavailable)
    kind = "SecretUnavailable" if is_secret else "SandboxUnavailable"
    return Ending(InvocationStatus.KILLED, None, message, kind)


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


def _attempts(
    tool: ToolDefinition, attempt: Callable[[], Outcome], wanted: Callable[[], bool] = lambda: True
) -> tuple[Ending, int]:
    """Try, and after a pause again as often as the tool allows, while the call is wanted.

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
        if not _pause(seconds_before_attempt(count + 1), wanted):
            return STOPPED_BETWEEN_ATTEMPTS, count


def seconds_before_attempt(number: int) -> float:
    """How long to wait before the second attempt or a later one: twice as long each time.

    Up to half of it is left to chance, so that calls which failed together don't come together.
    """
    longest: float = min(FIRST_PAUSE * 2 ** (number - 2), LONGEST_PAUSE)
    return longest * (0.5 + random.random() / 2)  # noqa: S311 (not a secret)


def _pause(seconds: float, wanted: Callable[[], bool]) -> bool:
    """Wait, and renew the lease meanwhile; False as soon as the call is wanted no more."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not wanted():
            return False
        time.sleep(min(left, TICK))
    return wanted()


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
