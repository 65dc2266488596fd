"""In which order queued calls are taken: by their tools' priority, then the oldest first.

A message is a wake-up, not an order: the worker that gets one asks here which call it is to take.
Each queue has an order of its own, because a worker need not serve all of them. A call whose tool
runs as often at once as it may stays where it is, and the next one that may run is taken.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from uuid import UUID

from approvals.dispatch import queue_of
from approvals.errors import DATABASE_AWAY
from approvals.models import Invocation
from approvals.states import InvocationStatus
from tools import registry
from tools.catalogue import Switchboard, switchboard

MOST_LOOKED_AT = 20
MOST_COUNTED = 500
"""Places in a queue are told no further than this: who is behind waits long, and knows it."""


@dataclass(slots=True)
class Passed:
    """What a worker has tried to take for one message, and could not."""

    calls: set[UUID] = field(default_factory=set)
    """Somebody else was first."""
    tools: set[str] = field(default_factory=set)
    """As many of their calls run as may."""


def next_call(asked: Invocation, board: Switchboard, passed: Passed) -> Invocation | None:
    """The call to take for a message that names `asked`; None if there is none to take.

    Among equals a message's own call goes first, so that workers don't all reach for the oldest;
    of a tool with a limit, if it is among the oldest of which so many run at once.
    """
    most = board.most_running(asked.tool_name)
    reach = min(most or 1, MOST_LOOKED_AT)
    for names in _by_urgency(_queue(asked), board, beside=asked.tool_name):
        wanted = names - passed.tools
        if most is None and asked.tool_name in wanted and _is_free(asked, passed):
            return asked
        waiting = Invocation.objects.queued().filter(tool_name__in=wanted).for_a_worker()
        if found := list(waiting.exclude(pk__in=passed.calls).order_by("pk")[:reach]):
            return next((row for row in found if row.pk == asked.pk), found[0])
    return None


def free_places(board: Switchboard) -> dict[str, int]:
    """How many more calls may run, for each tool that has a limit."""
    limited = board.limited
    if not limited:
        return {}
    running = Invocation.objects.running().filter(tool_name__in=limited).order_by()
    names = list(running.values_list("tool_name", flat=True))
    return {name: max(0, (board.most_running(name) or 0) - names.count(name)) for name in limited}


def know_positions(rows: Iterable[Invocation]) -> None:
    """Look up which places these calls have in their queues: a query for each queue, or none."""
    waiting = [row for row in rows if row.status == InvocationStatus.QUEUED]
    board = switchboard()
    for queue, group in groupby(sorted(waiting, key=_queue), key=_queue):
        places = {pk: place for place, pk in enumerate(_line(queue, board), 1)}
        for row in group:
            row.queue_position = places.get(row.pk)


def position(row: Invocation) -> int | None:
    """Which place a queued call has, 1 being the next; None if it waits for no worker, or far.

    None as well while the database does not answer: what is known of the call is told without.
    """
    if row.status != InvocationStatus.QUEUED:
        return None
    try:
        if not hasattr(row, "queue_position"):
            know_positions([row])
    except DATABASE_AWAY:
        return None
    return row.queue_position


def _is_free(asked: Invocation, passed: Passed) -> bool:
    return asked.status == InvocationStatus.QUEUED and asked.pk not in passed.calls


def _by_urgency(queue: str, board: Switchboard, *, beside: str = "") -> Iterator[set[str]]:
    """A queue's tools, those of the same priority together, the highest first.

    `beside` is one that this process may not know: its calls come to an end here all the same.
    """
    names = {name for name in registry.loaded() if queue_of(name) == queue} | {beside}
    ordered = sorted(names, key=board.priority, reverse=True)
    for _, equals in groupby(ordered, key=board.priority):
        yield set(equals)


def _line(queue: str, board: Switchboard) -> list[UUID]:
    """The calls that wait in a queue, in their order, no further than is told."""
    found: list[UUID] = []
    for names in _by_urgency(queue, board):
        waiting = Invocation.objects.queued().filter(tool_name__in=names).order_by("pk")
        found += waiting.values_list("pk", flat=True)[: MOST_COUNTED - len(found)]
    return found


def _queue(row: Invocation) -> str:
    return queue_of(row.tool_name)
