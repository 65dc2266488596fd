"""The queue: what waits for a person, what runs out soonest first."""

from typing import Any

from django.contrib import admin
from django.db.models import F
from django.http import HttpRequest

from approvals.desk.calls import ToolFilter
from approvals.desk.looks import badge
from approvals.models import Approval
from approvals.reviewers import deciders, eligible
from approvals.serializers import summary
from approvals.states import ApprovalStatus
from audit.plain_text import marked
from audit.windows import Window, when


class StatusFilter(admin.SimpleListFilter):
    """Pending unless another status is asked for."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (value, label)
            for value, label in ApprovalStatus.choices
            if value != ApprovalStatus.PENDING
        ] + [("all", "all")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset.pending()
        return queryset if self.value() == "all" else queryset.filter(status=self.value())

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            yield choice if choice["display"] != "All" else {**choice, "display": "pending"}


class HeldToolFilter(ToolFilter):
    """The tool of the call that an approval is for."""


class QueuePages(Window):
    """The list of held calls."""

    list_display = ["sentence", "status_badge", "tool", "requester", "why", "age", "expires"]
    list_display_links = ["sentence"]
    list_filter = [StatusFilter, HeldToolFilter]
    search_fields = ["tool_name", "actor"]
    search_help_text = "Tool or actor"
    sortable_by = ()
    ordering = [F("resolved_at").desc(nulls_first=True), "expires_at"]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        holders = deciders()

        @admin.display(description="may decide")
        def may_decide(approval: Approval) -> str:
            return ", ".join(eligible(approval, holders)) or "nobody"

        return [*self.list_display, may_decide]

    @admin.display(description="what")
    def sentence(self, approval: Approval) -> str:
        return marked(summary(approval.invocation))

    @admin.display(description="status")
    def status_badge(self, approval: Approval) -> str:
        return badge(approval)

    @admin.display(description="tool")
    def tool(self, approval: Approval) -> str:
        return approval.tool_name

    @admin.display(description="requester")
    def requester(self, approval: Approval) -> str:
        return marked(approval.actor)

    @admin.display(description="why held")
    def why(self, approval: Approval) -> str:
        return marked(approval.reason)

    @admin.display(description="asked")
    def age(self, approval: Approval) -> str:
        return when(approval.requested_at)

    @admin.display(description="expires")
    def expires(self, approval: Approval) -> str:
        return when(approval.expires_at) if approval.is_pending else "–"
