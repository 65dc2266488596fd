"""Events as they are stored, and the very text that their digest is taken over.

The canonical text of an event (RFC 8785) is put together from the stored columns. JSON columns are
stored as canonical text, so they go in as they are: if the digest of the whole matches, they are
what was written, to the byte, and need not be read.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timezone
from json.encoder import encode_basestring as quoted
from typing import NamedTuple
from uuid import UUID

from django.db.models import TextField
from django.db.models.functions import Cast

from audit.canonical import rfc3339
from audit.models.events import EventQuerySet


class Stored(NamedTuple):
    """An event's columns, in the order of their names; JSON as the text that is stored."""

    actor: str
    approval_id: UUID | None
    arguments: str | None
    ended_at: datetime
    error: str | None
    event: str
    id: UUID
    invocation_id: UUID | None
    key_prefix: str
    metadata: str
    reason: str
    request_id: str
    result: str | None
    session_id: UUID | None
    source: str
    started_at: datetime
    status: str | None
    tool_name: str
    digest: str

    def text(self) -> str:
        """The canonical JSON of every column but the digest."""
        return (
            f'{{"actor":{quoted(self.actor)},"approval_id":{_id(self.approval_id)},'
            f'"arguments":{self.arguments or "null"},"ended_at":"{rfc3339(self.ended_at)}",'
            f'"error":{_text(self.error)},"event":{quoted(self.event)},"id":"{self.id}",'
            f'"invocation_id":{_id(self.invocation_id)},"key_prefix":{quoted(self.key_prefix)},'
            f'"metadata":{self.metadata or "null"},"reason":{quoted(self.reason)},'
            f'"request_id":{quoted(self.request_id)},"result":{self.result or "null"},'
            f'"session_id":{_id(self.session_id)},"source":{quoted(self.source)},'
            f'"started_at":"{rfc3339(self.started_at)}","status":{_text(self.status)},'
            f'"tool_name":{quoted(self.tool_name)}}}'
        )

    def is_as_written(self) -> bool:
        """Whether the columns are those that the digest was taken over."""
        return "null" not in (self.arguments, self.result) and self.digest == digest_of(self.text())


JSON_COLUMNS = ("arguments", "metadata", "result")
TIMES = ("ended_at", "started_at")


class _Moment(TextField):  # type: ignore[type-arg]
    """A time that the database hands out as text, which is read much sooner than by its driver."""

    def from_db_value(self, value: str, *_: object) -> datetime:
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def digest_of(text: str) -> str:
    """SHA-256 in hex: an event's digest, of its canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()


def stored(events: EventQuerySet, chunk_size: int = 2000) -> Iterator[Stored]:
    """The events as they are stored, a chunk at a time in memory."""
    kinds = dict.fromkeys(JSON_COLUMNS, TextField()) | dict.fromkeys(TIMES, _Moment())
    texts = {name: Cast(name, kind) for name, kind in kinds.items()}
    columns = [texts.get(name, name) for name in Stored._fields]
    rows = events.order_by().values_list(*columns)
    return map(Stored._make, rows.iterator(chunk_size=chunk_size))


def _id(value: UUID | None) -> str:
    return "null" if value is None else f'"{value}"'


def _text(value: str | None) -> str:
    return "null" if value is None else quoted(value)
