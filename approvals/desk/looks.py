"""How calls and decisions look: badges, stages, what happened."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.safestring import SafeString

from approvals.holding import GRAVE
from approvals.models import Approval, Invocation
from approvals.reviewers import groups_of
from approvals.states import ApprovalStatus, InvocationStatus, Risk
from audit.models import Event
from tools.pages import badge as sign_badge

_A, _I = ApprovalStatus, InvocationStatus

BADGES: dict[str, tuple[str, str]] = {
    _A.PENDING: ("waiting", "◷"), _I.HELD: ("waiting", "◷"), _I.QUEUED: ("waiting", "…"),
    _I.RUNNING: ("waiting", "▶"), _A.APPROVED: ("good", "✓"), _A.CONSUMED: ("good", "✓"),
    _I.SUCCESS: ("good", "✓"), _A.REJECTED: ("bad", "✗"), _I.ERROR: ("bad", "!"),
    _I.TIMEOUT: ("bad", "!"), _I.KILLED: ("bad", "!"), _I.UNKNOWN: ("bad", "?"),
    _A.EXPIRED: ("over", "⌛"), _A.CANCELLED: ("over", "⊘"), _A.VOID: ("over", "⊘"),
}  # fmt: skip
"""Each status's look and sign; the word beside it is the status's own."""

RISKS: dict[int, tuple[str, str]] = {
    Risk.HIGH: ("bad", "▲"), Risk.MEDIUM: ("waiting", "◆"), Risk.LOW: ("over", "▽"),
}  # fmt: skip

EFFECTS = {
    "destructive": "✖", "money_movement": "¤", "changes_permissions": "⇪", "writes_data": "✎",
    "external_network": "⇄", "read_only": "○", "idempotent": "↻",
}  # fmt: skip
"""The sign of each side effect, the gravest first."""

MOST_EVENTS = 200


def badge(row: Approval | Invocation) -> str:
    """The status as sign and word."""
    return sign_badge(*BADGES[row.status], row.get_status_display())


def risk_badge(approval: Approval) -> str:
    """How much harm the call may do."""
    return sign_badge(*RISKS[approval.risk], approval.get_risk_display())


def effect_badges(row: Invocation) -> list[SafeString]:
    """What the tool's definition says it does to the world."""
    declared = row.tool_version.definition.get("side_effects", {})
    badges = [
        sign_badge("bad" if name in GRAVE else "over", sign, name.replace("_", " "))
        for name, sign in EFFECTS.items()
        if declared.get(name)
    ]
    return badges or [sign_badge("bad", "?", "side effects not declared")]


@dataclass(frozen=True, slots=True)
class StageLook:
    """One stage: what it asks for, how far it is, and who could fill it."""

    described: str
    votes: int
    needs: int
    is_open: bool
    missing: str

    @property
    def is_full(self) -> bool:
        """Whether it has all its votes."""
        return self.votes >= self.needs


def stages_of(approval: Approval, holders: Sequence[User]) -> list[StageLook]:
    """The approval's stages in order."""
    standing = approval.standing
    apart = approval.requesting_side | approval.editors | approval.approvers
    free = [user for user in holders if user.pk not in apart]
    return [
        StageLook(
            stage.described,
            votes,
            stage.needs,
            number == standing.open_stage,
            ", ".join(user.get_username() for user in free if stage.is_open_to(groups_of(user))),
        )
        for number, (stage, votes) in enumerate(zip(standing.stages, standing.votes, strict=True))
    ]


def timeline_of(row: Invocation) -> QuerySet[Event]:
    """The ledger's lines about this call, oldest first."""
    return Event.objects.filter(invocation_id=row.pk).order_by("id")[:MOST_EVENTS]
