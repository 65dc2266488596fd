"""A call, the decision about it, and who said what. Status is written in `transitions` alone."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from approvals.stages import Ballot, Standing, Terms
from approvals.states import (
    FAILED,
    OPEN,
    UNDER_WAY,
    ApprovalStatus,
    InvocationStatus,
    Risk,
    Verdict,
)
from audit.fields import CanonicalJSONField
from audit.models import local_now, new_id
from tools.models import ApiKey, ToolVersion

ONE_PER_IDEMPOTENCY_KEY = "one_invocation_per_idempotency_key"
ONE_HELD_PER_ACTION = "one_held_invocation_per_action"
ENDED_WHEN_FINAL = "invocation_ended_when_final"
ONE_VOTE_EACH = "one_vote_per_reviewer_and_content"
BY_PREFIX = ["varchar_pattern_ops", "uuid_ops"]
"""For PostgreSQL: the index finds what begins with a text, whatever the database's collation."""


class InvocationQuerySet(models.QuerySet["Invocation"]):
    """Calls, by where they stand."""

    def held(self) -> "InvocationQuerySet":
        return self.filter(status=InvocationStatus.HELD)

    def queued(self) -> "InvocationQuerySet":
        return self.filter(status=InvocationStatus.QUEUED)

    def running(self) -> "InvocationQuerySet":
        return self.filter(status=InvocationStatus.RUNNING)

    def under_way(self) -> "InvocationQuerySet":
        """Queued or running."""
        return self.filter(status__in=UNDER_WAY)

    def unknown(self) -> "InvocationQuerySet":
        """Nobody knows what became of them, until a person finds out."""
        return self.filter(status=InvocationStatus.UNKNOWN)

    def unsent(self, now: datetime) -> "InvocationQuerySet":
        """Queued, and no worker has come for it in the time that a message takes."""
        return self.queued().filter(dispatch_after__lte=now)

    def lost(self, now: datetime) -> "InvocationQuerySet":
        """Running, and its worker has not been heard of for the length of a lease."""
        return self.running().filter(lease_expires_at__lte=now)

    def failed(self) -> "InvocationQuerySet":
        """Ran, and did not end well."""
        return self.filter(status__in=FAILED)

    def open(self) -> "InvocationQuerySet":
        """Held, queued or running."""
        return self.filter(status__in=OPEN)

    def for_a_worker(self) -> "InvocationQuerySet":
        """With what it takes to run them, in one query."""
        return self.select_related("approval", "tool_version")

    def of_lineage(self, lineage: UUID) -> "InvocationQuerySet":
        return self.filter(lineage=lineage)

    def of_session(self, session_id: UUID) -> "InvocationQuerySet":
        """The calls that were charged to it, the first one first."""
        return self.filter(session_id=session_id).order_by("id")

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
    """Of the action that would run; another than `asked_digest` once a reviewer has edited it."""
    asked_digest = models.CharField(max_length=64)
    """Of the action that was asked for: the same call again is known by it."""
    request_digest = models.CharField(max_length=64)
    arguments = CanonicalJSONField(default=dict)
    arguments_sealed = models.BinaryField(null=True)
    modifications = CanonicalJSONField(null=True)
    """What reviewers have changed in the arguments, redacted; null if nothing."""

    result = CanonicalJSONField(null=True)
    result_sealed = models.BinaryField(null=True)
    result_expires_at = models.DateTimeField(null=True)
    output_bytes = models.PositiveIntegerField(null=True)
    """What the raw result has cost its session; null where there is none."""
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
    worker = models.CharField(max_length=100, blank=True, default="")
    """The process that claimed it last: its machine's name and its number there."""
    lease_expires_at = models.DateTimeField(null=True)
    dispatches = models.PositiveIntegerField(default=0)
    dispatch_after = models.DateTimeField(null=True)

    queue_position: int | None
    """Its place among those that wait for a worker, once `order` has looked it up."""

    objects = InvocationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["lineage", "-id"], name="invocation_by_caller"),
            models.Index(
                fields=["lineage", "tool_name", "-id"], name="invocation_by_caller_and_tool"
            ),
            models.Index(fields=["tool_name", "-id"], name="invocation_by_tool"),
            models.Index(
                fields=["session_id", "id"],
                name="invocation_by_session",
                condition=Q(session_id__isnull=False),
            ),
            models.Index(
                fields=["status", "dispatch_after"],
                name="invocation_open",
                condition=Q(status__in=sorted(OPEN)),
            ),
            models.Index(
                fields=["status", "id"],
                name="invocation_in_order",
                condition=Q(status__in=sorted({*UNDER_WAY, InvocationStatus.UNKNOWN})),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["lineage", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name=ONE_PER_IDEMPOTENCY_KEY,
            ),
            models.UniqueConstraint(
                fields=["lineage", "asked_digest"],
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

    def in_time(self, now: datetime) -> "ApprovalQuerySet":
        """Whose time is not over."""
        return self.filter(expires_at__gt=now)

    def for_a_list(self) -> "ApprovalQuerySet":
        """With what tells who may decide it, in three queries, and without what may be large."""
        caller = ("owner_id", "created_by_id", "lineage", "issuer", "subject")
        return (
            self.select_related("invocation__key", "resolved_by")
            .prefetch_related("votes", "edits")
            .only(
                "tool_name", "actor", "status", "risk", "reason", "terms", "requested_at",
                "expires_at", "resolved_at", "invocation__digest", "invocation__tool_name",
                "invocation__actor", "resolved_by__username",
                *(f"invocation__key__{name}" for name in caller),
            )
        )  # fmt: skip

    def with_everything(self) -> "ApprovalQuerySet":
        """With what a page or an answer about it shows, in three queries."""
        return self.select_related(
            "invocation__tool_version", "invocation__key__owner", "resolved_by"
        ).prefetch_related("votes__reviewer", "edits__editor")


class Approval(models.Model):
    """The decision about one held call: bound to it, used once, open for a limited time."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    invocation = models.OneToOneField(Invocation, on_delete=models.PROTECT, related_name="approval")
    tool_name = models.CharField(max_length=200)
    actor = models.CharField(max_length=200)
    status = models.CharField(max_length=12, choices=ApprovalStatus.choices)
    risk = models.PositiveSmallIntegerField(choices=Risk.choices)
    reason = models.TextField()
    terms = CanonicalJSONField(default=dict)
    """What it takes to decide it, frozen when the call was held; read it by `agreed`."""
    trace = CanonicalJSONField(default=list)
    """What each rule said when the call was held: `[{rule, answer, reason}]`, redacted."""
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
            models.Index(fields=["status", "-id"], name="approval_by_status"),
            models.Index(
                fields=["-risk", "expires_at"],
                name="approval_pending_by_risk",
                condition=Q(status=ApprovalStatus.PENDING),
            ),
            models.Index(fields=["tool_name", "-id"], name="approval_by_tool", opclasses=BY_PREFIX),
            models.Index(fields=["actor", "-id"], name="approval_by_actor", opclasses=BY_PREFIX),
        ]

    def __str__(self) -> str:
        return f"{self.tool_name} for {self.actor}"

    @property
    def requesting_side(self) -> set[int | None]:
        """The people who asked, or are behind who asked: they may not decide."""
        return self.invocation.key.people_behind

    @property
    def editors(self) -> set[int]:
        """The people who have changed what would run: they may not decide either."""
        return {edit.editor_id for edit in self.edits.all()}

    @property
    def agreed(self) -> Terms:
        """What it takes to decide it."""
        return Terms.of_json(self.terms)

    @property
    def approvers(self) -> set[int]:
        """Who has said yes to exactly what would run now."""
        return {vote.reviewer_id for vote in self._counting_votes()}

    @property
    def standing(self) -> Standing:
        """Where its stages stand; only a yes to exactly what would run now counts."""
        return Standing.of(
            self.agreed.stages,
            [Ballot(vote.reviewer_id, vote.stage) for vote in self._counting_votes()],
        )

    def _counting_votes(self) -> list["Vote"]:
        digest = self.invocation.digest
        votes = [vote for vote in self.votes.all() if vote.verdict == Verdict.APPROVE]
        return [vote for vote in votes if vote.digest == digest]

    @property
    def is_pending(self) -> bool:
        return self.status == ApprovalStatus.PENDING


class Vote(models.Model):
    """What one reviewer said, and the digest of what was shown when it was said.

    Nobody says yes twice to the same content, whatever the stage; a yes can be followed by a no.
    """

    approval = models.ForeignKey(Approval, on_delete=models.PROTECT, related_name="votes")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="votes"
    )
    stage = models.PositiveSmallIntegerField(default=0)
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    note = models.TextField(blank=True)
    reason_to_agent = models.TextField(blank=True)
    digest = models.CharField(max_length=64)
    source = models.CharField(max_length=16, blank=True)
    """By which way it came: `admin`, `rest` or `command`."""
    in_bulk = models.BooleanField(default=False)
    shown_at = models.DateTimeField(null=True)
    """When the page was rendered on which it was said."""
    at = models.DateTimeField()

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(fields=["reviewer", "-at"], name="vote_by_reviewer")]
        constraints = [
            models.UniqueConstraint(
                fields=["approval", "reviewer", "verdict", "digest"], name=ONE_VOTE_EACH
            )
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
            "source": self.source or None,
            "at": self.at,
        }


class Edit(models.Model):
    """A change that a reviewer made to the arguments of a held call, both forms redacted."""

    approval = models.ForeignKey(Approval, on_delete=models.PROTECT, related_name="edits")
    editor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="edits"
    )
    digest_before = models.CharField(max_length=64)
    digest_after = models.CharField(max_length=64)
    before = CanonicalJSONField()
    after = CanonicalJSONField()
    reason_to_agent = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["at"]

    def __str__(self) -> str:
        return f"{self.editor} edited {self.approval_id}"
