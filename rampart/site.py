"""The admin site: Django's, under Rampart's name, with the stop's banner, our ways in and out."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.http import urlencode

from approvals.desk.insights import insights_page
from approvals.desk.overview import ways_in
from approvals.desk.running import running_page, running_pulse
from approvals.desk.wishes import wishes_of, wishes_page
from audit.events import EventName
from audit.told import tell_edit
from rampart import oidc, passwords
from rampart.oidc.views import end_session_link
from rampart.people import NOBODY, tell_anyway, way_back
from rampart.proving import prove
from tools import availability
from tools.models import EmergencyStop
from tools.pages import the_person


class SignInForm(AdminAuthenticationForm):
    """Django's form; who has the right password and may not come in is told as well."""

    def confirm_login_allowed(self, user: User) -> None:
        try:
            super().confirm_login_allowed(user)
        except ValidationError:
            tell_anyway(EventName.SIGN_IN_REFUSED, self.request, user.get_username(), "not_staff")
            raise


class RampartAdminSite(admin.AdminSite):
    """Django's admin with our name, our banner, the provider's button, and the proof's page."""

    site_header = "Rampart"
    site_title = "Rampart"
    index_title = "Overview"
    site_url = None
    enable_nav_sidebar = False
    login_form = SignInForm
    logout_template = "admin/logged_out.html"

    def get_urls(self) -> list[URLResolver | URLPattern]:
        own = {
            "prove": self.prove,
            "insights": self.insights,
            "running": self.running,
            "wishes": self.wishes,
        }
        pages = [path(f"{name}/", self.admin_view(page), name=name) for name, page in own.items()]
        beat = path("running/pulse/", self.admin_view(running_pulse), name="running_pulse")
        return [*pages, beat, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        if context["has_permission"]:
            context["emergency_stop"] = EmergencyStop.objects.first()
            context["wishes"] = wishes_of(the_person(request))
        return context

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Django's overview, with the ways that people take every day above it."""
        person = the_person(request)
        ways = ways_in(person, self.get_app_list(request))
        jails = availability.strength() if person.has_perm("tools.view_tool") else ""
        return super().index(request, {"ways": ways, "jails": jails, **(extra_context or {})})

    def insights(self, request: HttpRequest) -> HttpResponse:
        """`/admin/insights/`: what became of held calls, and how long it took."""
        return insights_page(request, self.each_context(request))

    def running(self, request: HttpRequest) -> HttpResponse:
        """`/admin/running/`: what runs at this moment, and what waits for a worker."""
        return running_page(request, self.each_context(request))

    def wishes(self, request: HttpRequest) -> HttpResponse:
        """`/admin/wishes/`: how who is signed in wants the desk to be."""
        return wishes_page(request, self.each_context(request))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The form, the button, or both."""
        if request.method == "POST" and not settings.RAMPART_PASSWORD_SIGN_IN:
            tell_anyway(EventName.SIGN_IN_REFUSED, request, NOBODY, "passwords_off")
            raise PermissionDenied
        ways = {
            "takes_passwords": settings.RAMPART_PASSWORD_SIGN_IN,
            "provider": settings.RAMPART_OIDC_NAME if oidc.is_on() else "",
            "provider_url": _start_url(request),
        }
        return super().login(request, {**ways, **(extra_context or {})})

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Out; whoever came from the provider is offered the way out there, too."""
        link = {"provider": settings.RAMPART_OIDC_NAME, "end_session": end_session_link(request)}
        return super().logout(request, {**link, **(extra_context or {})})

    def prove(self, request: HttpRequest) -> HttpResponse:
        """`/admin/prove/`: who is signed in proves again who they are."""
        return prove(request, self.each_context(request))

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Guessing one's old password is guessing a password."""
        if not settings.RAMPART_PASSWORD_SIGN_IN:
            raise Http404
        if request.method == "POST" and passwords.is_locked(request):
            return passwords.locked_out_page(request)
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if request.method == "POST" and response.status_code == 302:
                tell_edit(request, "auth.user", request.user.get_username(), "changed", "password")
        if request.method == "POST" and _has_wrong_old_password(response):
            given = {"username": request.user.get_username()}
            user_login_failed.send(sender=__name__, credentials=given, request=request)
        return response


def _start_url(request: HttpRequest) -> str:
    return f"{reverse('oidc_authentication_init')}?{urlencode({'next': way_back(request)})}"


def _has_wrong_old_password(response: Any) -> bool:
    form = (getattr(response, "context_data", None) or {}).get("form")
    return form is not None and "old_password" in form.errors
