"""The ledger's window: everybody with the permission looks in, nobody reaches in."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from audit.models import Event
from audit.plain_text import marked
from audit.windows import Window, as_sheet, exactly, when


@admin.register(Event)
class EventAdmin(Window):
    """One line after another, newest first."""

    list_display = ["told_at", "event", "who", "tool", "status", "reason", "call"]
    list_display_links = ["told_at", "event"]
    list_filter = ["event", "status"]
    search_fields = ["actor", "tool_name", "request_id", "key_prefix"]
    search_help_text = "Actor, tool, request id or the visible start of a key"
    sortable_by = ()
    readonly_fields = [
        "id", "event", "who", "tool", "status", "reason", "began_at", "told_exactly",
        "call", "approval", "shown_arguments", "shown_result", "shown_error", "shown_metadata",
        "session_id", "request_id", "source", "key_prefix", "digest",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        is_list = getattr(request.resolver_match, "url_name", "").endswith("_changelist")
        return rows.defer("arguments", "result", "metadata", "error") if is_list else rows

    @admin.display(description="actor")
    def who(self, event: Event) -> str:
        return marked(event.actor) or "–"

    @admin.display(description="tool")
    def tool(self, event: Event) -> str:
        return marked(event.tool_name) or "–"

    @admin.display(description="began")
    def began_at(self, event: Event) -> str:
        return exactly(event.started_at)

    @admin.display(description="told")
    def told_at(self, event: Event) -> str:
        return when(event.ended_at)

    @admin.display(description="told")
    def told_exactly(self, event: Event) -> str:
        return exactly(event.ended_at)

    @admin.display(description="call")
    def call(self, event: Event) -> str:
        return link("approvals_invocation", event.invocation_id)

    @admin.display(description="approval")
    def approval(self, event: Event) -> str:
        return link("approvals_approval", event.approval_id)

    @admin.display(description="arguments")
    def shown_arguments(self, event: Event) -> str:
        return as_sheet(event.arguments)

    @admin.display(description="result")
    def shown_result(self, event: Event) -> str:
        return as_sheet(event.result)

    @admin.display(description="error")
    def shown_error(self, event: Event) -> str:
        return as_sheet(event.error)

    @admin.display(description="metadata")
    def shown_metadata(self, event: Event) -> str:
        return as_sheet(event.metadata)


def link(page: str, row_id: UUID | None) -> str:
    """A link to the page of another room's row, by its id; the ledger knows no more of it."""
    if row_id is None:
        return "–"
    try:
        address = reverse(f"admin:{page}_change", args=[row_id])
    except NoReverseMatch:
        return str(row_id)
    return format_html('<a href="{}" title="{}">…{}</a>', address, row_id, str(row_id)[-12:])
