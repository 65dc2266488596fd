"""The JSON of the ledger's API, as the schema describes it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel

from audit.events import EventName


class Shape(BaseModel):
    """What the API answers: every member is always there, and there are no others."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_serialization_defaults_required=True,
        use_attribute_docstrings=True,
    )


class Event(Shape):
    """One line of the ledger; ToolRampart's members, then ours."""

    id: UUID
    tool_name: str
    actor: str
    status: str | None
    """The call's status; null for a line that is about no call."""
    arguments: Any
    """Redacted."""
    result: Any
    """Redacted."""
    error: str | None
    started_at: datetime
    ended_at: datetime
    metadata: dict[str, Any]
    event: EventName
    reason: str
    invocation_id: UUID | None
    approval_id: UUID | None
    session_id: UUID | None
    request_id: str
    source: str
    key_prefix: str
    leaf_index: int | None
    """Its place in the tree; null until it is sealed, a second or so."""


class EventPage(Shape):
    """Events, newest first."""

    events: list[Event]
    next: str | None
    """Given back as `cursor` for the page that follows; null at the end."""


class SignedNote(RootModel[str]):
    """A checkpoint as it was signed (C2SP tlog-checkpoint): origin, size, root, and signatures."""


class InclusionProof(Shape):
    """That an event is in the tree that a checkpoint signs (RFC 9162). Hashes are base64."""

    event_id: UUID
    leaf_index: int
    leaf_hash: str
    """SHA-256 over a zero byte and the 32 bytes of the event's digest."""
    digest: str | None
    """The event's, in hex; null once retention has taken the event."""
    tree_size: int
    root: str
    path: list[str]
    """From the leaf's neighbour up."""
    checkpoint: str
    """The signed note."""


class ConsistencyProof(Shape):
    """That the tree of `from` leaves is the beginning of the one of `to` leaves (RFC 9162)."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: int = Field(alias="from")
    to: int
    path: list[str]
    """Hashes in base64."""
    checkpoint: str
    """The newest signed note; it signs the root of its own size."""
