"""What belongs to the desk itself: reviewers' wishes, and phrases that save typing."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from approvals.states import Risk

MOST_PRESETS = 6


class Wishes(models.Model):
    """How a person wants the desk to be; without a row, as the defaults say."""

    class Mail(models.TextChoices):
        """When mail comes of what waits for the person."""

        AT_ONCE = "at_once", "at once"
        DIGEST = "digest", "together, every 15 minutes"
        OFF = "off", "never"

    class Clock(models.TextChoices):
        """In which zone exact times are shown."""

        UTC = "utc", "UTC"
        LOCAL = "local", "my browser's"

    person = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="wishes"
    )
    mail = models.CharField(max_length=10, choices=Mail.choices, default=Mail.AT_ONCE)
    mail_least_risk = models.PositiveSmallIntegerField(
        "mail from", choices=Risk.choices, default=Risk.LOW
    )
    clock = models.CharField("times in", max_length=10, choices=Clock.choices, default=Clock.UTC)
    has_keys = models.BooleanField("keyboard shortcuts", default=True)

    class Meta:
        verbose_name_plural = "wishes"

    def __str__(self) -> str:
        return f"wishes of {self.person}"


class Preset(models.Model):
    """A reason to reject that is offered ready-made; the agent is told its text."""

    label = models.CharField(max_length=40, unique=True)
    text = models.TextField(max_length=1000, help_text="What the agent is told.")
    position = models.PositiveSmallIntegerField(default=1)

    class Meta:
        verbose_name = "reason to reject"
        verbose_name_plural = "reasons to reject"
        ordering = ["position", "label"]

    def __str__(self) -> str:
        return self.label

    def clean(self) -> None:
        if Preset.objects.exclude(pk=self.pk).count() >= MOST_PRESETS:
            raise ValidationError(f"At most {MOST_PRESETS} are offered; change one instead.")
