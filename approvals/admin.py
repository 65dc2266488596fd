"""The desk: what waits for a person, one call a page, and two buttons that decide it."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from approvals import deciding
from approvals.forms import DecisionForm, RejectionForm
from approvals.models import Approval, ApprovalQuerySet, Invocation
from approvals.results import undecided_status
from approvals.serializers import arguments_in_order, deciders, eligible, summary
from approvals.states import ApprovalStatus, InvocationStatus
from approvals.transitions import Said
from audit.admin import link
from audit.models import Event, local_now
from audit.plain_text import marked, visible
from audit.windows import Window, as_sheet, exactly, relative, when
from tools.models import Tool

_A, _I = ApprovalStatus, InvocationStatus

BADGES: dict[str, tuple[str, str]] = {
    _A.PENDING: ("waiting", "◷"), _I.HELD: ("waiting", "◷"), _I.QUEUED: ("waiting", "…"),
    _I.RUNNING: ("waiting", "▶"), _A.APPROVED: ("good", "✓"), _A.CONSUMED: ("good", "✓"),
    _I.SUCCESS: ("good", "✓"), _A.REJECTED: ("bad", "✗"), _I.ERROR: ("bad", "!"),
    _I.TIMEOUT: ("bad", "!"), _I.KILLED: ("bad", "!"), _I.UNKNOWN: ("bad", "?"),
    _A.EXPIRED: ("over", "⌛"), _A.CANCELLED: ("over", "⊘"), _A.VOID: ("over", "⊘"),
}  # fmt: skip
"""Each status's look and sign; the word beside it is the status's own."""

GRAVE = frozenset({"destructive", "money_movement", "changes_permissions"})
NEXT_LOOKED_AT = 20
MOST_EVENTS = 200


def badge(row: Approval | Invocation) -> str:
    """The status as sign and word."""
    look, sign = BADGES[row.status]
    return format_html(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>',
        look, sign, row.get_status_display(),
    )  # fmt: skip


class StatusFilter(admin.SimpleListFilter):
    """Pending unless another status is asked for."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, label in _A.choices if value != _A.PENDING] + [
            ("all", "all")
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset.pending()
        return queryset if self.value() == "all" else queryset.filter(status=self.value())

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            yield choice if choice["display"] != "All" else {**choice, "display": "pending"}


class ToolFilter(admin.SimpleListFilter):
    """By tool; the names come from the catalogue, not from the calls."""

    title = "tool"
    parameter_name = "tool"
    column = "tool_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Tool.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class HeldToolFilter(ToolFilter):
    """The tool of the call that an approval is for."""

    column = "invocation__tool_name"


