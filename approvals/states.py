"""What can happen to a call and to its approval: every status, and every arrow between them.

The same table stands in docs/states.md in words; a test keeps the two alike.
"""

from django.db import models


class InvocationStatus(models.TextChoices):
    """Where a call stands."""

    HELD = "held", "waiting for a person"
    """Waits for people; its arguments are frozen and encrypted; nothing has run."""
    QUEUED = "queued", "queued"
    """May run; a message is on its way, and if it gets lost another is sent."""
    RUNNING = "running", "running"
    """One worker holds the lease and the approval is consumed; the intent is in the ledger."""
    SUCCESS = "success", "success"
    """The tool answered."""
    ERROR = "error", "error"
    """The tool raised, or its result was not of its type."""
    TIMEOUT = "timeout", "timed out"
    """The process was killed at its deadline."""
    KILLED = "killed", "killed"
    """A limit or a fault ended the process."""
    UNKNOWN = "unknown", "outcome unknown"
    """The worker died while the tool ran: the effect may or may not have happened."""
    REJECTED = "rejected", "rejected"
    """A person said no; nothing ran."""
    EXPIRED = "expired", "expired"
    """The time to decide, or to use the decision, ran out; nothing ran."""
    CANCELLED = "cancelled", "cancelled"
    """Taken back: before it ran, or while it ran and then its process was ended."""
    VOID = "void", "void"
    """What was asked is no longer what would run; nothing ran."""


class ApprovalStatus(models.TextChoices):
    """Where the decision about a held call stands."""

    PENDING = "pending", "pending"
    """Nobody has decided yet."""
    APPROVED = "approved", "approved"
    """A person said yes, and the call has not started yet."""
    CONSUMED = "consumed", "approved and used"
    """The one run that it allowed has started."""
    REJECTED = "rejected", "rejected"
    """A person said no."""
    EXPIRED = "expired", "expired"
    """Its time ran out before it was decided or used."""
    CANCELLED = "cancelled", "cancelled"
    """The caller or its owner took the call back."""
    VOID = "void", "void"
    """The tool, the policy or the key changed, so what was approved is gone."""


class Verdict(models.TextChoices):
    """What a reviewer said."""

    APPROVE = "approve", "approve"
    """Yes, run exactly this."""
    REJECT = "reject", "reject"
    """No."""


class Risk(models.IntegerChoices):
    """How much harm a call may do, by what its tool declares."""

    LOW = 1, "low risk"
    """It only reads."""
    MEDIUM = 2, "medium risk"
    """It writes, or says nothing of what it does."""
    HIGH = 3, "high risk"
    """It destroys, moves money or changes permissions."""


class Effect(models.TextChoices):
    """What a policy does with the calls that it matches."""

    ALLOW = "allow", "allow"
    """Says that the call is ruled; what the tool's code demands is demanded still."""
    REQUIRE = "require", "require approval"
    """People decide."""
    DENY = "deny", "deny"
    """Nobody may."""


_I, _A = InvocationStatus, ApprovalStatus

TRANSITIONS: dict[str, frozenset[str]] = {
    _I.HELD: frozenset({_I.QUEUED, _I.REJECTED, _I.EXPIRED, _I.CANCELLED, _I.VOID}),
    _I.QUEUED: frozenset({_I.RUNNING, _I.EXPIRED, _I.CANCELLED, _I.VOID}),
    _I.RUNNING: frozenset(
        {_I.SUCCESS, _I.ERROR, _I.TIMEOUT, _I.KILLED, _I.CANCELLED, _I.UNKNOWN, _I.QUEUED}
    ),
    _I.UNKNOWN: frozenset({_I.SUCCESS, _I.ERROR}),
    **dict.fromkeys(
        (_I.SUCCESS, _I.ERROR, _I.TIMEOUT, _I.KILLED, _I.REJECTED, _I.EXPIRED, _I.CANCELLED,
         _I.VOID),
        frozenset[str](),
    ),
}  # fmt: skip

APPROVAL_TRANSITIONS: dict[str, frozenset[str]] = {
    _A.PENDING: frozenset({_A.APPROVED, _A.REJECTED, _A.EXPIRED, _A.CANCELLED, _A.VOID}),
    _A.APPROVED: frozenset({_A.CONSUMED, _A.EXPIRED, _A.CANCELLED, _A.VOID}),
    **dict.fromkeys(
        (_A.CONSUMED, _A.REJECTED, _A.EXPIRED, _A.CANCELLED, _A.VOID), frozenset[str]()
    ),
}

OPEN = frozenset({_I.HELD, _I.QUEUED, _I.RUNNING})
"""Not at an end; everything else is final, but for a person reconciling `unknown`."""
UNDER_WAY = frozenset({_I.QUEUED, _I.RUNNING})
"""Nothing but a worker is waited for."""
FAILED = frozenset({_I.ERROR, _I.TIMEOUT, _I.KILLED, _I.UNKNOWN})
"""The tool has started and did not end well; its effect may have happened."""
OPEN_APPROVAL = frozenset({_A.PENDING, _A.APPROVED})
"""Not decided, or decided and not used."""

API_WORD = {
    _I.HELD: "requires_approval",
    _I.QUEUED: "pending",
    _I.RUNNING: "pending",
}


def is_final(status: str) -> bool:
    """Whether a call in this status has ended."""
    return status not in OPEN


def api_word(status: str) -> str:
    """What callers read for an invocation's status."""
    return API_WORD.get(InvocationStatus(status), str(status))


def sources_of(target: str, table: dict[str, frozenset[str]]) -> frozenset[str]:
    """Every status from which an arrow leads to the target."""
    return frozenset(source for source, targets in table.items() if target in targets)
