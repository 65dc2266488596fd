"""Sending a queued call to the workers: after the commit, quickly, and without fear of failure.

The queued row is the outbox. A message that can't be sent, or gets lost, is sent again from
there; a worker that gets two finds the row claimed.
"""

import logging

from celery import current_app

from approvals import transitions
from approvals.models import Invocation
from tools import registry
from tools.errors import UnknownTool

log = logging.getLogger(__name__)

RUN_TASK = "approvals.run"


def send(row: Invocation) -> bool:
    """Send the call's id to its queue; False if the broker did not take it."""
    try:
        current_app.send_task(
            RUN_TASK, args=[str(row.pk)], queue=queue_of(row.tool_name), retry=False
        )
    except Exception as error:  # Whatever a broker's client raises, the row is the truth.
        log.warning("call %s waits for the broker: %s", row.pk, type(error).__name__)
        return False
    return True


def send_again(row: Invocation) -> bool:
    """Send what no worker has come for, and put off the next time; False if it was not taken.

    What was not taken stays due: after hours without a broker it is sent as soon as there is one.
    """
    taken = send(row)
    if taken:
        transitions.note_dispatch(row)
    return taken


def send_waiting(tool_name: str) -> None:
    """Send what has waited longest for a place of this tool, because one has become free."""
    if row := Invocation.objects.queued().filter(tool_name=tool_name).order_by("pk").first():
        send_again(row)


def queue_of(tool_name: str) -> str:
    """The queue by risk, so that an operator may run each on its own machines."""
    try:
        tool = registry.find(tool_name)
    except UnknownTool:
        return "default"
    if tool.side_effects.destructive:
        return "destructive"
    return "isolated" if tool.isolated else "default"
