"""Approvals as the API shows them, to callers and to people."""

import json
import re
from collections.abc import Iterable
from datetime import datetime
from string import Formatter
from typing import Any

from django.contrib.auth.models import User

from approvals.models import Approval, Invocation
from approvals.reviewers import deciders, eligible, why_not
from approvals.transitions import now
from audit.redaction import REDACTED
from tools import registry
from tools.errors import UnknownTool
from tools.models import know_people

LONGEST_SUMMARY = 140
LONGEST_VALUE = 40
ARGUMENTS_IN_SUMMARY = 3
BLANKS = re.compile(r"[ \n\t]+")
"""What a sentence has one space for; other blanks are shown for what they are."""


def describe_approvals(approvals: Iterable[Approval], person: User | None) -> list[dict[str, Any]]:
    """Approvals; a person also learns who may decide, whether they may, and the private notes."""
    approvals, moment = list(approvals), now()
    know_people(approval.invocation.key for approval in approvals)
    holders = deciders() if person else []
    return [_describe(approval, person, holders, moment) for approval in approvals]


def describe_approval(approval: Approval, person: User | None) -> dict[str, Any]:
    """One of them."""
    return describe_approvals([approval], person)[0]


def _describe(
    approval: Approval, person: User | None, holders: list[User], moment: datetime
) -> dict[str, Any]:
    row = approval.invocation
    refused = why_not(approval, person, moment) if person else None
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
    """One plain sentence, at most 140 characters: who wants what, as the tool's author puts it.

    Each value is cut first, so that a long one can't push the rest of the sentence out of sight.
    """
    text = f"{_short(row.actor)} {_wish(row)}"
    return text if len(text) <= LONGEST_SUMMARY else text[: LONGEST_SUMMARY - 1] + "…"


def _wish(row: Invocation) -> str:
    """What it wants: by the template of its tool, else its name and the first arguments."""
    given = arguments_in_order(row)
    if template := _template(row.tool_name):
        parts = Formatter().parse(template)
        return "".join(
            words + ("" if name is None else _said(given, name)) for words, name, _, _ in parts
        )
    telling = [name for name, value in given.items() if value not in (None, "", REDACTED)]
    details = ", ".join(
        f"{_short(name)} {_said(given, name)}" for name in telling[:ARGUMENTS_IN_SUMMARY]
    )
    return f"wants to run {row.tool_name}" + (f": {details}" if details else "")


def _template(tool_name: str) -> str:
    try:
        return registry.find(tool_name).summary
    except UnknownTool:
        return ""


def _said(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return "nothing"
    return _short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    """On one line, and no longer than a value in a sentence may be."""
    is_whole = len(text) <= LONGEST_VALUE
    line = BLANKS.sub(" ", text if is_whole else text[: LONGEST_VALUE - 1])
    return line if is_whole else line + "…"
