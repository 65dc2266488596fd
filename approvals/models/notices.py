"""What is told to whom outside: where to, what is waiting to be told, and each attempt."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q

from approvals.models.calls import Approval, Invocation
from approvals.states import Risk
from audit.fields import CanonicalJSONField
from audit.models import local_now, new_id
from tools.models import ApiKey


class Channel(models.Model):
    """Somewhere that notices go: an address of mail, a webhook, or a chat that reads Slack's form.

    One with a caller tells that caller's own system what became of its calls, and nothing else.
    """

    class Kind(models.TextChoices):
        """In which form, and by which protocol."""

        EMAIL = "email", "e-mail"
        WEBHOOK = "webhook", "signed webhook"
        SLACK = "slack", "chat (Slack's form)"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    is_enabled = models.BooleanField("enabled", default=True)
    address = models.CharField(
        max_length=500, blank=True, help_text="Addresses of mail, separated by commas."
    )
    url_sealed = models.BinaryField(null=True, editable=False)
    """A webhook's URL, encrypted: those of chats are secrets."""
    secret_sealed = models.BinaryField(null=True, editable=False)
    """The key that signs webhooks, `whsec_…`, encrypted."""
    tool = models.CharField(max_length=200, default="*", help_text="Only of these tools: refund_*.")
    least_risk = models.PositiveSmallIntegerField(choices=Risk.choices, default=Risk.LOW)
    caller = models.ForeignKey(
        ApiKey,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Whose calls' outcomes are told here, to their own system.",
    )
    failing_since = models.DateTimeField(null=True, editable=False)
    disabled_because = models.CharField(max_length=200, blank=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class NoticeQuerySet(models.QuerySet["Notice"]):
    """Notices, by where they stand."""

    def due(self, now: datetime) -> "NoticeQuerySet":
        """To be sent, and in nobody's hands."""
        free = Q(lease_expires_at=None) | Q(lease_expires_at__lte=now)
        return self.filter(free, status=Notice.Status.WAITING, due_at__lte=now)


class Notice(models.Model):
    """One thing to be told to one place or person: written with what it tells of, then sent."""

    class Status(models.TextChoices):
        """Where its delivery stands."""

        WAITING = "waiting", "waiting"
        """To be sent, or sent again, when it is due."""
        SENT = "sent", "sent"
        """Taken by the other side."""
        FAILED = "failed", "failed"
        """Given up."""
        DROPPED = "dropped", "dropped"
        """No longer of use: decided meanwhile, or the channel was switched off."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=40)
    """What it tells: the ledger's event, or `test`, `reminder`, `digest`."""
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    channel = models.ForeignKey(
        Channel, null=True, on_delete=models.CASCADE, related_name="notices"
    )
    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+"
    )
    approval = models.ForeignKey(
        Approval, null=True, on_delete=models.PROTECT, related_name="notices"
    )
    invocation = models.ForeignKey(
        Invocation, null=True, on_delete=models.PROTECT, related_name="+"
    )
    payload = CanonicalJSONField(default=dict)
    """What will be said; no arguments, no result, no secret."""
    created_at = models.DateTimeField(default=local_now)
    due_at = models.DateTimeField(default=local_now)
    attempts = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    thread = models.CharField(max_length=255, blank=True)
    """What the other side calls the first message, so that the next ones join it."""

    objects = NoticeQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["due_at"], name="notice_waiting", condition=Q(status="waiting")),
            models.Index(fields=["channel", "-id"], name="notice_by_channel"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class DeliveryAttempt(models.Model):
    """What came of sending a notice once."""

    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField(default=local_now)
    milliseconds = models.PositiveIntegerField()
    phase = models.CharField(max_length=10, blank=True)
    """How far it got when it failed: dns, tcp, tls, smtp, http."""
    code = models.PositiveSmallIntegerField(null=True)
    """The status that the other side answered with."""
    answer = models.CharField(max_length=500, blank=True)
    """How its answer, or the error, began; secrets masked."""
    is_good = models.BooleanField()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.notice_id} {'sent' if self.is_good else self.phase}"
