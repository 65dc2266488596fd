"""People and groups: Django's own pages, and a line in the ledger for each edit."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from rampart.site import tell_edit


class Told:
    """Writes the ledger's line where Django writes its own history, in the same transaction."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        tell_edit(request, _kind(obj), str(obj), "added", message)
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        tell_edit(request, _kind(obj), str(obj), "changed", message)
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            tell_edit(request, _kind(obj), str(obj), "deleted", None)
        return super().log_deletions(request, queryset)  # type: ignore[misc]

    @transaction.atomic
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        return response


def _kind(obj: Any) -> str:
    return str(obj._meta.label_lower)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(Told, UserAdmin):  # type: ignore[type-arg]
    """People; a new password by somebody else's hand is told as well."""

    @transaction.atomic
    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        return super().user_change_password(request, id, form_url)


@admin.register(Group)
class TeamAdmin(Told, GroupAdmin):
    """Groups, by which permissions are handed out."""
