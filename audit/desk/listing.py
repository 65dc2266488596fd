"""The list: every event, newest first, and the seven ways to ask for some of them."""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse

from audit import finding
from audit.canonical import storable_text
from audit.desk.filters import OLD_NAMES, Filters
from audit.desk.paging import Page, page_of
from audit.models import Event, EventQuerySet
from audit.planning import planned_for_its_values
from audit.windows import Window

READING = ("GET", "HEAD")
LIST = "admin:audit_event_changelist"
NOT_LISTED = ("arguments", "result", "metadata", "error")


class ListPages(Window):
    """The list of events. It shows; everything else has an address of its own."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """`GET /admin/audit/event/`; an address of an earlier version leads to its like."""
        self.must_only_look(request)
        if forwarded := _of_today(request.GET):
            return HttpResponseRedirect(forwarded)
        filters = Filters(request.GET)
        is_clear = filters.is_valid()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Ledger",
            "filters": filters,
            "page": _asked_page(filters, request.GET) if is_clear else Page([]),
            "is_clear": is_clear,
            **(extra_context or {}),
        }
        status = 200 if is_clear else 400
        return TemplateResponse(request, "admin/ledger/list.html", context, status=status)

    def must_only_look(self, request: HttpRequest) -> None:
        """Whoever may see the ledger looks at it, and nobody does more than that."""
        if request.method not in READING or not self.has_view_permission(request):
            raise PermissionDenied


def _asked_page(filters: Filters, asked: QueryDict) -> Page:
    rows = finding.narrowed(Event.objects.defer(*NOT_LISTED), filters.wanted)
    with planned_for_its_values():
        return page_of(rows, asked)


def _of_today(asked: QueryDict) -> str:
    """Where an address with names that the list doesn't have leads; empty if it has all of them."""
    known = {*Filters.base_fields, "newer", "older"}
    if known.issuperset(asked):
        return ""
    if text := asked.get("q", "").strip():
        return _found_by(storable_text(text))
    kept = QueryDict(mutable=True)
    for name, value in asked.items():
        if OLD_NAMES.get(name, name) in known:
            kept[OLD_NAMES.get(name, name)] = str(value)
    return f"{reverse(LIST)}?{kept.urlencode()}" if kept else reverse(LIST)


def _found_by(text: str) -> str:
    """The list of what a word names: a call, a request, a tool or, if nothing else, an actor."""
    rows: EventQuerySet = Event.objects.all()
    asked = {"invocation": _as_id(text), "request_id": text, "tool": text}
    name = next((one for one, value in asked.items() if _has(rows, one, value)), "actor")
    query = QueryDict(mutable=True)
    query[name] = text
    return f"{reverse(LIST)}?{query.urlencode()}"


def _has(rows: EventQuerySet, name: str, value: UUID | str | None) -> bool:
    return bool(value) and finding.narrowed(rows, {name: value}).exists()


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
