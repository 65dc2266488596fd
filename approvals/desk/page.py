"""The ways to decide one held call from its page."""

from collections.abc import Callable
from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, reverse

from approvals import deciding, forms, reviewers, transitions
from approvals.deciding import Decided, Undecided
from approvals.desk.editing import EditPages
from approvals.desk.people import next_for
from approvals.desk.reminding import RemindPages
from approvals.desk.showing import address, said_in, sentence
from approvals.forms import DecisionForm, RejectionForm
from approvals.models import Approval
from approvals.reviewers import Reason
from approvals.states import ApprovalStatus
from audit.models import local_now
from audit.windows import relative
from tools import step_up
from tools.pages import the_person, verb_paths


class CallPages(EditPages, RemindPages):
    """The page of one call. It shows; each way to decide has an address of its own."""

    def get_urls(self) -> list[URLPattern]:
        own = verb_paths(
            self,
            approve=self.approve_view,
            reject=self.reject_view,
            edit=self.edit_view,
            remind=self.remind_view,
            raw=self.raw_view,
        )
        return [*own, *super().get_urls()]

    def approve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/approve/`."""
        return self._decide_this(
            request, object_id, deciding.approve, DecisionForm, reviewers.why_not
        )

    def reject_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/reject/`."""
        return self._decide_this(
            request, object_id, deciding.reject, RejectionForm, reviewers.why_not_reject
        )

    def _decide_this(
        self,
        request: HttpRequest,
        object_id: str,
        verb: Callable[..., Decided | Undecided],
        form_class: type[DecisionForm],
        why_not: Callable[[Approval, User], Reason | None],
    ) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        approval, person = self.found(request, object_id), the_person(request)
        form = form_class(request.POST, approval=approval)
        if not form.is_valid():
            if (refused := why_not(approval, person)) is None:
                return self.page(request, approval, form, HTTPStatus.UNPROCESSABLE_ENTITY)
            outcome = deciding.refuse(approval, person, refused, said_in(request, {}))
            return self.undecided(request, outcome)
        given = form.cleaned_data
        said = said_in(
            request,
            given,
            typed=given.get("typed", ""),
            is_proved=step_up.is_recent(request, deciding.PROVED_WITHIN),
            shown_at=forms.shown_at(given.get("shown", ""), approval, person, transitions.now()),
        )
        decision = verb(approval, person, said, expected_digest=given.get("expected_digest"))
        if isinstance(decision, Undecided):
            return self.undecided(request, decision)
        return self._on_to_the_next(request, decision)

    def _on_to_the_next(self, request: HttpRequest, decided: Decided) -> HttpResponse:
        told, following = f"{_word(decided)}: {sentence(decided.approval)}", next_for(request)
        if following is None:
            messages.success(request, f"{told} · Nothing else waits for you.")
            return HttpResponseRedirect(reverse("admin:approvals_approval_changelist"))
        expiry = relative(following.expires_at, local_now())
        messages.success(request, f"{told} · This is the next one; it expires {expiry}.")
        return HttpResponseRedirect(address(following))


def _word(decided: Decided) -> str:
    """What has come of the decision."""
    if not decided.is_resolved:
        return f"Your approval counts; it still needs {decided.lacking}"
    return "Rejected" if decided.approval.status == ApprovalStatus.REJECTED else "Approved"
