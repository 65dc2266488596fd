"""The JSON of the tools' API, as the schema describes it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from audit.shapes import Shape
from tools.conditions import Operator


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
