"""How calls and decisions look: badges, side effects, what happened."""

from django.db.models import QuerySet
from django.utils.html import format_html

from approvals.holding import GRAVE
from approvals.models import Approval, Invocation
from approvals.states import ApprovalStatus, InvocationStatus
from audit.models import Event

_A, _I = ApprovalStatus, InvocationStatus

BADGES: dict[str, tuple[str, str]] = {
    _A.PENDING: ("waiting", "◷"), _I.HELD: ("waiting", "◷"), _I.QUEUED: ("waiting", "…"),
    _I.RUNNING: ("waiting", "▶"), _A.APPROVED: ("good", "✓"), _A.CONSUMED: ("good", "✓"),
    _I.SUCCESS: ("good", "✓"), _A.REJECTED: ("bad", "✗"), _I.ERROR: ("bad", "!"),
    _I.TIMEOUT: ("bad", "!"), _I.KILLED: ("bad", "!"), _I.UNKNOWN: ("bad", "?"),
    _A.EXPIRED: ("over", "⌛"), _A.CANCELLED: ("over", "⊘"), _A.VOID: ("over", "⊘"),
}  # fmt: skip
"""Each status's look and sign; the word beside it is the status's own."""

MOST_EVENTS = 200


def badge(row: Approval | Invocation) -> str:
    """The status as sign and word."""
    look, sign = BADGES[row.status]
    return format_html(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>',
        look, sign, row.get_status_display(),
    )  # fmt: skip


def effects_of(row: Invocation) -> list[tuple[str, bool]]:
    """What the tool's definition says it does to the world, in words; and whether that is grave."""
    declared = row.tool_version.definition.get("side_effects", {})
    effects = [(name.replace("_", " "), name in GRAVE) for name, is_so in declared.items() if is_so]
    return effects or [("side effects not declared", True)]


def timeline_of(row: Invocation) -> QuerySet[Event]:
    """The ledger's lines about this call, oldest first."""
    return Event.objects.filter(invocation_id=row.pk).order_by("id")[:MOST_EVENTS]
