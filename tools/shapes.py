"""The JSON of the tools' API, as the schema describes it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from audit.shapes import Shape
from tools.budgets import USUAL
from tools.conditions import Operator
from tools.models import SessionState


class SideEffects(Shape):
    """What a tool does to the world."""

    read_only: bool
    idempotent: bool
    destructive: bool
    external_network: bool
    money_movement: bool
    writes_data: bool
    changes_permissions: bool


class ApprovalCondition(Shape):
    """One comparison that makes a person look at the call."""

    field: str
    operator: Operator
    value: str | int | float | bool | None


class ApprovalRules(Shape):
    """When a person has to decide."""

    conditions: list[ApprovalCondition]
    always: bool


class CustomPolicy(Shape):
    """A rule of the tool's author."""

    name: str
    description: str


class Policies(Shape):
    """The rules that the tool's code sets."""

    scope: str | None
    approval: ApprovalRules
    rate_limit: str | None
    redacts: list[str]
    custom: list[CustomPolicy]
    timeout_seconds: float | None
    max_retries: int
    execution_mode: Literal["thread", "subprocess"]
    requires_idempotency_key: bool


class Tool(Shape):
    """A tool as its callers may know it; ToolRampart's members, then ours."""

    name: str
    description: str
    input_schema: dict[str, Any]
    """JSON Schema of `arguments`."""
    output_schema: dict[str, Any]
    """JSON Schema of `data`."""
    side_effects: SideEffects
    policies: Policies
    version: int | None
    """Null until `sync_tools` has put the tool on record."""
    enabled: bool


class ToolList(Shape):
    """The tools that the requester may call, by name."""

    tools: list[Tool]


class McpAnnotations(Shape):
    """MCP's hints about a tool."""

    title: str
    readOnlyHint: bool
    destructiveHint: bool
    idempotentHint: bool
    openWorldHint: bool


class McpExtension(Shape):
    """What Rampart adds to a tool in MCP's words."""

    scope: str | None
    approval_required: bool
    rate_limit: str | None
    redacts: list[str]
    side_effects: SideEffects


class McpTool(Shape):
    """A tool in MCP's words."""

    name: str
    description: str
    inputSchema: dict[str, Any]
    annotations: McpAnnotations
    extension: McpExtension = Field(alias="x-toolrampart")


class McpToolList(Shape):
    """The tools that the requester may call, in MCP's words."""

    tools: list[McpTool]


class SessionConfig(Shape):
    """What a session may spend."""

    max_depth: int
    max_iterations: int
    max_tool_calls: int
    timeout_ms: int
    max_output_bytes: int


class OwnKey(Shape):
    """A key as its holder may know it."""

    prefix: str
    actor: str
    owner: str
    scopes: list[str]
    tools: list[str]
    """Only these; empty: all in scope."""
    cidrs: list[str]
    """Only from these networks; empty: from anywhere."""
    rate_tier: str
    ceilings: SessionConfig
    """What its sessions may spend at most."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    must_rotate: bool


class NewKey(Shape):
    """A key just made; `key` is shown this once."""

    prefix: str
    key: str
    actor: str
    scopes: list[str]
    expires_at: datetime


class RotationBody(BaseModel):
    """`POST /key/rotate`."""

    overlap: Annotated[str, Field(pattern=r"^\d{1,6}[dhms]$")] | None = None
    """How long the presented key goes on working: `24h`, `30m`, `0d`; a day if nothing is said."""


class AskedConfig(BaseModel):
    """Budgets that a caller asks for: up to its key's ceilings, which are mostly the usual ones."""

    model_config = ConfigDict(extra="forbid")

    max_depth: Annotated[int, Field(ge=1, le=USUAL.max_depth)] = USUAL.max_depth
    max_iterations: Annotated[int, Field(ge=1, le=USUAL.max_iterations)] = USUAL.max_iterations
    max_tool_calls: Annotated[int, Field(ge=1, le=USUAL.max_tool_calls)] = USUAL.max_tool_calls
    timeout_ms: Annotated[int, Field(ge=1, le=USUAL.timeout_ms)] = USUAL.timeout_ms
    max_output_bytes: Annotated[int, Field(ge=1, le=USUAL.max_output_bytes)] = (
        USUAL.max_output_bytes
    )


class SessionBody(BaseModel):
    """`POST /sessions`."""

    model_config = ConfigDict(extra="forbid")

    config: AskedConfig | None = None


class NewSession(Shape):
    """A session just opened."""

    session_id: UUID
    config: SessionConfig
    created_at: datetime


class Usage(Shape):
    """What is used of a session's budgets."""

    tool_calls: int
    output_bytes: int
    elapsed_ms: int


class Session(Shape):
    """A session, and what is left of it."""

    session_id: UUID
    actor: str
    status: SessionState
    config: SessionConfig
    usage: Usage
    created_at: datetime
    ends_at: datetime
    """When its time is over, closed or not."""
    closed_at: datetime | None


class ClosedSession(Shape):
    """It takes no more calls."""

    success: bool
