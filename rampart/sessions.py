"""How long a session lasts: so long from the sign-in, and so long without a request.

Django counts a session's age from its last write. Here the end is fixed when somebody signs in, and
nothing that happens in the session moves it.
"""

import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from audit.events import EventName
from rampart.people import tell_anyway

SEEN = "seen_at"
WRITTEN_EVERY = timedelta(minutes=1)


def begin(request: HttpRequest) -> None:
    """A sign-in: the end is fixed, and the key is new.

    Django keeps the key where the same person signs in again; whoever had read it would be in, too.
    """
    request.session.set_expiry(settings.RAMPART_SESSION_AGE)
    request.session[SEEN] = int(time.time())
    request.session.cycle_key()


def end_all(user_id: int) -> int:
    """End every session of a person. Which those are is known from the inside of each alone."""
    mine = str(user_id)
    lasting = Session.objects.filter(expire_date__gt=timezone.now())
    keys = [row.pk for row in lasting.iterator() if row.get_decoded().get(SESSION_KEY) == mine]
    deleted, _ = Session.objects.filter(pk__in=keys).delete()
    return deleted


class IdleMiddleware:
    """End a session in which nothing was asked for too long, when it is next asked who that is.

    What asks nothing of a session, such as `/health`, neither loads it nor keeps it alive. That
    something was asked is noted at most once a minute, so a session ends after the time that is
    set, or up to a minute earlier.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.user = SimpleLazyObject(lambda: _person(request))  # type: ignore[assignment]
        return self.get_response(request)


def _person(request: HttpRequest) -> AbstractBaseUser | AnonymousUser:
    """Whose the session is, nobody's if it was idle for too long."""
    if SESSION_KEY in request.session:
        now = int(time.time())
        idle = timedelta(seconds=now - request.session.get(SEEN, 0))
        if idle >= settings.RAMPART_SESSION_IDLE:
            tell_anyway(EventName.SIGN_OUT, request, get_user(request).get_username(), "idle")
            request.session.flush()
            return AnonymousUser()
        if idle >= WRITTEN_EVERY:
            request.session[SEEN] = now
    return get_user(request)
