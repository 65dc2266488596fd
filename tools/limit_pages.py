"""The page of one tool, with a form for how many of its calls run at once, and how early."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern

from audit.windows import Window
from tools import catalogue
from tools.models import Tool
from tools.pages import TellsMore, name_of, verb_paths

MOST, HIGHEST = 10_000, 1_000


class LimitForm(forms.Form):
    """What an operator says of a tool beside switching it on and off."""

    max_running = forms.IntegerField(
        label="Running at most",
        required=False,
        min_value=1,
        max_value=MOST,
        help_text="So many calls run at once, others wait; empty: as many as there are workers.",
    )
    priority = forms.IntegerField(
        min_value=-HIGHEST,
        max_value=HIGHEST,
        help_text="Calls of higher priority are taken first; the usual one is 0.",
    )

    @classmethod
    def of(cls, tool: Tool) -> "LimitForm":
        """As it stands."""
        return cls(initial={"max_running": tool.max_running, "priority": tool.priority})


class LimitPages(TellsMore, Window):
    """A tool to look at, and its limits to set."""

    change_form_template = "admin/tools/tool/tool.html"

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tools.change_tool")

    def get_urls(self) -> list[URLPattern]:
        return [*verb_paths(self, limit=self.limit_view), *super().get_urls()]

    def more_about(self, request: HttpRequest, row: Tool | None) -> dict[str, Any]:
        if row is None or not self.has_switch_permission(request):
            return {}
        return {"limit_form": LimitForm.of(row)}

    def limit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/limit/`."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_switch_permission(request):
            raise PermissionDenied
        tool: Tool | None = self.get_object(request, unquote(object_id))
        if tool is None:
            raise Http404
        form = LimitForm(request.POST)
        if not form.is_valid():
            wrong = [f"{form[name].label}: {told[0]}" for name, told in form.errors.items()]
            messages.error(request, " ".join(wrong))
        elif catalogue.set_limits(tool, **form.cleaned_data, by=name_of(request)):
            messages.success(request, "Set; the next call that a worker takes is taken so.")
        else:
            messages.info(request, "It was so already.")
        return redirect("admin:tools_tool_change", tool.pk)