@admin.register(Approval)
class ApprovalAdmin(Window):
    """The queue, and the page of one call with its two buttons."""

    list_display = ["sentence", "status_badge", "tool", "requester", "why", "age", "expires"]
    list_display_links = ["sentence"]
    list_filter = [StatusFilter, HeldToolFilter]
    search_fields = ["invocation__tool_name", "invocation__actor"]
    search_help_text = "Tool or actor"
    sortable_by = ()
    ordering = [F("resolved_at").desc(nulls_first=True), "expires_at"]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        holders = deciders()

        @admin.display(description="may decide")
        def may_decide(approval: Approval) -> str:
            return ", ".join(eligible(approval, holders)) or "nobody"

        return [*self.list_display, may_decide]

    def get_queryset(self, request: HttpRequest) -> ApprovalQuerySet:
        return Approval.objects.with_everything()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return the_person(request).has_perm(deciding.DECIDE) or super().has_view_permission(
            request, obj
        )

    @admin.display(description="what")
    def sentence(self, approval: Approval) -> str:
        return marked(summary(approval.invocation))

    @admin.display(description="status")
    def status_badge(self, approval: Approval) -> str:
        return badge(approval)

    @admin.display(description="tool")
    def tool(self, approval: Approval) -> str:
        return approval.invocation.tool_name

    @admin.display(description="requester")
    def requester(self, approval: Approval) -> str:
        return marked(approval.invocation.actor)

    @admin.display(description="why held")
    def why(self, approval: Approval) -> str:
        return marked(approval.reason)

    @admin.display(description="asked")
    def age(self, approval: Approval) -> str:
        return when(approval.requested_at)

    @admin.display(description="expires")
    def expires(self, approval: Approval) -> str:
        return when(approval.expires_at) if approval.is_pending else "–"

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                f"<path:object_id>/{verb}/",
                self.admin_site.admin_view(view),
                name=f"approvals_approval_{verb}",
            )
            for verb, view in (("approve", self.approve_view), ("reject", self.reject_view))
        ] + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one call. It shows; deciding has addresses of its own."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self._page(request, self._found(request, object_id))

    def approve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/approve/`."""
        return self._decide(request, object_id, deciding.approve, DecisionForm)

    def reject_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/reject/`."""
        return self._decide(request, object_id, deciding.reject, RejectionForm)

    def _decide(
        self,
        request: HttpRequest,
        object_id: str,
        verb: Callable[..., deciding.Decided | deciding.Undecided],
        form_class: type[DecisionForm],
    ) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        approval, form = self._found(request, object_id), form_class(request.POST)
        if not form.is_valid() and deciding.why_not(approval, the_person(request)) is None:
            return self._page(request, approval, form, HTTPStatus.UNPROCESSABLE_ENTITY)
        given = {name: form.cleaned_data.get(name, "") for name in form.fields}
        seen = given.pop("expected_digest", None)
        said = Said(**given, request_id=getattr(request, "request_id", ""), source="admin")
        outcome = verb(approval, the_person(request), said, expected_digest=seen)
        if isinstance(outcome, deciding.Undecided):
            messages.error(request, outcome.sentence)
            status = HTTPStatus(undecided_status(outcome.code))
            return self._page(request, deciding.fresh_approval(approval.pk), None, status)
        return self._on_to_the_next(request, outcome.approval)

    def _on_to_the_next(self, request: HttpRequest, decided: Approval) -> HttpResponse:
        word = "Rejected" if decided.status == _A.REJECTED else "Approved"
        told, following = f"{word}: {visible(summary(decided.invocation))}", next_for(request)
        if following is None:
            messages.success(request, f"{told} · Nothing else waits for you.")
            return HttpResponseRedirect(reverse("admin:approvals_approval_changelist"))
        expiry = relative(following.expires_at, local_now())
        messages.success(request, f"{told} · This is the next one; it expires {expiry}.")
        return HttpResponseRedirect(reverse("admin:approvals_approval_change", args=[following.pk]))

    def _found(self, request: HttpRequest, object_id: str) -> Approval:
        if not self.has_view_permission(request):
            raise PermissionDenied
        approval: Approval | None = self.get_object(request, unquote(object_id))
        if approval is None:
            raise Http404
        return approval

    def _page(
        self,
        request: HttpRequest,
        approval: Approval,
        form: DecisionForm | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> HttpResponse:
        row = approval.invocation
        sentence = summary(row)
        context = {
            **self.admin_site.each_context(request),
            "title": visible(sentence),
            "opts": self.opts,
            "approval": approval,
            "row": row,
            "sentence": sentence,
            "arguments": arguments_in_order(row),
            "seconds_left": int((approval.expires_at - local_now()).total_seconds()),
            "badge": badge(approval),
            "call_badge": badge(row),
            "effects": effects_of(row),
            "eligible": eligible(approval, deciders()),
            "why_not": deciding.why_not(approval, the_person(request)),
            "form": form or DecisionForm(initial={"expected_digest": row.digest}),
            "timeline": timeline_of(row),
        }
        return TemplateResponse(request, "admin/approvals/approval.html", context, status=status)


@admin.register(Invocation)
class InvocationAdmin(Window):
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
        "timeline", "source", "request_id", "session_id", "idempotency_key", "policy_version",
        "digest",
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


def the_person(request: HttpRequest) -> User:
    """Who is signed in: the admin lets nobody else this far."""
    return cast("User", request.user)


def next_for(request: HttpRequest) -> Approval | None:
    """The next call that this person may decide, the soonest to expire first."""
    person = the_person(request)
    others = Approval.objects.with_everything().exclude(
        Q(invocation__key__owner=person) | Q(invocation__key__created_by=person)
    )
    waiting = others.pending().soonest_first()[:NEXT_LOOKED_AT]
    return next((one for one in waiting if deciding.why_not(one, person) is None), None)


def effects_of(row: Invocation) -> list[tuple[str, bool]]:
    """What the tool's definition says it does to the world, in words; and whether that is grave."""
    declared = row.tool_version.definition.get("side_effects", {})
    effects = [(name.replace("_", " "), name in GRAVE) for name, is_so in declared.items() if is_so]
    return effects or [("side effects not declared", True)]


def timeline_of(row: Invocation) -> QuerySet[Event]:
    """The ledger's lines about this call, oldest first."""
    return Event.objects.filter(invocation_id=row.pk).order_by("id")[:MOST_EVENTS]
