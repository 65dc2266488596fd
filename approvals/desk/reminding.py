"""Reminding those who may decide a call: a button for somebody who can't decide it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from approvals import reviewers
from approvals.desk.showing import CallWindow, address, may_remind
from approvals.notices.reminding import in_vain, remind
from audit.models import local_now
from audit.windows import relative
from tools.pages import the_person


class RemindPages(CallWindow):
    """The way to wake those who can, at most once an hour."""

    def remind_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/remind/`, by anybody who sees the call and can't decide it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        approval, person = self.found(request, object_id), the_person(request)
        refused = reviewers.why_not(approval, person)
        if not may_remind(refused):
            messages.error(request, refused.sentence if refused else "You can decide it yourself.")
        elif vain := in_vain(approval, person):
            messages.warning(request, vain)
        elif (again_at := remind(approval, person)) is not None:
            when = relative(again_at, local_now())
            messages.warning(request, f"They were reminded within the hour; once more {when}.")
        else:
            messages.success(request, "Those who can decide it are reminded.")
        return HttpResponseRedirect(address(approval))
