"""One example for each way that a call can go; making them checks them against their shape."""

from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from approvals.results import HTTP_STATUS
from approvals.shapes import Decision, InvalidCall, Links, Result, WrongArgument
from approvals.states import ApprovalStatus

CALL = UUID("01990a6e-0000-7000-8000-000000000001")
APPROVAL = UUID("01990a6e-0000-7000-8000-000000000002")
EVENT = UUID("01990a6e-0000-7000-8000-000000000003")
OWN = f"/api/v1/invocations/{CALL}"
OPEN_LINKS = Links(self=OWN, approval=f"/api/v1/approvals/{APPROVAL}", cancel=f"{OWN}/cancel")
FINAL_LINKS = Links(self=OWN, approval=f"/api/v1/approvals/{APPROVAL}")

REQUESTS: dict[str, dict[str, Any]] = {
    "a call": {"arguments": {"order_id": "A-1001", "amount": 900}},
    "the result of an approved call": {
        "arguments": {"order_id": "A-1001", "amount": 900},
        "approval_id": str(APPROVAL),
    },
}


def _refund(status: str, **members: Any) -> Result:
    """An answer to a refund of which a row is kept."""
    return Result(
        status=status, tool_name="refund_payment", request_id="8c6f0e", audit_id=EVENT,
        invocation_id=CALL, tool_version=1, **members,
    )  # fmt: skip


def _refused(status: str, error_type: str, error: str) -> Result:
    """An answer at the door."""
    return Result(
        status=status, tool_name="refund_payment", request_id="8c6f0e", audit_id=EVENT,
        tool_version=1, error_type=error_type, error=error,
    )  # fmt: skip


def _decided(status: ApprovalStatus, reason_to_agent: str | None = None) -> Decision:
    return Decision(status=status, by="rosa", reason_to_agent=reason_to_agent)


RESULTS: dict[str, Result] = {
    "success": _refund(
        "success",
        data={"refund_id": "re_5f", "order_id": "A-1001", "amount": 900, "currency": "EUR"},
        attempts=1, approval_id=APPROVAL, links=FINAL_LINKS,
        decision=_decided(ApprovalStatus.CONSUMED),
    ),
    "pending": _refund("pending", links=OPEN_LINKS),
    "requires approval": _refund(
        "requires_approval",
        error_type="ApprovalRequired", message="amount exceeds 500", approval_required=True,
        approval_id=APPROVAL, links=OPEN_LINKS,
        expires_at=datetime(2026, 9, 2, 12, tzinfo=timezone.utc),
        decision=Decision(status=ApprovalStatus.PENDING, by=None, reason_to_agent=None),
    ),
    "validation error": InvalidCall(
        **dict(_refused(
            "validation_error", "InputValidationError", "tool arguments failed validation"
        )),
        fields=[WrongArgument(
            path="amount", type="greater_than", message="Input should be greater than 0"
        )],
    ),
    "denied": _refused("denied", "ScopeDenied", "missing required scope: refunds.write"),
    "rejected": _refund(
        "rejected",
        error_type="ApprovalRejected", error="approval request was rejected",
        approval_id=APPROVAL, links=FINAL_LINKS,
        decision=_decided(ApprovalStatus.REJECTED, "attach the invoice"),
    ),
    "expired": _refund(
        "expired", error_type="ApprovalExpired", error="approval request has expired",
        links=FINAL_LINKS,
    ),
    "cancelled": _refund(
        "cancelled", error_type="Cancelled", error="the call was cancelled", links=FINAL_LINKS
    ),
    "void": _refund(
        "void", error_type="ToolChanged", error="what was asked has changed since",
        links=FINAL_LINKS,
    ),
    "rate limited": _refused("rate_limited", "RateLimited", "rate limit exceeded: 3/minute/user"),
    "idempotency conflict": _refused(
        "idempotency_conflict", "IdempotencyConflict",
        "idempotency key was already used with different arguments",
    ),
    "timeout": _refund(
        "timeout", error_type="TimeoutError", error="tool timed out after 10 seconds", attempts=1
    ),
    "killed": _refund("killed", error_type="Crashed", error="the process died", attempts=1),
    "error": _refund("error", error_type="ValueError", error="no such order", attempts=1),
    "unknown": _refund(
        "unknown", error_type="OutcomeUnknown", error="the worker died while the tool ran"
    ),
    "unavailable": _refused("unavailable", "LimiterUnavailable", "the limiter does not answer"),
}  # fmt: skip


def results_with(http_status: int) -> dict[str, Any]:
    """The examples that are answered with this HTTP status, as JSON."""
    return {
        name: result.model_dump(mode="json")
        for name, result in RESULTS.items()
        if HTTP_STATUS[result.status] == http_status
    }
