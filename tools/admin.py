"""The tools' switches and the one big stop; the keys have a counter of their own."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from audit import ledger
from audit.events import EventName
from audit.windows import Window, as_sheet, when
from tools import catalogue
from tools.key_admin import ApiKeyAdmin
from tools.limit_pages import LimitPages
from tools.models import ApiKey, EmergencyStop, Tool, ToolVersion
from tools.pages import badge, name_of, tally

admin.site.register(ApiKey, ApiKeyAdmin)


def sign(word: str) -> str:
    """A switch's state as sign and word."""
    return badge("good", "✓", word) if word == "switched on" else badge("bad", "✗", word)


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
class ToolAdmin(LimitPages):
    """What the code defines; only the switch and the limits are the operator's."""

    list_display = ["name", "switch", "version", "effects", "limits", "description"]
    list_filter = ["enabled", "present"]
    search_fields = ["name"]
    sortable_by = ()
    list_select_related = ["current"]
    actions = ["switch_on", "switch_off"]
    readonly_fields = [
        "name", "switch", "version", "effects", "limits", "description", "definition",
    ]  # fmt: skip
    inlines = [VersionInline]

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

    @admin.display(description="limits")
    def limits(self, tool: Tool) -> str:
        told = [f"{tool.max_running} at once"] if tool.max_running else []
        if tool.priority:
            told.append(f"priority {tool.priority}")
        return ", ".join(told) or "–"

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
        told = tally((sum(done), f"switched {word}"), (len(done) - sum(done), f"{word} already"))
        self.message_user(request, told)


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
