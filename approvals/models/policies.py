"""Policies: rules that people write in the admin. They only tighten what a tool's code demands."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from approvals.states import Effect
from audit.models import local_now

LONGEST_TO_DECIDE_DAYS = 30
MOST_NEEDED = 20


class PolicyQuerySet(models.QuerySet["Policy"]):
    """Policies, by whether they count."""

    def enabled(self) -> "PolicyQuerySet":
        return self.filter(is_enabled=True)


class Policy(models.Model):
    """Which calls it is about, what becomes of them, and who decides how."""

    class SideEffect(models.TextChoices):
        """What a tool's code declares of it."""

        WRITES = "writes", "anything but reading"
        DESTRUCTIVE = "destructive", "destructive"
        MONEY_MOVEMENT = "money_movement", "money movement"
        WRITES_DATA = "writes_data", "writes data"
        CHANGES_PERMISSIONS = "changes_permissions", "changes permissions"
        EXTERNAL_NETWORK = "external_network", "external network"
        READ_ONLY = "read_only", "read only"

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True, help_text="Why it is there.")
    is_enabled = models.BooleanField("enabled", default=True)
    effect = models.CharField(
        max_length=10,
        choices=Effect.choices,
        default=Effect.REQUIRE,
        help_text="All that match count, the strictest wins: deny, require approval, allow.",
    )
    priority = models.IntegerField(
        default=0, help_text="Higher ones come first where rules are told and stages are joined."
    )

    tool = models.CharField(
        max_length=200, default="*", help_text="Tools by name: refund_payment, refund_*, or *."
    )
    actor = models.CharField(
        max_length=200, blank=True, help_text="Callers by name, such as shop-*; empty: all."
    )
    scope = models.CharField(
        max_length=200, blank=True, help_text="Tools that need this scope: refunds.*; empty: all."
    )
    side_effect = models.CharField(
        max_length=32, blank=True, choices=SideEffect.choices, help_text="Empty: whatever it does."
    )
    conditions = models.JSONField(
        default=list,
        blank=True,
        help_text='All must hold: [{"field": "amount", "operator": ">", "value": 500}].',
    )

    expires_after = models.DurationField(
        null=True,
        blank=True,
        help_text="The time to decide, such as 12h; at most 30 days. Empty: as the setting says.",
    )
    reason_required = models.BooleanField(default=False, help_text="No decision without a word.")
    no_bulk = models.BooleanField(
        "one by one", default=False, help_text="Never decided together with others."
    )
    step_up = models.BooleanField(
        "fresh proof", default=False, help_text="To approve, people prove again who they are."
    )
    typed_confirmation = models.BooleanField(
        default=False, help_text="To approve, people type the tool's name."
    )
    created_at = models.DateTimeField(default=local_now, editable=False)
    changed_at = models.DateTimeField(default=local_now, editable=False)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "policies"
        ordering = ["-priority", "name"]

    def __str__(self) -> str:
        return self.name

    def describe(self) -> dict[str, Any]:
        """All that it says, as the ledger keeps it."""
        plain = (
            "name", "description", "is_enabled", "effect", "priority", "tool", "actor", "scope",
            "side_effect", "conditions", "reason_required", "no_bulk", "step_up",
            "typed_confirmation",
        )  # fmt: skip
        stages = [
            {"needs": stage.needs, "group": stage.group.name if stage.group else None}
            for stage in self.stages.all()
        ]
        expires = None if self.expires_after is None else self.expires_after.total_seconds()
        said = {name: getattr(self, name) for name in plain}
        return {**said, "expires_after": expires, "stages": stages}


class PolicyStage(models.Model):
    """So many distinct people of a group; the stages of a policy are filled in order."""

    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="stages")
    position = models.PositiveSmallIntegerField(default=1)
    needs = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_NEEDED)],
        help_text="How many people have to agree.",
    )
    group = models.ForeignKey(
        Group,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Of which group; empty: anybody who may decide.",
    )

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(needs__gte=1) & Q(needs__lte=MOST_NEEDED), name="a_stage_needs_somebody"
            ),
            models.UniqueConstraint(fields=["policy", "position"], name="one_stage_per_position"),
        ]

    def __str__(self) -> str:
        return f"{self.policy}: {self.needs} of {self.group or 'all who may decide'}"
