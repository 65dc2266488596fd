"""What a person says with a decision, and the signed word on when the page was shown."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core import signing
from django.forms.models import ModelChoiceIteratorValue

from approvals.models import Approval, Preset

LONGEST = 10_000
SHOWN_WITHIN = timedelta(hours=12)
"""A page that was left open for longer says nothing about how long somebody looked at it."""
_signer = signing.Signer(salt="approvals.shown")


def shown_token(approval: Approval, person: User, moment: datetime) -> str:
    """That this content was shown to this person at this moment, signed."""
    return _signer.sign_object([*_binding(approval, person), moment.timestamp()])


def shown_at(token: str, approval: Approval, person: User, moment: datetime) -> datetime | None:
    """The moment that the token names; None if it is forged, old, or another page's."""
    try:
        *binding, timestamp = _signer.unsign_object(token)
    except signing.BadSignature:
        return None
    at = datetime.fromtimestamp(timestamp, moment.tzinfo)
    is_this = binding == _binding(approval, person)
    return at if is_this and moment - SHOWN_WITHIN <= at <= moment else None


def _binding(approval: Approval, person: User) -> list[str | int]:
    return [str(approval.pk), person.pk, approval.invocation.digest]


class PresetSelect(forms.Select):
    """Each choice bears its text, for the script that fills it in."""

    def create_option(self, name: str, value: Any, *given: Any, **named: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *given, **named)
        if isinstance(value, ModelChoiceIteratorValue):
            preset: Preset = value.instance  # type: ignore[attr-defined]  # The stubs lack it.
            option["attrs"]["data-text"] = preset.text
        return option


class SaidForm(forms.Form):
    """The two texts that go with whatever people say of a call."""

    reason_help = "Needed to reject."

    note = forms.CharField(
        required=False,
        max_length=LONGEST,
        label="Note",
        help_text="Only people see it.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    reason_to_agent = forms.CharField(
        required=False,
        max_length=LONGEST,
        label="Reason, told to the agent",
        widget=forms.Textarea(attrs={"rows": 2, "data-previewed": "reason"}),
    )

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.fields["reason_to_agent"].help_text = self.reason_help


class DecisionForm(SaidForm):
    """What is said with a decision, and the digest of what was on the page."""

    field_order = ("note", "preset", "reason_to_agent", "typed")

    preset = forms.ModelChoiceField(
        Preset.objects.all(),
        required=False,
        label="Ready-made reason to reject",
        empty_label="–",
        help_text="Counts where no other reason is written.",
        widget=PresetSelect(attrs={"data-fills": "reason_to_agent"}),
    )
    typed = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    expected_digest = forms.CharField(max_length=64, widget=forms.HiddenInput)
    shown = forms.CharField(required=False, max_length=400, widget=forms.HiddenInput)

    def __init__(self, *given: Any, approval: Approval, **named: Any) -> None:
        super().__init__(*given, **named)
        if not Preset.objects.exists():
            del self.fields["preset"]
        if approval.agreed.typed_confirmation:
            self.fields["typed"].label = f"Type {approval.tool_name} to approve"
        else:
            del self.fields["typed"]
        if approval.agreed.reason_required:
            self.fields[
                "reason_to_agent"
            ].help_text = "Needed to reject; to approve, a note is enough."


class RejectionForm(DecisionForm):
    """A refusal without a reason teaches the agent nothing."""

    def clean_reason_to_agent(self) -> str:
        """What was written, else the ready-made reason that was chosen."""
        chosen = self.cleaned_data.get("preset")
        reason: str = self.cleaned_data["reason_to_agent"] or (chosen.text if chosen else "")
        if not reason.strip():
            raise forms.ValidationError("Say why: the agent is told.")
        return reason


class WordsForm(SaidForm):
    """What is said with a change, what was seen when it was made, and what it comes to."""

    reason_help = "The agent is told what was changed, too."

    expected_digest = forms.CharField(max_length=64, widget=forms.HiddenInput)
    becomes = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *given: Any, approval: Approval, **named: Any) -> None:
        super().__init__(*given, **named)
        self.reason_required = approval.agreed.reason_required

    @property
    def seen(self) -> str:
        """The digest of what was on the page."""
        return str(self.data.get("expected_digest", ""))

    def clean(self) -> None:
        """Some calls are neither decided nor changed without a word."""
        said = [self.cleaned_data.get(name, "").strip() for name in ("note", "reason_to_agent")]
        if self.reason_required and not any(said):
            self.add_error("reason_to_agent", "Say why: this call is not changed without a word.")
