"""The form on which a reviewer changes what would run: a field for each argument, by its type."""

import json
import re
from typing import Any

from django import forms

from approvals.editing import Unfitting
from approvals.models import Invocation
from approvals.serializers import arguments_in_order
from audit.canonical import JSON, canonical_text
from audit.plain_text import findings, marked
from audit.redaction import REDACTED
from audit.sheets import FOLD_ABOVE, pretty
from tools import registry, strict_json

LINE_ENDS = re.compile("\r\n|\r|\n")
"""What a browser makes CRLF of, whichever it was given."""


class ArgumentsForm(forms.Form):
    """The call's arguments as they are shown; what is left as it was means what it was."""

    def __init__(self, row: Invocation, data: Any = None) -> None:
        super().__init__(data, prefix="argument")
        self.shown = arguments_in_order(row)
        schemas = registry.find(row.tool_name).public_schema["input_schema"]["properties"]
        for name, value in self.shown.items():
            if (field := field_of(value, schemas.get(name, {}))) is not None:
                self.fields[name] = field
                field.label, field.initial = name, field.written(value)
                field.hidden_parts = marked_if_odd(value)

    @property
    def fixed(self) -> dict[str, JSON]:
        """The arguments that are too long to be edited on a page."""
        return {name: value for name, value in self.shown.items() if name not in self.fields}

    def edited(self) -> dict[str, JSON]:
        """All arguments, as the editor wants them."""
        return {name: self.cleaned_data.get(name, value) for name, value in self.shown.items()}

    def blame(self, unfitting: Unfitting) -> None:
        """Put what is wrong beside the arguments that it is about, else on top."""
        named = [(one["path"].partition(".")[0], one["message"]) for one in unfitting.faults]
        if not named or not all(name in self.fields for name, _ in named):
            named = [("__all__", str(unfitting))]
        for name, what in named:
            self.add_error(name, what)


class ArgumentField(forms.CharField):
    """One argument, written as text."""

    kind = "text"
    hidden_parts = ""

    def __init__(self, shown: JSON) -> None:
        self.shown = shown
        rows = min(12, len(LINE_ENDS.findall(self.written(shown))) + 1)
        super().__init__(strip=False, required=False, widget=forms.Textarea(attrs={"rows": rows}))

    def written(self, value: JSON) -> str:
        """How the value stands in the field."""
        return str(value)

    def clean(self, value: Any) -> JSON:
        """What is meant; a browser's own line ends are no change."""
        text: str = super().clean(value)
        if LINE_ENDS.sub("\n", text) == LINE_ENDS.sub("\n", self.written(self.shown)):
            return self.shown
        return self.meant(LINE_ENDS.sub("\n", text))

    def meant(self, text: str) -> JSON:
        """The value that was written."""
        return text


class JSONArgument(ArgumentField):
    """A number, a nested value, or one that may be of several types."""

    kind = "JSON"

    def written(self, value: JSON) -> str:
        return pretty(value)

    def meant(self, text: str) -> JSON:
        try:
            value = strict_json.parse(text)
            canonical_text(value)
        except (ValueError, RecursionError):
            raise forms.ValidationError(f"This is not {self.kind} that can be taken.") from None
        return value


class NumberArgument(JSONArgument):
    """A number."""

    kind = "a number"

    def meant(self, text: str) -> JSON:
        number = super().meant(text.strip())
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise forms.ValidationError("This is not a number that can be taken.")
        return number


class ChoiceArgument(forms.TypedChoiceField):
    """One of the values that the tool names."""

    kind = "a choice"
    hidden_parts = ""

    def __init__(self, values: list[JSON]) -> None:
        choices = [(self.written(value), str(value)) for value in values]
        super().__init__(choices=choices, coerce=json.loads)

    @staticmethod
    def written(value: JSON) -> str:
        return canonical_text(value)


def field_of(value: JSON, schema: dict[str, Any]) -> ArgumentField | ChoiceArgument | None:
    """The field for a value of this type; None for one that is too long."""
    if len(canonical_text(value)) > FOLD_ABOVE:
        return None
    if value == REDACTED or (isinstance(value, str) and schema.get("type") == "string"):
        named = schema.get("enum", [])
        return ChoiceArgument(named) if value in named else ArgumentField(value)
    if isinstance(value, bool) and schema.get("type") == "boolean":
        return ChoiceArgument([True, False])
    if isinstance(value, int | float) and schema.get("type") in ("number", "integer"):
        return NumberArgument(value)
    return JSONArgument(value)


def marked_if_odd(value: JSON) -> str:
    """The value with its hidden and look-alike characters marked; empty if it has none."""
    text = value if isinstance(value, str) else canonical_text(value)
    return marked(text) if any(findings(text)) else ""
