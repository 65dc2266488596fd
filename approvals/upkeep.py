"""What must happen even if nobody comes by: time runs out, messages get lost, workers die.

Each function can run anywhere, any number of times at once: the transitions decide who was first.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from django.db import connection

from approvals import dispatch, order, transitions, waiting
from approvals.errors import DATABASE_AWAY, StaleTransition
from approvals.models import Approval, Invocation, InvocationQuerySet
from approvals.notices import deliver
from approvals.rulebook import rulebook
from tools import rate_limits, registry
from tools.catalogue import switchboard
from tools.errors import UnknownTool

log = logging.getLogger(__name__)

BATCH = 500
MOST_CLAIMS = 3
"""How often an idempotent call is given to another worker after its worker died."""

Row = TypeVar("Row")


def upkeep() -> None:
    """One round of everything. What fails is raised at its end: no step keeps the others waiting.

    Only where the database can't be reached at all, the first to find out ends the round.
    """
    moment = transitions.now()
    failures = [error for step in _steps(moment) if (error := _failure(step))]
    others = [error for error in failures if not isinstance(error, DATABASE_AWAY)]
    if others:
        raise ExceptionGroup("steps of upkeep failed", others)
    if failures:
        raise failures[0]


def _steps(moment: datetime) -> Iterator[Callable[[], object]]:
    yield lambda: expire_due(moment)
    yield lambda: send_unsent(moment)
    yield lambda: settle_lost(moment)
    yield void_ruled_otherwise
    yield lambda: transitions.drop_keepsakes(moment)
    yield lambda: rate_limits.forget_old(moment)
    yield lambda: deliver.catch_up(moment)


def _failure(step: Callable[[], object]) -> Exception | None:
    try:
        step()
    except Exception as error:
        if isinstance(error, DATABASE_AWAY) and connection.connection is None:
            raise
        return error
    return None


def expire_due(moment: datetime) -> int:
    """Write down what has run out of time; returns how many."""
    due = Approval.objects.expired(moment).order_by("expires_at")[:BATCH]
    return _each(due, _expire)


def send_unsent(moment: datetime) -> int:
    """Send again what no worker has come for, until the broker takes no more; returns how many.

    A broker that is away costs a round one wait, not one for each call: the rest stays due.
    """
    sent = 0
    for row in _may_be_taken(Invocation.objects.unsent(moment).order_by("id")):
        if not dispatch.send_again(row):
            break
        sent += 1
    return sent


def _may_be_taken(rows: InvocationQuerySet) -> Iterator[Invocation]:
    """The rows that a worker could take; of a tool with a limit, as many as have a place."""
    places = order.free_places(switchboard())
    yield from rows.exclude(tool_name__in=places)[:BATCH]
    for name, free in places.items():
        yield from rows.filter(tool_name=name)[:free]


def settle_lost(moment: datetime) -> int:
    """Settle calls whose worker is gone: queued again if that does no harm, else unknown."""
    return _each(Invocation.objects.lost(moment).order_by("id")[:BATCH], _settle)


def void_outdated() -> int:
    """Void what was held for a version of a tool that is no longer the current one."""
    return sum(void(row, "tool_changed") for row in Invocation.objects.of_outdated_tools())


def void_ruled_otherwise() -> int:
    """Void what is held under rules that are others by now; returns how many.

    Only for tools whose definition here is the one on record: a process with other code than the
    one that held a call must not judge it. What a round leaves is for the next.
    """
    book, switches = rulebook(fresh=True), switchboard().switches
    voided = 0
    under = Invocation.objects.held().order_by().distinct()
    for name, version_id, actor, policy_version in under.values_list(
        "tool_name", "tool_version_id", "actor", "policy_version"
    ):
        tool, switch = registry.loaded().get(name), switches.get(name)
        if tool is None or switch is None or switch.version_id != version_id:
            continue
        is_other = book.version(tool, actor) != policy_version
        if is_other and switch.schema_hash == tool.schema_hash:
            same = Invocation.objects.held().filter(
                tool_version=version_id, actor=actor, policy_version=policy_version
            )
            voided += sum(void(row, "policy_changed") for row in same.order_by("id")[:BATCH])
    return voided


def void(row: Invocation, reason: str) -> int:
    """Void this one, if nobody has moved it meanwhile, and tell whoever waits; returns how many."""
    done = _each([row], lambda one: transitions.void(one, reason))
    waiting.announce(row.pk)
    return done


def expire(approval: Approval) -> None:
    """Write down that this one's time is over, if nobody has yet."""
    _each([approval], _expire)


def _expire(approval: Approval) -> None:
    transitions.expire(approval)
    waiting.announce(approval.invocation_id)


def _settle(row: Invocation) -> None:
    if _may_run_again(row):
        transitions.requeue(row)
        dispatch.send(row)
    else:
        transitions.lose(row)
    waiting.announce(row.pk)


def _may_run_again(row: Invocation) -> bool:
    try:
        tool = registry.find(row.tool_name)
    except UnknownTool:
        return False
    wanted = row.cancel_requested_at is None and row.arguments_sealed is not None
    return wanted and tool.may_run_again and row.claims < MOST_CLAIMS


def _each(rows: Iterable[Row], step: Callable[[Row], None]) -> int:
    done = 0
    for row in rows:
        try:
            step(row)
        except StaleTransition:
            log.info("%s was moved by somebody else", row)
        else:
            done += 1
    return done
