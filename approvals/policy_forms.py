"""What is asked of whoever writes a policy. What a form lets through, a rule can be made of."""

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import cached_property

from approvals.condition_lines import read_line, write_line
from approvals.door import Call
from approvals.models import Policy, PolicyStage
from approvals.models.policies import LONGEST_TO_DECIDE_DAYS
from approvals.rulebook import is_time_to_decide, read_condition
from approvals.states import Effect
from audit.canonical import short_digest
from audit.plain_text import findings
from tools import registry, strict_json
from tools.forms import LifetimeField, WordsField, written

MOST_CONDITIONS = 20
MOST_STAGES = 6
TOOL = re.compile(r"[\w.*?\[\]!-]+", re.ASCII)
SCOPE = re.compile(r"\*|[^\s*]+(\.\*)?")
OPEN_BRACKET = re.compile(r"\[(?!.[^\]]*\])")
ONLY_HELD = ("expires_after", "reason_required", "no_bulk", "step_up", "typed_confirmation")
"""What only matters where people decide."""


class _AsWritten(forms.CharField):
    """Text that stands for a value; the same text is no change."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        before = str(self.prepare_value(initial) or "")
        return before.split("\n") != str(data or "").strip().splitlines() and before != data


class ConditionsField(_AsWritten):
    """Conditions, one a line."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(write_line, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[dict[str, Any]]:
        lines = [line.strip() for line in str(super().clean(value)).splitlines()]
        numbered = [(number, line) for number, line in enumerate(lines, 1) if line]
        if len(numbered) > MOST_CONDITIONS:
            raise ValidationError(f"At most {MOST_CONDITIONS} conditions.")
        return [_condition(number, line) for number, line in numbered]


def _condition(number: int, line: str) -> dict[str, Any]:
    try:
        condition = read_line(line)
        read_condition(condition)
    except ValueError as error:
        raise ValidationError(f"Line {number}: {error}.") from None
    return condition


class TimeToDecideField(_AsWritten, LifetimeField):
    """`12h` or `3d`, at most thirty days."""

    def prepare_value(self, value: Any) -> Any:
        return written(value) if isinstance(value, timedelta) else value

    def clean(self, value: Any) -> timedelta | None:
        found = super().clean(value)
        if found is not None and not is_time_to_decide(found):
            raise ValidationError(f"More than nothing, and at most {LONGEST_TO_DECIDE_DAYS}d.")
        return found


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A policy; whoever saves one must have seen it as it is now."""

    conditions = ConditionsField(
        required=False,
        help_text="All must hold, one a line: amount > 500; currency in USD, CHF; note contains"
        ' refund; country = "NO"; sql matches ^DROP. A value that is missing or can\'t be compared'
        " needs a person.",
    )
    expires_after = TimeToDecideField(
        required=False,
        label="Time to decide",
        help_text=f"Such as 12h or 3d, at most {LONGEST_TO_DECIDE_DAYS}d; empty: as the setting"
        " says.",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    """What the policy said when the form was opened."""

    class Meta:
        model = Policy
        fields = (
            "name", "description", "is_enabled", "effect", "priority", "tool", "actor", "scope",
            "side_effect", "conditions", "expires_after", "reason_required", "no_bulk", "step_up",
            "typed_confirmation",
        )  # fmt: skip
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen"] = self._said_now

    @cached_property
    def _said_now(self) -> str:
        return "" if self.instance.pk is None else short_digest(self.instance.describe())

    def clean_name(self) -> str:
        return _plain(self.cleaned_data["name"])

    def clean_tool(self) -> str:
        tool = _glob(self.cleaned_data["tool"])
        if not TOOL.fullmatch(tool):
            raise ValidationError("One name or pattern: letters, digits, . _ - * ? and [abc].")
        return tool

    def clean_actor(self) -> str:
        return _glob(self.cleaned_data["actor"])

    def clean_scope(self) -> str:
        scope = _plain(self.cleaned_data["scope"])
        if scope and not SCOPE.fullmatch(scope):
            raise ValidationError("One scope, a family such as refunds.*, or *.")
        return scope

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("seen", "") != self._said_now:
            raise ValidationError(
                "Somebody else has changed this policy meanwhile. Open it again, and see."
            )
        if cleaned.get("effect") in (Effect.ALLOW, Effect.DENY):
            for name in ONLY_HELD:
                if cleaned.get(name):
                    self.add_error(name, "Only where approval is required: nobody decides here.")
        return cleaned


class StagesFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """The stages of a policy, numbered in order where nobody says otherwise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = [stage.position for stage in self.get_queryset()]
        following = max(taken, default=0) + 1
        self.initial_extra = [{"position": following + n} for n in range(self.extra)]

    def add_fields(self, form: Any, index: int | None) -> None:
        """In a table the heads of columns are no labels: each field gets one that is spoken."""
        super().add_fields(form, index)
        which = "another stage" if index is None else f"stage {index + 1}"
        for name, field in form.fields.items():
            field.widget.attrs["aria-label"] = f"{field.label or name}, {which}"

    def clean(self) -> None:
        super().clean()
        kept = [form for form in self.forms if form not in self.deleted_forms]
        groups = [form.cleaned_data.get("group") for form in kept if _is_filled_in(form)]
        if groups and self.instance.effect in (Effect.ALLOW, Effect.DENY):
            raise ValidationError("Only policies that require approval have stages.")
        if len(set(groups)) < len(groups):
            raise ValidationError("A group stands once: raise its number instead.")
        if None in groups and len(groups) > 1:
            raise ValidationError(
                "A stage without a group stands alone: people of the other stages' groups would"
                " fill it."
            )


def _is_filled_in(form: Any) -> bool:
    return bool(form.instance.pk) or (form.has_changed() and hasattr(form, "cleaned_data"))


class StageForm(forms.ModelForm):  # type: ignore[type-arg]
    """One stage."""

    class Meta:
        model = PolicyStage
        fields = ("position", "needs", "group")


class SimulationForm(forms.Form):
    """A call that nobody makes."""

    tool = forms.ChoiceField(choices=lambda: [(name, name) for name in sorted(registry.loaded())])
    actor = forms.CharField(
        max_length=200, help_text="Who would call, with the scopes of their newest usable key."
    )
    scopes = WordsField(
        required=False, help_text="With these scopes and no key; empty: as their key has them."
    )
    arguments = forms.CharField(
        initial="{}", widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text="One JSON object.",
    )  # fmt: skip
    idempotency_key = forms.CharField(required=False, max_length=255)

    def clean_arguments(self) -> dict[str, object]:
        try:
            return strict_json.json_object(self.cleaned_data["arguments"].encode())
        except ValueError as error:
            raise ValidationError(f"This is no JSON object: {error}.") from None

    def call(self, request_id: str) -> Call:
        """The call as it would come over REST."""
        return Call(
            tool_name=self.cleaned_data["tool"],
            arguments=self.cleaned_data["arguments"],
            request_id=request_id,
            source="rest",
            idempotency_key=self.cleaned_data["idempotency_key"] or None,
        )


def _plain(text: str) -> str:
    """The text, if what it shows is all that it holds."""
    if odd := next(findings(text), None) or (not text.isprintable() and "a line break"):
        raise ValidationError(f"It has something in it that can't be seen or misleads: {odd}.")
    return text


def _glob(pattern: str) -> str:
    if OPEN_BRACKET.search(_plain(pattern)):
        raise ValidationError("A bracket is not closed, such as in refund_[ab.")
    return pattern
