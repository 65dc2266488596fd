"""What is asked of whoever makes an API key."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from tools.durations import parse_duration


class WordsField(forms.CharField):
    """Words, apart by spaces, commas or lines."""

    def clean(self, value: Any) -> list[str]:
        return str(super().clean(value)).replace(",", " ").split()


class LifetimeField(forms.CharField):
    """`90d` or `12h`."""

    def clean(self, value: Any) -> timedelta | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_duration(text)
        except ValueError as error:
            raise ValidationError(str(error), code="invalid") from None


class KeyForm(forms.Form):
    """A key's making; what a key may be is judged by the key cabinet."""

    actor = forms.CharField(max_length=200, help_text="The name that the ledger shows.")
    scopes = WordsField(help_text="Words such as: orders.read refunds.*")
    owner = forms.ModelChoiceField(
        get_user_model().objects.filter(is_active=True).order_by("username"),
        required=False,
        empty_label="nobody: an account of its own",
        help_text="The person who answers for it, and who never decides its calls.",
    )
    tools = WordsField(required=False, help_text="Only these tools; empty: all in scope.")
    cidrs = WordsField(
        required=False, label="Networks", help_text="Only from these, such as 10.0.0.0/8."
    )
    rate_tier = forms.CharField(
        required=False, label="Rate", help_text="A limit on all its calls, such as 600/minute."
    )
    lifetime = LifetimeField(required=False, initial="90d", help_text="Such as 90d or 12h.")
