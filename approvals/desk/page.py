"""The page of one held call, and the buttons that decide it."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from approvals import deciding, reviewers
from approvals.desk.looks import badge, effects_of, timeline_of
from approvals.desk.people import next_for, the_person
from approvals.forms import DecisionForm, RejectionForm
from approvals.models import Approval
from approvals.results import undecided_status
from approvals.reviewers import deciders, eligible
from approvals.serializers import arguments_in_order, summary
from approvals.states import ApprovalStatus
from approvals.transitions import Said
from audit.models import local_now
from audit.plain_text import visible
from audit.windows import Window, relative
from tools import step_up


class CallPages(Window):
    """The page of one call. It shows; each way to decide has an address of its own."""

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
        if not form.is_valid() and reviewers.why_not(approval, the_person(request)) is None:
            return self._page(request, approval, form, HTTPStatus.UNPROCESSABLE_ENTITY)
        given = {name: form.cleaned_data.get(name, "") for name in form.fields}
        seen = given.pop("expected_digest", None)
        said = Said(
            **given,
            request_id=getattr(request, "request_id", ""),
            source="admin",
            is_proved=step_up.is_recent(request, deciding.PROVED_WITHIN),
        )
        outcome = verb(approval, the_person(request), said, expected_digest=seen)
        if isinstance(outcome, deciding.Undecided):
            messages.error(request, outcome.sentence)
            status = HTTPStatus(undecided_status(outcome.code))
            return self._page(request, deciding.fresh_approval(approval.pk), None, status)
        return self._on_to_the_next(request, outcome.approval)

    def _on_to_the_next(self, request: HttpRequest, decided: Approval) -> HttpResponse:
        word = "Rejected" if decided.status == ApprovalStatus.REJECTED else "Approved"
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
            "why_not": reviewers.why_not(approval, the_person(request)),
            "form": form or DecisionForm(initial={"expected_digest": row.digest}),
            "timeline": timeline_of(row),
        }
        return TemplateResponse(request, "admin/approvals/approval.html", context, status=status)
