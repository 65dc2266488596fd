"""Celery's way in: each task takes an id, or nothing, and calls one function."""

from uuid import UUID

from celery import shared_task
from django.db import close_old_connections

from approvals import dispatch, execution
from approvals.notices import bell, deliver


@shared_task(name=dispatch.RUN_TASK)
def run(invocation_id: str) -> None:
    """Run one queued call, on a new connection if the database has closed the old one."""
    close_old_connections()
    execution.run(UUID(invocation_id))


@shared_task(name=bell.DELIVER_TASK)
def deliver_notices() -> None:
    """Begin to deliver what is due; it is sent by threads, so that no call waits for a receiver."""
    close_old_connections()
    deliver.deliver()
