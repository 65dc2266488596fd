"""Taking a call back: what the owner of a key may do with its calls, whoever decides them."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern

from approvals import pipeline
from approvals.models import Approval, Invocation
from approvals.serializers import summary
from approvals.states import OPEN, InvocationStatus
from audit.plain_text import visible
from audit.windows import Window
from tools.pages import the_person, verb_paths


def may_cancel(approval: Approval, person_id: int | None) -> bool:
    """Whether the person owns the key of a call that has not ended."""
    row = approval.invocation
    return row.status in OPEN and row.key.owner_id == person_id


class CancelPages(Window):
    """The way in which owners take calls back."""

    def get_urls(self) -> list[URLPattern]:
        return [*verb_paths(self, cancel=self.cancel_view), *super().get_urls()]

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/cancel/`, by the owner of the key and nobody else."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        approval: Approval | None = self.get_object(request, object_id)
        if approval is None:
            raise Http404
        person = the_person(request)
        if approval.invocation.key.owner_id != person.pk:
            raise PermissionDenied
        if pipeline.cancel(approval.invocation, by=person.get_username()):
            row = approval.invocation
            messages.success(request, told(row, summary(row)))
        else:
            messages.error(request, "The call has ended already; there is nothing to cancel.")
        return redirect("admin:approvals_approval_change", approval.pk)


def told(row: Invocation, words: str) -> str:
    """What has become of a call: one that runs is asked to stop, and may still end otherwise."""
    is_running = row.status == InvocationStatus.RUNNING
    return f"{'Asked to stop' if is_running else 'Cancelled'}: {visible(words)}"
