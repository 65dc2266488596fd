"""What is asked of whoever makes, rotates or revokes an API key."""

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from tools import registry
from tools.budgets import LARGEST, USUAL
from tools.durations import parse_duration
from tools.key_cabinet import DEFAULT_LIFETIME, DEFAULT_OVERLAP, LONGEST_REASON

EVERYTHING = "*"
"""The scope that allows every tool."""


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


class CeilingField(forms.IntegerField):
    """What a session of the key may spend at most."""

    def __init__(self, label: str) -> None:
        super().__init__(required=False, label=label, min_value=1, max_value=LARGEST)


class KeyForm(forms.Form):
    """A key's making; what a key may be is judged by the key cabinet."""

    actor = forms.CharField(max_length=200, help_text="The name that the ledger shows.")
    scopes = WordsField()
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
    lifetime = LifetimeField(required=False)
    max_tool_calls = CeilingField(label="Calls in a session")
    timeout_ms = CeilingField(label="Milliseconds of a session")
    max_output_bytes = CeilingField(label="Bytes of results in a session")
    max_depth = CeilingField(label="Depth of a session")
    max_iterations = CeilingField(label="Iterations of a session")
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)
    """The newest key there was when the form was opened: sent twice, it makes one key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        longest = settings.RAMPART_MAX_KEY_LIFETIME
        usual = written(min(DEFAULT_LIFETIME, longest))
        self.fields["lifetime"].initial = usual
        self.fields[
            "lifetime"
        ].help_text = f"Such as 90d or 12h, at most {written(longest)}; empty: {usual}."
        for name, number in USUAL.describe().items():
            self.fields[name].help_text = f"At most; empty: {number}."
        self.fields["scopes"].help_text = (
            f"{_known_scopes()}orders.* is orders and all below it; {EVERYTHING} is everything, "
            "and whoever finds such a key may call every tool."
        )

    def clean(self) -> dict[str, Any]:
        """The ceilings together, by the budgets' names."""
        given = dict(super().clean() or {})
        return given | {"ceilings": {name: given.pop(name, None) for name in USUAL.describe()}}


class RotationForm(forms.Form):
    """A key's replacement: how long the old one goes on, and how long the new one lives."""

    overlap = LifetimeField(
        required=False,
        initial="24h",
        help_text="How long the old key goes on working; 0d ends it at once.",
    )
    lifetime = LifetimeField(required=False, label="New lifetime")
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    """Which key replaced it when the form was opened: sent twice, it rotates once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[
            "lifetime"
        ].help_text = (
            f"Empty: as the old key's. At most {written(settings.RAMPART_MAX_KEY_LIFETIME)}."
        )

    def clean_overlap(self) -> timedelta:
        overlap: timedelta | None = self.cleaned_data["overlap"]
        longest: timedelta = settings.RAMPART_MAX_KEY_LIFETIME
        if overlap is not None and overlap > longest:
            raise ValidationError(f"An overlap is at most {written(longest)}.")
        return DEFAULT_OVERLAP if overlap is None else overlap


class RevocationForm(forms.Form):
    """Why a key is revoked."""

    reason = forms.CharField(max_length=LONGEST_REASON, required=False, help_text="For the ledger.")


def written(duration: timedelta) -> str:
    """A duration as people write it: `365d`, `36h`."""
    seconds = int(duration.total_seconds())
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    return next(f"{seconds // size}{unit}" for size, unit in units if seconds % size == 0)


def _known_scopes() -> str:
    asked = sorted({tool.scope for tool in registry.loaded().values() if tool.scope})
    return f"The tools here ask for {', '.join(asked)}. " if asked else ""
