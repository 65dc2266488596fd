"""How a held call is written down: the rules' word on its approval, and what an edit replaces."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from approvals import vault
from approvals.door import Action
from approvals.models import Approval, Invocation
from approvals.policy import Deny, Judgement, NeedsApproval, Opinion
from approvals.states import Risk
from audit.canonical import JSON
from audit.redaction import Redactor
from tools.definition import ToolDefinition

GRAVE = frozenset({"destructive", "money_movement", "changes_permissions"})
"""The side effects that make a call one of high risk."""


def risk_of(tool: ToolDefinition) -> Risk:
    """How much harm a call of the tool may do, by what its code declares."""
    if any(getattr(tool.side_effects, name) for name in GRAVE):
        return Risk.HIGH
    return Risk.LOW if tool.is_read_only else Risk.MEDIUM


def new_approval(
    action: Action, judgement: Judgement, row: Invocation, moment: datetime
) -> Approval:
    """The decision that a held call waits for, with the rules' word frozen on it; no status yet."""
    found, redactor = held_by(judgement), action.visit.redactor
    return Approval(
        invocation=row,
        tool_name=row.tool_name,
        actor=row.actor,
        risk=risk_of(action.visit.tool),
        reason=redactor.text(found.reason),
        terms=found.terms.as_json(),
        trace=traced(judgement, redactor),
        requested_at=moment,
        expires_at=moment + (found.terms.expires_after or settings.RAMPART_APPROVAL_TTL),
    )


def held_by(judgement: Judgement) -> NeedsApproval:
    """Why a call is held, and on which terms; the plainest ones if no rule holds it (any more)."""
    found = judgement.decision
    return found if isinstance(found, NeedsApproval) else NeedsApproval("a person has edited it")


def traced(judgement: Judgement, redactor: Redactor) -> JSON:
    """What each rule has said, as it is kept."""
    return [_told(opinion, redactor) for opinion in judgement.opinions]


def _told(opinion: Opinion, redactor: Redactor) -> dict[str, str]:
    match opinion.decision:
        case Deny(_, message):
            answer, reason = "deny", message
        case NeedsApproval(why, _):
            answer, reason = "hold", why
        case _:
            answer, reason = "allow", ""
    return {"rule": opinion.rule, "answer": answer, "reason": redactor.text(reason)}


@dataclass(frozen=True, slots=True)
class Revision:
    """What a reviewer puts in the place of a held call's arguments."""

    action: Action
    judgement: Judgement
    changes: list[dict[str, Any]]
    """Since what was asked: `[{argument, asked, approved}]`, redacted."""

    @property
    def digest(self) -> str:
        """What the edited action is bound by."""
        return self.action.digest()

    @property
    def shown(self) -> Any:
        """The new arguments, redacted."""
        return self.action.visit.redactor(self.action.frozen)

    @property
    def invocation_columns(self) -> dict[str, Any]:
        """The columns of the call that it changes."""
        return {
            "digest": self.digest,
            "arguments": self.shown,
            "arguments_sealed": vault.seal(self.action.frozen),
            "modifications": self.changes or None,
            "policy_version": self.action.visit.policy_version,
        }

    def approval_columns(self, approval: Approval) -> dict[str, Any]:
        """The columns of the approval that it changes; there is never more time than before."""
        found, redactor = held_by(self.judgement), self.action.visit.redactor
        times = [approval.expires_at]
        if found.terms.expires_after is not None:
            times.append(approval.requested_at + found.terms.expires_after)
        return {
            "reason": redactor.text(found.reason),
            "terms": found.terms.as_json(),
            "trace": traced(self.judgement, redactor),
            "expires_at": min(times),
        }
