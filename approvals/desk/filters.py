"""Which held calls somebody asks to see, and in which order."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest
from django.db.models import Q
from django.http import QueryDict

from approvals.desk.keyset import GRAVEST, NEWEST, SOONEST, Order
from approvals.desk.people import not_of, visible_to
from approvals.models import ApprovalQuerySet
from approvals.states import ApprovalStatus, Risk
from audit.models import Event
from tools.models import Tool

MOST_OF_ONE_REQUEST = 50
LONGEST_SEARCH = 200
EVERYBODYS, TO_DECIDE, OWN = "", "decide", "own"


class Filters(forms.Form):
    """The filters of the queue; what is not asked for is empty."""

    status = forms.ChoiceField(
        required=False, choices=[*ApprovalStatus.choices, ("all", "any status")]
    )
    tool = forms.CharField(required=False, max_length=200, widget=forms.Select)
    risk = forms.TypedChoiceField(
        required=False, coerce=int, empty_value=None, choices=[("", "any risk"), *Risk.choices]
    )
    whose = forms.ChoiceField(
        required=False,
        choices=[
            (EVERYBODYS, "everybody's"), (TO_DECIDE, "that I may decide"), (OWN, "of my keys"),
        ],
    )  # fmt: skip
    order = forms.ChoiceField(
        required=False, choices=[("", "soonest to expire"), ("risk", "highest risk")]
    )
    q = forms.CharField(
        required=False,
        max_length=LONGEST_SEARCH,
        label="Search",
        help_text="How a tool or a requester begins, or an id.",
    )

    def __init__(self, asked: QueryDict) -> None:
        given = asked.copy()
        given["status"] = asked.get("status") or ApprovalStatus.PENDING
        super().__init__(given, auto_id="filter_%s")
        names = list(Tool.objects.order_by("name").values_list("name", flat=True))
        if (tool := asked.get("tool", "")) and tool not in names:
            names.append(tool)
        select = self.fields["tool"].widget
        select.choices = [("", "any tool"), *((name, name) for name in names)]

    @property
    def wanted(self) -> dict[str, Any]:
        """What is asked for; BadRequest if no link or box of ours asks like that."""
        if not self.is_valid():
            raise BadRequest("there is no such filter")
        return self.cleaned_data

    @property
    def are_narrow(self) -> bool:
        """Whether anything but what waits is asked for."""
        return self._has("status", "tool", "risk", "whose", "q")

    @property
    def are_set(self) -> bool:
        """Whether one of those is set that no tab stands for."""
        return self._has("tool", "risk", "order")

    def _has(self, *names: str) -> bool:
        return any(self.wanted[name] not in ("", None, ApprovalStatus.PENDING) for name in names)


def order_of(wanted: dict[str, Any]) -> Order:
    """What waits by its end, what is over by its age."""
    if wanted["status"] != ApprovalStatus.PENDING or _as_id(wanted["q"]):
        return NEWEST
    return GRAVEST if wanted["order"] else SOONEST


def narrowed(person: User, wanted: dict[str, Any], moment: datetime) -> ApprovalQuerySet:
    """The approvals that are asked for, among those that the person sees."""
    rows = visible_to(person)
    if one := _as_id(wanted["q"]):  # An id is found whatever has become of it.
        return rows.filter(Q(pk=one) | Q(invocation__in=[one, *_of_request(one, wanted["q"])]))
    rows = _by_column(rows, wanted)
    if wanted["status"] == ApprovalStatus.PENDING:
        rows = rows.in_time(moment)
    if wanted["whose"] == OWN:
        rows = rows.filter(invocation__key__owner=person)
    if wanted["whose"] == TO_DECIDE:
        rows = not_of(person, rows)
    return rows


def _by_column(rows: ApprovalQuerySet, wanted: dict[str, Any]) -> ApprovalQuerySet:
    if wanted["status"] != "all":
        rows = rows.filter(status=wanted["status"])
    if wanted["tool"]:
        rows = rows.filter(tool_name=wanted["tool"])
    if wanted["risk"]:
        rows = rows.filter(risk=wanted["risk"])
    if q := wanted["q"]:
        begins = Q(tool_name__startswith=q) | Q(actor__startswith=q)
        rows = rows.filter(begins | Q(invocation__in=_of_request(q)))
    return rows


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _of_request(*ids: UUID | str) -> list[UUID]:
    """The calls that came with a request; the ledger has the index for it."""
    names = {name for one in ids for name in (str(one), one.hex if isinstance(one, UUID) else "")}
    told = Event.objects.filter(request_id__in=names - {""}, invocation_id__isnull=False)
    calls = told.order_by().values_list("invocation_id", flat=True)[:MOST_OF_ONE_REQUEST]
    return [call for call in set(calls) if call]
