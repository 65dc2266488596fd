"""The page of one event: what it tells, what it changed, and how it is secured."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse

from audit.desk.changes import changes_told
from audit.desk.listing import LIST, NOT_LISTED, ListPages
from audit.desk.standing import standing_of
from audit.models import Event, EventQuerySet
from audit.windows import link

MOST_BESIDE = 20
MEMBERS_OF_A_CHANGE = ("before", "after")
WHAT_DRIVERS_RAISE = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""Over a column that somebody has filled with nonsense."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Other lines of the same request or call, and where all of them are listed."""

    heading: str
    events: list[Event]
    address: str
    is_cut: bool


class EventPages(ListPages):
    """One event; there is nothing to be done with it."""

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """`GET …/<id>/change/`, by the name that other rooms know it by."""
        self.must_only_look(request)
        row_id = _id(object_id)
        around = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "event_id": row_id,
            **(extra_context or {}),
        }
        try:
            event = Event.objects.get(pk=row_id)
            told = _told(event)
        except Event.DoesNotExist:
            raise Http404 from None
        except WHAT_DRIVERS_RAISE:
            template, told = "admin/ledger/unreadable.html", {"title": "A line beyond reading"}
            return TemplateResponse(request, template, around | told, status=500)
        return TemplateResponse(request, "admin/ledger/event.html", around | told)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """An event has no history: it is never edited."""
        raise PermissionDenied


def _told(event: Event) -> dict[str, Any]:
    return {
        "title": event.event,
        "event": event,
        "standing": standing_of(event),
        "changes": changes_told(event.metadata),
        "metadata": _but_the_change(event.metadata),
        "links": _links(event),
        "besides": _besides(event),
    }


def _but_the_change(metadata: Any) -> Any:
    """What the table of changes doesn't show already."""
    if not changes_told(metadata):
        return metadata
    return {name: value for name, value in metadata.items() if name not in MEMBERS_OF_A_CHANGE}


def _links(event: Event) -> dict[str, str]:
    """To the rows of other rooms; an event outlives what it tells of."""
    named = {
        "call": ("approvals_invocation", event.invocation_id),
        "approval": ("approvals_approval", event.approval_id),
        "session": ("tools_session", event.session_id),
    }
    return {name: link(page, row_id) for name, (page, row_id) in named.items() if row_id}


def _besides(event: Event) -> list[Beside]:
    rows = Event.objects.exclude(pk=event.pk).defer(*NOT_LISTED)
    found = []
    if event.request_id:
        same = rows.filter(request_id=event.request_id)
        found.append(_beside("Of the same request", same, "request_id", event.request_id))
    if event.invocation_id:
        same = rows.filter(invocation_id=event.invocation_id)
        found.append(_beside("Of the same call", same, "invocation", str(event.invocation_id)))
    return [one for one in found if one.events]


def _beside(heading: str, rows: EventQuerySet, name: str, value: str) -> Beside:
    query = QueryDict(mutable=True)
    query[name] = value
    found = list(rows.order_by("id")[: MOST_BESIDE + 1])
    address = f"{reverse(LIST)}?{query.urlencode()}"
    return Beside(heading, found[:MOST_BESIDE], address, len(found) > MOST_BESIDE)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None
