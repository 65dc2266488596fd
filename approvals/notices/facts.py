"""What may be told of a notice's call, read from the rows when it is about to be sent."""

from typing import Any

from django.urls import reverse

from approvals import reviewers
from approvals.models import Approval, Invocation, Notice
from approvals.notices.kinds import ASKS, FINISHED
from approvals.notices.links import base, page_of, read_link_of
from approvals.notices.wording import Facts
from approvals.states import ApprovalStatus, Risk
from audit.canonical import rfc3339

DECISIONS = {
    ApprovalStatus.APPROVED: "approved",
    ApprovalStatus.CONSUMED: "approved",
    ApprovalStatus.REJECTED: "rejected",
}


def facts_of(notice: Notice) -> Facts:
    """The facts of one notice: how things stood at its step is in its payload."""
    said, row, approval = notice.payload, notice.invocation, notice.approval
    of_caller = notice.channel is not None and notice.channel.caller_id is not None
    asks = notice.kind in ASKS
    return Facts(
        kind=notice.kind,
        at=said.get("at") or rfc3339(notice.created_at),
        tool=row.tool_name if row else "",
        actor=row.actor if row else "",
        risk=str(Risk(approval.risk).label) if approval else "",
        status=str(said.get("status", "")),
        **_decision(notice),
        lacking=str(said.get("lacking", "")),
        expires_at=approval.expires_at if approval else None,
        may_decide=_may_decide(approval) if approval and asks and not of_caller else (),
        page=page_of(approval) if approval and not of_caller else "",
        link=read_link_of(row) if row else "",
        ids=_ids(row, approval) if row else (),
        wishes_page=wishes_page() if notice.recipient_id and approval else "",
        channel=str(said.get("channel", "")),
        because=str(said.get("because", "")),
    )


def facts_of_pending(approval: Approval) -> Facts:
    """The facts of a call that waits, for the mail about several."""
    return Facts(
        kind="invocation:held",
        tool=approval.tool_name,
        actor=approval.actor,
        risk=str(Risk(approval.risk).label),
        expires_at=approval.expires_at,
        page=page_of(approval),
    )


def wishes_page() -> str:
    """Where people say which mail they want."""
    return base() + reverse("admin:wishes")


def _may_decide(approval: Approval) -> tuple[str, ...]:
    return tuple(reviewers.eligible(approval, reviewers.deciders()))


def _decision(notice: Notice) -> dict[str, str]:
    """Who did it and why; at a call's end, who had decided it."""
    said, approval = notice.payload, notice.approval
    if notice.kind != FINISHED or approval is None or approval.resolved_by is None:
        return {name: str(said.get(name, "")) for name in ("by", "reason_to_agent", "decision")}
    return {
        "by": approval.resolved_by.get_username(),
        "reason_to_agent": approval.reason_to_agent,
        "decision": DECISIONS.get(ApprovalStatus(approval.status), ""),
    }


def _ids(row: Invocation, approval: Approval | None) -> tuple[tuple[str, str | None], ...]:
    values: dict[str, Any] = {
        "invocation_id": row.pk,
        "approval_id": approval.pk if approval else None,
        "session_id": row.session_id,
        "request_id": row.request_id or None,
    }
    return tuple((name, str(value) if value else None) for name, value in values.items())
