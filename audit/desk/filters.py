"""Which events somebody asks to see."""

from datetime import datetime, timezone
from itertools import groupby
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from audit.canonical import storable_text
from audit.events import EventName

OLD_NAMES = {"event__exact": "event", "status__exact": "status"}
"""What the list's addresses once called them."""


def by_subject() -> list[tuple[str, list[tuple[str, str]]]]:
    """The kinds of events, in groups by what they are about."""
    named = sorted(map(str, EventName))
    groups = groupby(named, lambda name: name.partition(":")[0])
    return [(subject, [(name, name) for name in names]) for subject, names in groups]


class Exactly(forms.CharField):
    """A text that an event's column is compared with."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, **options)

    def to_python(self, value: Any) -> str:
        return storable_text(super().to_python(value) or "")


class MomentInput(forms.DateTimeInput):
    """The browser's own field, which knows no zones."""

    input_type = "datetime-local"

    def format_value(self, value: Any) -> str | None:
        try:
            moment = Moment().clean(value)
        except ValidationError:
            return super().format_value(value)
        return f"{moment:%Y-%m-%dT%H:%M:%S}" if moment else ""


class Moment(forms.DateTimeField):
    """A time, in UTC where it names no zone."""

    widget = MomentInput(attrs={"step": 1})

    def to_python(self, value: Any) -> datetime | None:
        moment = super().to_python(value)
        try:
            return moment and moment.astimezone(timezone.utc)
        except OverflowError:
            raise ValidationError(self.error_messages["invalid"]) from None


class Span(forms.Form):
    """From when to when."""

    since = Moment(required=False, label="Since (UTC)")
    until = Moment(required=False, label="Before (UTC)")

    def __init__(self, asked: QueryDict | None = None) -> None:
        super().__init__(asked, auto_id="filter_%s", use_required_attribute=False)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        since, until = given.get("since"), given.get("until")
        if since and until and until <= since:
            self.add_error("until", "This is not after the time beside it.")
        return given


class Filters(Span):
    """The filters of the list; what is not asked for is empty."""

    event = forms.ChoiceField(required=False, choices=lambda: [("", "any event"), *by_subject()])
    actor = Exactly(max_length=200)
    tool = Exactly(max_length=200)
    status = Exactly(max_length=24)
    invocation = forms.UUIDField(required=False, label="Call")
    request_id = Exactly(max_length=128, label="Request")

    field_order = [
        "event", "actor", "tool", "status", "since", "until", "invocation", "request_id",
    ]  # fmt: skip

    @property
    def wanted(self) -> dict[str, Any]:
        """What is asked for, by name."""
        return {name: value for name, value in self.cleaned_data.items() if value}

    @property
    def are_set(self) -> bool:
        """Whether anything is asked for."""
        return any(self.data.get(name) for name in self.fields)
