"""The tool room: which tools exist, who holds a key, what a call may contain.

A tool module imports only this package's names, and this package imports no Django, so that a
tool can be loaded in a clean process that knows nothing of the server.
"""

from tools.context import ToolContext
from tools.decorators import (
    isolated_process,
    max_retries,
    policy,
    preview,
    rate_limit,
    redact,
    require_approval,
    require_idempotency_key,
    scope,
    secrets,
    side_effects,
    timeout,
    tool,
)
from tools.drafts import SideEffectMetadata
from tools.running import progress

__all__ = [
    "SideEffectMetadata",
    "ToolContext",
    "isolated_process",
    "max_retries",
    "policy",
    "preview",
    "progress",
    "rate_limit",
    "redact",
    "require_approval",
    "require_idempotency_key",
    "scope",
    "secrets",
    "side_effects",
    "timeout",
    "tool",
]
