"""What the ledger is told of people who come, go, or are turned away; and their way back."""

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from audit import ledger
from audit.events import EventName
from tools.authentication import client_address

log = logging.getLogger(__name__)

LONGEST_NAME = 40
NOBODY = "unknown user"


def tell(
    event: EventName, request: HttpRequest | None, actor: str, reason: str = "", **more: Any
) -> None:
    """A line about a person; a database that does not take it is an error."""
    ledger.record(
        event,
        actor=actor,
        reason=reason,
        source="admin",
        request_id=getattr(request, "request_id", ""),
        metadata=({"address": client_address(request)} if request else {}) | more,
    )


def tell_anyway(
    event: EventName, request: HttpRequest | None, actor: str, reason: str = "", **more: Any
) -> None:
    """The same about what stands even if it can't be recorded, such as a refusal."""
    try:
        tell(event, request, actor, reason, **more)
    except (DatabaseError, InterfaceError):
        log.error("%s: it could not be recorded", event)


def told_name(given: object) -> str:
    """A name as it may be told: a user's, else nobody's, for it may be a password misplaced."""
    name = str(given or "")
    return name[:LONGEST_NAME] if _is_known(name) else NOBODY


def _is_known(name: str) -> bool:
    try:
        return get_user_model().objects.filter(username=name).exists()
    except (DatabaseError, InterfaceError, ValueError):
        return False


def way_back(request: HttpRequest) -> str:
    """Where `next` leads, if that is a path of ours; the admin's first page otherwise."""
    given = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = given.startswith("/") and url_has_allowed_host_and_scheme(given, allowed_hosts=None)
    return given if is_ours else reverse(settings.LOGIN_REDIRECT_URL)
