"""The key cabinet's counter, the tools' switches and the one big stop."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join

from audit import ledger
from audit.events import EventName
from audit.models import local_now
from audit.plain_text import marked
from audit.windows import Window, as_sheet, exactly, when
from tools import catalogue, key_cabinet
from tools.errors import KeyRefused
from tools.forms import KeyForm
from tools.models import ApiKey, EmergencyStop, Tool, ToolVersion

STATES = {
    "usable": ("good", "✓"),
    "switched on": ("good", "✓"),
    "runs out soon": ("waiting", "◷"),
}
UNUSABLE = ("bad", "✗")


def name_of(request: HttpRequest) -> str:
    """Who is signed in, as the ledger shows them."""
    return cast("User", request.user).get_username()


def sign(word: str) -> str:
    """A state as sign and word."""
    look, mark = STATES.get(word, UNUSABLE)
    return format_html(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>', look, mark, word
    )


def state_of(key: ApiKey) -> str:
    """What the key is good for now, in words."""
    now = local_now()
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and now >= key.expires_at:
        return "expired"
    if not key.owner.is_active:
        return "owner disabled"
    return "runs out soon" if key_cabinet.expires_soon(key, now) else "usable"


@admin.register(ApiKey)
class ApiKeyAdmin(Window):
    """Keys are made and revoked, never changed or deleted. A new one's text is shown once."""

    list_display = ["prefix", "who", "owner", "scope_words", "state", "expires", "used"]
    list_select_related = ["owner"]
    search_fields = ["prefix", "actor", "owner__username"]
    search_help_text = "Visible start, actor or owner"
    sortable_by = ()
    actions = ["revoke"]
    change_form_template = "admin/tools/apikey/key.html"
    readonly_fields = [
        "prefix", "who", "owner", "state", "scope_words", "shown_tools", "shown_cidrs",
        "rate_tier", "created", "expires", "used", "revoked",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return ApiKey.objects.select_related("owner")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tools.add_apikey")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_rotate_permission(request) or super().has_view_permission(request, obj)

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tools.rotate_apikey")

    @admin.display(description="actor")
    def who(self, key: ApiKey) -> str:
        return marked(key.actor)

    @admin.display(description="scopes")
    def scope_words(self, key: ApiKey) -> str:
        return _words(key.scopes)

    @admin.display(description="tools")
    def shown_tools(self, key: ApiKey) -> str:
        return _words(key.tools) or "all in scope"

    @admin.display(description="networks")
    def shown_cidrs(self, key: ApiKey) -> str:
        return _words(key.cidrs) or "any"

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        return sign(state_of(key))

    @admin.display(description="created")
    def created(self, key: ApiKey) -> str:
        return exactly(key.created_at)

    @admin.display(description="expires")
    def expires(self, key: ApiKey) -> str:
        return when(key.expires_at)

    @admin.display(description="last used")
    def used(self, key: ApiKey) -> str:
        return when(key.last_used_at)

    @admin.display(description="revoked")
    def revoked(self, key: ApiKey) -> str:
        return exactly(key.revoked_at)

    @admin.action(description="Revoke for ever", permissions=["rotate"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        done = [key_cabinet.revoke_key(key.prefix, by=name_of(request)) for key in queryset]
        self.message_user(request, _count(done, "revoked", "revoked already"))

    def get_urls(self) -> list[URLPattern]:
        revoke = path(
            "<path:object_id>/revoke/",
            self.admin_site.admin_view(self.revoke_view),
            name="tools_apikey_revoke",
        )
        return [revoke, *super().get_urls()]

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/revoke/`."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_rotate_permission(request):
            raise PermissionDenied
        key: ApiKey | None = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        done = key_cabinet.revoke_key(key.prefix, by=name_of(request))
        self.message_user(request, _count([done], "revoked", "revoked already"))
        return HttpResponseRedirect(reverse("admin:tools_apikey_change", args=[key.pk]))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        more = {"may_revoke": self.has_rotate_permission(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, more)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form; its POST answers with the key's text itself, which is kept nowhere."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = KeyForm(request.POST or None)
        made = self._made(form, request) if request.method == "POST" else None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Key {made[0].prefix}" if made else "Make a key",
            "form": form,
            "key": made and made[0],
            "text": made and made[1],
        }
        page = "shown_once" if made else "add"
        response = TemplateResponse(request, f"admin/tools/apikey/{page}.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def _made(self, form: KeyForm, request: HttpRequest) -> tuple[ApiKey, str] | None:
        if not form.is_valid():
            return None
        try:
            return key_cabinet.create_key(**form.cleaned_data, by=cast("User", request.user))
        except KeyRefused as error:
            form.add_error(None, str(error))
            return None


class VersionInline(admin.TabularInline):  # type: ignore[type-arg]
    """Each definition that the tool has had."""

    model = ToolVersion
    fields = ["number", "schema_hash", "created"]
    readonly_fields = ["number", "schema_hash", "created"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="created")
    def created(self, version: ToolVersion) -> str:
        return when(version.created_at)


@admin.register(Tool)
class ToolAdmin(Window):
    """What the code defines; only the switch is the operator's."""

    list_display = ["name", "switch", "version", "effects", "description"]
    list_filter = ["enabled", "present"]
    search_fields = ["name"]
    sortable_by = ()
    list_select_related = ["current"]
    actions = ["switch_on", "switch_off"]
    readonly_fields = ["name", "switch", "version", "effects", "description", "definition"]
    inlines = [VersionInline]

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tools.change_tool")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_switch_permission(request) or super().has_view_permission(request, obj)

    @admin.display(description="state")
    def switch(self, tool: Tool) -> str:
        if not tool.present:
            return sign("gone from the code")
        return sign("switched on" if tool.enabled else "switched off")

    @admin.display(description="version")
    def version(self, tool: Tool) -> str:
        return str(tool.current.number) if tool.current else "–"

    @admin.display(description="side effects")
    def effects(self, tool: Tool) -> str:
        declared = tool.current.definition.get("side_effects", {}) if tool.current else {}
        return ", ".join(name.replace("_", " ") for name, is_so in declared.items() if is_so) or "–"

    @admin.display(description="description")
    def description(self, tool: Tool) -> str:
        return tool.current.definition.get("description", "") if tool.current else "–"

    @admin.display(description="definition")
    def definition(self, tool: Tool) -> str:
        return as_sheet(tool.current.definition if tool.current else None)

    @admin.action(description="Switch on", permissions=["switch"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        self._switch(request, queryset, True)

    @admin.action(description="Switch off", permissions=["switch"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        self._switch(request, queryset, False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Tool], enabled: bool) -> None:
        by, word = name_of(request), "on" if enabled else "off"
        done = [catalogue.set_enabled(tool, enabled, by=by) for tool in queryset]
        self.message_user(request, _count(done, f"switched {word}", f"{word} already"))


@admin.register(EmergencyStop)
class EmergencyStopAdmin(Window):
    """Adding it stops every tool, deleting it lets them go on."""

    list_display = ["reason", "engaged_by", "engaged"]
    readonly_fields = ["engaged_by", "engaged"]
    sortable_by = ()

    @admin.display(description="engaged")
    def engaged(self, stop: EmergencyStop) -> str:
        return when(stop.engaged_at)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["reason", "engaged_by", "engaged"] if obj else ["reason"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (
            request.user.has_perm("tools.add_emergencystop") and not EmergencyStop.objects.exists()
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tools.delete_emergencystop")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        plainly = {
            "title": "Stop all tools",
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
        }
        return super().add_view(request, form_url, {**plainly, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        _, engaged = EmergencyStop.objects.get_or_create(
            pk=obj.pk, defaults={"reason": obj.reason, "engaged_by": name_of(request)}
        )
        if engaged:
            _tell_stop(EventName.STOP_ENGAGED, request, obj.reason)

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        deleted, _ = EmergencyStop.objects.filter(pk=obj.pk).delete()
        if deleted:
            _tell_stop(EventName.STOP_RELEASED, request, obj.reason)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[EmergencyStop]) -> None:
        for stop in queryset:
            self.delete_model(request, stop)


def _tell_stop(event: EventName, request: HttpRequest, reason: str) -> None:
    ledger.record(
        event,
        actor=name_of(request),
        source="admin",
        request_id=getattr(request, "request_id", ""),
        metadata={"reason": reason},
    )
    transaction.on_commit(catalogue.forget)


def _words(words: list[str]) -> str:
    return format_html_join(" ", "<code>{}</code>", ((marked(word),) for word in words))


def _count(done: list[bool], word: str, otherwise: str) -> str:
    parts = [(sum(done), word), (len(done) - sum(done), otherwise)]
    return ", ".join(f"{count} {what}" for count, what in parts if count) or "nothing chosen"
