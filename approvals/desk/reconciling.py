"""The way in which people write down what became of a call whose outcome nobody knew."""

from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern

from approvals.models import Invocation
from approvals.reconciling import LONGEST_NOTE, reconcile, why_not
from approvals.reviewers import Reason
from approvals.states import InvocationStatus
from audit.windows import Window
from tools.pages import TellsMore, name_of, the_person, verb_paths


class ReconcileForm(forms.Form):
    """What became of it, and how the person knows."""

    outcome = forms.ChoiceField(
        label="What became of it?",
        choices=[("succeeded", "It succeeded"), ("failed", "It failed, or never happened")],
        widget=forms.RadioSelect,
    )
    note = forms.CharField(
        label="How do you know?",
        max_length=LONGEST_NOTE,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What you have seen, and where. It is kept in the ledger.",
    )


class ReconcilePages(TellsMore, Window):
    """The page of one call, with a form on it while its outcome is unknown."""

    change_form_template = "admin/approvals/invocation/call.html"

    def get_urls(self) -> list[URLPattern]:
        return [*verb_paths(self, reconcile=self.reconcile_view), *super().get_urls()]

    def more_about(self, request: HttpRequest, row: Invocation | None) -> dict[str, Any]:
        if row is None or row.status != InvocationStatus.UNKNOWN:
            return {}
        refused = why_not(row, the_person(request))
        return {"is_unknown": True, "why_not": refused, "reconciliation": ReconcileForm()}

    def reconcile_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/reconcile/`: by who may decide calls, and not of a call of their own keys."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        row: Invocation | None = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        refused = why_not(row, the_person(request))
        if refused is not None and refused.code != "not_unknown":
            raise PermissionDenied
        form = ReconcileForm(request.POST)
        if refused is None and not form.is_valid():
            return self._asked_again(request, row, form)
        if refused is None:
            refused = self._reconciled(request, row, form.cleaned_data)
        if refused is None:
            messages.success(request, f"Reconciled: {row.get_status_display()}.")
        else:
            messages.error(request, refused.sentence)
        return redirect("admin:approvals_invocation_change", row.pk)

    def _reconciled(
        self, request: HttpRequest, row: Invocation, given: dict[str, str]
    ) -> Reason | None:
        return reconcile(
            row,
            succeeded=given["outcome"] == "succeeded",
            note=given["note"],
            by=name_of(request),
            source="admin",
            request_id=getattr(request, "request_id", ""),
        )

    def _asked_again(
        self, request: HttpRequest, row: Invocation, form: ReconcileForm
    ) -> HttpResponse:
        """The form by itself, with what was written and what is wrong with it."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "What became of it?",
            "original": row,
            "reconciliation": form,
        }
        page = "admin/approvals/invocation/reconcile.html"
        return TemplateResponse(request, page, context, status=HTTPStatus.UNPROCESSABLE_ENTITY)
