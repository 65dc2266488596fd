"""Edits in the admin are lines in the ledger: which row and which fields, never their values."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from audit import ledger
from audit.events import EventName


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


def tell_edit(request: HttpRequest, kind: str, label: str, verb: str, change: Any) -> None:
    """The ledger's line about an edit."""
    ledger.record(
        EventName.ADMIN_EDITED,
        actor=request.user.get_username(),
        reason=verb,
        source="admin",
        request_id=getattr(request, "request_id", ""),
        metadata={"kind": kind, "row": label, "change": change},
    )
