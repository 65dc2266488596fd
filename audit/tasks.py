"""Celery's way into the ledger."""

from uuid import UUID

from celery import shared_task
from django.db import close_old_connections

from audit import verifying


@shared_task(name=verifying.TASK)
def verify(run_id: str) -> None:
    """Run a verification that somebody asked for in the admin."""
    close_old_connections()
    verifying.run(UUID(run_id))
