"""The desk in the admin: the queue and the pages of held calls, and every call as a window."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from approvals.desk.bulk import BulkPages
from approvals.desk.calls import InvocationAdmin
from approvals.desk.cancelling import CancelPages
from approvals.desk.page import CallPages
from approvals.desk.people import owns_keys, sees_all, visible_to
from approvals.desk.presets import PresetAdmin
from approvals.desk.queue import QueuePages
from approvals.desk.sessions import SessionAdmin
from approvals.models import (
    Approval,
    ApprovalQuerySet,
    Channel,
    Invocation,
    Notice,
    Policy,
    Preset,
)
from approvals.notices.admin import ChannelAdmin
from approvals.notices.log_admin import NoticeAdmin
from approvals.policy_admin import PolicyAdmin
from tools.models import Session
from tools.pages import the_person

admin.site.register(Invocation, InvocationAdmin)
admin.site.register(Policy, PolicyAdmin)
admin.site.register(Preset, PresetAdmin)
admin.site.register(Channel, ChannelAdmin)
admin.site.register(Notice, NoticeAdmin)
admin.site.register(Session, SessionAdmin)


@admin.register(Approval)
class ApprovalAdmin(QueuePages, BulkPages, CancelPages, CallPages):
    """Held calls: whoever may decide sees all, and owners of keys those of their own."""

    def get_queryset(self, request: HttpRequest) -> ApprovalQuerySet:
        return visible_to(the_person(request)).with_everything()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        person = the_person(request)
        return sees_all(person) or owns_keys(person)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Owners hold no permission of the room, and still have a reason to enter it."""
        return super().has_module_permission(request) or self.has_view_permission(request)
