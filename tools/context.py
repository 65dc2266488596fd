"""What a tool's own policies are told about a call."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Who calls and how; made anew for each call from what is proven, never from the body.

    `approved`, `approved_by` and `approval_id` are as they stand when the policy is asked: before
    a person has decided they are False and None.
    """

    actor: str = "anonymous"
    scopes: tuple[str, ...] = ()
    approved: bool = False
    approved_by: str | None = None
    approval_id: str | None = None
    idempotency_key: str | None = None
    idempotency_started: bool = False
    request_id: str | None = None
    source: str = "python"
    metadata: dict[str, Any] = field(default_factory=dict)
