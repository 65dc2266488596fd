"""What a new legal hold must be, wherever it is placed."""

from typing import Any

from django import forms

from audit.models import LegalHold


class HoldForm(forms.ModelForm):  # type: ignore[type-arg]
    """Why, and what; each thing that is said narrows it, so one without any holds everything."""

    class Meta:
        model = LegalHold
        fields = [
            "reason", "actor", "tool_name", "invocation_id", "session_id", "since", "until",
        ]  # fmt: skip
        help_texts = {
            "actor": "What is left empty narrows nothing: with a reason alone, everything is held.",
            "since": "In UTC.",
            "until": "In UTC.",
        }

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        since, until = said.get("since"), said.get("until")
        if since and until and until < since:
            raise forms.ValidationError("It would end before it begins, and hold nothing.")
        return said
