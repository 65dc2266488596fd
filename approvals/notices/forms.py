"""What is asked of whoever writes a channel; its URL goes in and never comes out again."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q, QuerySet

from approvals import vault
from approvals.models import Channel
from approvals.notices.posting import fault_of_url
from approvals.notices.signing import shown_url
from tools.models import ApiKey

LONGEST_URL = 2000


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """A channel: one kind of place, and which calls are told there."""

    url = forms.CharField(
        label="URL",
        max_length=LONGEST_URL,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "class": "vTextField"}),
    )

    class Meta:
        model = Channel
        fields = ["name", "kind", "is_enabled", "address", "tool", "least_risk", "caller"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "url" in self.fields:
            self.fields["url"].help_text = self._about_the_url()
        if "caller" in self.fields:
            self.fields["caller"].queryset = self._callers()  # type: ignore[attr-defined]

    def _callers(self) -> QuerySet[ApiKey]:
        """Callers by their keys that are not revoked; any of a lineage stands for the caller.

        The one that is kept stays among them: else to save the channel would take it away.
        """
        kept = Q(pk=self.instance.caller_id)
        return ApiKey.objects.filter(Q(revoked_at=None) | kept).order_by("actor", "prefix")

    def _about_the_url(self) -> str:
        now = shown_url(self.instance) if self.instance.pk else ""
        kept = (
            f"It leads to {now} now (the rest is not shown); leave it empty to keep it. "
            if now
            else ""
        )
        return f"{kept}Of webhooks and chats, with https://. It is encrypted, and not shown again."

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"].strip()
        if url and (fault := fault_of_url(url)):
            raise ValidationError(fault)
        return url

    def clean_address(self) -> str:
        words = [word.strip() for word in self.cleaned_data["address"].split(",")]
        addresses = [word for word in words if word]
        for address in addresses:
            validate_email(address)
        return ", ".join(addresses)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        is_mail = given.get("kind") == Channel.Kind.EMAIL
        if is_mail and not given.get("address"):
            self.add_error("address", "Mail needs an address.")
        has_url = given.get("url") or self.instance.url_sealed is not None
        if not is_mail and not has_url and "url" not in self.errors:
            self.add_error("url", "Webhooks and chats need a URL.")
        if given.get("caller") and given.get("kind") != Channel.Kind.WEBHOOK:
            self.add_error("caller", "A caller's own system is told by webhook.")
        if self.instance.caller_id and "caller" in given and given["caller"] is None:
            # It would hear of everybody's calls, at an address that is one caller's.
            self.add_error("caller", "It is this caller's own. Make a new channel instead.")
        return given

    def seal(self) -> None:
        """What is kept beside the fields: the URL encrypted, and a fresh start if switched on."""
        channel = self.instance
        if channel.kind == Channel.Kind.EMAIL:
            channel.url_sealed = channel.secret_sealed = None
        elif self.cleaned_data.get("url"):
            channel.url_sealed = vault.seal(self.cleaned_data["url"])
        if "is_enabled" in self.changed_data and channel.is_enabled:
            channel.failing_since, channel.disabled_because = None, ""
