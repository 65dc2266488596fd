"""Approvals as the API shows them, to callers and to people."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User

from approvals.models import Approval, Invocation
from approvals.reviewers import deciders, eligible, why_not
from audit.redaction import REDACTED
from tools import registry
from tools.errors import UnknownTool

LONGEST_SUMMARY = 140
ARGUMENTS_IN_SUMMARY = 3


def describe_approvals(approvals: Iterable[Approval], person: User | None) -> list[dict[str, Any]]:
    """Approvals; a person also learns who may decide, whether they may, and the private notes."""
    holders = deciders() if person else []
    return [_describe(approval, person, holders) for approval in approvals]


def describe_approval(approval: Approval, person: User | None) -> dict[str, Any]:
    """One of them."""
    return describe_approvals([approval], person)[0]


def _describe(approval: Approval, person: User | None, holders: list[User]) -> dict[str, Any]:
    row = approval.invocation
    refused = why_not(approval, person) if person else None
    voters = [vote.describe(with_note=person is not None) for vote in approval.votes.all()]
    return {
        "id": str(approval.pk),
        "tool_name": row.tool_name,
        "actor": row.actor,
        "status": approval.status,
        "reason": approval.reason,
        "arguments": row.arguments,
        "arguments_hash": row.digest,
        "requested_at": approval.requested_at,
        "resolved_at": approval.resolved_at,
        "resolved_by": approval.resolved_by.get_username() if approval.resolved_by else None,
        "resolution_note": (approval.resolution_note or None) if person else None,
        "reason_to_agent": approval.reason_to_agent or None,
        "metadata": row.metadata,
        "invocation_id": str(row.pk),
        "tool_version": row.tool_version_number,
        "expires_at": approval.expires_at,
        "stages": describe_stages(approval),
        "votes": voters,
        "eligible": eligible(approval, holders),
        "may_decide": person is not None and refused is None,
        "why_not": refused.sentence if refused else None if person else "An API key can't decide.",
        "summary": summary(row),
    }


def describe_stages(approval: Approval) -> list[dict[str, Any]]:
    """How many have to agree at each stage, of which group, and how many have."""
    standing = approval.standing
    return [
        {"stage": number, "needs": stage.needs, "group": stage.group or None, "votes": votes}
        for number, (stage, votes) in enumerate(zip(standing.stages, standing.votes, strict=True))
    ]


def arguments_in_order(row: Invocation) -> dict[str, Any]:
    """The redacted arguments in the order in which the tool names its parameters."""
    try:
        named = registry.find(row.tool_name).parameters
    except UnknownTool:
        named = ()
    given = row.arguments or {}
    return {name: given[name] for name in [*named, *given] if name in given}


def summary(row: Invocation) -> str:
    """One plain sentence, at most 140 characters: who wants what, with the first arguments."""
    telling = [
        f"{name} {value}"
        for name, value in arguments_in_order(row).items()
        if value not in (None, "", REDACTED)
    ]
    details = ", ".join(telling[:ARGUMENTS_IN_SUMMARY])
    text = f"{row.actor} wants to run {row.tool_name}" + (f": {details}" if details else "")
    return text if len(text) <= LONGEST_SUMMARY else text[: LONGEST_SUMMARY - 1] + "…"
