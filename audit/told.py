"""Edits in the admin are lines in the ledger: which row, and what it said before and after."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from audit import ledger
from audit.changes import difference, facts_of
from audit.events import EventName


class Told:
    """Writes the ledger's line where Django writes its own history, in the same transaction."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """The row that a form is about to change, and beside it what it says until then."""
        obj = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        if obj is not None:
            obj.said_before = facts_of(obj)
        return obj

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        said = difference(None, facts_of(obj))
        tell_edit(request, _kind(obj), str(obj), "added", message, said)
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        said = difference(obj.said_before, facts_of(obj))
        tell_edit(request, _kind(obj), str(obj), "changed", message, said)
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            said = difference(facts_of(obj), None)
            tell_edit(request, _kind(obj), str(obj), "deleted", None, said)
        return super().log_deletions(request, queryset)  # type: ignore[misc]

    @transaction.atomic
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        return response


def _kind(obj: Any) -> str:
    return str(obj._meta.label_lower)


def tell_edit(
    request: HttpRequest,
    kind: str,
    label: str,
    verb: str,
    change: Any,
    said: dict[str, Any] | None = None,
) -> None:
    """The ledger's line about an edit, with what the row `said` before and after."""
    ledger.record(
        EventName.ADMIN_EDITED,
        actor=request.user.get_username(),
        reason=verb,
        source="admin",
        request_id=getattr(request, "request_id", ""),
        metadata={"kind": kind, "row": label, "change": change, **(said or {})},
    )
