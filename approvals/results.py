"""What a caller reads of a call: one shape for every way it can end, and its HTTP status."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.urls import reverse

from approvals import order, vault
from approvals.door import Refusal, Visit
from approvals.errors import UnreadableArguments
from approvals.models import Approval, Invocation
from approvals.records import Ending
from approvals.states import InvocationStatus, api_word, is_final
from audit.canonical import rfc3339
from audit.models import local_now
from tools.rate_limits import UNCOUNTED, Count

HTTP_STATUS = {
    "success": 200,
    "pending": 202,
    "requires_approval": 202,
    "validation_error": 422,
    "denied": 403,
    "rejected": 403,
    "expired": 410,
    "cancelled": 409,
    "void": 409,
    "rate_limited": 429,
    "idempotency_conflict": 409,
    "timeout": 504,
    "killed": 500,
    "error": 500,
    "unknown": 500,
    "unavailable": 503,
}

UNRUN_ERRORS = {
    InvocationStatus.HELD: ("ApprovalRequired", None),
    InvocationStatus.REJECTED: ("ApprovalRejected", "approval request was rejected"),
    InvocationStatus.EXPIRED: ("ApprovalExpired", "approval request has expired"),
    InvocationStatus.CANCELLED: ("Cancelled", "the call was cancelled"),
    InvocationStatus.VOID: (None, "what was asked has changed since"),
}
"""Error type and text of statuses that no run has given one; void names its reason."""

BEGUN_BEFORE = "a worker that died had begun it, so its effect may or may not have happened"


UNDECIDED_STATUS = {
    "permission_denied": 403,
    "self_approval": 403,
    "not_in_group": 403,
    "step_up_required": 403,
    "reason_required": 422,
    "confirmation_required": 422,
    "expired": 410,
}
"""Of a decision that was refused; every other reason is a conflict."""


@dataclass(slots=True)
class Answer:
    """A call's answer: a row or a refusal, and how the caller came by it."""

    invocation: Invocation | None = None
    refusal: Refusal | None = None
    visit: Visit | None = None
    audit_id: str | None = None
    replayed: bool = False
    ending: Ending | None = None
    """How the run ended, if it was made just now: its data need not be unsealed again."""
    count: Count = UNCOUNTED
    """Where the limits stand under which the call was counted."""

    @property
    def status(self) -> str:
        """The API's word for where the call stands."""
        if self.invocation is not None:
            return api_word(self.invocation.status)
        return self.refusal.status if self.refusal else "unavailable"

    @property
    def http_status(self) -> int:
        """The HTTP status of posting the call; reading it again is always 200."""
        if self.refusal is not None and self.refusal.error_type == "IdempotencyKeyRequired":
            return 400
        return HTTP_STATUS[self.status]

    def body(self) -> dict[str, Any]:
        """The JSON that the caller gets."""
        if self.invocation is not None:
            data = self.ending.data if self.ending else data_of(self.invocation)
            return describe(self.invocation, data, replayed=self.replayed)
        return self._refused()

    def _refused(self) -> dict[str, Any]:
        if self.refusal is None or self.visit is None:
            raise AssertionError("an answer holds a row, or a refusal and its visit")
        call, switch = self.visit.call, self.visit.switch
        body = _shape(self.refusal.status, self.visit.tool.name) | {
            "error": self.refusal.message,
            "error_type": self.refusal.error_type,
            "audit_id": self.audit_id,
            "tool_version": switch.version if switch else None,
            "session_id": _text(self.visit.session_id),
            "request_id": call.request_id,
        }
        return body | ({"fields": list(self.refusal.fields)} if self.refusal.fields else {})


def describe(row: Invocation, data: Any, *, replayed: bool = False) -> dict[str, Any]:
    """An invocation as it is read: `data` is raw for its caller, redacted for everybody else."""
    approval = row.decision_record
    error_type, error = error_of(row)
    held = row.status == InvocationStatus.HELD
    own = invocation_url(row)
    return _shape(api_word(row.status), row.tool_name) | {
        "data": data,
        "error": error,
        "error_type": error_type,
        "audit_id": _text(row.audit_id),
        "approval_required": held,
        "approval_id": _text(approval.pk) if approval else None,
        "message": approval.reason if approval and held else row.reason or None,
        "attempts": row.attempts,
        "replayed": replayed,
        "invocation_id": str(row.pk),
        "tool_version": row.tool_version_number,
        "session_id": _text(row.session_id),
        "request_id": row.request_id,
        "expires_at": rfc3339(approval.expires_at) if approval and held else None,
        "decision": _decision(approval) if approval else None,
        "arguments_modified": row.modifications is not None,
        "modifications": row.modifications,
        "progress": row.progress,
        "queue_position": order.position(row),
        "links": {
            "self": own,
            "approval": approval_url(approval) if approval else None,
            "cancel": None if is_final(row.status) else f"{own}/cancel",
        },
    }


def data_of(row: Invocation) -> Any:
    """The raw result while it is kept, else its redacted form."""
    if row.result_sealed is None or row.result_expires_at is None:
        return row.result
    if local_now() >= row.result_expires_at:
        return row.result
    try:
        return vault.unseal(row.result_sealed)
    except UnreadableArguments:
        return row.result


def undecided_status(code: str) -> int:
    """The HTTP status of a decision that was refused for this reason: mostly a conflict."""
    return UNDECIDED_STATUS.get(code, 409)


def invocation_url(row: Invocation) -> str:
    """Where the invocation can be read."""
    return f"{_path('invocations')}/{row.pk}"


def approval_url(approval: Approval) -> str:
    """Where the approval can be read."""
    return f"{_path('approvals')}/{approval.pk}"


@cache
def _path(name: str) -> str:
    return reverse(name)


def _shape(status: str, tool_name: str) -> dict[str, Any]:
    """Every field of a result, empty: ToolRampart's, then ours."""
    return {
        "status": status, "tool_name": tool_name, "data": None, "error": None,
        "error_type": None, "audit_id": None, "approval_required": False, "approval_id": None,
        "message": None, "attempts": 0, "replayed": False, "invocation_id": None,
        "tool_version": None, "session_id": None, "request_id": None, "expires_at": None,
        "decision": None, "arguments_modified": False, "modifications": None, "progress": None,
        "queue_position": None,
        "links": {"self": None, "approval": None, "cancel": None},
    }  # fmt: skip


def error_of(row: Invocation) -> tuple[str | None, str | None]:
    """The type and the text of a call's error, where it ended without having run, too."""
    if row.error_type is not None:
        return row.error_type, row.error
    error_type, error = UNRUN_ERRORS.get(InvocationStatus(row.status), (None, None))
    if row.status == InvocationStatus.VOID:
        error_type = "".join(word.title() for word in row.reason.split("_"))
    return error_type, f"{error}; {BEGUN_BEFORE}" if row.claims and error else error


def _decision(approval: Approval) -> dict[str, Any]:
    return {
        "status": approval.status,
        "by": approval.resolved_by.get_username() if approval.resolved_by else None,
        "reason_to_agent": approval.reason_to_agent or None,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
