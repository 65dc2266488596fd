"""The JSON of the ledger's API, as the schema describes it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

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
    leaf_index: None


class EventPage(Shape):
    """Events, newest first."""

    events: list[Event]
    next: str | None
    """Given back as `cursor` for the page that follows; null at the end."""
