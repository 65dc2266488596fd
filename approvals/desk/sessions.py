"""Sessions in the admin: what each has spent, and the one thing that can be done, to close it."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils.html import format_html, format_html_join

from approvals import sessions
from approvals.desk.looks import badge as call_badge
from approvals.models import Invocation
from approvals.session_views import CLOSE
from audit.admin import link
from audit.plain_text import marked
from audit.windows import Window, as_sheet, exactly, when
from tools.models import ApiKey, Session, SessionState
from tools.pages import TellsMore, badge, name_of, verb_paths

LOOKS = {
    SessionState.OPEN: ("good", "▶"),
    SessionState.CLOSED: ("over", "⊘"),
    SessionState.TIMED_OUT: ("over", "⌛"),
}
MOST_SHOWN = 50


class StateFilter(admin.SimpleListFilter):
    """By whether they take calls."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(SessionState.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        asked = str(self.value())
        return queryset.in_state(SessionState(asked)) if asked in SessionState.values else queryset


class SessionAdmin(TellsMore, Window):
    """Sessions are opened by callers; here they are looked at, and closed."""

    list_display = ["opened", "state", "who", "owner", "calls", "output", "ends"]
    list_display_links = ["opened"]
    list_filter = [StateFilter]
    search_fields = ["actor", "key_prefix"]
    search_help_text = "Actor, or the visible start of a key"
    sortable_by = ()
    change_form_template = "admin/tools/session/session.html"
    readonly_fields = [
        "id", "state", "who", "owner", "key_prefix", "calls", "output", "budgets", "made",
        "opened_exactly", "ends_exactly", "closed_exactly",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        keys = ApiKey.objects.filter(lineage=OuterRef("lineage")).order_by("-created_at")
        owner = Subquery(keys.values("owner__username")[:1])
        return Session.objects.with_clock().annotate(owner_name=owner)

    def get_urls(self) -> list[URLPattern]:
        return [*verb_paths(self, close=self.close_view), *super().get_urls()]

    def more_about(self, request: HttpRequest, row: Session | None) -> dict[str, Any]:
        return {"may_close": request.user.has_perm(CLOSE)}

    def close_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/close/`."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (self.has_view_permission(request) and request.user.has_perm(CLOSE)):
            raise PermissionDenied
        row: Session | None = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        request_id = getattr(request, "request_id", "")
        cancelled = sessions.close(row, by=name_of(request), request_id=request_id, source="admin")
        messages.success(request, f"Closed; calls that were cancelled with it: {cancelled}.")
        return redirect("admin:tools_session_change", row.pk)

    @admin.display(description="state")
    def state(self, row: Session) -> str:
        return badge(*LOOKS[row.state], str(row.state.label))

    @admin.display(description="actor")
    def who(self, row: Session) -> str:
        return marked(row.actor)

    @admin.display(description="owner")
    def owner(self, row: Any) -> str:
        return marked(row.owner_name or "–")

    @admin.display(description="calls")
    def calls(self, row: Session) -> str:
        return f"{row.tool_calls} of {row.budgets.max_tool_calls}"

    @admin.display(description="bytes of results")
    def output(self, row: Session) -> str:
        return f"{row.output_bytes} of {row.budgets.max_output_bytes}"

    @admin.display(description="budgets")
    def budgets(self, row: Session) -> str:
        return as_sheet(row.config)

    @admin.display(description="its first calls")
    def made(self, row: Session) -> str:
        rows = Invocation.objects.of_session(row.pk).select_related("approval")
        lines = (
            (link("approvals_invocation", call.pk), call.tool_name, call_badge(call))
            for call in rows.defer("arguments_sealed", "result_sealed")[:MOST_SHOWN]
        )
        line = "<li>{} {} {}</li>"
        return format_html('<ul class="lineage">{}</ul>', format_html_join("", line, lines))

    @admin.display(description="opened")
    def opened(self, row: Session) -> str:
        return when(row.created_at)

    @admin.display(description="opened")
    def opened_exactly(self, row: Session) -> str:
        return exactly(row.created_at)

    @admin.display(description="time is over")
    def ends(self, row: Session) -> str:
        return when(row.ends_at)

    @admin.display(description="time is over")
    def ends_exactly(self, row: Session) -> str:
        return exactly(row.ends_at)

    @admin.display(description="closed")
    def closed_exactly(self, row: Session) -> str:
        return exactly(row.closed_at)
