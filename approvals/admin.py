"""The desk in the admin: the queue and the pages of held calls, and every call as a window."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from approvals import reviewers
from approvals.desk.calls import InvocationAdmin
from approvals.desk.page import CallPages
from approvals.desk.people import the_person
from approvals.desk.queue import QueuePages
from approvals.models import Approval, ApprovalQuerySet, Invocation

admin.site.register(Invocation, InvocationAdmin)


@admin.register(Approval)
class ApprovalAdmin(QueuePages, CallPages):
    """Held calls: whoever may decide may look."""

    def get_queryset(self, request: HttpRequest) -> ApprovalQuerySet:
        return Approval.objects.with_everything()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return the_person(request).has_perm(reviewers.DECIDE) or super().has_view_permission(
            request, obj
        )
