"""Legal holds in the admin: placed and released here, never changed and never deleted."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from audit import holds
from audit.hold_forms import HoldForm
from audit.holds import AlreadyReleased
from audit.models import LegalHold
from audit.plain_text import marked
from audit.windows import Window, exactly, link, when


@admin.register(LegalHold)
class LegalHoldAdmin(Window):
    """A hold is what it was when it was placed; whoever wants another places another."""

    form = HoldForm
    list_display = ["why", "covers", "placed", "released"]
    list_display_links = ["why"]
    sortable_by = ()
    actions = ["release"]
    readonly_fields = [
        "why", "shown_actor", "shown_tool", "call", "session_id", "began", "ended",
        "placed_by", "placed", "released_by", "released",
    ]  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if obj else HoldForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if obj else ()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("audit.add_legalhold")

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("audit.change_legalhold")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may release one must find it; Django would take this for the right to change."""
        return super().has_view_permission(request, obj) or self.has_release_permission(request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        holds.place(obj, **_told_by(request))

    @admin.action(description="Release", permissions=["release"])
    def release(self, request: HttpRequest, queryset: QuerySet[LegalHold]) -> None:
        done = [_released(request, hold) for hold in queryset]
        if already := len(done) - sum(done):
            self.message_user(request, f"{already} released already", messages.WARNING)
        if sum(done):
            self.message_user(request, f"{sum(done)} released")

    @admin.display(description="reason")
    def why(self, hold: LegalHold) -> str:
        return marked(hold.reason)

    @admin.display(description="holds")
    def covers(self, hold: LegalHold) -> str:
        names = HoldForm.Meta.fields[1:]
        said = [f"{_name_of(name)} {value}" for name in names if (value := getattr(hold, name))]
        return marked(", ".join(said)) or "everything"

    @admin.display(description="actor")
    def shown_actor(self, hold: LegalHold) -> str:
        return marked(hold.actor) or "any"

    @admin.display(description="tool")
    def shown_tool(self, hold: LegalHold) -> str:
        return marked(hold.tool_name) or "any"

    @admin.display(description="call")
    def call(self, hold: LegalHold) -> str:
        return link("approvals_invocation", hold.invocation_id)

    @admin.display(description="since")
    def began(self, hold: LegalHold) -> str:
        return exactly(hold.since)

    @admin.display(description="until")
    def ended(self, hold: LegalHold) -> str:
        return exactly(hold.until)

    @admin.display(description="placed")
    def placed(self, hold: LegalHold) -> str:
        return when(hold.placed_at)

    @admin.display(description="released")
    def released(self, hold: LegalHold) -> str:
        return when(hold.released_at)


def _name_of(field: str) -> str:
    return str(LegalHold._meta.get_field(field).verbose_name)  # type: ignore[union-attr]


def _released(request: HttpRequest, hold: LegalHold) -> bool:
    try:
        holds.release(hold.pk, **_told_by(request))
    except AlreadyReleased:
        return False
    return True


def _told_by(request: HttpRequest) -> dict[str, str]:
    request_id = getattr(request, "request_id", "")
    return {"by": request.user.get_username(), "source": "admin", "request_id": request_id}
