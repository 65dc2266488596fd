"""What is kept and what may go: legal holds, retention's door; and verifications asked for."""

from django.db import models
from django.db.models import Q

from audit.models.events import local_now, new_id


class Door(models.Model):
    """A row of the ledger that may be deleted, for as long as this transaction lasts.

    The triggers let nothing in here but sealed events and outlived checkpoints, and let nothing
    be deleted that is not in here. Only the role that retention runs as may write to it.
    """

    row_id = models.UUIDField(primary_key=True)


class LegalHoldQuerySet(models.QuerySet["LegalHold"]):
    """Holds, by whether they hold."""

    def active(self) -> "LegalHoldQuerySet":
        return self.filter(released_at__isnull=True)


class LegalHold(models.Model):
    """What retention must not take, whatever its age. Each thing it names narrows it; a hold that
    names nothing holds everything.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    reason = models.CharField(max_length=400)
    placed_by = models.CharField(max_length=200, editable=False)
    placed_at = models.DateTimeField(default=local_now, editable=False)
    released_by = models.CharField(max_length=200, blank=True, editable=False)
    released_at = models.DateTimeField(null=True, editable=False)

    actor = models.CharField(max_length=200, blank=True)
    tool_name = models.CharField("tool", max_length=200, blank=True)
    invocation_id = models.UUIDField("call", null=True, blank=True)
    session_id = models.UUIDField("session", null=True, blank=True)
    since = models.DateTimeField(null=True, blank=True)
    until = models.DateTimeField(null=True, blank=True)

    objects = LegalHoldQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(released_at__isnull=True) | ~Q(released_by=""),
                name="hold_released_by_somebody",
            )
        ]

    def __str__(self) -> str:
        return self.reason


class VerificationRun(models.Model):
    """A verification that was asked for in the admin: how far it is, and what it found."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField(default=local_now)
    seen = models.BigIntegerField(default=0)
    total = models.BigIntegerField(null=True)
    heard_of_at = models.DateTimeField(null=True)
    """When it last said how far it is; one that has been silent for long is dead."""
    finished_at = models.DateTimeField(null=True)
    fault = models.TextField(blank=True)
    """What the verification found first; empty if nothing, or not finished."""
    fault_row = models.CharField(max_length=100, blank=True)
    could_not_run = models.TextField(blank=True)
    checkpoint = models.TextField(blank=True)
    """The newest signed note that it was compared with."""

    class Meta:
        ordering = ["-id"]
