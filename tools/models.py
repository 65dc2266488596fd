"""What the database knows of tools and keys. Code is never named here, only tools by name."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.functional import cached_property

from audit.models import local_now, new_id
from tools.budgets import Budgets

UNNAMED_ISSUER = "urn:rampart:unnamed-issuer"
"""Who gave out a token that does not say, where no issuer is configured."""


class Tool(models.Model):
    """A tool that code has defined at some time; the switch that operators hold."""

    name = models.CharField(max_length=200, unique=True)
    enabled = models.BooleanField(
        default=True, help_text="Off: every call is refused and queued ones do not start."
    )
    present = models.BooleanField(default=True, help_text="Whether the code defines it now.")
    current = models.ForeignKey(
        "ToolVersion", null=True, on_delete=models.PROTECT, related_name="+", editable=False
    )
    max_running = models.PositiveIntegerField(
        "running at most",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="So many calls run at once, others wait; empty: as many as there are workers.",
    )
    priority = models.SmallIntegerField(
        default=0, help_text="Calls of higher priority are taken first; the usual one is 0."
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(max_running=None) | Q(max_running__gte=1), name="a_tool_may_run"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ToolVersion(models.Model):
    """One definition of a tool: approvals are given for a version, never for a name."""

    tool = models.ForeignKey(Tool, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    schema_hash = models.CharField(max_length=32)
    definition = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tool", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["tool", "number"], name="one_tool_version_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.tool} v{self.number}"


class EmergencyStop(models.Model):
    """The kill switch for all tools: one row, there while the stop is engaged."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    reason = models.CharField(max_length=400)
    engaged_by = models.CharField(max_length=200, editable=False)
    engaged_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "emergency stop"
        verbose_name_plural = "emergency stop"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_emergency_stop")]

    def __str__(self) -> str:
        return f"all tools stopped: {self.reason}"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Keys, by what they are good for."""

    def usable(self, now: datetime) -> "ApiKeyQuerySet":
        """Neither revoked nor expired, and the owner is active."""
        alive = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
        return self.filter(alive, revoked_at__isnull=True, owner__is_active=True)


class ApiKey(models.Model):
    """A service as we know it: by a key, or by what an issuer's tokens call it.

    Of a key only a digest is kept; its visible start finds the row. A caller that comes with
    tokens or through a trusted proxy has a row too, without a digest, so that it can be revoked
    and its calls have a lineage; what it may do is in each token.
    """

    prefix = models.CharField(max_length=32, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    lineage = models.UUIDField(
        default=uuid4,
        editable=False,
        db_index=True,
        help_text="One caller: a key and those it was rotated from or to.",
    )
    actor = models.CharField(max_length=200, help_text="The name that the ledger shows.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="api_keys"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The person who made it, if a person did; on the requester's side too.",
    )
    scopes = models.JSONField(default=list, help_text='Such as ["orders.read", "refunds.*"].')
    tools = models.JSONField(default=list, blank=True, help_text="Only these tools; empty: all.")
    cidrs = models.JSONField(default=list, blank=True, help_text="Only from these networks.")
    rate_tier = models.CharField(
        max_length=40, blank=True, help_text="A limit on all its calls, such as 600/minute."
    )
    ceilings = models.JSONField(
        default=dict, blank=True, help_text="The budgets of its sessions, where they are unusual."
    )
    created_at = models.DateTimeField(default=local_now, editable=False)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    rotated_from = models.ForeignKey(
        "self",
        null=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="successors",
        help_text="The key that this one replaces.",
    )
    must_rotate = models.BooleanField(
        default=False, editable=False, help_text="Its secret was made elsewhere: replace it soon."
    )
    imported_id = models.CharField(
        max_length=200,
        null=True,
        unique=True,
        editable=False,
        help_text="The name under which another system knew it.",
    )
    slow_hash = models.CharField(
        max_length=300,
        blank=True,
        editable=False,
        help_text="What the other system kept of it, until its first use here.",
    )
    issuer = models.CharField(
        max_length=400,
        blank=True,
        editable=False,
        help_text="Who vouches for this caller's tokens; empty for a key.",
    )
    subject = models.CharField(
        max_length=255, blank=True, editable=False, help_text="Its name with that issuer."
    )

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]
        permissions = [("rotate_apikey", "Can rotate API keys")]
        constraints = [
            models.UniqueConstraint(
                fields=["rotated_from"],
                condition=Q(revoked_at__isnull=True),
                name="one_live_successor_per_key",
            ),
            models.UniqueConstraint(
                fields=["issuer", "subject", "actor"],
                condition=~Q(issuer=""),
                name="one_row_per_subject",
            ),
        ]
        indexes = [
            models.Index(
                fields=["digest"],
                condition=Q(imported_id__isnull=False),
                name="imported_keys_by_digest",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix} ({self.actor})"

    @cached_property
    def people_behind(self) -> set[int | None]:
        """Who never decides its calls: owners and makers of its lineage, and whose token it was.

        Asked once for each object that stands for the key; for many at once by `know_people`.
        """
        know_people([self])
        return self.people_behind

    @property
    def highest(self) -> Budgets:
        """What its sessions may spend at most."""
        return Budgets(**self.ceilings)

    def describe(self) -> dict[str, Any]:
        """What the commands print of a key; never the secret."""
        return {
            "prefix": self.prefix,
            "actor": self.actor,
            "owner": self.owner.get_username(),
            "scopes": self.scopes,
            "tools": self.tools,
            "cidrs": self.cidrs,
            "rate_tier": self.rate_tier,
            "ceilings": self.highest.describe(),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            "last_used_at": self.last_used_at,
            "must_rotate": self.must_rotate,
        }


class FederatedIdentity(models.Model):
    """A person's name with an OpenID provider, linked to a user by an earlier sign-in."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="federated_identities"
    )
    issuer = models.CharField(max_length=400)
    subject = models.CharField(max_length=255)
    linked_at = models.DateTimeField(default=local_now, editable=False)
    last_sign_in_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "linked identity"
        verbose_name_plural = "linked identities"
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "subject"], name="one_user_per_federated_identity"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


