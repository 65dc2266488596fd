"""Taking back a call that runs, or waits for a worker, from where it is seen."""

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern

from approvals import pipeline
from approvals.desk.cancelling import told
from approvals.desk.running import may_look, may_stop, visible_calls
from approvals.models import Invocation, InvocationQuerySet
from approvals.states import UNDER_WAY
from audit.windows import Window
from tools.pages import the_person, verb_paths


class StopPages(Window):
    """The way in which calls that are under way are taken back."""

    def get_urls(self) -> list[URLPattern]:
        return [*verb_paths(self, cancel=self.cancel_view), *super().get_urls()]

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/cancel/`: by the key's owner, or who may decide calls."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        person = the_person(request)
        if not may_look(person):
            raise PermissionDenied
        row = _found(visible_calls(person).select_related("key"), unquote(object_id))
        if not may_stop(row, person):
            raise PermissionDenied
        if row.status in UNDER_WAY and pipeline.cancel(row, by=person.get_username()):
            messages.success(request, told(row, row.tool_name))
        else:
            messages.error(request, "The call is not under way; there is nothing to stop.")
        return redirect("admin:running")


def _found(rows: InvocationQuerySet, object_id: str) -> Invocation:
    try:
        row = rows.filter(pk=object_id).first()
    except ValidationError:
        row = None
    if row is None:
        raise Http404
    return row
