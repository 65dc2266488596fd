"""What a person says with a decision."""

from django import forms

LONGEST = 10_000


class DecisionForm(forms.Form):
    """The two texts of a decision, and the digest of what was on the page."""

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
        help_text="Needed to reject.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    expected_digest = forms.CharField(max_length=64, widget=forms.HiddenInput)


class RejectionForm(DecisionForm):
    """A refusal without a reason teaches the agent nothing."""

    reason_to_agent = forms.CharField(
        max_length=LONGEST,
        label="Reason, told to the agent",
        help_text="Needed to reject.",
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Say why: the agent is told."},
    )
