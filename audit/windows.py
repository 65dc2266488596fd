"""What the admin's pages share: windows that only show, lists that are not counted, times."""

from datetime import datetime, timezone
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from audit.canonical import JSON
from audit.models import local_now
from audit.sheets import sheet

MOST_LISTED = 10_000
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than a person would page; COUNT over a whole ledger takes minutes."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows.order_by()[:MOST_LISTED].count() if hasattr(rows, "query") else len(rows)


class Window(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to look at: nobody adds, changes or deletes them here, not even a superuser."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 50
    change_form_template = "admin/window.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only what a filter of the page asks for: a query string is no way to search columns."""
        names = {getattr(given, "parameter_name", given) for given in self.list_filter}
        return lookup.partition("__")[0] in names

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_readonly_fields(request, obj)


def when(moment: datetime | None) -> SafeString | str:
    """A time as people say it, with the exact one beside it for the mouse and the screen reader."""
    if moment is None:
        return "–"
    exact = _iso(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', exact, exact, relative(moment, local_now())
    )


def exactly(moment: datetime | None) -> SafeString | str:
    """A time as people say it, and the exact one after it."""
    if moment is None:
        return "–"
    return format_html(
        '{} <time class="kind exact" datetime="{}">{}</time>',
        when(moment), _iso(moment), f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
    )  # fmt: skip


def _iso(moment: datetime) -> str:
    """ISO 8601 in UTC; `rampart/times.js` puts it into the browser's zone for who wants that."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def relative(moment: datetime, now: datetime) -> str:
    """`in 23 h`, `4 min ago`, `just now`."""
    seconds = (moment - now).total_seconds()
    size = abs(seconds)
    if size < 60:
        return "in less than a minute" if seconds > 0 else "just now"
    span = next(f"{int(size // unit)} {word}" for unit, word in UNITS if size >= unit)
    return f"in {span}" if seconds > 0 else f"{span} ago"


def as_sheet(value: JSON) -> SafeString:
    """A JSON value as a labelled table."""
    return render_to_string("admin/sheet.html", {"rows": sheet(value)})


def link(page: str, row_id: UUID | None) -> SafeString | str:
    """A link to the page of another room's row, by its id; the ledger knows no more of it."""
    if row_id is None:
        return "–"
    try:
        address = reverse(f"admin:{page}_change", args=[row_id])
    except NoReverseMatch:
        return str(row_id)
    return format_html('<a href="{}" title="{}">…{}</a>', address, row_id, str(row_id)[-12:])
