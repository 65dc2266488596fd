"""Every call that got past the door, as a window."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string

from approvals.desk.looks import badge, timeline_of
from approvals.desk.reconciling import ReconcilePages
from approvals.desk.stopping import StopPages
from approvals.models import Invocation
from audit.admin import link
from audit.plain_text import marked
from audit.windows import as_sheet, exactly, when
from tools.models import Tool


class ToolFilter(admin.SimpleListFilter):
    """By tool; the names come from the catalogue, not from the calls."""

    title = "tool"
    parameter_name = "tool"
    column = "tool_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Tool.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class InvocationAdmin(ReconcilePages, StopPages):
    """Every call that got past the door: redacted, and never what is sealed."""

    list_display = ["created", "status_badge", "tool_name", "requester", "source", "took"]
    list_display_links = ["created"]
    list_filter = ["status", ToolFilter, "source"]
    search_fields = ["tool_name", "actor", "request_id", "key_prefix"]
    search_help_text = "Tool, actor, request id or the visible start of a key"
    sortable_by = ()
    readonly_fields = [
        "id", "status_badge", "tool_name", "tool_version_number", "requester", "key_prefix",
        "approval_page", "created_exactly", "started", "finished", "attempts",
        "shown_arguments", "shown_result", "shown_error", "reason", "shown_metadata", "progress",
        "worker", "timeline", "source", "request_id", "session_id", "idempotency_key",
        "policy_version", "digest",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invocation]:
        rows = Invocation.objects.select_related("approval")
        return rows.defer("arguments_sealed", "result_sealed")

    @admin.display(description="status")
    def status_badge(self, row: Invocation) -> str:
        return badge(row)

    @admin.display(description="requester")
    def requester(self, row: Invocation) -> str:
        return marked(row.actor)

    @admin.display(description="approval")
    def approval_page(self, row: Invocation) -> str:
        approval = row.decision_record
        return link("approvals_approval", approval.pk if approval else None)

    @admin.display(description="asked")
    def created(self, row: Invocation) -> str:
        return when(row.created_at)

    @admin.display(description="asked")
    def created_exactly(self, row: Invocation) -> str:
        return exactly(row.created_at)

    @admin.display(description="started")
    def started(self, row: Invocation) -> str:
        return exactly(row.started_at)

    @admin.display(description="finished")
    def finished(self, row: Invocation) -> str:
        return exactly(row.finished_at)

    @admin.display(description="took")
    def took(self, row: Invocation) -> str:
        if row.started_at is None or row.finished_at is None:
            return "–"
        return f"{(row.finished_at - row.started_at).total_seconds():.2f} s"

    @admin.display(description="arguments")
    def shown_arguments(self, row: Invocation) -> str:
        return as_sheet(row.arguments)

    @admin.display(description="result")
    def shown_result(self, row: Invocation) -> str:
        return as_sheet(row.result)

    @admin.display(description="error")
    def shown_error(self, row: Invocation) -> str:
        return as_sheet({row.error_type or "error": row.error} if row.error else None)

    @admin.display(description="caller's metadata")
    def shown_metadata(self, row: Invocation) -> str:
        return as_sheet(row.metadata)

    @admin.display(description="what happened")
    def timeline(self, row: Invocation) -> str:
        return render_to_string("admin/timeline.html", {"timeline": timeline_of(row)})
