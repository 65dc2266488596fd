"""Passwords: whether they open anything, and how often one may be wrong.

Wrong ones are counted by django-axes for each address, so that nobody can lock out somebody else by
guessing from elsewhere. Of an attempt are kept its address, the user's name if it is one, path and
browser, never what was sent.
"""

import time
from datetime import timedelta
from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from audit.events import EventName
from rampart.people import tell_anyway, told_name
from tools.addresses import neighbourhood
from tools.authentication import client_address


class Passwords(ModelBackend):
    """Django's backend, unless the operator has switched passwords off: then it lets nobody in.

    A session that was opened by a password ends with the switch as well. Permissions are asked as
    ever.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        if not settings.RAMPART_PASSWORD_SIGN_IN:
            return None
        return super().authenticate(request, username, password, **kwargs)

    def get_user(self, user_id: Any) -> User | None:
        return super().get_user(user_id) if settings.RAMPART_PASSWORD_SIGN_IN else None


class Lockout(AxesStandaloneBackend):  # type: ignore[misc]
    """Turns a locked address away before its password is looked at; the provider's way is open."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> None:
        if request is None or username is None:
            return
        try:
            super().authenticate(request, username, password, **kwargs)
        except PermissionDenied:
            request.is_turned_away = True  # type: ignore[attr-defined]
            raise


class Failures(AxesDatabaseHandler):  # type: ignore[misc]
    """django-axes' counting, told in the ledger once, and without what was sent."""

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any
    ) -> None:
        super().user_login_failed(sender, credentials, request, **kwargs)
        is_locked_now = getattr(request, "axes_locked_out", False)
        if is_locked_now and not getattr(request, "is_turned_away", False):
            tell_anyway(EventName.LOCKED_OUT, request, counted_name(request, credentials))

    def post_save_access_attempt(self, instance: AccessAttempt, **kwargs: Any) -> None:
        AccessAttempt.objects.filter(pk=instance.pk).update(get_data="", post_data="")


def counted_address(request: HttpRequest) -> str | None:
    """The address whose failures are counted together; None, and together, if it is none."""
    return neighbourhood(client_address(request))


def counted_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """The name under which a failure is kept."""
    return told_name((credentials or {}).get("username"))


def is_locked(request: HttpRequest) -> bool:
    """Whether passwords from the request's address are not looked at now."""
    return bool(AxesProxyHandler.is_locked(request, {}))


def forgive(request: HttpRequest, user: User) -> None:
    """The right password makes up for the wrong ones under the same name from the same address.

    Not for those under other names: else whoever has a password of their own could guess for ever.
    """
    failed = AccessAttempt.objects.filter(ip_address=counted_address(request))
    failed.filter(username=told_name(user.get_username())).delete()


def locked_out_page(request: HttpRequest, *_: Any) -> HttpResponse:
    """429, and when to come back: the lock is as long after the last wrong password."""
    last = AccessAttempt.objects.filter(ip_address=counted_address(request)).aggregate(
        last=Max("attempt_time")
    )["last"]
    end = (last.timestamp() if last else time.time()) + _lock().total_seconds()
    seconds = max(1, int(end - time.time()) + 1)
    page = TemplateResponse(request, "locked_out.html", {"minutes": -(-seconds // 60)}, status=429)
    page["Retry-After"] = str(seconds)
    return page.render()


def _lock() -> timedelta:
    span: timedelta = settings.AXES_COOLOFF_TIME
    return span
