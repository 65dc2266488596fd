"""The rows of the hall and the desk, each kind in a file of its own."""

from approvals.models.calls import (
    ENDED_WHEN_FINAL,
    ONE_HELD_PER_ACTION,
    ONE_PER_IDEMPOTENCY_KEY,
    ONE_VOTE_EACH,
    Approval,
    ApprovalQuerySet,
    Edit,
    Invocation,
    InvocationQuerySet,
    Vote,
)
from approvals.models.desk import MOST_PRESETS, Preset, Wishes
from approvals.models.notices import Channel, DeliveryAttempt, Notice, NoticeQuerySet
from approvals.models.policies import LONGEST_TO_DECIDE_DAYS, Policy, PolicyQuerySet, PolicyStage

__all__ = [
    "ENDED_WHEN_FINAL",
    "LONGEST_TO_DECIDE_DAYS",
    "MOST_PRESETS",
    "ONE_HELD_PER_ACTION",
    "ONE_PER_IDEMPOTENCY_KEY",
    "ONE_VOTE_EACH",
    "Approval",
    "ApprovalQuerySet",
    "Channel",
    "DeliveryAttempt",
    "Edit",
    "Invocation",
    "InvocationQuerySet",
    "Notice",
    "NoticeQuerySet",
    "Policy",
    "PolicyQuerySet",
    "PolicyStage",
    "Preset",
    "Vote",
    "Wishes",
]
