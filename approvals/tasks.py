"""Celery's way in: each task takes an id and calls one function."""

from uuid import UUID

from celery import shared_task
from django.db import close_old_connections

from approvals import dispatch, execution


@shared_task(name=dispatch.RUN_TASK)
def run(invocation_id: str) -> None:
    """Run one queued call, on a new connection if the database has closed the old one."""
    close_old_connections()
    execution.run(UUID(invocation_id))
