"""The reasons to reject that are offered ready-made: a few, kept in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from approvals.models import MOST_PRESETS, Preset
from audit.plain_text import marked
from audit.told import Told


class PresetAdmin(Told, admin.ModelAdmin):  # type: ignore[type-arg]
    """What the agent is told stands in the list: whoever reads it sees all of it."""

    fields = ["label", "text", "position"]
    list_display = ["name", "told", "position"]
    list_display_links = ["name"]
    sortable_by = ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = {"title": "Reasons to reject", "subtitle": f"At most {MOST_PRESETS} are offered"}
        return super().changelist_view(request, {**title, **(extra_context or {})})

    @admin.display(description="label")
    def name(self, preset: Preset) -> str:
        return marked(preset.label)

    @admin.display(description="what the agent is told")
    def told(self, preset: Preset) -> str:
        return marked(preset.text)