def know_people(keys: Iterable[ApiKey]) -> None:
    """Look up who is behind these keys, in two queries at most, however many there are.

    A lineage is one caller: who owns or made any of its keys may hold a secret of it.
    """
    keys = list(keys)
    subjects = {key.subject for key in keys if key.issuer}
    links = list(FederatedIdentity.objects.filter(subject__in=subjects)) if subjects else []
    kin = ApiKey.objects.filter(lineage__in={key.lineage for key in keys}).order_by()
    holders: dict[UUID, set[int | None]] = {}
    for lineage, owner, maker in kin.values_list("lineage", "owner_id", "created_by_id"):
        holders.setdefault(lineage, set()).update((owner, maker))
    for key in keys:
        linked = {link.user_id for link in links if _is_behind(link, key)}
        own = {key.owner_id, key.created_by_id}
        key.people_behind = own | holders.get(key.lineage, set()) | linked


def _is_behind(link: FederatedIdentity, key: ApiKey) -> bool:
    return link.subject == key.subject and key.issuer in (link.issuer, UNNAMED_ISSUER)


class RateWindow(models.Model):
    """The recent calls of one bucket, for deployments without Redis; locked while counted."""

    bucket = models.CharField(max_length=300, primary_key=True)
    hits = models.JSONField(default=list)
    expires_at = models.DateTimeField(db_index=True)


CLOCK = {"asked_at": Now()}


class SessionState(models.TextChoices):
    """Whether a session takes calls."""

    OPEN = "open"
    CLOSED = "closed"
    TIMED_OUT = "timed_out", "timed out"


class SessionQuerySet(models.QuerySet["Session"]):
    """Sessions, by whether they take calls; times are compared by the database's clock."""

    def of_lineage(self, lineage: UUID) -> "SessionQuerySet":
        return self.filter(lineage=lineage)

    def open(self) -> "SessionQuerySet":
        """Neither closed nor out of time."""
        return self.filter(closed_at__isnull=True, ends_at__gt=Now())

    def in_state(self, state: SessionState) -> "SessionQuerySet":
        """Those that stand so."""
        if state is SessionState.OPEN:
            return self.open()
        if state is SessionState.CLOSED:
            return self.filter(closed_at__isnull=False)
        return self.filter(closed_at__isnull=True, ends_at__lte=Now())

    def with_clock(self) -> "SessionQuerySet":
        """Each with the database's time of asking, as `asked_at`."""
        return self.annotate(**CLOCK)


class Session(models.Model):
    """One piece of a caller's work: its budgets, fixed, and what is used of them.

    It belongs to the caller's lineage, so a rotated key goes on with it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    lineage = models.UUIDField()
    actor = models.CharField(max_length=200)
    key_prefix = models.CharField(max_length=32)
    config = models.JSONField()
    """The budgets by name; read them by `budgets`."""
    tool_calls = models.PositiveBigIntegerField(default=0)
    output_bytes = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    asked_at: datetime
    """When the row was asked for, if it was `with_clock`."""

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = [("close_session", "Can close sessions")]
        indexes = [models.Index(fields=["lineage", "ends_at"], name="session_by_caller")]

    def __str__(self) -> str:
        return f"{self.id} of {self.actor}"

    @property
    def budgets(self) -> Budgets:
        """What it may spend."""
        return Budgets(**self.config)

    @property
    def state(self) -> SessionState:
        """Where it stands; asked for `with_clock`."""
        if self.closed_at is not None:
            return SessionState.CLOSED
        return SessionState.TIMED_OUT if self.ends_at <= self.asked_at else SessionState.OPEN

    @property
    def elapsed(self) -> timedelta:
        """How much of its time has gone; asked for `with_clock`."""
        return min(self.closed_at or self.asked_at, self.ends_at) - self.created_at
