"""The JSON of calls and approvals, as the schema describes it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from approvals.results import HTTP_STATUS
from approvals.states import ApprovalStatus, Verdict
from audit.shapes import Shape

Status = Annotated[str, Field(json_schema_extra={"enum": list(HTTP_STATUS)})]


class Decision(Shape):
    """What people said of the call."""

    status: ApprovalStatus
    by: str | None
    reason_to_agent: str | None


class Links(Shape):
    """Where to go from here; null where there is nothing to go to."""

    self: str | None = None
    approval: str | None = None
    cancel: str | None = None


class WrongArgument(Shape):
    """What is wrong with one argument, never with which value."""

    path: str
    type: str
    message: str


class Modification(Shape):
    """One argument that a reviewer has changed; null for one that was not there."""

    argument: str
    asked: Any
    approved: Any


class Result(Shape):
    """How a call stands or has ended; ToolRampart's members, then ours."""

    status: Status
    tool_name: str
    data: Any = None
    """The tool's answer: raw for the caller while it is kept, redacted otherwise."""
    error: str | None = None
    error_type: str | None = None
    audit_id: UUID | None = None
    approval_required: bool = False
    approval_id: UUID | None = None
    message: str | None = None
    attempts: int = 0
    replayed: bool = False
    invocation_id: UUID | None = None
    """Null for a call that was refused at the door."""
    tool_version: int | None = None
    session_id: UUID | None = None
    request_id: str
    expires_at: datetime | None = None
    """The end of the time to decide, while the call is held."""
    decision: Decision | None = None
    arguments_modified: bool = False
    modifications: list[Modification] | None = None
    """What a reviewer has changed before it was approved, redacted."""
    progress: Any = None
    """The last thing that the tool has told of itself, redacted."""
    queue_position: int | None = None
    """Its place among the calls that wait for the same workers, 1 being the next."""
    links: Links = Links()


class InvalidCall(Result):
    """A call whose arguments do not fit; `fields` says which, if any was looked at."""

    fields: list[WrongArgument]


class InvocationPage(Shape):
    """Calls, newest first."""

    invocations: list[Result]
    next: str | None
    """Given back as `cursor` for the page that follows; null at the end."""


class Stage(Shape):
    """How many have to agree, and how many have spoken."""

    stage: int
    needs: int
    group: str | None
    """Null: anybody who may decide."""
    votes: int


class Vote(Shape):
    """What one reviewer said."""

    reviewer: str
    stage: int
    verdict: Verdict
    reason_to_agent: str | None
    note: str | None
    """For people only; null for a key."""
    source: str | None
    """By which way it was said: `admin`, `rest` or `command`."""
    at: datetime


class Approval(Shape):
    """The decision about one held call; ToolRampart's members, then ours."""

    id: UUID
    tool_name: str
    actor: str
    status: ApprovalStatus
    reason: str
    arguments: dict[str, Any]
    """Redacted."""
    arguments_hash: str
    """A keyed digest of exactly what would be done; `expected_digest` when deciding."""
    requested_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    resolution_note: str | None
    """For people only; null for a key."""
    reason_to_agent: str | None
    metadata: dict[str, Any]
    invocation_id: UUID
    tool_version: int
    expires_at: datetime
    stages: list[Stage]
    votes: list[Vote]
    eligible: list[str]
    """Who may decide, for people only; empty for a key."""
    may_decide: bool
    why_not: str | None
    summary: str


class ApprovalPage(Shape):
    """Approvals, newest first."""

    approvals: list[Approval]
    next: str | None
    """Given back as `cursor` for the page that follows; null at the end."""


class DecidedApproval(Shape):
    """The approval after the decision."""

    approval: Approval


class SessionCall(Shape):
    """One call that was charged to a session."""

    invocation_id: UUID
    tool_name: str
    tool_version: int
    status: Status
    error_type: str | None
    digest: str
    """A keyed digest of exactly what was done."""
    code_hash: str | None
    """Of the code that ran, where the result says it."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    output_bytes: int | None
    """What its result has cost the session; null until there is one."""
    audit_id: UUID | None


class Span(Shape):
    """Where a result says what it comes from."""

    invocation_id: UUID
    tool_name: str
    provenance: dict[str, Any]


class ProvenanceGraph(Shape):
    """What the session has spent, and what it has read and run."""

    spans: list[Span]
    session_id: UUID
    tool_calls: int
    output_bytes: int
    file_access_stats: dict[str, Any]


class SessionReport(Shape):
    """What a session has done, redacted; its first thousand calls, the failed ones too."""

    label: str
    provenance_graph: ProvenanceGraph
    calls: list[SessionCall]
    export_payload: str | None
    """The rest of the report as one canonical JSON text, if it is asked for."""
