"""Verifications that people ask for in the admin: by a worker, one at a time, with its progress.

The row is the outbox: what the broker did not take, or lost, is sent again by `upkeep`, and a
worker that gets a second message finds the run taken. A run that has been silent for long is
dead: it is closed as such, and may be asked for anew.
"""

import logging
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery import current_app
from django.db import transaction
from django.db.models import QuerySet

from audit import ledger
from audit.canonical import rfc3339
from audit.events import EventName
from audit.models import Event, VerificationRun, local_now
from audit.sealing import hold_tree, the_tree
from audit.verification import CouldNotVerify, Report, verify

log = logging.getLogger(__name__)

TASK = "audit.verify"
SILENT_AFTER = timedelta(minutes=2)
"""It speaks each second, and less often only where it looks at something large in one go."""
SECONDS_BETWEEN_WORDS = 1.0
INTACT, ALTERED = "intact", "altered"
LINES_LOOKED_AT = 200
Runs = QuerySet[VerificationRun]


class Abandoned(Exception):
    """The run was taken for dead and closed; somebody may have begun another."""


# What people ask.


def ask(by: str) -> VerificationRun:
    """The run that is under way, or a new one, which a worker begins after the commit."""
    the_tree()
    with transaction.atomic():
        hold_tree()  # Who asks at the same moment waits here, and finds this run.
        bury_the_dead()
        run = _open().first() or VerificationRun.objects.create(asked_by=by)
        if run.heard_of_at is None:
            transaction.on_commit(lambda: send(run))
    return run


def latest() -> VerificationRun | None:
    """The run that was asked for last."""
    return VerificationRun.objects.first()


def told_of(run: VerificationRun) -> dict[str, Any] | None:
    """What the ledger says that a run has found; None until it has ended, and if it broke off."""
    lines = Event.objects.filter(event=EventName.LEDGER_VERIFIED, id__gt=run.pk).order_by("id")
    mine = str(run.pk)
    for line in lines[:LINES_LOOKED_AT]:
        if line.metadata.get("run") == mine:
            return {**line.metadata, "line": line.pk}
    return None


# What the clock does.


def upkeep() -> None:
    """Close what is dead; send again what no worker has taken."""
    bury_the_dead()
    for run in _open().filter(heard_of_at=None):
        send(run)


def bury_the_dead() -> None:
    """Close the runs whose worker has been silent for too long."""
    now = local_now()
    _open().filter(heard_of_at__lt=now - SILENT_AFTER).update(
        finished_at=now, could_not_run="The worker that ran it has not been heard of any more."
    )


def send(run: VerificationRun) -> None:
    """Send its id to the workers; should that fail, it waits for the next round."""
    try:
        current_app.send_task(TASK, args=[str(run.pk)], queue="default", retry=False)
    except Exception as error:  # Whatever a broker's client raises, the row is the truth.
        log.warning("verification %s waits for the broker: %s", run.pk, type(error).__name__)


# What the worker does.


def run(run_id: UUID) -> None:
    """Verify, if nobody else has begun to, and write down what was found."""
    if not _one(run_id).filter(heard_of_at=None).update(heard_of_at=local_now()):
        return
    try:
        _finish(run_id, verify(progress=_Teller(run_id)))
    except Abandoned:
        log.warning("verification %s was closed meanwhile", run_id)
    except CouldNotVerify as error:
        _break_off(run_id, str(error))
    except Exception as error:  # Whoever waits for it is told, whatever it was.
        log.exception("verification %s could not run", run_id)
        _break_off(run_id, f"It broke off: {type(error).__name__}.")


def _break_off(run_id: UUID, why: str) -> None:
    _one(run_id).update(finished_at=local_now(), could_not_run=why)


class _Teller:
    """Writes down how far a run is, about once a second."""

    def __init__(self, run_id: UUID) -> None:
        self.run_id, self.told_at = run_id, float("-inf")

    def __call__(self, seen: int, total: int) -> None:
        if time.monotonic() - self.told_at < SECONDS_BETWEEN_WORDS:
            return
        self.told_at = time.monotonic()
        told = _one(self.run_id).update(seen=seen, total=total, heard_of_at=local_now())
        if not told:
            raise Abandoned


@transaction.atomic
def _finish(run_id: UUID, report: Report) -> None:
    """The run's end and the ledger's line about it are there together or not at all."""
    finding = report.finding
    ended = _one(run_id).update(
        finished_at=local_now(),
        seen=report.size,
        total=report.size,
        fault=finding.fault if finding else "",
        fault_row=finding.event_id if finding else "",
        checkpoint=report.checkpoint or "",
    )
    if not ended:
        raise Abandoned
    ledger.record(
        EventName.LEDGER_VERIFIED,
        actor=VerificationRun.objects.get(pk=run_id).asked_by,
        reason=ALTERED if finding else INTACT,
        source="admin",
        metadata={"run": str(run_id), "since": _beginning(), **_described(report)},
    )


def _described(report: Report) -> dict[str, Any]:
    finding = report.finding
    return {
        "events": report.events,
        "size": report.size,
        "pruned": report.pruned,
        "unsealed": report.unsealed,
        "checkpoint": report.checkpoint,
        "fault": finding and {"event": finding.event_id, "leaf": finding.leaf, "is": finding.fault},
    }


def _beginning() -> str | None:
    """The time of the oldest event that is still there."""
    oldest = Event.objects.order_by("id").values_list("ended_at", flat=True).first()
    return rfc3339(oldest) if oldest else None


def _open() -> Runs:
    return VerificationRun.objects.filter(finished_at=None)


def _one(run_id: UUID) -> Runs:
    return _open().filter(pk=run_id)
