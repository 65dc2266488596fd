"""The log of what was told: each attempt, and once more by hand."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals.models import DeliveryAttempt, Notice
from approvals.notices import deliver
from approvals.notices.faults import HINTS
from approvals.notices.ways import way_of
from audit.plain_text import marked
from audit.windows import Window, exactly, when
from tools.pages import TellsMore, badge, name_of, verb_paths

LOOKS = {
    Notice.Status.WAITING: ("waiting", "◷"),
    Notice.Status.SENT: ("good", "✓"),
    Notice.Status.FAILED: ("bad", "✗"),
    Notice.Status.DROPPED: ("over", "⊘"),
}
"""Each status's look and sign; the word beside it is the status's own."""
MOST_ATTEMPTS = 100


class NoticeAdmin(TellsMore, Window):
    """What was told, to whom, and each attempt to tell it."""

    list_display = ["what", "to", "call", "state", "attempts", "created"]
    list_filter = ["status", "channel"]
    list_select_related = ["channel", "recipient", "approval", "invocation"]
    search_fields = ["id", "invocation__id", "approval__id"]
    search_help_text = "Id of the message, the call or the approval"
    sortable_by = ()
    ordering = ["-created_at", "-id"]
    readonly_fields = ["id", "what", "to", "call", "state", "attempts", "created", "due"]
    change_form_template = "admin/approvals/notice/notice.html"

    @admin.display(description="what")
    def what(self, notice: Notice) -> str:
        return notice.kind.replace(":", " ").replace(".", " ").replace("-", " ")

    @admin.display(description="to")
    def to(self, notice: Notice) -> SafeString | str:
        if notice.channel is not None:
            return marked(notice.channel.name)
        return marked(notice.recipient.get_username()) if notice.recipient else "people, each"

    @admin.display(description="call")
    def call(self, notice: Notice) -> SafeString | str:
        row = notice.invocation
        if row is None:
            return "–"
        address = reverse("admin:approvals_invocation_change", args=[row.pk])
        return format_html('<a href="{}">{}</a>', address, marked(row.tool_name))

    @admin.display(description="state")
    def state(self, notice: Notice) -> SafeString:
        status = Notice.Status(notice.status)
        words = str(status.label)
        if status is Notice.Status.WAITING and notice.attempts:
            words = f"again {notice.due_at:%d %b %H:%M:%S} UTC"
        return badge(*LOOKS[status], words)

    @admin.display(description="written")
    def created(self, notice: Notice) -> SafeString | str:
        return when(notice.created_at)

    @admin.display(description="due")
    def due(self, notice: Notice) -> SafeString | str:
        return exactly(notice.due_at)

    def more_about(self, request: HttpRequest, row: Notice | None) -> dict[str, Any]:
        if row is None:
            return {}
        log = DeliveryAttempt.objects.filter(notice_id=row.pk)[:MOST_ATTEMPTS]
        return {
            "log": [(one, HINTS.get(one.phase, "")) for one in log],
            "may_redeliver": self._may_redeliver(request, row),
        }

    def get_urls(self) -> list[URLPattern]:
        return [*verb_paths(self, redeliver=self.redeliver_view), *super().get_urls()]

    def redeliver_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/redeliver/`: send it once more, under the same id."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("approvals.change_channel"):
            raise PermissionDenied
        notice = self.get_object(request, unquote(object_id))
        if notice is None:
            raise Http404
        if way_of(notice) is None:
            refusal = "It is of no use any more: decided meanwhile, or the channel is off."
            self.message_user(request, refusal, messages.WARNING)
        elif deliver.redeliver(notice, by=name_of(request)):
            self.message_user(request, "It is being sent again, under the same id.")
        else:
            refusal = "It is not sent again by hand: the next attempt is scheduled already."
            self.message_user(request, refusal, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:approvals_notice_change", args=[notice.pk]))

    def _may_redeliver(self, request: HttpRequest, notice: Notice) -> bool:
        has_place = notice.channel_id is not None or notice.recipient_id is not None
        may = request.user.has_perm("approvals.change_channel")
        return may and has_place and notice.status != Notice.Status.WAITING
