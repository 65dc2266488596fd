"""Channels in the admin: written, tried, and given new keys."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals.models import Channel
from approvals.notices import checks, deliver, routes, signing  # noqa: F401 - checks register
from approvals.notices.faults import Undelivered
from approvals.notices.forms import ChannelForm
from approvals.notices.mail import NO_SERVER
from approvals.notices.outbox import has_mail
from audit import ledger
from audit.changes import difference
from audit.events import EventName
from audit.models import local_now
from audit.plain_text import marked
from audit.windows import BoundedPaginator
from tools.pages import TellsMore, badge, name_of, verb_paths


def state_of(channel: Channel) -> SafeString:
    """On, failing since when, or off and why."""
    if not channel.is_enabled:
        return badge("over", "⊘", f"off: {channel.disabled_because}".removesuffix(": "))
    if channel.failing_since is not None:
        return badge("bad", "!", f"failing since {channel.failing_since:%d %b %H:%M} UTC")
    return badge("good", "✓", "on")


def where_of(channel: Channel) -> str:
    """Where it leads, as far as that is no secret."""
    return channel.address or signing.shown_url(channel)


def said_of(channel: Channel) -> dict[str, Any]:
    """A channel as the ledger keeps it; of the URL only its host, of the key nothing."""
    return {
        "channel": channel.name,
        "kind": channel.kind,
        "where": where_of(channel),
        "tool": channel.tool,
        "least_risk": channel.least_risk,
        "caller": channel.caller.prefix if channel.caller else None,
        "is_enabled": channel.is_enabled,
    }


class ChannelAdmin(TellsMore, admin.ModelAdmin):  # type: ignore[type-arg]
    """Channels: what is secret of one goes in, and is shown once at most."""

    form = ChannelForm
    fields = ["name", "kind", "is_enabled", "url", "address", "tool", "least_risk", "caller"]
    list_display = ["shown_name", "kind", "where", "told", "state"]
    list_select_related = ["caller"]
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50
    change_form_template = "admin/approvals/channel/change_form.html"

    # The list.

    @admin.display(description="channel")
    def shown_name(self, channel: Channel) -> SafeString:
        return marked(channel.name)

    @admin.display(description="where")
    def where(self, channel: Channel) -> SafeString:
        return marked(where_of(channel))

    @admin.display(description="what is told")
    def told(self, channel: Channel) -> SafeString:
        if channel.caller is not None:
            return format_html("outcomes for {}", marked(channel.caller.actor))
        risk = channel.get_least_risk_display()
        return format_html("<code>{}</code>, from {}", marked(channel.tool), risk)

    @admin.display(description="state")
    def state(self, channel: Channel) -> SafeString:
        return state_of(channel)

    # Writing.

    @transaction.atomic
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Channels", **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """A webhook gets its key with its first row."""
        form.seal()
        if obj.kind == Channel.Kind.WEBHOOK and obj.secret_sealed is None:
            obj.new_secret = signing.give_secret(obj, local_now())
        super().save_model(request, obj, form, change)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        channel = super().get_object(request, object_id, from_field)
        if channel is not None:
            channel.said_before = said_of(channel)
        return channel

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj, "added")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj, "changed")
        return super().log_change(request, obj, message)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A channel is switched off: a call that is held meanwhile may have a notice for it."""
        return False

    def _tell(self, request: HttpRequest, channel: Channel, verb: str) -> None:
        """The ledger's line."""
        said = said_of(channel)
        ledger.record(
            EventName.CHANNEL_CHANGED,
            actor=name_of(request),
            reason=verb,
            source="admin",
            request_id=getattr(request, "request_id", ""),
            metadata={**said, **difference(getattr(channel, "said_before", None), said)},
        )
        transaction.on_commit(routes.forget)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        return self._shown_once(request, obj) or super().response_add(
            request, obj, post_url_continue
        )

    def response_change(self, request: HttpRequest, obj: Any) -> Any:
        return self._shown_once(request, obj) or super().response_change(request, obj)

    def _shown_once(self, request: HttpRequest, channel: Any) -> HttpResponse | None:
        """The page with a new key, which is kept in no redirect and no message."""
        secret = getattr(channel, "new_secret", None)
        if secret is None:
            return None
        return self._page(request, "shown_once", f"Key of {channel.name}", channel, secret=secret)

    # Verbs.

    def get_urls(self) -> list[URLPattern]:
        own = verb_paths(self, test=self.test_view, secret=self.secret_view)
        return [*own, *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/test/`: send a test now, and show what came of it as it is."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        channel = self._found(request, object_id)
        outcome = deliver.test(channel)
        return self._page(
            request, "tested", f"Test of {channel.name}", channel, outcome=outcome,
            where=where_of(channel), failed=isinstance(outcome, Undelivered),
        )  # fmt: skip

    @transaction.atomic
    def secret_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/secret/`: a new key, shown in the answer; the old one signs on for a day."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        channel: Any = self._found(request, object_id)
        if channel.kind != Channel.Kind.WEBHOOK:
            raise Http404
        locked = Channel.objects.select_for_update().get(pk=channel.pk)
        channel.new_secret = signing.give_secret(locked, local_now())
        locked.save(update_fields=["secret_sealed"])
        self._tell(request, channel, "new key")
        answer = self._shown_once(request, channel)
        assert answer is not None  # noqa: S101 - it has a new key
        return answer

    def _found(self, request: HttpRequest, object_id: str) -> Channel:
        channel: Channel | None = self.get_object(request, unquote(object_id))
        if channel is None:
            raise Http404
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        return channel

    def more_about(self, request: HttpRequest, row: Channel | None) -> dict[str, Any]:
        return {
            "state": state_of(row) if row else "",
            "mail_is_off": "" if has_mail() else NO_SERVER,
            "may_change": row is not None and self.has_change_permission(request, row),
            "is_webhook": row is not None and row.kind == Channel.Kind.WEBHOOK,
        }

    def _page(
        self, request: HttpRequest, name: str, title: str, channel: Channel, **context: Any
    ) -> HttpResponse:
        every = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        template = f"admin/approvals/channel/{name}.html"
        return TemplateResponse(request, template, every | {"channel": channel} | context)
