"""The admin site: Django's, under Rampart's name, with the stop's banner on each page."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from audit import ledger
from audit.events import EventName
from rampart.signals import tell_refused_sign_in
from tools.models import EmergencyStop


class SignInForm(AdminAuthenticationForm):
    """Django's form; who has the right password and may not come in is told as well."""

    def confirm_login_allowed(self, user: User) -> None:
        try:
            super().confirm_login_allowed(user)
        except ValidationError:
            tell_refused_sign_in(self.request, user.get_username(), "not_staff")
            raise


class RampartAdminSite(admin.AdminSite):
    """Django's admin with our name, our banner, and a line in the ledger for a new password."""

    site_header = "Rampart"
    site_title = "Rampart"
    index_title = "Overview"
    site_url = None
    enable_nav_sidebar = False
    login_form = SignInForm

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        if context["has_permission"]:
            context["emergency_stop"] = EmergencyStop.objects.first()
        return context

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if request.method == "POST" and response.status_code == 302:
                tell_edit(request, "auth.user", request.user.get_username(), "changed", "password")
        return response


def tell_edit(request: HttpRequest, kind: str, label: str, verb: str, change: Any) -> None:
    """The ledger's line about an edit: which row and which fields, never their values."""
    ledger.record(
        EventName.ADMIN_EDITED,
        actor=request.user.get_username(),
        reason=verb,
        source="admin",
        request_id=getattr(request, "request_id", ""),
        metadata={"kind": kind, "row": label, "change": change},
    )
