"""Keyed digests of actions: equal for equal actions, and of no use for guessing what they hold."""

from typing import Any
from uuid import UUID

from django.utils.crypto import salted_hmac

from approvals.models import Invocation
from audit.canonical import canonical_text, exact

VERSION = "1"
"""Changes when the form that is digested changes."""


def action_digest(
    *, lineage: UUID, tool: str, tool_version: int, arguments: Any, policy_version: str
) -> str:
    """HMAC-SHA-256 over who asks for what exactly, under which rules (frozen arguments)."""
    return _digest("action", [str(lineage), tool, tool_version, arguments, policy_version])


def digest_of_row(row: Invocation, arguments: Any) -> str:
    """`action_digest` of a stored call, were these its arguments."""
    return action_digest(
        lineage=row.lineage,
        tool=row.tool_name,
        tool_version=row.tool_version_number,
        arguments=arguments,
        policy_version=row.policy_version,
    )


def request_digest(tool: str, arguments: Any) -> str:
    """HMAC-SHA-256 over a call as it was posted, before validation: for idempotency keys."""
    return _digest("request", [tool, arguments])


def _digest(purpose: str, value: Any) -> str:
    text = canonical_text([VERSION, exact(value)])
    return salted_hmac(f"rampart.{purpose}", text, algorithm="sha256").hexdigest()
