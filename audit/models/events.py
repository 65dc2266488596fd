"""One table: what happened, in the order in which it was told."""

import hashlib
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn
from uuid import UUID

import uuid_utils
from django.db import models

from audit.canonical import canonical_text, rfc3339
from audit.errors import LedgerIsAppendOnly
from audit.events import EventName
from audit.fields import CanonicalJSONField

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MILLISECOND = timedelta(milliseconds=1)


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): unique everywhere and ordered by the time it was made."""
    return UUID(int=uuid_utils.uuid7().int)


def first_id_at(moment: datetime, shift: timedelta = timedelta(0)) -> UUID:
    """The lowest UUID of version 7 that is made so long after a moment, or before it.

    Ids are in the order of time, and indexed. Before 1970 the lowest of all stands for it.
    """
    milliseconds = (moment - EPOCH) // MILLISECOND + shift // MILLISECOND
    return UUID(int=max(milliseconds, 0) << 80 | 7 << 76 | 2 << 62)


def local_now() -> datetime:
    """This machine's time, for records of when something was seen; it decides nothing."""
    return datetime.now(timezone.utc)


class EventQuerySet(models.QuerySet["Event"]):
    """Reads as one likes; refuses to change or delete."""

    def newest_first(self) -> "EventQuerySet":
        return self.order_by("-id")

    def update(self, **kwargs: Any) -> NoReturn:
        raise LedgerIsAppendOnly

    def delete(self) -> NoReturn:
        raise LedgerIsAppendOnly

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LedgerIsAppendOnly


class Event(models.Model):
    """One line of the ledger, redacted before it was written, with a digest over itself.

    It holds plain ids and labels rather than foreign keys, so that it outlives what it tells of.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    event = models.CharField(max_length=40, choices=EventName.choices)
    actor = models.CharField(max_length=200, blank=True)
    tool_name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=24, null=True)
    reason = models.CharField(max_length=64, blank=True)
    arguments = CanonicalJSONField(null=True)
    result = CanonicalJSONField(null=True)
    error = models.TextField(null=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    metadata = CanonicalJSONField(default=dict)
    invocation_id = models.UUIDField(null=True)
    approval_id = models.UUIDField(null=True)
    session_id = models.UUIDField(null=True)
    request_id = models.CharField(max_length=128, blank=True)
    source = models.CharField(max_length=16, blank=True)
    key_prefix = models.CharField(max_length=32, blank=True)
    digest = models.CharField(max_length=64, editable=False)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = [("export_event", "Can export the ledger")]
        indexes = [
            models.Index(fields=["actor", "-id"], name="event_by_actor"),
            models.Index(fields=["tool_name", "-id"], name="event_by_tool"),
            models.Index(fields=["event", "-id"], name="event_by_name"),
            models.Index(
                fields=["status", "-id"],
                name="event_by_status",
                condition=models.Q(status__isnull=False) & ~models.Q(status="success"),
            ),
            models.Index(
                fields=["invocation_id"],
                name="event_by_invocation",
                condition=models.Q(invocation_id__isnull=False),
            ),
            models.Index(
                fields=["request_id"],
                name="event_by_request",
                condition=~models.Q(request_id=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.tool_name or self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise LedgerIsAppendOnly
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LedgerIsAppendOnly

    def computed_digest(self) -> str:
        """SHA-256 over the canonical JSON of every column but the digest itself."""
        columns = {field.attname: self._plain(field.attname) for field in self._sealed_fields()}
        return hashlib.sha256(canonical_text(columns).encode()).hexdigest()

    def _plain(self, column: str) -> Any:
        value = getattr(self, column)
        match value:
            case datetime():
                return rfc3339(value)
            case UUID() | EventName():
                return str(value)
            case _:
                return value

    @classmethod
    def _sealed_fields(cls) -> "list[models.Field[Any, Any]]":
        return [field for field in cls._meta.concrete_fields if field.attname != "digest"]
