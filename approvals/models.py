"""A call, the decision about it, and who said what. Status is written in `transitions` alone."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from approvals.states import FAILED, OPEN, ApprovalStatus, InvocationStatus, Verdict
from audit.fields import CanonicalJSONField
from audit.models import local_now, new_id
from tools.models import ApiKey, ToolVersion

ONE_PER_IDEMPOTENCY_KEY = "one_invocation_per_idempotency_key"
ONE_HELD_PER_ACTION = "one_held_invocation_per_action"
ENDED_WHEN_FINAL = "invocation_ended_when_final"
ONE_VOTE_EACH = "one_vote_per_reviewer_and_stage"


class InvocationQuerySet(models.QuerySet["Invocation"]):
    """Calls, by where they stand."""

    def held(self) -> "InvocationQuerySet":
        return self.filter(status=InvocationStatus.HELD)

    def running(self) -> "InvocationQuerySet":
        return self.filter(status=InvocationStatus.RUNNING)

    def unsent(self, now: datetime) -> "InvocationQuerySet":
        """Queued, and no worker has come for it in the time that a message takes."""
        return self.filter(status=InvocationStatus.QUEUED, dispatch_after__lte=now)

    def lost(self, now: datetime) -> "InvocationQuerySet":
        """Running, and its worker has not been heard of for the length of a lease."""
        return self.filter(status=InvocationStatus.RUNNING, lease_expires_at__lte=now)

    def failed(self) -> "InvocationQuerySet":
        """Ran, and did not end well."""
        return self.filter(status__in=FAILED)

    def of_lineage(self, lineage: UUID) -> "InvocationQuerySet":
        return self.filter(lineage=lineage)

    def of_outdated_tools(self) -> "InvocationQuerySet":
        """Held for a version of a tool that is no longer the current one."""
        return self.held().exclude(tool_version_id=F("tool_version__tool__current_id"))

    def with_keepsakes(self, now: datetime) -> "InvocationQuerySet":
        """Raw results whose time is over."""
        return self.filter(result_sealed__isnull=False, result_expires_at__lte=now)


class Invocation(models.Model):
    """One call that got past the door."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    status = models.CharField(max_length=12, choices=InvocationStatus.choices)
    tool_name = models.CharField(max_length=200)
    tool_version = models.ForeignKey(ToolVersion, on_delete=models.PROTECT, related_name="+")
    tool_version_number = models.PositiveIntegerField()
    policy_version = models.CharField(max_length=32)
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="+")
    key_prefix = models.CharField(max_length=32)
    lineage = models.UUIDField()
    actor = models.CharField(max_length=200)
    source = models.CharField(max_length=16)
    request_id = models.CharField(max_length=128)
    session_id = models.UUIDField(null=True)
    metadata = CanonicalJSONField(default=dict)
    idempotency_key = models.CharField(max_length=255, null=True)

    digest = models.CharField(max_length=64)
    request_digest = models.CharField(max_length=64)
    arguments = CanonicalJSONField(default=dict)
    arguments_sealed = models.BinaryField(null=True)

    result = CanonicalJSONField(null=True)
    result_sealed = models.BinaryField(null=True)
    result_expires_at = models.DateTimeField(null=True)
    error = models.TextField(null=True)
    error_type = models.CharField(max_length=200, null=True)
    reason = models.CharField(max_length=64, blank=True)
    progress = CanonicalJSONField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    audit_id = models.UUIDField(null=True)

    created_at = models.DateTimeField(default=local_now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    claims = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    dispatches = models.PositiveIntegerField(default=0)
    dispatch_after = models.DateTimeField(null=True)

    objects = InvocationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["lineage", "-id"], name="invocation_by_caller"),
            models.Index(
                fields=["status", "dispatch_after"],
                name="invocation_open",
                condition=Q(status__in=sorted(OPEN)),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["lineage", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name=ONE_PER_IDEMPOTENCY_KEY,
            ),
            models.UniqueConstraint(
                fields=["lineage", "digest"],
                condition=Q(status=InvocationStatus.HELD, idempotency_key__isnull=True),
                name=ONE_HELD_PER_ACTION,
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(OPEN)) | Q(finished_at__isnull=False),
                name=ENDED_WHEN_FINAL,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tool_name} {self.id}"

    def known_without_approval(self) -> "Invocation":
        """The same row, which need not look for an approval: it was never held."""
        relation = cast("models.OneToOneRel", self._meta.get_field("approval"))
        relation.set_cached_value(self, None)
        return self

    @property
    def decision_record(self) -> "Approval | None":
        """The approval of a call that was held, or None."""
        try:
            return self.approval
        except Approval.DoesNotExist:
            return None


class ApprovalQuerySet(models.QuerySet["Approval"]):
    """Decisions, by where they stand."""

    def pending(self) -> "ApprovalQuerySet":
        return self.filter(status=ApprovalStatus.PENDING)

    def unused(self) -> "ApprovalQuerySet":
        """Undecided, or approved and not yet used."""
        return self.filter(status__in=[ApprovalStatus.PENDING, ApprovalStatus.APPROVED])

    def expired(self, now: datetime) -> "ApprovalQuerySet":
        """Out of time, whether or not anybody has written that down yet."""
        return self.unused().filter(expires_at__lte=now)

    def soonest_first(self) -> "ApprovalQuerySet":
        return self.order_by("expires_at")

    def with_everything(self) -> "ApprovalQuerySet":
        """With what a page or an answer about it shows, in one query."""
        return self.select_related(
            "invocation__tool_version", "invocation__key__owner", "resolved_by"
        ).prefetch_related("votes__reviewer")


class Approval(models.Model):
    """The decision about one held call: bound to it, used once, open for a limited time."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    invocation = models.OneToOneField(Invocation, on_delete=models.PROTECT, related_name="approval")
    status = models.CharField(max_length=12, choices=ApprovalStatus.choices)
    reason = models.TextField()
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    resolution_note = models.TextField(blank=True)
    reason_to_agent = models.TextField(blank=True)

    objects = ApprovalQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = [("decide_approval", "Can approve and reject calls")]
        indexes = [
            models.Index(
                fields=["expires_at"],
                name="approval_pending",
                condition=Q(status=ApprovalStatus.PENDING),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invocation.tool_name} for {self.invocation.actor}"

    @property
    def requesting_side(self) -> set[int | None]:
        """The people who may not decide."""
        return self.invocation.key.people_behind

    @property
    def is_pending(self) -> bool:
        return self.status == ApprovalStatus.PENDING


class Vote(models.Model):
    """What one reviewer said, once, and the digest of what was shown when it was said."""

    approval = models.ForeignKey(Approval, on_delete=models.PROTECT, related_name="votes")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="votes"
    )
    stage = models.PositiveSmallIntegerField(default=0)
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    note = models.TextField(blank=True)
    reason_to_agent = models.TextField(blank=True)
    digest = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        ordering = ["at"]
        constraints = [
            models.UniqueConstraint(fields=["approval", "reviewer", "stage"], name=ONE_VOTE_EACH)
        ]

    def __str__(self) -> str:
        return f"{self.reviewer} {self.verdict}"

    def describe(self, *, with_note: bool) -> dict[str, Any]:
        """The vote as the API shows it; the private note only to people."""
        return {
            "reviewer": self.reviewer.get_username(),
            "stage": self.stage,
            "verdict": self.verdict,
            "reason_to_agent": self.reason_to_agent or None,
            "note": (self.note or None) if with_note else None,
            "at": self.at,
        }
